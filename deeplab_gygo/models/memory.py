"""Space-time memory: match every position of a frame to memory frames and read out their masks.

The memory holds keys (embeddings) of frames with known masks, and these masks as values; a position
of a new frame reads a mixture of the values of the positions that it resembles (Oh et al., "Video
Object Segmentation using Space-Time Memory Networks", ICCV 2019). The values are the masks
themselves, not learned features: reading needs no weights, read-outs can be cached, and one network
serves with no, one or many memory frames.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import keras
import numpy as np
from keras import ops

Memory = tuple[np.ndarray, np.ndarray]
"""Keys float32 [1, M, C] of the memory positions and their values float32 [1, M, V]."""

TEMPERATURE = 20.0
"""Factor of the cosine similarity in the softmax: a lead of .4 outweighs a thousand positions."""

SIMILARITIES = 2
"""Channels of a read-out beside the mask: best match to the object, to the background."""


def readout_channels(block_size: int) -> int:
    """Returns the number of channels of a read-out, for blocks of `block_size`^2 mask values."""
    return block_size * block_size + SIMILARITIES


def space_to_depth(coded: Any, block_size: int, ops: ModuleType = np) -> Any:
    """Moves the blocks of a coded mask to channels.

    Args:
        coded: float32 [..., H, W, 1], +1 object, -1 background, 0 unknown; H and W are multiples of
            `block_size`.
        block_size: Side of a block.
        ops: `numpy`, or `keras.ops` for tensors.

    Returns:
        float32 [..., H / block_size, W / block_size, block_size^2].
    """
    *batch, height, width, _ = coded.shape
    height, width = height // block_size, width // block_size
    blocks = ops.reshape(coded, (*batch, height, block_size, width, block_size))
    blocks = ops.swapaxes(blocks, -3, -2)
    return ops.reshape(blocks, (*batch, height, width, block_size * block_size))


def memory_of(key: Any, coded: Any, block_size: int, ops: ModuleType = ops) -> tuple[Any, Any]:
    """Makes a memory of frames from tensors; to be compiled or traced.

    Args:
        key: float [B, h, w, C], the encoder's keys of the frames.
        coded: float32 [B, h * block_size, w * block_size, 1], their masks coded as guides.
        block_size: Side of a block.
        ops: `keras.ops`, or `numpy` for arrays.

    Returns:
        Keys float32 [B, h * w, C] and values float32 [B, h * w, block_size^2].
    """
    values = space_to_depth(coded, block_size, ops)
    count, positions = key.shape[0], key.shape[1] * key.shape[2]
    keys = ops.reshape(key, (count, positions, key.shape[-1]))
    return keys, ops.reshape(values, (count, positions, values.shape[-1]))


def remember(key, coded: np.ndarray, block_size: int) -> Memory:
    """Makes a memory of one frame.

    Args:
        key: float [1, h, w, C], the encoder's keys of the frame, any backend's tensor.
        coded: float32 [h * block_size, w * block_size, 1], its mask coded as a guide.
        block_size: Side of a block.

    Returns:
        Keys float32 [1, h * w, C] and values float32 [1, h * w, block_size^2].
    """
    array = ops.convert_to_numpy(key).astype(np.float32)
    return memory_of(array, coded[None], block_size, np)


class _Rearrange(keras.layers.Layer):
    """Base of layers that move values between positions and channels.

    Args:
        block_size: Side of a block.
        **options: Options of every layer.
    """

    def __init__(self, block_size: int, **options):
        super().__init__(**options)
        self.block_size = block_size

    def get_config(self):
        return {**super().get_config(), "block_size": self.block_size}


@keras.saving.register_keras_serializable("deeplab_gygo")
class SpaceToDepth(_Rearrange):
    """Moves blocks to channels: [B, H, W, 1] -> [B, H / block, W / block, block^2]."""

    def call(self, inputs):
        shape, block = ops.shape(inputs), self.block_size
        height, width = shape[1] // block, shape[2] // block
        blocks = ops.reshape(inputs, (-1, height, block, width, block))
        blocks = ops.transpose(blocks, (0, 1, 3, 2, 4))
        return ops.reshape(blocks, (-1, height, width, block * block))

    def compute_output_shape(self, input_shape):
        sizes = [None if side is None else side // self.block_size for side in input_shape[1:3]]
        return (input_shape[0], *sizes, self.block_size**2)


@keras.saving.register_keras_serializable("deeplab_gygo")
class DepthToSpace(_Rearrange):
    """Moves the first block^2 channels to positions: [B, h, w, C] -> [B, h*block, w*block, 1]."""

    def call(self, inputs):
        shape, block = ops.shape(inputs), self.block_size
        height, width = shape[1], shape[2]
        blocks = ops.reshape(inputs[..., : block * block], (-1, height, width, block, block))
        blocks = ops.transpose(blocks, (0, 1, 3, 2, 4))
        return ops.reshape(blocks, (-1, height * block, width * block, 1))


@keras.saving.register_keras_serializable("deeplab_gygo")
class MemoryRead(keras.layers.Layer):
    r"""Reads out the masks of memory positions by the similarity of their keys.

    With unit keys $q_p$ of the frame and $k_m$ of the memory and values $v_m$, the read is
    $\sum_m a_{pm} v_m$ with $a_{pm} = \mathrm{softmax}_m(\tau\, q_p \cdot k_m)$. Two channels
    follow: $\max_m q_p \cdot k_m\, \max(\bar v_m, 0)$ and the same of $-\bar v_m$, where
    $\bar v_m$ is the mean of a block's values: the best match to the object, to the background.
    Where all values are 0 (unknown) the result is 0. Computed in float32.

    Inputs: key of the frame [B, h, w, C], keys of the memory [B, M, C], values [B, M, V].
    Output: float32 [B, h, w, V + 2].
    """

    def call(self, inputs):
        return read_memory(*inputs)


def read_memory(query: Any, key: Any, value: Any, valid: Any = None) -> Any:
    """Reads out the masks of memory positions as `MemoryRead` does; to be compiled or traced.

    Args:
        query: Key of the frame, float [B, h, w, C].
        key: Keys of the memory, float [B, M, C].
        value: Values of the memory, float [B, M, V].
        valid: bool [M], the positions that hold something; None for all.

    Returns:
        float32 [B, h, w, V + 2].
    """
    query, key, value = (ops.cast(part, "float32") for part in (query, key, value))
    shape = ops.shape(query)
    flat = unit(ops.reshape(query, (-1, shape[1] * shape[2], query.shape[-1])))
    similarity = ops.matmul(flat, ops.transpose(unit(key), (0, 2, 1)))
    scores = TEMPERATURE * similarity
    occupied = ops.mean(value, axis=-1)[:, None]
    matches = [similarity * ops.relu(sign * occupied) for sign in (1.0, -1.0)]
    if valid is not None:
        # Below every score, and every match, of a position that holds something.
        scores = ops.where(valid, scores, -1e9)
        matches = [ops.where(valid, match, -1e9) for match in matches]
    read = ops.matmul(ops.softmax(scores, axis=-1), value)
    best = [ops.max(match, axis=-1, keepdims=True) for match in matches]
    joined = ops.concatenate([read, *best], axis=-1)
    return ops.reshape(joined, (-1, shape[1], shape[2], joined.shape[-1]))


def build_reader(key_channels: int, block_size: int) -> keras.Model:
    """Builds the memory read as a model without weights, to be compiled.

    Args:
        key_channels: Channels of the keys.
        block_size: Side of a block.

    Returns:
        {"query" [B, h, w, C], "keys" [B, M, C], "values" [B, M, block_size^2]} -> the read-out,
        float32 [B, h, w, `readout_channels(block_size)`].
    """
    inputs = {
        "query": keras.Input((None, None, key_channels), name="query"),
        "keys": keras.Input((None, key_channels), name="keys"),
        "values": keras.Input((None, block_size * block_size), name="values"),
    }
    readout = MemoryRead(name="memory_read")([inputs["query"], inputs["keys"], inputs["values"]])
    return keras.Model(inputs, readout, name="reader")


def unit(values):
    """Scales vectors on the last axis to length one; the zero vector stays zero."""
    return values * ops.rsqrt(ops.sum(ops.square(values), axis=-1, keepdims=True) + 1e-6)
