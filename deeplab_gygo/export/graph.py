"""Pre- and post-processing as TensorFlow graphs that take frames of any size.

The geometry is that of `inference.geometry.Geometry`, for sizes that are known only when the graph
runs. Resizing is a weighted sum over gathered rows and columns, not `tf.image.resize`: its
antialiased `bilinear` filter differs, its `area` method changes up to two values in a thousand by a
gray level (one in eight at a scale of 2), and its plain `bilinear` method differs from OpenCV's by
1e-3 on logits, because it computes positions in float32. Weighted sums in OpenCV's order of
operations agree bit by bit with its `INTER_AREA`, do not depend on the precision of a device's
matrix products, and are cheaper than those.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
from keras import ops

from deeplab_gygo.models.config import DECODER_STRIDE
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.guide import encode_probability, guide_at_stride
from deeplab_gygo.models.memory import Memory, build_reader
from deeplab_gygo.models.target_model import TargetModel, joined_guide, target_guide

_NEGLIGIBLE = 1000
"""Inverse of the fraction of a source pixel below which `INTER_AREA` drops an overlap (OpenCV,
modules/imgproc/src/resize.cpp, computeResizeAreaTab)."""


def segmentation_graph(
    parent: DeepLabV3Plus,
    size: int,
    threshold: float,
    memory: Memory | None = None,
    target_model: TargetModel | None = None,
) -> Callable[..., dict[str, tf.Tensor]]:
    """Returns the computation from frames to masks as a function of tensors, to be traced.

    Args:
        parent: Network; its variables are captured, not copied.
        size: Short side at which the network sees frames, pixels.
        threshold: Probability above which a pixel is object.
        memory: Keys and values of the annotated frame, float32 [1, M, C] and [1, M, V], which
            become constants of the graph; None for no memory.
        target_model: Target model of the annotated object, constants too: it guides every frame,
            alone or together with the previous mask; None for none.

    Returns:
        `segment(frames, previous=None)`: uint8 [N, H, W, 3] RGB and float32 [N, H, W] in 0..1 ->
        {"probability": float32 [N, H, W] in 0..1, "mask": uint8 [N, H, W] of 0 and 1}. `previous`
        is for an architecture with a guide; None for unknown.
    """
    encoder, guided = parent.build_encoder(), parent.config.guide
    specs = {"image": tf.TensorSpec([None, None, None, 3], tf.float32)}
    if guided:
        specs["guide"] = tf.TensorSpec([None, None, None, 1], tf.float32)
    reader = None
    if memory is not None:
        reader = build_reader(parent.config.key_channels, parent.config.block_size)

    @tf.function(input_signature=[specs])  # traced and stored once for all endpoints
    def network(inputs):
        features = encoder(inputs["image"], training=False)
        readout = None
        if memory is not None:
            count = tf.shape(inputs["image"])[0]
            keys, values = (tf.tile(tf.constant(part), (count, 1, 1)) for part in memory)
            readout = reader({"query": features["key"], "keys": keys, "values": values})
        score = None
        if target_model is not None:
            score = target_guide(
                features["high"], tf.constant(target_model.values), parent.config.block_size
            )
        guide = joined_guide(inputs.get("guide"), score)
        return tf.cast(parent.decode(features, guide, readout), tf.float32)

    def segment(frames, previous=None):
        geometry = GraphGeometry.fit(frames, size, parent.stride)
        inputs = {"image": geometry.image(frames)}
        if previous is not None:
            same = tf.debugging.assert_equal(
                tf.shape(previous), tf.shape(frames)[:3], "previous must have the size of frames"
            )
            with tf.control_dependencies([same]):
                inputs["guide"] = geometry.guide(previous)
        elif guided:
            inputs["guide"] = geometry.no_guide(frames)
        probability = tf.sigmoid(geometry.logits(network(inputs)))
        return {"probability": probability, "mask": tf.cast(probability > threshold, tf.uint8)}

    return segment


class Taps(NamedTuple):
    """Resampling of one axis: every new position is a weighted sum over some old ones.

    Attributes:
        index: int32 [new, taps], positions on the old axis.
        weight: float32 [new, taps].
    """

    index: tf.Tensor
    weight: tf.Tensor


class GraphGeometry(NamedTuple):
    """Sizes of a frame before and inside the network, pairs (height, width) of int32 scalars.

    Attributes:
        frame: Original size.
        working: Size after resizing.
        padded: `working`, padded at the bottom and the right to a multiple of the stride.
    """

    frame: tuple[tf.Tensor, tf.Tensor]
    working: tuple[tf.Tensor, tf.Tensor]
    padded: tuple[tf.Tensor, tf.Tensor]

    @classmethod
    def fit(cls, frames: tf.Tensor, short_side: int, stride: int) -> GraphGeometry:
        """Fits frames [N, H, W, ...] to a working size.

        Args:
            frames: Frames of any dtype.
            short_side: Short side of the working size; smaller frames are not enlarged.
            stride: Multiple that the network's input must have.
        """
        frame = tf.shape(frames)[1:3]
        least = tf.reduce_min(frame)
        whole, rest = divided(frame * short_side, least)
        # Halves are rounded to even, here and in Geometry.
        up = (2 * rest > least) | ((2 * rest == least) & (divided(whole, 2)[1] == 1))
        scaled = tf.maximum(1, whole + tf.cast(up, tf.int32))
        working = tf.where(least > short_side, scaled, frame)
        padded = divided(working + (stride - 1), stride)[0] * stride
        return cls(*((size[0], size[1]) for size in (frame, working, padded)))

    def image(self, frames: tf.Tensor) -> tf.Tensor:
        """Resizes and pads frames to the input of the network.

        Args:
            frames: uint8 [N, H, W, 3] RGB.

        Returns:
            float32 [N, H', W', 3] of whole numbers in 0..255, at the padded size.
        """
        shrunk, halved = shrink(frames, self.working)
        # OpenCV rounds halves up where it averages 2x2 pixels, and to the even number elsewhere.
        whole = tf.where(halved, tf.floor(shrunk + 0.5), tf.round(shrunk))
        return self._padded(whole)

    def guide(self, previous: tf.Tensor) -> tf.Tensor:
        """Codes previous probabilities as the guide of the head: -1 background, +1 object.

        Args:
            previous: float32 [N, H, W] in 0..1.

        Returns:
            float32 [N, H'/4, W'/4, 1].
        """
        shrunk, _ = shrink(tf.expand_dims(previous, -1), self.working)
        return guide_at_stride(encode_probability(self._padded(shrunk)), ops=ops)

    def no_guide(self, frames: tf.Tensor) -> tf.Tensor:
        """Returns the unknown guide: zeros, float32 [N, H'/4, W'/4, 1]."""
        rows, columns = (side // DECODER_STRIDE for side in self.padded)
        return tf.zeros(tf.stack([tf.shape(frames)[0], rows, columns, 1]))

    def logits(self, coarse: tf.Tensor) -> tf.Tensor:
        """Resizes logits to the original size and removes the padding.

        Args:
            coarse: float32 [N, H'/s, W'/s, 1], at any stride.

        Returns:
            float32 [N, H, W].
        """
        fine = enlarge(coarse, self.padded)[:, : self.working[0], : self.working[1]]
        return enlarge(fine, self.frame)[..., 0]

    def _padded(self, values: tf.Tensor) -> tf.Tensor:
        for axis, (padded, working) in enumerate(zip(self.padded, self.working, strict=True), 1):
            values = tf.gather(values, tf.minimum(tf.range(padded), working - 1), axis=axis)
        return values


def shrink(values: tf.Tensor, size: tuple[Any, Any]) -> tuple[tf.Tensor, tf.Tensor]:
    """Averages over areas, as cv2.INTER_AREA does.

    Args:
        values: uint8 or float32 [N, H, W, C].
        size: New height and width, not larger than H and W; ints or int32 scalars.

    Returns:
        float32 [N, height, width, C], not rounded, and a bool scalar: areas are 2x2 pixels.
    """
    old = tf.shape(values)
    down, down_rest = divided(old[1], size[0])
    across, across_rest = divided(old[2], size[1])
    whole = (down_rest == 0) & (across_rest == 0)
    # Areas of whole pixels are summed first and divided once, as in OpenCV: ties between two gray
    # levels are then rounded to the same side.
    factor = tf.where(whole, 1.0 / tf.cast(down * across, tf.float32), 1.0)
    totals = values
    for axis, length in ((2, size[1]), (1, size[0])):
        taps = _area_taps(old[axis], length)
        weight = tf.where(whole, tf.cast(taps.weight > 0, tf.float32), taps.weight)
        totals = _summed(totals, Taps(taps.index, weight), axis)
    return totals * factor, whole & (down == 2) & (across == 2)


def enlarge(values: tf.Tensor, size: tuple[Any, Any]) -> tf.Tensor:
    """Bilinear resize with half-pixel centers and a repeated border, as cv2.INTER_LINEAR does.

    Args:
        values: float32 [N, H, W, C].
        size: New height and width, not smaller than H and W; ints or int32 scalars.

    Returns:
        float32 [N, height, width, C].
    """
    old = tf.shape(values)
    for axis, length in ((2, size[1]), (1, size[0])):
        taps = _linear_taps(old[axis], length)
        values = _term(values, taps, 0, axis) + _term(values, taps, 1, axis)
    return values


def divided(numerator: Any, denominator: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Divides non-negative int32 exactly on every runtime, to quotient and remainder."""
    quotient = numerator // denominator
    rest = numerator - quotient * denominator
    # OpenVINO divides int32 in float32 on some processors, which can be off by one.
    off = tf.cast(rest >= denominator, tf.int32) - tf.cast(rest < 0, tf.int32)
    return quotient + off, rest - off * denominator


def _area_taps(old: tf.Tensor, new: tf.Tensor) -> Taps:
    """Returns the taps of one axis; lengths are counted in parts of 1/`new` of a source pixel."""
    start = tf.range(new) * old
    first, _ = divided(start, new)
    most = divided(old + (new - 1), new)[0] + 1
    place = first[:, None] + tf.range(most)[None]
    overlap = tf.minimum((start + old)[:, None], (place + 1) * new)
    overlap -= tf.maximum(start[:, None], place * new)
    counts = (overlap * _NEGLIGIBLE > new) & (place < old)
    share = tf.cast(overlap, tf.float32) / tf.cast(old, tf.float32)
    return Taps(tf.minimum(place, old - 1), tf.where(counts, share, tf.zeros_like(share)))


def _linear_taps(old: tf.Tensor, new: tf.Tensor) -> Taps:
    unit = 2 * new  # positions are counted in parts of 1/`unit` of a source pixel
    center = (2 * tf.range(new) + 1) * old - new
    center = tf.minimum(tf.maximum(center, 0), unit * (old - 1))
    below, rest = divided(center, unit)
    part = tf.cast(rest, tf.float32) / tf.cast(unit, tf.float32)
    return Taps(
        tf.stack([below, tf.minimum(below + 1, old - 1)], axis=1),
        tf.stack([1.0 - part, part], axis=1),
    )


def _term(values: tf.Tensor, taps: Taps, tap: Any, axis: int) -> tf.Tensor:
    """Returns the contribution of one tap to the new positions of an axis of [N, H, W, C]."""
    shape = [1, 1, 1, 1]
    shape[axis] = -1
    picked = tf.gather(values, taps.index[:, tap], axis=axis)
    return tf.reshape(taps.weight[:, tap], shape) * tf.cast(picked, tf.float32)


def _summed(values: tf.Tensor, taps: Taps, axis: int) -> tf.Tensor:
    """Resamples an axis of [N, H, W, C] tap by tap, so that memory does not grow with the taps."""
    _, total = tf.while_loop(
        lambda tap, _: tap < tf.shape(taps.index)[1],
        lambda tap, total: (tap + 1, total + _term(values, taps, tap, axis)),
        (1, _term(values, taps, 0, axis)),
        parallel_iterations=1,
    )
    return total
