"""A composed scene at any time, and the drawing of its parts."""

from dataclasses import replace

import numpy as np
import pytest

from deeplab_gygo.synthesis.layers import Layer, Pose
from deeplab_gygo.synthesis.motion import Camera, Light, Path
from deeplab_gygo.synthesis.object_sampler import Look
from deeplab_gygo.synthesis.scene import BACKDROP, Actor, Edge, Exit, Scene, Stage, outline, visible
from deeplab_gygo.synthesis.scene_sampler import (
    cast_actor,
    draw_edge,
    draw_shutter,
    head_for,
    leave,
    set_stage,
)
from deeplab_gygo.synthesis.sprites import make_view

SIZE = (96, 128)
COLOR = (200, 90, 30)


def _path(axes, drift=()):
    full = np.zeros(axes)
    full[: len(drift)] = drift
    return Path(np.zeros((1, axes)), np.ones((1, axes)), np.zeros((1, axes)), full)


def _look(color=COLOR, side=30):
    picture = np.full((side, side, 3), color, np.uint8)
    return Look(make_view(picture, np.full((side, side), 255, np.uint8)))


def _actor(center=(40.0, 50.0), drift=(), **kwargs):
    pose = Pose(np.array(center), 1.0, 0.0, False, np.zeros((4, 2)))
    return Actor(_look(**kwargs), pose, _path(13, drift))


def _stage(mask=None):
    ramp = np.arange(256, dtype=np.uint8)[None, :128].repeat(96, 0)
    return Stage(np.dstack([ramp] * 3), mask, np.eye(3), SIZE)


def _scene(actors=(), target=0, camera=(), stage=None, shutter=0.0):
    still = Camera(_path(4, camera), SIZE, 0.0, None, 0.0)
    light = Light(np.zeros(3), _path(3))
    return Scene(stage or _stage(), tuple(actors), target, still, light, shutter)


def _middle(mask):
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean(), rows.mean()])


def test_scene_without_motion_is_the_same_at_every_time():
    scene = _scene([_actor()])
    first, last = scene.film(0.0), scene.film(20.0)
    np.testing.assert_array_equal(first[0], last[0])
    np.testing.assert_array_equal(first[0][50, 40], COLOR)
    np.testing.assert_array_equal(first[0][5], _stage().picture[5])
    np.testing.assert_array_equal(first[1], scene.mask(0.0))


def test_camera_moves_background_and_objects():
    scene = _scene([_actor()], camera=(2.0, 1.0))
    (before, mask), (after, later) = scene.film(0.0), scene.film(5.0)
    np.testing.assert_allclose(_middle(later) - _middle(mask), [10.0, 5.0], atol=0.3)
    assert (after[5, 20:100, 0].astype(int) == before[5, 10:90, 0]).all()


def test_object_moves_by_itself_over_a_background_that_stays():
    scene = _scene([_actor(drift=(3.0, 0.0))])
    (before, mask), (after, later) = scene.film(0.0), scene.film(10.0)
    np.testing.assert_allclose(_middle(later) - _middle(mask), [30.0, 0.0], atol=0.3)
    np.testing.assert_array_equal(before[5], after[5])


def test_rival_in_front_hides_the_target_while_it_crosses():
    scene = _scene([_actor(), _actor((100.0, 50.0), (-6.0, 0.0), color=(0, 0, 250))])
    areas = [int(scene.film(time)[1].sum()) for time in (0.0, 10.0, 20.0)]
    assert areas[1] < 0.1 * areas[0] and areas[2] > 0.95 * areas[0]
    behind = replace(scene, actors=scene.actors[::-1], target=1)
    assert behind.mask(10.0).sum() == areas[0]


def test_object_of_the_background_moves_with_it_behind_the_others():
    mask = np.zeros(SIZE, np.uint8)
    mask[30:60, 30:60] = 1
    scene = _scene([_actor((75.0, 45.0))], BACKDROP, (2.0, 0.0), _stage(mask))
    hider = replace(scene.actors[0], nearness=0.0)
    scene = replace(scene, actors=(hider,))
    assert scene.target_area(0.0) == 900
    np.testing.assert_array_equal(scene.mask(0.0), mask)
    moved = scene.film(10.0)[1]
    assert moved[45, 55] == 1 and moved[45, 75] == 0 and 0 < moved.sum() < 500


def test_open_shutter_blurs_what_moves():
    still, moving = _actor((40.0, 24.0)), _actor((40.0, 72.0), (10.0, 0.0))
    picture = _scene([still, moving], shutter=0.8).film(0.0)[0].astype(int)
    edges = [np.abs(np.diff(picture[row, :, 2])).max() for row in (24, 72)]
    assert edges[1] < 0.4 * edges[0]


def test_object_leaves_for_good():
    gone = replace(_actor(), exit=Exit(3.0, np.array([40.0, 0.0])))
    scene = _scene([gone])
    assert scene.mask(3.0).sum() == scene.mask(0.0).sum() > 0
    picture, mask = scene.film(9.0)
    assert not mask.any() and not scene.mask(30.0).any()
    np.testing.assert_array_equal(picture, _scene().stage.picture)


def test_light_and_edge_of_an_object():
    lit = replace(_actor(), gains=np.array([0.5, 1.0, 1.0]), edge=Edge(5, 0.5))
    picture, mask = _scene([lit]).film(0.0)
    np.testing.assert_array_equal(picture[50, 40], [100, 90, 30])
    assert mask.sum() < _scene([_actor()]).mask(0.0).sum()


def test_visible_is_what_the_layers_above_leave():
    def layer(left):
        return Layer(None, np.full((10, 10), 255, np.uint8), left, 5, (0.0, 0.0, 1.0, 1.0))

    mask = visible(outline(layer(10), SIZE), [layer(15), None])
    assert mask.sum() == 50 and mask[5:15, 10:15].all()
    assert not outline(None, SIZE).any()


def test_stage_is_covered_by_the_picture():
    picture = np.full((60, 200, 3), 100, np.uint8)
    for seed in range(20):
        stage = set_stage(picture, None, SIZE, np.random.default_rng(seed))
        corners = np.array([[0, 0, 1], [128, 96, 1]]).T
        places = np.linalg.inv(stage.matrix) @ corners
        assert places[:2].min() >= -0.5 and (places[:2].max(axis=1) <= (200.5, 60.5)).all()


def _cast(seed, share=0.1, others=()):
    return cast_actor(_look(side=60), share, others, _stage(), np.random.default_rng(seed))


def test_actors_have_the_size_asked_for_and_keep_apart():
    first = _cast(0)
    assert first.root**2 == pytest.approx(0.1 * 96 * 128, rel=1e-6)
    apart = [
        np.hypot(*(_cast(s, 0.03, [first]).pose.center - first.pose.center)) for s in range(80)
    ]
    alone = [np.hypot(*(_cast(s, 0.03).pose.center - first.pose.center)) for s in range(80)]
    assert np.mean(apart) > np.mean(alone)


def test_appearance_varies_and_only_single_views_bend():
    actors = [_cast(seed) for seed in range(200)]
    for part, share in (("bend", 0.5), ("edge", 0.6), ("shadow", 0.4)):
        present = [getattr(actor, part) is not None for actor in actors]
        assert np.mean(present) == pytest.approx(share, abs=0.12)
    spin = Look(_look().first, entry=object())
    turning = [
        cast_actor(spin, 0.1, (), _stage(), np.random.default_rng(seed)) for seed in range(30)
    ]
    assert all(actor.bend is None for actor in turning)


def test_light_of_an_object_follows_its_background():
    dark, bright = (
        [
            cast_actor(
                _look((120, 120, 120)),
                0.1,
                (),
                replace(_stage(), picture=np.full((96, 128, 3), level, np.uint8)),
                np.random.default_rng(seed),
            ).gains.mean()
            for seed in range(60)
        ]
        for level in (20, 250)
    )
    assert np.mean(bright) > np.mean(dark) + 0.1


def test_most_objects_are_slow_and_some_are_fast():
    steps = [np.hypot(*a.path.velocity(0.0)[:2]) / a.root for a in map(_cast, range(200))]
    assert np.percentile(steps, 50) < 0.08 and np.percentile(steps, 96) > 0.1


@pytest.mark.parametrize("time", [8.0, -5.0, 0.5])
def test_actor_heads_for_a_place(time):
    aim = np.array([90.0, 20.0])
    path = head_for(_actor(), aim, time).path
    reached = time if abs(time) >= 3 else 3.0
    np.testing.assert_allclose(path.at(reached)[:2] + (40.0, 50.0), aim)


def test_actor_that_leaves_is_soon_out_of_the_picture():
    for seed in range(20):
        scene = _scene([leave(_actor(), SIZE, np.random.default_rng(seed))])
        assert scene.mask(0.0).any() and not scene.mask(16.5).any()


def test_edges_of_small_objects_stay_thin():
    assert {draw_edge(20.0, np.random.default_rng(s)).side for s in range(40)} == {3}
    assert {draw_edge(200.0, np.random.default_rng(s)).side for s in range(40)} == {3, 5, 7}


def test_shutter_is_shut_fast_in_most_clips():
    times = [draw_shutter(np.random.default_rng(seed)) for seed in range(200)]
    assert 0.4 < np.mean(np.array(times) == 0.0) < 0.7 and max(times) < 1.0
