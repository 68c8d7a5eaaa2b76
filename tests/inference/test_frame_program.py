"""A frame as one program gives what its parts give, called one by one."""

import numpy as np
import pytest

from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.geometry import Geometry
from deeplab_gygo.inference.network import ForwardPass
from deeplab_gygo.inference.object_state import MemoryBank, ObjectState
from deeplab_gygo.inference.propagation import Propagation
from deeplab_gygo.models.target_model import TargetModel

SIZE = (44, 60)


@pytest.fixture(scope="module")
def networks(parent):
    return [ForwardPass(parent, window=3, fused=fused) for fused in (False, True)]


def _frames(count: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8) for _ in range(count)]


def _object(network, features, geometry, *, frames: int, model: bool, lost: bool) -> ObjectState:
    """An object with frames of the window in its memory, none for 0."""
    plane = np.zeros(SIZE, np.float32)
    plane[8:30, 10:40] = 0.9
    tracked = ObjectState(1, plane, usual_area=1e5 if lost else 600.0)
    if model:
        weight = np.random.default_rng(1).normal(0, 0.1, features["high"].shape[-1])
        tracked.target_model = TargetModel(weight.astype(np.float32), 0.1)
    for position in range(frames):
        coded = geometry.guide(np.roll(plane > 0.5, 3 * position, axis=1))
        memory = network.remember(features, coded, position)
        if tracked.memory is None:
            tracked.memory = MemoryBank([memory], 3)
        else:
            tracked.memory.add(memory)
    return tracked


CASES = [
    ("none", False, 0, {"tta_flip": True, "zero_shot_tta_scale": 0.7}),
    ("previous", False, 1, {}),
    ("blend", False, 2, {"tta_flip": True}),
    ("target", True, 3, {"tta_flip": True}),
    ("target", False, 1, {"refine": False}),
]


@pytest.mark.parametrize(
    ("guide", "model", "frames", "options", "lost", "earlier"),
    [
        pytest.param(
            *case,
            lost,
            not lost,
            # A blend has all that the previous mask alone has.
            marks=[] if lost == bool(index % 2) and case[0] != "previous" else pytest.mark.slow,
        )
        for index, case in enumerate(CASES)
        for lost in (False, True)
    ],
)
def test_one_program_equals_its_parts(
    networks, parent, guide, model, frames, options, lost, earlier
):
    options = dict(options)
    scale = options.pop("zero_shot_tta_scale", 0.0)
    if not options.pop("refine", True):
        networks = [
            ForwardPass(parent, window=3, fused=fused, refine=False) for fused in (False, True)
        ]
    geometry = Geometry.fit(SIZE, 32, parent.stride)
    config = OnlineConfig(mode="one-shot", **options)
    unguided = np.random.default_rng(2).integers(0, 256, SIZE).astype(np.uint8)
    found = []
    for network in networks:
        propagation = Propagation(network, config, geometry, guide, scale)
        features = [network.encode(batch) for batch in propagation.inputs(_frames())]
        tracked = _object(network, features[0], geometry, frames=frames, model=model, lost=lost)
        planes = [
            propagation.probability(features, tracked, unguided if earlier else None, position)
            for position in (0, 2)
        ]
        found.append(np.stack(planes))
    assert found[0].shape == (2, *SIZE) and found[1].dtype == np.float32
    assert found[0].std() > 1e-3 and not np.array_equal(*found[0])
    np.testing.assert_allclose(found[1], found[0], atol=2e-5)
