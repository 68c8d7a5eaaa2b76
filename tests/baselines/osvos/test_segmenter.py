"""OSVOS: independent frames; fine-tuning on the annotated frame and exact reset."""

import keras
import numpy as np
import pytest

from deeplab_gygo.baselines.osvos.config import OsvosModel, OsvosOnline
from deeplab_gygo.baselines.osvos.network import Osvos
from deeplab_gygo.baselines.osvos.segmenter import OsvosSegmenter
from deeplab_gygo.io.frame_folder import sequence_from_folder
from deeplab_gygo.io.masks import write_mask
from deeplab_gygo.models.weight_file import variables_by_name


@pytest.fixture(scope="module")
def parent(thin_trunks) -> Osvos:
    keras.utils.set_random_seed(2)
    with thin_trunks():
        return Osvos(OsvosModel(side_channels=4))


def _tuned(**changes) -> OsvosOnline:
    values = {
        "learning_rate": 3e-3,
        "optimizer": "adam",
        "loss": "balanced-mean",
        "fuse_multiplier": 1.0,
    }
    values |= {"scales": (1.0,), "threshold": 0.5, "weight_decay": 0.0, "bias_multiplier": 1.0}
    return OsvosOnline(**{"steps": 2, **values, **changes})


@pytest.fixture(scope="module")
def tuned(parent):
    return OsvosSegmenter(parent, _tuned())


@pytest.fixture
def segmenter(tuned):
    yield tuned
    tuned._tuner.reset()


def _values(parent) -> dict[str, np.ndarray]:
    return {n: np.array(v.numpy()) for n, v in variables_by_name(parent).items()}


def test_zero_shot_needs_no_mask_and_keeps_no_state(parent, squares):
    segmenter = OsvosSegmenter(parent, OsvosOnline(mode="zero-shot"))
    assert segmenter.begin(squares.frame(0), None).steps == 0
    one = segmenter.step(squares.frame(3))
    segmenter.step(squares.frame(1))
    np.testing.assert_array_equal(segmenter.step(squares.frame(3)).probability, one.probability)
    assert one.probability.dtype == np.float32 and one.mask.shape == squares.size


def test_a_sequence_without_a_mask_is_segmented_from_its_first_frame(parent, squares, tmp_path):
    for index in range(3):
        keras.utils.save_img(tmp_path / f"{index}.png", squares.frame(index).image, scale=False)
    sequence = sequence_from_folder(tmp_path)
    predictions = list(OsvosSegmenter(parent, OsvosOnline(mode="zero-shot")).run(sequence))
    assert [p.name for p in predictions] == ["0", "1", "2"]


def test_a_sequence_starts_with_its_given_mask(segmenter, squares, tmp_path):
    (tmp_path / "frames").mkdir()
    for index in range(3):
        path = tmp_path / "frames" / f"{index}.png"
        keras.utils.save_img(path, squares.frame(index).image, scale=False)
    write_mask(tmp_path / "1.png", squares.truth(1))
    sequence = sequence_from_folder(tmp_path / "frames", annotations={1: tmp_path / "1.png"})
    predictions = list(segmenter.run(sequence))
    assert [p.name for p in predictions] == ["1", "2"]
    np.testing.assert_array_equal(predictions[0].mask, squares.truth(1))


def test_the_threshold_is_that_of_the_options(parent, squares):
    areas = []
    for threshold in (0.0, 162 / 255, 1.0):
        options = OsvosOnline(mode="zero-shot", threshold=threshold)
        segmenter = OsvosSegmenter(parent, options)
        segmenter.begin(squares.frame(0), None)
        prediction = segmenter.step(squares.frame(1))
        assert (prediction.mask == (prediction.probability > threshold)).all()
        areas.append(np.count_nonzero(prediction.mask))
    assert areas[0] == 64 * 96 and areas[2] == 0


def test_fine_tuning_segments_the_moving_object(segmenter, squares, monkeypatch):
    monkeypatch.setattr(segmenter._tuner, "_steps", 40)
    last = squares.followed(segmenter, 3)[-1].mask
    losses = segmenter.adaptation.losses
    assert np.mean(losses[-5:]) < 0.3 * np.mean(losses[:5])
    truth = squares.truth(3)
    assert np.count_nonzero(last & truth) / np.count_nonzero(last | truth) > 0.7


def test_reset_is_exact_and_sequences_are_independent(segmenter, parent, squares):
    before = _values(parent)
    first = squares.followed(segmenter, 2)
    changed = {n for n, v in _values(parent).items() if not np.array_equal(before[n], v)}
    assert changed and not any("score" in name for name in changed)
    squares.followed(segmenter, 1, left=58)
    for one, other in zip(first, squares.followed(segmenter, 2), strict=True):
        np.testing.assert_array_equal(one.probability, other.probability)
    segmenter._tuner.reset()
    for name, value in _values(parent).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_layers_have_the_learning_rates_of_the_original(parent, squares):
    # Adam's first step moves every weight by its rate, so that the rates can be read off; a sum
    # over pixels has gradients beside which Adam's epsilon is nothing.
    before = _values(parent)
    options = _tuned(
        steps=1, learning_rate=1e-3, bias_multiplier=2.0, fuse_multiplier=0.01, loss="balanced-sum"
    )
    segmenter = OsvosSegmenter(parent, options)
    segmenter.begin(squares.frame(0), squares.truth(0))
    moved = {n: float(np.abs(v - before[n]).max()) for n, v in _values(parent).items()}
    segmenter._tuner.reset()
    for name, rate in (
        ("side3_conv/kernel", 1e-3), ("side3_conv/bias", 2e-3),
        ("fuse/kernel", 1e-5), ("fuse/bias", 2e-5), ("side3_score/kernel", 0.0),
    ):  # fmt: skip
        assert moved[f"osvos/{name}"] == pytest.approx(rate, rel=0.1), name


def test_the_original_loss_is_a_class_balanced_sum(parent, squares):
    options = OsvosOnline(steps=3, scales=(1.0,))
    segmenter = OsvosSegmenter(parent, options)
    before = _values(parent)
    segmenter.begin(squares.frame(0), squares.truth(0))
    changed = [n for n, v in _values(parent).items() if not np.array_equal(before[n], v)]
    segmenter._tuner.reset()
    # A sum over 64x96 pixels, each of about log 2, weighed by the other class's share.
    share = np.count_nonzero(squares.truth(0)) / squares.truth(0).size
    expected = 2 * share * (1 - share) * 64 * 96 * np.log(2)
    assert segmenter.adaptation.losses[0] == pytest.approx(expected, rel=0.1)
    assert changed


def test_every_object_has_weights_of_its_own(segmenter, squares):
    segmenter.begin(squares.frame(0), squares.truth(0) * 3 + squares.truth(0, 58) * 7)
    assert segmenter.adaptation.steps == 4
    prediction = segmenter.step(squares.frame(1))
    assert prediction.probability.shape == (2, *squares.size)
    assert set(np.unique(prediction.mask)) <= {0, 3, 7}
    first, second = (o.weights for o in segmenter._objects)
    assert any(not np.array_equal(a, b) for a, b in zip(first, second, strict=True))
