"""Smooth random motion of objects, their shape, camera and light."""

import numpy as np
import pytest

from deeplab_gygo.synthesis.motion import (
    Camera,
    Trajectory,
    sample_camera,
    sample_deformation,
    sample_light,
    sample_trajectory,
    turntable_index,
)

SIZE = (96, 128)
SPEED = np.array([2.0, 0.1])


def _drifting(*drift):
    flat = np.zeros((1, len(drift)))
    return Trajectory(flat, flat + 10.0, flat, np.array(drift))


def _trajectories(count=200):
    return [sample_trajectory(SPEED, np.random.default_rng(seed)) for seed in range(count)]


def test_trajectory_starts_at_its_origin():
    for trajectory in _trajectories(20):
        np.testing.assert_allclose(trajectory.at(0.0), 0.0, atol=1e-12)


def test_trajectory_has_the_given_speed():
    steps = np.array(
        [
            trajectory.at(t + 1.0) - trajectory.at(t)
            for trajectory in _trajectories()
            for t in (0.0, 7.0, 15.0)
        ]
    )
    np.testing.assert_allclose(np.sqrt((steps**2).mean(axis=0)), SPEED, rtol=0.12)


def test_trajectory_is_smooth_and_far_reaching():
    near, far, curvature = [], [], []
    for trajectory in _trajectories():
        near.append(np.abs(trajectory.at(1.0)))
        far.append(np.abs(trajectory.at(15.0)))
        curvature.append(np.abs(trajectory.at(1.0) - 2 * trajectory.at(0.0) + trajectory.at(-1.0)))
    assert (np.mean(far, axis=0) > 4 * np.mean(near, axis=0)).all()
    assert (np.mean(curvature, axis=0) < 0.6 * np.mean(near, axis=0)).all()


def test_velocity_is_the_derivative():
    drift = np.array([3.0, -1.0])
    trajectory = sample_trajectory(SPEED, np.random.default_rng(0), tremor=SPEED / 4, drift=drift)
    for time in (-4.0, 0.0, 13.3):
        numeric = (trajectory.at(time + 1e-4) - trajectory.at(time - 1e-4)) / 2e-4
        np.testing.assert_allclose(trajectory.velocity(time), numeric, rtol=1e-4, atol=1e-6)


def test_drift_is_constant():
    trajectory = _drifting(2.0, -1.0)
    np.testing.assert_allclose(trajectory.at(5.0), [10.0, -5.0])


def test_camera_rotates_and_zooms_about_the_center():
    trajectory = _drifting(0.0, 0.0, 0.1, 0.05)
    matrix = Camera(trajectory, SIZE, 0.5, None, 0.0).at(2.0).matrix()
    center = np.array([64.0, 48.0, 1.0])
    np.testing.assert_allclose(matrix @ center, center)
    assert np.linalg.det(matrix[:2, :2]) == pytest.approx(np.exp(0.2))


def test_parallax_scales_the_displacement():
    trajectory = _drifting(4.0, 0.0, 0.0, 0.0)
    pose = Camera(trajectory, SIZE, 0.0, None, 0.0).at(3.0)
    assert pose.matrix()[0, 2] == pytest.approx(12.0)
    assert pose.matrix(1.5)[0, 2] == pytest.approx(18.0)


def test_rolling_shutter_displaces_lower_rows_further():
    trajectory = _drifting(4.0, 0.0, 0.0, 0.0)
    matrix = Camera(trajectory, SIZE, 0.5, None, 0.0).at(1.0).matrix()
    top, bottom = matrix @ [64.0, 0.0, 1.0], matrix @ [64.0, 96.0, 1.0]
    assert bottom[0] - top[0] == pytest.approx(4.0 * 0.5)
    assert Camera(_drifting(0.0, 0.0, 0.0, 0.0), SIZE, 0.5, None, 0.0).at(
        1.0
    ).linear == pytest.approx(np.eye(2))


def test_following_camera_keeps_the_target_in_place():
    target = sample_trajectory(np.array([3.0, 3.0]), np.random.default_rng(0))
    pose = Camera(_drifting(0.0, 0.0, 0.0, 0.0), SIZE, 0.0, target, 1.0).at(11.0)
    np.testing.assert_allclose(pose.offset, -target.at(11.0))
    np.testing.assert_allclose(pose.velocity, -target.velocity(11.0))


def test_cameras_are_on_tripods_or_handheld_and_some_follow():
    target = sample_trajectory(np.array([3.0, 3.0]), np.random.default_rng(0))
    cameras = [sample_camera((384, 512), target, np.random.default_rng(s)) for s in range(200)]
    own = [np.hypot(*camera.trajectory.at(12.0)[:2]) for camera in cameras]
    assert np.percentile(own, 10) < 4.0 and np.percentile(own, 80) > 25.0
    assert 0.5 < np.mean([camera.followed is not None for camera in cameras]) < 0.8


def test_light_changes_slowly_and_keeps_the_order_of_tones():
    steps = {1.0: [], 15.0: []}
    for seed in range(60):
        light = sample_light(np.random.default_rng(seed))
        start = light.lookup_table(0.0).astype(int)
        assert start.shape == (1, 256, 3)
        assert (np.diff(start, axis=1) >= 0).all()
        assert start[0, 200].min() > 80, "the image stays readable"
        for time, changes in steps.items():
            changes.append(np.abs(light.lookup_table(time)[0, 128] - start[0, 128]).max())
    assert np.mean(steps[1.0]) < 4.0
    assert np.percentile(steps[15.0], 80) > 8.0
    assert np.percentile(steps[15.0], 10) == 0.0, "some cameras lock their exposure"


@pytest.mark.parametrize("rate", [0.7, -0.7])
def test_spin_visits_neighboring_images_and_reverses_at_its_ends(rate):
    indices = [turntable_index(5, rate, 20, time) for time in np.arange(0.0, 120.0)]
    assert indices[0] == 5
    assert set(indices) == set(range(20))
    assert np.abs(np.diff(indices)).max() == 1


def test_object_with_one_image_has_no_spin():
    assert turntable_index(0, 0.5, 1, 33.0) == 0


def _grid():
    return np.stack(np.meshgrid(np.linspace(0, 1, 30), np.linspace(0, 1, 30)), axis=-1)


def test_deformation_starts_at_zero_and_grows():
    sizes = []
    for seed in range(40):
        deformation = sample_deformation(np.random.default_rng(seed))
        assert not deformation.displacement(_grid(), 0.0).any()
        sizes.append([np.abs(deformation.displacement(_grid(), t)).max() for t in (1.0, 5.0, 20.0)])
    mean = np.mean(sizes, axis=0)
    assert mean[0] < 0.35 * mean[1] < 0.35 * mean[2]
    assert 0.02 < mean[2] < 0.2


def test_deformation_does_not_fold_and_is_bounded():
    step = 1.0 / 29
    for seed in range(40):
        deformation = sample_deformation(np.random.default_rng(seed))
        placed = _grid() + deformation.displacement(_grid(), 60.0)
        assert np.abs(placed - _grid()).max() <= deformation.max_displacement + 1e-12
        along, down = np.diff(placed, axis=1)[:-1] / step, np.diff(placed, axis=0)[:, :-1] / step
        determinant = along[..., 0] * down[..., 1] - along[..., 1] * down[..., 0]
        assert determinant.min() > 0.0
