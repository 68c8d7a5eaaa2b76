"""A synthetic scene at any time, and the sampling of its parts."""

from dataclasses import replace

import numpy as np
import pytest

from deeplab_gygo.synthesis.layers import Layer, Pose
from deeplab_gygo.synthesis.motion import Camera, Light, Trajectory
from deeplab_gygo.synthesis.object_sampler import Appearance
from deeplab_gygo.synthesis.scene import (
    TARGET_IN_BACKGROUND,
    Background,
    Exit,
    Feathering,
    Scene,
    SceneObject,
    alpha_on_canvas,
    visible_mask,
)
from deeplab_gygo.synthesis.scene_sampler import (
    aim_at,
    sample_background,
    sample_feathering,
    sample_object,
    sample_shutter,
    with_exit,
)
from deeplab_gygo.synthesis.sprites import make_sprite

SIZE = (96, 128)
COLOR = (200, 90, 30)


def _trajectory(axes, drift=()):
    full = np.zeros(axes)
    full[: len(drift)] = drift
    return Trajectory(np.zeros((1, axes)), np.ones((1, axes)), np.zeros((1, axes)), full)


def _appearance(color=COLOR, side=30):
    image = np.full((side, side, 3), color, np.uint8)
    return Appearance(make_sprite(image, np.full((side, side), 255, np.uint8)))


def _object(center=(40.0, 50.0), drift=(), **kwargs):
    pose = Pose(np.array(center), 1.0, 0.0, False, np.zeros((4, 2)))
    return SceneObject(_appearance(**kwargs), pose, _trajectory(13, drift))


def _background(mask=None):
    ramp = np.arange(256, dtype=np.uint8)[None, :128].repeat(96, 0)
    return Background(np.dstack([ramp] * 3), mask, np.eye(3), SIZE)


def _scene(objects=(), target=0, camera=(), background=None, shutter=0.0):
    still = Camera(_trajectory(4, camera), SIZE, 0.0, None, 0.0)
    light = Light(np.zeros(3), _trajectory(3))
    return Scene(background or _background(), tuple(objects), target, still, light, shutter)


def _centroid(mask):
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean(), rows.mean()])


def test_scene_without_motion_is_static():
    scene = _scene([_object()])
    first, last = scene.render(0.0), scene.render(20.0)
    np.testing.assert_array_equal(first[0], last[0])
    np.testing.assert_array_equal(first[0][50, 40], COLOR)
    np.testing.assert_array_equal(first[0][5], _background().image[5])
    np.testing.assert_array_equal(first[1], scene.mask(0.0))


def test_camera_moves_background_and_objects():
    scene = _scene([_object()], camera=(2.0, 1.0))
    (before, mask), (after, later) = scene.render(0.0), scene.render(5.0)
    np.testing.assert_allclose(_centroid(later) - _centroid(mask), [10.0, 5.0], atol=0.3)
    assert (after[5, 20:100, 0].astype(int) == before[5, 10:90, 0]).all()


def test_object_moves_over_a_static_background():
    scene = _scene([_object(drift=(3.0, 0.0))])
    (before, mask), (after, later) = scene.render(0.0), scene.render(10.0)
    np.testing.assert_allclose(_centroid(later) - _centroid(mask), [30.0, 0.0], atol=0.3)
    np.testing.assert_array_equal(before[5], after[5])


def test_a_crossing_distractor_occludes_the_target():
    scene = _scene([_object(), _object((100.0, 50.0), (-6.0, 0.0), color=(0, 0, 250))])
    areas = [int(scene.render(time)[1].sum()) for time in (0.0, 10.0, 20.0)]
    assert areas[1] < 0.1 * areas[0] and areas[2] > 0.95 * areas[0]
    behind = replace(scene, objects=scene.objects[::-1], target=1)
    assert behind.mask(10.0).sum() == areas[0]


def test_object_of_the_background_moves_with_it_behind_the_others():
    mask = np.zeros(SIZE, np.uint8)
    mask[30:60, 30:60] = 1
    scene = _scene([_object((75.0, 45.0))], TARGET_IN_BACKGROUND, (2.0, 0.0), _background(mask))
    occluder = replace(scene.objects[0], parallax=0.0)
    scene = replace(scene, objects=(occluder,))
    assert scene.target_area(0.0) == 900
    np.testing.assert_array_equal(scene.mask(0.0), mask)
    moved = scene.render(10.0)[1]
    assert moved[45, 55] == 1 and moved[45, 75] == 0 and 0 < moved.sum() < 500


def test_exposure_time_blurs_moving_objects():
    still, moving = _object((40.0, 24.0)), _object((40.0, 72.0), (10.0, 0.0))
    image = _scene([still, moving], shutter=0.8).render(0.0)[0].astype(int)
    edges = [np.abs(np.diff(image[row, :, 2])).max() for row in (24, 72)]
    assert edges[1] < 0.4 * edges[0]


def test_object_exits_for_good():
    gone = replace(_object(), exit=Exit(3.0, np.array([40.0, 0.0])))
    scene = _scene([gone])
    assert scene.mask(3.0).sum() == scene.mask(0.0).sum() > 0
    image, mask = scene.render(9.0)
    assert not mask.any() and not scene.mask(30.0).any()
    np.testing.assert_array_equal(image, _scene().background.image)


def test_gains_and_feathering_of_an_object():
    lit = replace(_object(), gains=np.array([0.5, 1.0, 1.0]), feathering=Feathering(5, 0.5))
    image, mask = _scene([lit]).render(0.0)
    np.testing.assert_array_equal(image[50, 40], [100, 90, 30])
    assert mask.sum() < _scene([_object()]).mask(0.0).sum()


def test_visible_mask_excludes_layers_in_front():
    def layer(left):
        return Layer(None, np.full((10, 10), 255, np.uint8), left, 5, (0.0, 0.0, 1.0, 1.0))

    mask = visible_mask(alpha_on_canvas(layer(10), SIZE), [layer(15), None])
    assert mask.sum() == 50 and mask[5:15, 10:15].all()
    assert not alpha_on_canvas(None, SIZE).any()


def test_background_image_covers_the_canvas():
    image = np.full((60, 200, 3), 100, np.uint8)
    for seed in range(20):
        background = sample_background(image, None, SIZE, np.random.default_rng(seed))
        corners = np.array([[0, 0, 1], [128, 96, 1]]).T
        places = np.linalg.inv(background.matrix) @ corners
        assert places[:2].min() >= -0.5 and (places[:2].max(axis=1) <= (200.5, 60.5)).all()


def _sampled(seed, share=0.1, others=()):
    return sample_object(
        _appearance(side=60), share, others, _background(), np.random.default_rng(seed)
    )


def test_objects_have_the_given_size_and_do_not_overlap():
    first = _sampled(0)
    assert first.root_area**2 == pytest.approx(0.1 * 96 * 128, rel=1e-6)
    distances = [
        np.hypot(*(_sampled(s, 0.03, [first]).pose.center - first.pose.center)) for s in range(80)
    ]
    alone = [np.hypot(*(_sampled(s, 0.03).pose.center - first.pose.center)) for s in range(80)]
    assert np.mean(distances) > np.mean(alone)


def test_compositing_varies_and_spins_are_not_deformed():
    objects = [_sampled(seed) for seed in range(200)]
    for part, share in (("deformation", 0.5), ("feathering", 0.6), ("shadow", 0.4)):
        present = [getattr(item, part) is not None for item in objects]
        assert np.mean(present) == pytest.approx(share, abs=0.12)
    spin = Appearance(_appearance().first, source=object())
    turning = [
        sample_object(spin, 0.1, (), _background(), np.random.default_rng(seed))
        for seed in range(30)
    ]
    assert all(item.deformation is None for item in turning)


def test_gains_of_an_object_follow_its_background():
    dark, bright = (
        [
            sample_object(
                _appearance((120, 120, 120)),
                0.1,
                (),
                replace(_background(), image=np.full((96, 128, 3), level, np.uint8)),
                np.random.default_rng(seed),
            ).gains.mean()
            for seed in range(60)
        ]
        for level in (20, 250)
    )
    assert np.mean(bright) > np.mean(dark) + 0.1


def test_most_objects_are_slow_and_some_are_fast():
    steps = [
        np.hypot(*a.trajectory.velocity(0.0)[:2]) / a.root_area for a in map(_sampled, range(200))
    ]
    assert np.percentile(steps, 50) < 0.08 and np.percentile(steps, 96) > 0.1


@pytest.mark.parametrize("time", [8.0, -5.0, 0.5])
def test_aim_at_passes_the_position_at_its_time(time):
    position = np.array([90.0, 20.0])
    trajectory = aim_at(_object(), position, time).trajectory
    reached = time if abs(time) >= 3 else 3.0
    np.testing.assert_allclose(trajectory.at(reached)[:2] + (40.0, 50.0), position)


def test_object_with_an_exit_soon_leaves_the_canvas():
    for seed in range(20):
        scene = _scene([with_exit(_object(), SIZE, np.random.default_rng(seed))])
        assert scene.mask(0.0).any() and not scene.mask(16.5).any()


def test_contours_of_small_objects_stay_sharp():
    assert {sample_feathering(20.0, np.random.default_rng(s)).side for s in range(40)} == {3}
    assert {sample_feathering(200.0, np.random.default_rng(s)).side for s in range(40)} == {3, 5, 7}


def test_exposure_is_short_in_most_clips():
    times = [sample_shutter(np.random.default_rng(seed)) for seed in range(200)]
    assert 0.4 < np.mean(np.array(times) == 0.0) < 0.7 and max(times) < 1.0
