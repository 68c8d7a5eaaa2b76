"""OSMN: guides of the annotated frame and of predicted masks; fine-tuning and exact reset."""

import re

import keras
import numpy as np
import pytest

from deeplab_gygo.baselines.osmn.config import OsmnModel, OsmnOnline
from deeplab_gygo.baselines.osmn.guides import gaussian_guide
from deeplab_gygo.baselines.osmn.network import Osmn
from deeplab_gygo.baselines.osmn.segmenter import OsmnSegmenter
from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.models.weight_file import variables_by_name

HEAD = ModelConfig(aspp_channels=8, low_level_channels=4, decoder_channels=8)
LIGHT = {
    "trunk": "efficientnet_lite0", "decoder": "deeplab", "spatial_relu": False, "deeplab": HEAD
}  # fmt: skip


def _parent(thin_trunks, **architecture) -> Osmn:
    keras.utils.set_random_seed(2)
    with thin_trunks():
        return Osmn(OsmnModel(**architecture))


@pytest.fixture(scope="module")
def original(thin_trunks) -> Osmn:
    return _parent(thin_trunks)


@pytest.fixture(scope="module")
def light(thin_trunks) -> Osmn:
    return _parent(thin_trunks, **LIGHT)


def _tuned(**changes) -> OsmnOnline:
    values = {"learning_rate": 3e-3, "loss": "balanced-mean", "scales": (1.0,), "weight_decay": 0.0}
    return OsmnOnline(**{"mode": "fine-tune", "steps": 2, **values, **changes})


@pytest.fixture(scope="module")
def tuned(original):
    """A segmenter that fine-tunes all of its network."""
    return OsmnSegmenter(original, _tuned())


@pytest.fixture
def segmenter(tuned):
    yield tuned
    tuned._tuner.reset()


def _values(parent) -> dict[str, np.ndarray]:
    return {n: np.array(v.numpy()) for n, v in variables_by_name(parent).items()}


@pytest.mark.parametrize("which", ["original", "light"])
def test_every_frame_gets_a_mask_of_its_size(which, squares, request):
    segmenter = OsmnSegmenter(request.getfixturevalue(which), OsmnOnline())
    prediction = squares.followed(segmenter, 1)[0]
    assert prediction.mask.shape == prediction.probability.shape == squares.size
    assert prediction.mask.dtype == np.uint8 and prediction.probability.dtype == np.float32
    assert segmenter.adaptation.steps == 0 and not segmenter.warnings


@pytest.fixture
def spied(light, squares, monkeypatch):
    """A segmenter with a network of given answers, and the inputs of network and modulator."""
    segmenter = OsmnSegmenter(light, OsmnOnline())
    shown, scales = [], []
    answers = iter([squares.truth(1), np.zeros(squares.size, np.uint8), squares.truth(3)])
    visual = segmenter._visual

    def segment(inputs):
        shown.append({name: np.array(value) for name, value in inputs.items()})
        return (np.float32(next(answers)) * 10 - 5)[None, ::2, ::2, None]

    def modulate(inputs):
        scales.append({name: np.array(value) for name, value in inputs.items()})
        return visual(inputs)

    monkeypatch.setattr(segmenter, "_segmentation", segment)
    monkeypatch.setattr(segmenter, "_visual", modulate)
    return segmenter, shown, scales


def test_the_spatial_guide_is_fitted_to_the_previous_mask(spied, squares):
    segmenter, shown, _ = spied
    predictions = squares.followed(segmenter, 3)
    # The first guide is of the true mask, later ones of predictions.
    before = [squares.truth(0), predictions[0].mask, predictions[1].mask]
    for inputs, mask in zip(shown, before, strict=True):
        np.testing.assert_array_equal(inputs["spatial"][0], gaussian_guide(mask))
    assert not shown[2]["spatial"].any()  # of an empty prediction
    np.testing.assert_array_equal(shown[0]["image"][0], squares.frame(1).image)


def test_the_visual_modulator_runs_once_per_sequence(spied, squares):
    segmenter, shown, scales = spied
    squares.followed(segmenter, 3)
    (crop,) = scales
    assert crop["crop"].shape == (1, 224, 224, 3) and crop["crop_mask"].shape == (1, 224, 224, 1)
    # The middle of the crop is the bright square.
    assert (crop["crop"][0, 112, 112] == (230, 210, 40)).all() and crop["crop_mask"][0, 112, 112]
    for inputs in shown:
        assert inputs["scales"].shape == (1, segmenter._parent.scale_count)


def test_large_frames_are_seen_at_the_size_that_is_asked_for(original, squares, monkeypatch):
    segmenter, shown = OsmnSegmenter(original, OsmnOnline(size=32)), []
    network = segmenter._segmentation
    monkeypatch.setattr(
        segmenter, "_segmentation", lambda inputs: shown.append(inputs) or network(inputs)
    )
    prediction = squares.followed(segmenter, 1)[0]
    assert shown[0]["image"].shape == (1, 32, 48, 3)
    assert shown[0]["spatial"].shape == (1, 32, 48, 1)
    assert prediction.mask.shape == squares.size


def test_objects_are_modulated_each_by_itself(light, squares):
    # With the first weights every object has the same scales: make them differ.
    fc = light.visual.layers[-1].kernel
    start = np.array(fc.numpy())
    fc.assign(np.random.default_rng(0).normal(0, 0.1, start.shape))
    try:
        segmenter = OsmnSegmenter(light, OsmnOnline())
        mask = squares.truth(0) * 3 + squares.truth(0, 58) * 7
        segmenter.begin(squares.frame(0), mask)
        first, second = (np.array(o.state) for o in segmenter._objects)
        assert np.abs(first - second).max() > 1e-3
        prediction = segmenter.step(squares.frame(1))
        assert prediction.probability.shape == (2, *squares.size)
        assert set(np.unique(prediction.mask)) <= {0, 3, 7}
    finally:
        fc.assign(start)


def test_fine_tuning_segments_the_moving_object(segmenter, squares, monkeypatch):
    monkeypatch.setattr(segmenter._tuner, "_steps", 40)
    last = squares.followed(segmenter, 3)[-1].mask
    losses = segmenter.adaptation.losses
    assert np.mean(losses[-5:]) < 0.3 * np.mean(losses[:5])
    truth = squares.truth(3)
    assert np.count_nonzero(last & truth) / np.count_nonzero(last | truth) > 0.7


def test_reset_is_exact_and_sequences_are_independent(segmenter, original, squares):
    before = _values(original)
    first = squares.followed(segmenter, 2)
    assert any(not np.array_equal(before[n], v) for n, v in _values(original).items())
    squares.followed(segmenter, 1, left=58)
    for one, other in zip(first, squares.followed(segmenter, 2), strict=True):
        np.testing.assert_array_equal(one.probability, other.probability)
    segmenter._tuner.reset()
    for name, value in _values(original).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


@pytest.mark.parametrize(
    ("adapt", "roles_expected"),
    [
        ("all", {"visual", "spatial", "trunk", "decoder"}),
        ("modulators", {"visual", "spatial"}),
        ("decoder", {"decoder"}),
    ],
)
def test_only_the_configured_roles_are_adapted(light, squares, adapt, roles_expected):
    roles = {id(v): role for role, named in light.variables().items() for v in named.values()}
    segmenter = OsmnSegmenter(light, _tuned(adapt=adapt, frozen_stages=2))
    variables = segmenter._tuner.variables
    # Neither BatchNorm nor the class-agnostic refinement.
    assert {roles[id(v)] for v in variables} == roles_expected
    assert not any(re.search(r"stem|stage[12]_", v.path) for v in variables)


def test_adapting_the_decoder_changes_no_other_variable(original, squares):
    segmenter = OsmnSegmenter(original, _tuned(adapt="decoder"))
    before = _values(original)
    segmenter.begin(squares.frame(0), squares.truth(0))
    changed = {n for n, v in _values(original).items() if not np.array_equal(before[n], v)}
    segmenter._tuner.reset()
    assert changed and all(re.search("/(side|fuse)", name) for name in changed)


def test_every_object_has_weights_of_its_own(segmenter, squares):
    segmenter.begin(squares.frame(0), squares.truth(0) * 3 + squares.truth(0, 58) * 7)
    assert segmenter.adaptation.steps == 4
    both = segmenter.step(squares.frame(1)).probability
    kept = [[np.array(w) for w in o.weights] for o in segmenter._objects]
    assert any(not np.array_equal(a, b) for a, b in zip(*kept, strict=True))
    assert segmenter._active is segmenter._objects[1]
    for value, weight in zip(segmenter._tuner.weights(), kept[1], strict=True):
        np.testing.assert_array_equal(value, weight)
    assert both.shape == (2, *squares.size)


def test_a_low_jaccard_on_the_annotated_frame_is_a_warning(segmenter, squares, monkeypatch):
    nothing = np.full((1, 32, 48, 1), -5.0, np.float32)
    monkeypatch.setattr(segmenter, "_segmentation", lambda inputs: nothing)
    segmenter.begin(squares.frame(0), squares.truth(0))
    assert "J 0.00 only on the first frame" in segmenter.warnings[0]
