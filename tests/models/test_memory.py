"""Memory read-out against a computation with loops, and its properties."""

import keras
import numpy as np
import pytest

from deeplab_gygo import backend
from deeplab_gygo.models.memory import (
    TEMPERATURE,
    DepthToSpace,
    MemoryRead,
    SpaceToDepth,
    build_reader,
    readout_channels,
    remember,
    space_to_depth,
)


def _read(query, key, value) -> np.ndarray:
    return backend.to_numpy(MemoryRead()([query, key, value]))


def _unit(vector):
    return vector / np.sqrt((vector**2).sum() + 1e-6)


def _read_place(query, keys, values) -> np.ndarray:
    """Read-out of one position, computed one stored position after the other."""
    cosines = [float(_unit(query) @ _unit(key)) for key in keys]
    odds = [np.exp(TEMPERATURE * cosine) for cosine in cosines]
    mixture = sum(o * v for o, v in zip(odds, values, strict=True)) / sum(odds)
    means = [float(v.mean()) for v in values]
    to_object = max(c * max(m, 0.0) for c, m in zip(cosines, means, strict=True))
    to_background = max(c * max(-m, 0.0) for c, m in zip(cosines, means, strict=True))
    return np.array([*mixture, to_object, to_background])


@pytest.fixture
def random_memory():
    rng = np.random.default_rng(4)
    query = rng.normal(size=(2, 3, 5, 6)).astype(np.float32)
    key = rng.normal(size=(2, 11, 6)).astype(np.float32)
    value = rng.uniform(-1, 1, (2, 11, 4)).astype(np.float32)
    return query, key, value


def test_reading_equals_a_computation_by_hand(random_memory):
    query, key, value = random_memory
    got = _read(*random_memory)
    assert got.shape == (2, 3, 5, readout_channels(2))
    for item, row, column in np.ndindex(2, 3, 5):
        expected = _read_place(query[item, row, column], key[item], value[item])
        np.testing.assert_allclose(got[item, row, column], expected, atol=1e-4)


def test_neither_the_order_of_places_nor_the_length_of_keys_matters(random_memory):
    query, key, value = random_memory
    order = np.random.default_rng(0).permutation(key.shape[1])
    expected = _read(query, key, value)
    np.testing.assert_allclose(_read(query, key[:, order], value[:, order]), expected, atol=1e-5)
    np.testing.assert_allclose(_read(query * 7, key * 0.3, value), expected, atol=1e-4)


def test_unknown_values_read_zero(random_memory):
    query, key, value = random_memory
    assert not _read(query, key, np.zeros_like(value)).any()


def test_a_frame_reads_its_own_mask_from_its_own_memory():
    rng = np.random.default_rng(0)
    key = np.eye(12, dtype=np.float32)[rng.permutation(12)].reshape(1, 3, 4, 12)  # all distinct
    coded = rng.choice([-1.0, 1.0], (12, 16, 1)).astype(np.float32)
    keys, values = remember(key, coded, 4)
    readout = build_reader(12, 4)({"query": key, "keys": keys, "values": values})
    own = backend.to_numpy(DepthToSpace(4)(readout))[0]
    np.testing.assert_allclose(own, coded, atol=1e-4)


def test_the_best_matches_say_where_object_and_background_are():
    key = np.eye(3, dtype=np.float32)[None]
    value = np.array([[1.0] * 4, [-1.0] * 4, [0.0] * 4], np.float32)[None]
    to_object, to_background = np.moveaxis(_read(key[:, None], key, value)[0, 0, :, 4:], -1, 0)
    np.testing.assert_allclose(to_object, [1, 0, 0], atol=1e-5)
    np.testing.assert_allclose(to_background, [0, 1, 0], atol=1e-5)


def test_reading_is_in_single_precision_under_every_policy(random_memory):
    halves = [keras.ops.cast(part, "bfloat16") for part in random_memory]
    layer = MemoryRead(dtype="mixed_bfloat16")
    rounded = [backend.to_numpy(part) for part in halves]
    got = layer(halves)
    assert keras.backend.standardize_dtype(got.dtype) == "float32"
    np.testing.assert_allclose(backend.to_numpy(got), _read(*rounded), atol=1e-5)


def test_more_remembered_frames_are_more_places():
    """A place of the second remembered frame is found as one of the first is."""
    keys = np.eye(4, dtype=np.float32).reshape(2, 1, 2, 4)  # two frames of 1 x 2 places
    masks = [np.full((4, 8, 1), sign, np.float32) for sign in (-1.0, 1.0)]
    parts = [remember(keys[i : i + 1], masks[i], 4) for i in range(2)]
    joined = [np.concatenate(part, axis=1) for part in zip(*parts, strict=True)]
    for frame, sign in ((0, -1.0), (1, 1.0)):
        read = _read(keys[frame : frame + 1], *joined)
        np.testing.assert_allclose(read[..., :16], sign, atol=1e-4)


def test_cells_hold_the_blocks_row_by_row():
    coded = np.arange(24, dtype=np.float32).reshape(4, 6, 1)
    np.testing.assert_array_equal(space_to_depth(coded, 2)[0, 1], [2, 3, 8, 9])
    _, values = remember(np.zeros((1, 2, 3, 5), np.float32), coded, 2)
    np.testing.assert_array_equal(values[0, 1 * 3 + 2], [16, 17, 22, 23])


@pytest.mark.parametrize("block", [1, 2, 4])
def test_to_cells_and_from_cells_are_inverse(block):
    coded = np.random.default_rng(0).normal(size=(2, 8, 12, 1)).astype(np.float32)
    cells = backend.to_numpy(SpaceToDepth(block)(coded))
    for item, expected in zip(cells, coded, strict=True):
        np.testing.assert_array_equal(item, space_to_depth(expected, block))
    more = np.concatenate([cells, np.ones_like(cells[..., :2])], axis=-1)  # as a readout has them
    for channels in (cells, more):
        np.testing.assert_array_equal(backend.to_numpy(DepthToSpace(block)(channels)), coded)


def test_sizes_may_be_unknown_until_the_call():
    coded = keras.Input((None, None, 1))
    model = keras.Model(coded, DepthToSpace(4)(SpaceToDepth(4)(coded)))
    assert model.output.shape == (None, None, None, 1)
    for size in ((8, 12), (16, 4)):
        values = np.random.default_rng(0).normal(size=(1, *size, 1)).astype(np.float32)
        np.testing.assert_array_equal(backend.to_numpy(model(values)), values)


def test_the_layers_can_be_written_and_read():
    reader = build_reader(6, 2)
    again = keras.Model.from_config(reader.get_config())
    for layer in (SpaceToDepth(2), DepthToSpace(2)):
        assert type(layer).from_config(layer.get_config()).block_size == 2
    rng = np.random.default_rng(0)
    inputs = {
        "query": rng.normal(size=(1, 2, 2, 6)).astype(np.float32),
        "keys": rng.normal(size=(1, 5, 6)).astype(np.float32),
        "values": rng.normal(size=(1, 5, 4)).astype(np.float32),
    }
    np.testing.assert_array_equal(backend.to_numpy(again(inputs)), backend.to_numpy(reader(inputs)))
