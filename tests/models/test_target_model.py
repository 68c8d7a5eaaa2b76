"""A target model: the best linear one, whatever the size of the object, and none where none is."""

import numpy as np
import pytest

from deeplab_gygo import backend
from deeplab_gygo.models.target_model import (
    MIN_CLASS_WEIGHT,
    RIDGE,
    TargetModel,
    target_guide,
)

BLOCK = 4


def _scene(seed: int, box: tuple[slice, slice], size=(6, 8), channels: int = 5):
    """Features in which the object's places differ, and the mask of a box of places."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(1, *size, channels)).astype(np.float32)
    features[..., 2] = 1e3 * features[..., 2] + 5e3  # a strong channel without information
    coded = np.full((*size, 1), -1.0, np.float32)
    coded[box] = 1.0
    features[0, ..., :1] += 3.0 * coded
    return features, np.repeat(np.repeat(coded, BLOCK, 0), BLOCK, 1)


def _score(model: TargetModel, features: np.ndarray) -> np.ndarray:
    return backend.to_numpy(target_guide(features, model.values, BLOCK))


BOX = (slice(1, 4), slice(2, 6))


def test_it_knows_the_object_at_another_place_in_another_picture():
    model = TargetModel.fit(*zip(_scene(0, BOX), _scene(1, BOX), strict=True))
    features, coded = _scene(2, (slice(3, 6), slice(0, 3)))
    places = _score(model, features)[0, BLOCK // 2 :: BLOCK, BLOCK // 2 :: BLOCK, 0]
    truth = coded[::BLOCK, ::BLOCK, 0] > 0
    assert ((places > 0) == truth).mean() > 0.95


def _loss(weight, bias, scenes) -> float:
    """The loss as the docstring has it, one place after the other."""
    values = np.concatenate([f.reshape(-1, f.shape[-1]) for f, _ in scenes]).astype(np.float64)
    mean, spread = values.mean(0), values.std(0) + 1e-3
    scale = spread * np.sqrt(values.shape[1])
    total = 0.0
    for features, coded in scenes:
        masks = coded[::BLOCK, ::BLOCK, 0].reshape(-1)
        share = (masks > 0).mean()
        balance = np.clip(share, MIN_CLASS_WEIGHT, 1 - MIN_CLASS_WEIGHT)
        for place, mask in zip(features.reshape(len(masks), -1), masks, strict=True):
            side = balance / share if mask > 0 else (1 - balance) / (1 - share)
            error = place.astype(np.float64) @ weight + bias - mask
            total += side / len(masks) * error**2 / len(scenes)
    # The intercept is that of features whose mean is zero.
    return total + RIDGE * (((weight * scale) ** 2).sum() + (bias + weight @ mean) ** 2)


def test_no_other_linear_model_has_a_smaller_loss():
    scenes = [_scene(0, BOX), _scene(1, (slice(0, 1), slice(0, 1)))]
    model = TargetModel.fit(*zip(*scenes, strict=True))
    weight, bias = model.weight.astype(np.float64), model.bias
    least = _loss(weight, bias, scenes)
    rng = np.random.default_rng(0)
    for size in (1e-1, 1e-2, 1e-3):
        for _ in range(20):
            change = size * rng.normal(size=6) / np.array([1, 1, 1e3, 1, 1, 1])
            assert _loss(weight + change[:5], bias + change[5], scenes) > least


def test_it_is_one_function_of_the_features_clipped_and_resized():
    model = TargetModel(np.array([1.0, -2.0, 0, 0, 0], np.float32), 0.25)
    features = np.zeros((2, 2, 3, 5), np.float32)
    features[1, :, :, 0] = 9.0
    features[0, :, :, 1] = 0.25
    guide = _score(model, features)
    assert guide.shape == (2, 2 * BLOCK, 3 * BLOCK, 1) and guide.dtype == np.float32
    np.testing.assert_allclose(guide[0], -0.25, atol=1e-6)
    np.testing.assert_allclose(guide[1], 1.0)


@pytest.mark.parametrize("value", [-1.0, 1.0])
def test_no_model_where_object_or_background_fills_no_place(value):
    features, coded = _scene(0, BOX)
    assert TargetModel.fit([features], [np.full_like(coded, value)]) is None


def test_an_object_smaller_than_half_a_place_has_no_model():
    features, coded = _scene(0, BOX)
    speck = np.full_like(coded, -1.0)
    speck[5, 5] = 1.0
    assert TargetModel.fit([features], [speck]) is None


def test_void_places_say_nothing():
    features, coded = _scene(0, BOX)
    spoiled, unknown = features.copy(), coded.copy()
    unknown[: 2 * BLOCK] = 0.0
    clean = TargetModel.fit([features], [unknown])
    # A permutation of its positions keeps mean and spread of the features.
    spoiled[0, :2] = features[0, :2].reshape(-1, 5)[::-1].reshape(2, -1, 5)
    unmasked = TargetModel.fit([spoiled], [coded])
    other = TargetModel.fit([spoiled], [unknown])
    np.testing.assert_allclose(other.values, clean.values, rtol=1e-4, atol=1e-5)
    assert not np.allclose(unmasked.values, clean.values, atol=1e-2)
