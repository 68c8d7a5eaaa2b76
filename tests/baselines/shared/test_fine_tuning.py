"""Fine-tuning of the baselines: training samples, learning rates, weight decay, exact reset."""

import time

import keras
import numpy as np
import pytest

from deeplab_gygo.baselines.osmn.config import OsmnOnline
from deeplab_gygo.baselines.osvos.config import OsvosOnline
from deeplab_gygo.baselines.shared.fine_tuning import make_tuner, training_samples
from deeplab_gygo.inference.geometry import Geometry

GEOMETRY = Geometry.fit((64, 96), 48, 16)


def _samples(squares, **changes):
    mask = squares.truth(0)
    mask[:4] = 255
    rng = np.random.default_rng(0)
    config = OsmnOnline(**changes)
    return training_samples(squares.frame(0).image, mask, config, GEOMETRY, 16, rng)


def test_there_is_a_padded_sample_per_scale_with_void(squares):
    samples = _samples(squares, scales=(0.5, 1.0))
    assert [s.labels.shape for s in samples] == [(32, 48), (48, 80)]
    for sample in samples:
        assert sample.image.shape == (*sample.labels.shape, 3)
        assert sample.image.dtype == sample.labels.dtype == np.uint8
        assert set(np.unique(sample.labels)) == {0, 1, 255}
    assert samples[1].targets.shape == (1, 48, 80, 1)


def test_views_replace_scales(squares):
    samples = _samples(squares, num_views=4)
    assert [s.labels.shape for s in samples] == [GEOMETRY.padded] * 4
    np.testing.assert_array_equal(samples[0].image, GEOMETRY.image(squares.frame(0).image))
    areas = [np.count_nonzero(s.labels) for s in samples]
    assert len(set(areas)) > 1 and min(areas) > 0


def test_image_and_labels_are_flipped_together(squares):
    sample = _samples(squares, scales=(1.0,))[0]
    flipped = sample.flipped()
    np.testing.assert_array_equal(flipped.image, sample.image[:, ::-1])
    np.testing.assert_array_equal(flipped.labels, sample.labels[:, ::-1])


def _tuner(config, rates=(1e-2,)):
    keras.utils.set_random_seed(3)
    image = keras.Input((None, None, 3), name="image")
    scaled = keras.layers.Rescaling(1 / 128, -1.0)(image)
    hidden = keras.layers.Conv2D(4, 1, activation="relu", name="hidden")(scaled)
    network = keras.Model({"image": image}, keras.layers.Conv2D(1, 1, name="logit")(hidden))
    variables = [network.get_layer(name).trainable_variables for name in ("logit", "hidden")]
    return make_tuner(network, list(zip(rates, variables, strict=False)), config), network


def _draw(squares):
    sample = _samples(squares, scales=(1.0,))[0]
    return lambda: ({"image": sample.image[None].astype(np.float32)}, sample.targets)


def _values(layers) -> list[np.ndarray]:
    return [np.array(v.numpy()) for v in layers.variables]


def test_fine_tuning_lowers_the_loss_and_is_reset_bit_by_bit(squares):
    tuner, network = _tuner(OsmnOnline(steps=30, loss="balanced-mean"), (1e-2, 1e-2))
    start = _values(network)
    done = tuner.tune(_draw(squares), started=time.monotonic())
    assert done.steps == 30 and done.losses[-1] < 0.8 * done.losses[0]
    tuned = tuner.weights()
    tuner.reset()
    for value, before in zip(_values(network), start, strict=True):
        np.testing.assert_array_equal(value, before)
    # The optimizer is reset too: the same steps give the same weights.
    assert tuner.tune(_draw(squares), started=time.monotonic()).losses == done.losses
    tuner.reset()
    tuner.set_weights(tuned)
    for value, kept in zip(tuner.weights(), tuned, strict=True):
        np.testing.assert_array_equal(value, kept)


def test_parameter_groups_have_their_own_constant_learning_rates(squares):
    tuner, network = _tuner(OsmnOnline(steps=3, loss="balanced-mean"), (1e-2, 1e-4))
    before, moved = _values(network), []

    def record(step, steps, loss):
        now = dict(zip([v.path for v in network.variables], _values(network), strict=True))
        old = dict(zip([v.path for v in network.variables], before, strict=True))
        moved.append({p.split("/")[0]: np.abs(now[p] - old[p]).max() for p in now if "kernel" in p})

    tuner.tune(_draw(squares), started=time.monotonic(), progress=record)
    # The first step of Adam moves a weight by its learning rate, for any gradient.
    assert moved[0]["logit"] == pytest.approx(1e-2, rel=0.02)
    assert moved[0]["hidden"] == pytest.approx(1e-4, rel=0.02)
    assert tuner._rates(2, 0.0) == [1e-2, 1e-4]


def test_kernels_decay_and_biases_do_not(squares):
    # All labels are void, so that only the decay has a gradient.
    config = OsvosOnline(steps=1, weight_decay=0.1, loss="balanced-mean")
    tuner, network = _tuner(config)
    before = _values(network.get_layer("logit"))
    inputs, targets = _draw(squares)()
    tuner.tune(lambda: (inputs, np.full_like(targets, 255)), started=time.monotonic())
    kernel, bias = _values(network.get_layer("logit"))
    assert (np.abs(kernel) < np.abs(before[0])).all()
    np.testing.assert_array_equal(bias, before[1])
