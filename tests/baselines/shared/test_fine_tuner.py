"""Pictures of the annotated frame, and a tuner that learns from them and forgets them exactly."""

import time

import keras
import numpy as np
import pytest

from deeplab_gygo.baselines.osmn.config import OsmnOnline
from deeplab_gygo.baselines.osvos.config import OsvosOnline
from deeplab_gygo.baselines.shared.fine_tuner import FineTuner, mirrored, note_of, pictures_of
from deeplab_gygo.errors import UsageError
from deeplab_gygo.inference.geometry import Geometry

GEOMETRY = Geometry.fit((64, 96), 48, 16)


def _first(squares) -> tuple[np.ndarray, np.ndarray]:
    mask = squares.truth(0)
    mask[:4] = 255
    return squares.frame(0).image, mask


def _pictures(squares, **changes):
    config = OsmnOnline(**changes)
    return pictures_of(*_first(squares), config, GEOMETRY, 16, np.random.default_rng(0))


def test_the_frame_is_shown_in_every_zoom_padded_and_with_its_void(squares):
    pictures = _pictures(squares, scales=(0.5, 1.0))
    assert [p.labels.shape for p in pictures] == [(32, 48), (48, 80)]
    for picture in pictures:
        assert picture.image.shape == (*picture.labels.shape, 3)
        assert picture.image.dtype == picture.labels.dtype == np.uint8
        assert set(np.unique(picture.labels)) == {0, 1, 255}
    assert pictures[1].targets.shape == (1, 48, 80, 1)


def test_views_take_the_place_of_zooms(squares):
    pictures = _pictures(squares, views=4)
    assert [p.labels.shape for p in pictures] == [GEOMETRY.padded] * 4
    image = squares.frame(0).image
    np.testing.assert_array_equal(pictures[0].image, GEOMETRY.image(image))
    areas = [np.count_nonzero(p.labels) for p in pictures]
    assert len(set(areas)) > 1 and min(areas) > 0


def test_a_mirrored_picture_is_mirrored_with_its_labels(squares):
    picture = _pictures(squares, scales=(1.0,))[0]
    turned = mirrored(picture)
    np.testing.assert_array_equal(turned.image, picture.image[:, ::-1])
    np.testing.assert_array_equal(turned.labels, picture.labels[:, ::-1])


# === The tuner ===


def _tuner(config, rates=(1e-2,)):
    keras.utils.set_random_seed(3)
    image = keras.Input((None, None, 3), name="image")
    scaled = keras.layers.Rescaling(1 / 128, -1.0)(image)
    hidden = keras.layers.Conv2D(4, 1, activation="relu", name="hidden")(scaled)
    network = keras.Model({"image": image}, keras.layers.Conv2D(1, 1, name="logit")(hidden))
    variables = [network.get_layer("logit").trainable_variables]
    variables.append(network.get_layer("hidden").trainable_variables)
    rated = list(zip(rates, variables, strict=False))
    return FineTuner(network, rated, config, keras.optimizers.Adam), network


def _sampler(squares):
    picture = _pictures(squares, scales=(1.0,))[0]
    return lambda: ({"image": picture.image[None].astype(np.float32)}, picture.targets)


def _values(network) -> list[np.ndarray]:
    return [np.array(v.numpy()) for v in network.variables]


def test_it_learns_and_is_put_back_bit_by_bit(squares):
    tuner, network = _tuner(OsmnOnline(steps=30, loss="balanced-mean"), (1e-2, 1e-2))
    start = _values(network)
    done = tuner.tune(_sampler(squares), time.monotonic())
    assert done.steps == 30 and done.losses[-1] < 0.8 * done.losses[0]
    tuned = tuner.weights()
    tuner.reset()
    for value, before in zip(_values(network), start, strict=True):
        np.testing.assert_array_equal(value, before)
    # The optimizer was put back too: the same steps end at the same weights.
    assert tuner.tune(_sampler(squares), time.monotonic()).losses == done.losses
    tuner.reset()
    tuner.set_weights(tuned)
    for value, kept in zip(tuner.weights(), tuned, strict=True):
        np.testing.assert_array_equal(value, kept)


def test_variables_learn_at_their_own_rates(squares):
    tuner, network = _tuner(OsmnOnline(steps=1, loss="balanced-mean"), (1e-2, 1e-4))
    before = _values(network)
    tuner.tune(_sampler(squares), time.monotonic())
    moved = {
        v.path.split("/")[0]: float(np.abs(v.numpy() - b).max())
        for v, b in zip(network.variables, before, strict=True)
        if "kernel" in v.path
    }
    # The first step of Adam moves a weight by its rate, whatever the gradient.
    assert moved["logit"] == pytest.approx(1e-2, rel=0.02)
    assert moved["hidden"] == pytest.approx(1e-4, rel=0.02)


def test_a_time_ends_it_before_the_steps_do(squares):
    tuner, _ = _tuner(OsmnOnline(steps=10_000, seconds=1e-3))
    assert tuner.tune(_sampler(squares), time.monotonic()).steps == 1


def test_a_loss_that_is_no_number_is_refused(squares):
    tuner, network = _tuner(OsmnOnline(steps=3))
    network.get_layer("logit").bias.assign([np.nan])
    with pytest.raises(UsageError, match="finite.*step 1.*rate"):
        tuner.tune(_sampler(squares), time.monotonic())


def test_kernels_decay_and_biases_do_not(squares):
    # Nothing to learn from: all is void.
    config = OsvosOnline(steps=1, weight_decay=0.1, loss="balanced-mean")
    tuner, network = _tuner(config)
    before = _values(network.get_layer("logit"))
    inputs, targets = _sampler(squares)()
    tuner.tune(lambda: (inputs, np.full_like(targets, 255)), time.monotonic())
    kernel, bias = _values(network.get_layer("logit"))
    assert (np.abs(kernel) < np.abs(before[0])).all()
    np.testing.assert_array_equal(bias, before[1])


def test_an_anchor_holds_to_the_parent(squares):
    moved = []
    for anchor in (0.0, 100.0):
        # Adam goes to and fro around what it is held to, the less the lower its rate.
        config = OsmnOnline(
            steps=60, weight_decay=0.0, anchor=anchor, final_rate=0.0, loss="balanced-mean"
        )
        tuner, _ = _tuner(config)
        before = tuner.weights()
        tuner.tune(_sampler(squares), time.monotonic())
        moved.append(sum(np.abs(a - b).sum() for a, b in zip(tuner.weights(), before, strict=True)))
    assert moved[1] < 0.25 * moved[0], moved


def test_the_rate_falls_to_its_last_part_and_is_put_back(squares):
    rates = []
    tuner, _ = _tuner(OsmnOnline(steps=5, final_rate=0.1))
    (optimizer, rate), *_ = tuner._rates
    for _ in range(2):
        tuner.reset()
        rates.clear()
        tuner.tune(
            _sampler(squares), time.monotonic(),
            lambda *_: rates.append(float(optimizer.learning_rate.numpy())),
        )  # fmt: skip
        expected = [rate * part for part in (1.0, 0.868198, 0.55, 0.231802, 0.1)]
        np.testing.assert_allclose(rates, expected, rtol=1e-4)


def test_every_step_is_reported(squares):
    tuner, _ = _tuner(OsmnOnline(steps=3))
    seen = []
    done = tuner.tune(_sampler(squares), time.monotonic(), lambda *step: seen.append(step))
    assert seen == [(n, 3, loss) for n, loss in enumerate(done.losses, start=1)]


def test_a_frame_that_was_not_reached_is_told():
    assert not note_of(0.9, 1)
    assert "object 2" in note_of(0.3, 2)[0] and "0.30" in note_of(0.3, 2)[0]
