"""Smooth random motion of objects, camera and light."""

import numpy as np
import pytest

from deeplab_gygo.synthesis.motion import (
    Camera,
    Path,
    draw_camera,
    draw_light,
    draw_path,
    view_position,
)

SIZE = (96, 128)
SPEED = np.array([2.0, 0.1])


def _still(axes):
    flat = np.zeros((1, axes))
    return Path(flat, flat + 10.0, flat, np.zeros(axes))


def _paths(count=200):
    return [draw_path(SPEED, np.random.default_rng(seed)) for seed in range(count)]


def test_path_starts_at_its_origin():
    for path in _paths(20):
        np.testing.assert_allclose(path.at(0.0), 0.0, atol=1e-12)


def test_path_moves_at_the_speed_asked_for():
    steps = np.array([path.at(t + 1.0) - path.at(t) for path in _paths() for t in (0.0, 7.0, 15.0)])
    np.testing.assert_allclose(np.sqrt((steps**2).mean(axis=0)), SPEED, rtol=0.12)


def test_path_leads_far_in_many_frames_and_is_smooth():
    near, far, bend = [], [], []
    for path in _paths():
        near.append(np.abs(path.at(1.0)))
        far.append(np.abs(path.at(15.0)))
        bend.append(np.abs(path.at(1.0) - 2 * path.at(0.0) + path.at(-1.0)))
    assert (np.mean(far, axis=0) > 4 * np.mean(near, axis=0)).all()
    assert (np.mean(bend, axis=0) < 0.6 * np.mean(near, axis=0)).all()


def test_velocity_is_the_derivative():
    drift = np.array([3.0, -1.0])
    path = draw_path(SPEED, np.random.default_rng(0), tremor=SPEED / 4, drift=drift)
    for time in (-4.0, 0.0, 13.3):
        numeric = (path.at(time + 1e-4) - path.at(time - 1e-4)) / 2e-4
        np.testing.assert_allclose(path.velocity(time), numeric, rtol=1e-4, atol=1e-6)


def test_drift_is_steady():
    path = Path(np.zeros((1, 2)), np.ones((1, 2)), np.zeros((1, 2)), np.array([2.0, -1.0]))
    np.testing.assert_allclose(path.at(5.0), [10.0, -5.0])


def test_camera_turns_and_zooms_about_the_middle():
    drift = np.array([0.0, 0.0, 0.1, 0.05])
    path = Path(*([np.zeros((1, 4)), np.ones((1, 4)), np.zeros((1, 4))]), drift)
    matrix = Camera(path, SIZE, 0.5, None, 0.0).shot(2.0).matrix()
    middle = np.array([64.0, 48.0, 1.0])
    np.testing.assert_allclose(matrix @ middle, middle)
    assert np.linalg.det(matrix[:2, :2]) == pytest.approx(np.exp(0.2))


def test_what_is_near_is_displaced_further():
    path = Path(*([np.zeros((1, 4)), np.ones((1, 4)), np.zeros((1, 4))]), np.array([4.0, 0, 0, 0]))
    shot = Camera(path, SIZE, 0.0, None, 0.0).shot(3.0)
    assert shot.matrix()[0, 2] == pytest.approx(12.0)
    assert shot.matrix(1.5)[0, 2] == pytest.approx(18.0)


def test_rolling_shutter_displaces_lower_rows_further():
    path = Path(*([np.zeros((1, 4)), np.ones((1, 4)), np.zeros((1, 4))]), np.array([4.0, 0, 0, 0]))
    matrix = Camera(path, SIZE, 0.5, None, 0.0).shot(1.0).matrix()
    top, bottom = matrix @ [64.0, 0.0, 1.0], matrix @ [64.0, 96.0, 1.0]
    assert bottom[0] - top[0] == pytest.approx(4.0 * 0.5)
    assert Camera(_still(4), SIZE, 0.5, None, 0.0).shot(1.0).linear == pytest.approx(np.eye(2))


def test_following_camera_keeps_the_target_in_place():
    target = draw_path(np.array([3.0, 3.0]), np.random.default_rng(0))
    shot = Camera(_still(4), SIZE, 0.0, target, 1.0).shot(11.0)
    np.testing.assert_allclose(shot.offset, -target.at(11.0))
    np.testing.assert_allclose(shot.velocity, -target.velocity(11.0))


def test_cameras_are_steady_or_handheld_and_some_follow():
    target = draw_path(np.array([3.0, 3.0]), np.random.default_rng(0))
    cameras = [draw_camera((384, 512), target, np.random.default_rng(s)) for s in range(200)]
    own = [np.hypot(*camera.path.at(12.0)[:2]) for camera in cameras]
    assert np.percentile(own, 10) < 4.0 and np.percentile(own, 80) > 25.0
    assert 0.5 < np.mean([camera.followed is not None for camera in cameras]) < 0.8


def test_light_changes_slowly_and_keeps_the_order_of_tones():
    steps = {1.0: [], 15.0: []}
    for seed in range(60):
        light = draw_light(np.random.default_rng(seed))
        start = light.table(0.0).astype(int)
        assert start.shape == (1, 256, 3)
        assert (np.diff(start, axis=1) >= 0).all()
        assert start[0, 200].min() > 80, "the picture must stay readable"
        for time, changes in steps.items():
            changes.append(np.abs(light.table(time)[0, 128] - start[0, 128]).max())
    assert np.mean(steps[1.0]) < 4.0
    assert np.percentile(steps[15.0], 80) > 8.0
    assert np.percentile(steps[15.0], 10) == 0.0, "some cameras lock their exposure"


@pytest.mark.parametrize("rate", [0.7, -0.7])
def test_spin_passes_neighboring_views_and_turns_back_at_its_ends(rate):
    views = [view_position(5, rate, 20, time) for time in np.arange(0.0, 120.0)]
    assert views[0] == 5
    assert set(views) == set(range(20))
    assert np.abs(np.diff(views)).max() == 1


def test_object_with_one_view_has_no_spin():
    assert view_position(0, 0.5, 1, 33.0) == 0
