"""The refinement: nothing at first, and then what edges say."""

import cv2
import keras
import numpy as np
import pytest

from deeplab_gygo import backend
from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.models.refinement import GatedSum, Upsample, build_refiner

HEIGHT, WIDTH = 9, 14


@pytest.fixture
def inputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    return {
        "logits": rng.normal(0, 5, (1, HEIGHT, WIDTH, 1)).astype(np.float32),
        "low": rng.normal(size=(1, HEIGHT, WIDTH, 6)).astype(np.float32),
        "fine": rng.normal(size=(1, 2 * HEIGHT, 2 * WIDTH, 4)).astype(np.float32),
    }


def _refiner() -> keras.Model:
    return build_refiner(ModelConfig(refine_channels=8, refine_guides=3), 6, 4)


def _resized(logits: np.ndarray) -> np.ndarray:
    return cv2.resize(logits[0, ..., 0], (4 * WIDTH, 4 * HEIGHT), interpolation=cv2.INTER_LINEAR)


def test_with_its_first_weights_it_is_a_bilinear_resize(inputs):
    refined = backend.to_numpy(_refiner()(inputs))
    assert refined.shape == (1, 4 * HEIGHT, 4 * WIDTH, 1)
    np.testing.assert_allclose(refined[0, ..., 0], _resized(inputs["logits"]), atol=1e-5)


def test_logits_are_not_rounded_in_half_precision(inputs):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        refined = _refiner()(inputs)
    finally:
        keras.config.set_dtype_policy("float32")
    assert keras.backend.standardize_dtype(refined.dtype) == "float32"
    np.testing.assert_allclose(
        backend.to_numpy(refined)[0, ..., 0], _resized(inputs["logits"]), atol=1e-5
    )


def test_what_it_changes_depends_on_logits_and_on_early_features(inputs):
    refiner = _refiner()
    kernel = refiner.get_layer("refine_change").kernel
    kernel.assign(np.ones(kernel.shape, np.float32))
    plain = _resized(inputs["logits"])
    change = backend.to_numpy(refiner(inputs))[0, ..., 0] - plain
    assert np.abs(change).max() > 0.1
    for name in ("low", "fine"):
        other = {**inputs, name: inputs[name][:, ::-1]}
        assert np.abs(backend.to_numpy(refiner(other))[0, ..., 0] - plain - change).max() > 0.1
    # Logits are squashed, so that however sure the decoder is, edges keep their say.
    surer = {**inputs, "logits": 1000 * inputs["logits"]}
    far = backend.to_numpy(refiner(surer))[0, ..., 0] - _resized(surer["logits"])
    assert np.abs(far).max() < 10 * np.abs(change).max()


def test_enlarging_has_half_pixel_centers():
    row = np.array([[0.0, 1.0]], np.float32)[None, ..., None]
    doubled = backend.to_numpy(Upsample(2)(row))
    np.testing.assert_allclose(doubled[0, :, :, 0], [[0, 0.25, 0.75, 1]] * 2, atol=1e-6)
    assert backend.to_numpy(Upsample(4)(row)).shape == (1, 4, 8, 1)
    assert Upsample.from_config(Upsample(4).get_config()).factor == 4


def test_what_filters_say_counts_as_far_as_it_is_trusted():
    trust = np.array([0.5, 0.0, 0.25], np.float32).reshape(1, 1, 1, 3)
    first, second = (np.full((1, 1, 1, 1), v, np.float32) for v in (0.1, 0.9))
    change = backend.to_numpy(GatedSum()([trust, first, second]))
    assert change.item() == pytest.approx(0.25 + 0.5 * 0.1 / 0.125)


def test_an_edge_beside_that_of_the_picture_is_brought_to_it():
    """With a full gate the widest filter moves a contour."""
    refiner = build_refiner(ModelConfig(refine_channels=8), 6, 8)
    layer = refiner.get_layer("refine_change")
    layer.bias.assign(np.array([0, 0, 1, 0], np.float32))
    fine = np.zeros((1, 32, 32, 8), np.float32)
    fine[:, :, 15:] = 25.0
    logits = np.full((1, 16, 16, 1), -3.0, np.float32)
    logits[:, :, 9:] = 3.0  # at full size the edge is at 36, that of the picture at 30
    refined = backend.to_numpy(
        refiner({"logits": logits, "low": np.zeros((1, 16, 16, 6), np.float32), "fine": fine})
    )
    edge = np.flatnonzero(refined[0, 32, :, 0] > 0)[0]
    assert 29 <= edge <= 33
