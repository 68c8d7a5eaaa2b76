"""Matching of a frame to remembered frames: whose place does every place look like?

The memory holds keys (embeddings) of frames whose masks are known, and these masks as values; a
place of a new frame reads a mixture of the values of the places that it resembles (Oh et al.,
"Video Object Segmentation using Space-Time Memory Networks", ICCV 2019). Here the values are the
masks themselves, not learned features, so that reading needs no weights, what was read can be
cached, and one network serves with no, one or many remembered frames.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

Memory = tuple[np.ndarray, np.ndarray]
"""Keys float32 [1, M, C] of remembered places and their values float32 [1, M, V]."""

TEMPERATURE = 20.0
"""Factor of the cosine similarity in the softmax: a lead of .4 outweighs a thousand places."""

SIMILARITIES = 2
"""Channels beside the mask that was read: best match to the object, to the background."""


def recall_channels(block: int) -> int:
    """Returns the channels of what is read, for cells of `block` x `block` mask values."""
    return block * block + SIMILARITIES


def to_cells(coded: np.ndarray, block: int) -> np.ndarray:
    """Gathers the blocks of a coded mask as the channels of its cells.

    Args:
        coded: float32 [H, W, 1], +1 object, -1 background, 0 unknown; sizes are multiples of
            `block`.
        block: Side of a cell.

    Returns:
        float32 [H/block, W/block, block * block].
    """
    height, width = coded.shape[0] // block, coded.shape[1] // block
    cells = coded.reshape(height, block, width, block).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(cells.reshape(height, width, block * block))


def from_cells(recall: np.ndarray, block: int) -> np.ndarray:
    """Spreads the masks that were read: float32 [h, w, C] -> [h * block, w * block], -1..1."""
    height, width = recall.shape[:2]
    cells = recall[..., : block * block].reshape(height, width, block, block)
    spread = cells.transpose(0, 2, 1, 3).reshape(height * block, width * block)
    return np.ascontiguousarray(spread)


def remember(key, coded: np.ndarray, block: int) -> Memory:
    """Makes a memory of one frame.

    Args:
        key: float [1, h, w, C], the encoder's keys of the frame, any backend's tensor.
        coded: float32 [h * block, w * block, 1], its mask coded as a guide.
        block: Side of a cell.

    Returns:
        Keys float32 [1, h * w, C] and values float32 [1, h * w, block * block].
    """
    array = ops.convert_to_numpy(key).astype(np.float32)
    cells = to_cells(coded, block)
    return array.reshape(1, -1, array.shape[-1]), cells.reshape(1, -1, cells.shape[-1])


@keras.saving.register_keras_serializable("deeplab_gygo")
class ToCells(keras.layers.Layer):
    """Gathers blocks of [B, H, W, 1] as channels, [B, H/block, W/block, block * block]."""

    def __init__(self, block: int, **kwargs):
        super().__init__(**kwargs)
        self.block = block

    def call(self, inputs):
        shape, block = ops.shape(inputs), self.block
        height, width = shape[1] // block, shape[2] // block
        cells = ops.reshape(inputs, (-1, height, block, width, block))
        cells = ops.transpose(cells, (0, 1, 3, 2, 4))
        return ops.reshape(cells, (-1, height, width, block * block))

    def compute_output_shape(self, input_shape):
        sizes = [None if side is None else side // self.block for side in input_shape[1:3]]
        return (input_shape[0], *sizes, self.block**2)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=inputs.dtype)

    def get_config(self):
        return {**super().get_config(), "block": self.block}


@keras.saving.register_keras_serializable("deeplab_gygo")
class FromCells(keras.layers.Layer):
    """Spreads the first `block * block` channels, [B, h, w, C], to [B, h*block, w*block, 1]."""

    def __init__(self, block: int, **kwargs):
        super().__init__(**kwargs)
        self.block = block

    def call(self, inputs):
        shape, block = ops.shape(inputs), self.block
        height, width = shape[1], shape[2]
        cells = ops.reshape(inputs[..., : block * block], (-1, height, width, block, block))
        cells = ops.transpose(cells, (0, 1, 3, 2, 4))
        return ops.reshape(cells, (-1, height * block, width * block, 1))

    def compute_output_shape(self, input_shape):
        sizes = [None if side is None else side * self.block for side in input_shape[1:3]]
        return (input_shape[0], *sizes, 1)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=inputs.dtype)

    def get_config(self):
        return {**super().get_config(), "block": self.block}


@keras.saving.register_keras_serializable("deeplab_gygo")
class MemoryRead(keras.layers.Layer):
    r"""Reads the masks of remembered places by the similarity of their keys.

    With unit keys $q_p$ of the frame and $k_m$ of the memory and values $v_m$, the read is
    $\sum_m a_{pm} v_m$ with $a_{pm} = \mathrm{softmax}_m(\tau\, q_p \cdot k_m)$. Two channels
    follow: $\max_m q_p \cdot k_m\, \max(\bar v_m, 0)$ and the same of $-\bar v_m$, where
    $\bar v_m$ is the mean of a cell's values: the best match to the object, to the background.
    Where all values are 0 (unknown) the result is 0. Computed in float32.

    Inputs: key of the frame [B, h, w, C], keys of the memory [B, M, C], values [B, M, V].
    Output: float32 [B, h, w, V + 2].
    """

    def call(self, inputs):
        query, key, value = (ops.cast(part, "float32") for part in inputs)
        shape = ops.shape(query)
        flat = unit(ops.reshape(query, (-1, shape[1] * shape[2], query.shape[-1])))
        similarity = ops.matmul(flat, ops.transpose(unit(key), (0, 2, 1)))
        read = ops.matmul(ops.softmax(TEMPERATURE * similarity, axis=-1), value)
        occupied = ops.mean(value, axis=-1)[:, None]
        best = [
            ops.max(similarity * ops.relu(sign * occupied), axis=-1, keepdims=True)
            for sign in (1.0, -1.0)
        ]
        joined = ops.concatenate([read, *best], axis=-1)
        return ops.reshape(joined, (-1, shape[1], shape[2], joined.shape[-1]))

    def compute_output_shape(self, input_shape):
        query, _, value = input_shape
        return (*query[:3], value[2] + SIMILARITIES)

    def compute_output_spec(self, inputs):
        shape = self.compute_output_shape([part.shape for part in inputs])
        return keras.KerasTensor(shape, dtype="float32")


def build_reader(key_channels: int, block: int) -> keras.Model:
    """Builds the reading of a memory as a model without weights, to be compiled.

    Args:
        key_channels: Channels of the keys.
        block: Side of a cell.

    Returns:
        {"query" [B, h, w, C], "keys" [B, M, C], "values" [B, M, block * block]} -> the recall,
        float32 [B, h, w, `recall_channels(block)`].
    """
    inputs = {
        "query": keras.Input((None, None, key_channels), name="query"),
        "keys": keras.Input((None, key_channels), name="keys"),
        "values": keras.Input((None, block * block), name="values"),
    }
    recall = MemoryRead(name="memory_read")([inputs["query"], inputs["keys"], inputs["values"]])
    return keras.Model(inputs, recall, name="reader")


def unit(values):
    """Brings vectors on the last axis to length one; the zero vector stays zero."""
    return values * ops.rsqrt(ops.sum(ops.square(values), axis=-1, keepdims=True) + 1e-6)
