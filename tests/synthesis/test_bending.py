"""Non-rigid change of shape."""

import numpy as np

from deeplab_gygo.synthesis.bending import draw_bend


def _grid():
    return np.stack(np.meshgrid(np.linspace(0, 1, 30), np.linspace(0, 1, 30)), axis=-1)


def test_bend_begins_with_none_and_grows():
    sizes = []
    for seed in range(40):
        bend = draw_bend(np.random.default_rng(seed))
        assert not bend.displacement(_grid(), 0.0).any()
        sizes.append([np.abs(bend.displacement(_grid(), t)).max() for t in (1.0, 5.0, 20.0)])
    mean = np.mean(sizes, axis=0)
    assert mean[0] < 0.35 * mean[1] < 0.35 * mean[2]
    assert 0.02 < mean[2] < 0.2


def test_bend_does_not_fold_and_keeps_within_its_reach():
    step = 1.0 / 29
    for seed in range(40):
        bend = draw_bend(np.random.default_rng(seed))
        placed = _grid() + bend.displacement(_grid(), 60.0)
        assert np.abs(placed - _grid()).max() <= bend.reach + 1e-12
        along, down = np.diff(placed, axis=1)[:-1] / step, np.diff(placed, axis=0)[:, :-1] / step
        turned = along[..., 0] * down[..., 1] - along[..., 1] * down[..., 0]
        assert turned.min() > 0.0
