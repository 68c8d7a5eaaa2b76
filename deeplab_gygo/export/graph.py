"""Pre- and post-processing as TensorFlow graphs that take frames of any size.

This is `models.geometry.Geometry` once more, for sizes that are known only when the graph runs.
Resizing is written out as weighted sums over gathered rows and columns, not left to
`tf.image.resize`: its antialiased `bilinear` filter is another one, its `area` method turns up to
two values in a thousand by a gray level (one in eight where the scale is 2), and its plain
`bilinear` method differs from OpenCV's by 1e-3 on logits, because it computes positions in float32.
Weighted sums in OpenCV's order of operations agree bit by bit with its `INTER_AREA`, do not depend
on the precision of a device's matrix products, and cost less than those.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from deeplab_gygo.models.deeplab import DECODER_STRIDE, DeepLabV3Plus
from deeplab_gygo.models.memory import Memory, build_reader

_NEGLIGIBLE = 1e-3
"""Overlap, in source pixels, below which `INTER_AREA` leaves a source pixel out (OpenCV,
modules/imgproc/src/resize.cpp, computeResizeAreaTab)."""


def segmentation_graph(
    parent: DeepLabV3Plus, size: int, threshold: float, memory: Memory | None = None
) -> Callable[..., dict[str, tf.Tensor]]:
    """Makes the whole way from frames to masks a function of tensors, to be traced.

    Args:
        parent: Network; its variables are captured, not copied.
        size: Short side at which the network sees frames, pixels.
        threshold: Probability above which a pixel is object.
        memory: Keys and values of the annotated frame, float32 [1, M, C] and [1, M, V], which
            become constants of the graph; None says that nothing is remembered.

    Returns:
        `segment(frames, previous=None)`: uint8 [N, H, W, 3] RGB and float32 [N, H, W] in 0..1 ->
        {"probability": float32 [N, H, W] in 0..1, "mask": uint8 [N, H, W] of 0 and 1}. `previous`
        is for an architecture with a guide; None says that nothing is known.
    """
    guided = parent.config.guide
    specs = {"image": tf.TensorSpec([None, None, None, 3], tf.float32)}
    if guided:
        specs["guide"] = tf.TensorSpec([None, None, None, 1], tf.float32)
    reader = None
    if memory is not None:
        reader = build_reader(parent.config.key_channels, parent.cell)

    @tf.function(input_signature=[specs])  # traced and stored once for all endpoints
    def network(inputs):
        features = parent.encoder(inputs["image"], training=False)
        recall = None
        if memory is not None:
            count = tf.shape(inputs["image"])[0]
            keys, values = (tf.repeat(tf.constant(part), count, axis=0) for part in memory)
            recall = reader({"query": features["key"], "keys": keys, "values": values})
        told = parent.head_inputs(features, inputs.get("guide"), recall)
        logits = parent.finest(features, parent.head(told, training=False))
        return tf.cast(logits, tf.float32)

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
    """How one axis is resampled: every new place is a weighted sum over a few old ones.

    Attributes:
        index: int32 [new, taps], places on the old axis.
        weight: float32 [new, taps].
    """

    index: tf.Tensor
    weight: tf.Tensor


class GraphGeometry(NamedTuple):
    """Sizes of a frame on its way through the network, as pairs (height, width) of int32 scalars.

    Attributes:
        frame: Size of the frames as they are.
        working: Size at which the network sees them.
        padded: `working`, grown at the bottom and the right to a multiple of the stride.
    """

    frame: tuple[tf.Tensor, tf.Tensor]
    working: tuple[tf.Tensor, tf.Tensor]
    padded: tuple[tf.Tensor, tf.Tensor]

    @classmethod
    def fit(cls, frames: tf.Tensor, short_side: int, stride: int) -> GraphGeometry:
        """Fits frames to a working size.

        Args:
            frames: [N, H, W, ...] of any dtype.
            short_side: Short side of the working size; smaller frames are not enlarged.
            stride: Multiple that the network's input must have.

        Returns:
            The geometry.
        """
        frame = tf.shape(frames)[1:3]
        sides = tf.cast(frame, tf.float64)
        scale = tf.minimum(tf.constant(1.0, tf.float64), short_side / tf.reduce_min(sides))
        # Halves go to the even number, here and in Python's round().
        working = tf.maximum(1, tf.cast(tf.round(sides * scale), tf.int32))
        padded = -(-working // stride) * stride
        return cls(*((size[0], size[1]) for size in (frame, working, padded)))

    def image(self, frames: tf.Tensor) -> tf.Tensor:
        """Brings frames to the network's input.

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
        """Codes previous probabilities as the head's guide: -1 background, +1 object.

        Args:
            previous: float32 [N, H, W] in 0..1.

        Returns:
            float32 [N, H'/4, W'/4, 1].
        """
        shrunk, _ = shrink(previous[..., None], self.working)
        guide = 2.0 * self._padded(shrunk) - 1.0
        rows, columns = self._at_decoder()
        blocks = tf.reshape(guide, (-1, rows, DECODER_STRIDE, columns, DECODER_STRIDE, 1))
        return tf.reduce_mean(blocks, axis=(2, 4))

    def no_guide(self, frames: tf.Tensor) -> tf.Tensor:
        """Returns the guide that says that nothing is known: float32 [N, H'/4, W'/4, 1] zeros."""
        rows, columns = self._at_decoder()
        return tf.zeros(tf.stack([tf.shape(frames)[0], rows, columns, 1]))

    def logits(self, coarse: tf.Tensor) -> tf.Tensor:
        """Brings logits back to the size of the frames.

        Args:
            coarse: float32 [N, H'/s, W'/s, 1], at any stride.

        Returns:
            float32 [N, H, W].
        """
        fine = enlarge(coarse, self.padded)[:, : self.working[0], : self.working[1]]
        return enlarge(fine, self.frame)[..., 0]

    def _at_decoder(self) -> tuple[tf.Tensor, tf.Tensor]:
        return self.padded[0] // DECODER_STRIDE, self.padded[1] // DECODER_STRIDE

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
        float32 [N, height, width, C], not rounded, and a bool scalar: whether areas are 2x2 pixels.
    """
    old = tf.shape(values)
    rows, down = _area_taps(old[1], size[0])
    columns, across = _area_taps(old[2], size[1])
    whole = _is_whole(down) & _is_whole(across)
    # Areas of whole pixels are summed first and divided once, as OpenCV does it: ties between two
    # gray levels then fall to the same side.
    factor = tf.where(whole, tf.cast(1.0 / (down * across), tf.float32), 1.0)
    totals = values
    for axis, taps in ((2, columns), (1, rows)):
        weight = tf.where(whole, tf.cast(taps.weight > 0, tf.float32), taps.weight)
        totals = _weighted(totals, Taps(taps.index, weight), axis)
    return totals * factor, whole & (tf.round(down) == 2) & (tf.round(across) == 2)


def enlarge(values: tf.Tensor, size: tuple[Any, Any]) -> tf.Tensor:
    """Bilinear resize with half-pixel centers and a repeated border, as cv2.INTER_LINEAR does.

    Args:
        values: float32 [N, H, W, C].
        size: New height and width, not smaller than H and W; ints or int32 scalars.

    Returns:
        float32 [N, height, width, C].
    """
    old = tf.shape(values)
    values = _weighted(values, _linear_taps(old[2], size[1]), axis=2)
    return _weighted(values, _linear_taps(old[1], size[0]), axis=1)


def _area_taps(old: tf.Tensor, new: tf.Tensor) -> tuple[Taps, tf.Tensor]:
    """Returns the taps of one axis, and the old pixels to a new one as a float64 scalar."""
    old, new = tf.cast(old, tf.float64), tf.cast(new, tf.float64)
    scale = 1.0 / (new / old)  # not old / new: OpenCV inverts the factor, and bits count in ties
    start = tf.range(new, dtype=tf.float64) * scale
    stop = start + scale
    place = tf.floor(start)[:, None] + tf.range(tf.math.ceil(scale) + 1.0, dtype=tf.float64)
    overlap = tf.minimum(stop[:, None], place + 1.0) - tf.maximum(start[:, None], place)
    counts = (overlap > _NEGLIGIBLE) & (place < old)
    covered = tf.minimum(scale, old - start)[:, None]
    weight = tf.where(counts, overlap / covered, tf.zeros_like(overlap))
    index = tf.cast(tf.minimum(place, old - 1.0), tf.int32)
    return Taps(index, tf.cast(weight, tf.float32)), scale


def _is_whole(scale: tf.Tensor) -> tf.Tensor:
    return tf.abs(scale - tf.round(scale)) < np.finfo(np.float64).eps


def _linear_taps(old: tf.Tensor, new: tf.Tensor) -> Taps:
    size = tf.cast(old, tf.float64)
    scale = 1.0 / (tf.cast(new, tf.float64) / size)
    center = (tf.range(new, dtype=tf.float64) + 0.5) * scale - 0.5
    center = tf.clip_by_value(center, tf.zeros_like(size), size - 1.0)
    below = tf.floor(center)
    part = tf.cast(center - below, tf.float32)
    index = tf.cast(below, tf.int32)
    return Taps(
        tf.stack([index, tf.minimum(index + 1, old - 1)], axis=1),
        tf.stack([1.0 - part, part], axis=1),
    )


def _weighted(values: tf.Tensor, taps: Taps, axis: int) -> tf.Tensor:
    """Resamples an axis of [N, H, W, C]; tap by tap, so that memory does not grow with them."""
    shape = [1, 1, 1, 1]
    shape[axis] = -1

    def term(tap):
        picked = tf.gather(values, taps.index[:, tap], axis=axis)
        return tf.reshape(taps.weight[:, tap], shape) * tf.cast(picked, tf.float32)

    _, total = tf.while_loop(
        lambda tap, _: tap < tf.shape(taps.index)[1],
        lambda tap, total: (tap + 1, total + term(tap)),
        (1, term(0)),
        parallel_iterations=1,
    )
    return total
