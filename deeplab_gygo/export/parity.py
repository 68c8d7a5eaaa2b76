"""Parity check: probabilities and masks of an export against those of the Python path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import keras
import numpy as np

from deeplab_gygo import backend
from deeplab_gygo.inference.geometry import Geometry, sigmoid
from deeplab_gygo.inference.network import ForwardPass
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.memory import Memory
from deeplab_gygo.models.target_model import TargetModel

Outputs = Mapping[str, np.ndarray]
"""`probability` float32 [N, H, W] in 0..1 and `mask` uint8 [N, H, W]."""

EndpointFn = Callable[[dict[str, np.ndarray]], Outputs]
"""Endpoint of a loaded export; inputs by name: `frames` and, of a guided one, `previous`."""

EXACT = 1e-4
"""Tolerance on probabilities in float32 on a CPU. Both paths resize identically and run the same
kernels; differences of about 1e-6 come from the order of sums in other batch sizes."""

ROUNDED = 2e-2
"""Tolerance on probabilities in 16-bit precision and on accelerators, where convolutions have a
mantissa of 10 bits (TF32) and an algorithm that depends on the batch size."""


@dataclass(frozen=True)
class ParityCheck:
    """Comparison of one endpoint with the Python path on one batch.

    Attributes:
        signature: Name of the endpoint.
        frames: Number, height and width of the frames.
        difference: Largest difference of a probability.
        mask_share: Share of mask pixels that differ.
        unexplained: Mask pixels that differ although the Python path's probability is farther
            from the threshold than the tolerance.
    """

    signature: str
    frames: tuple[int, int, int]
    difference: float
    mask_share: float
    unexplained: int

    def holds(self, tolerance: float) -> bool:
        """Returns whether the difference is within a tolerance; NaN is not."""
        return self.difference <= tolerance and not self.unexplained

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return {**asdict(self), "frames": list(self.frames)}


def tolerance() -> float:
    """Returns the tolerance on probabilities for the precision and the device in use."""
    rounded = keras.config.dtype_policy().compute_dtype != "float32" or backend.devices()
    return ROUNDED if rounded else EXACT


def parity_batches(size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields synthetic batches that cover every branch of the geometry, always the same.

    A batch of two at the working size, odd sizes that are padded, a portrait larger than the
    working size by an odd factor, and a landscape twice as large, which OpenCV averages in
    integers.

    Args:
        size: Short side of the working size, pixels.

    Yields:
        Frames uint8 [N, H, W, 3] RGB and soft masks of their object, float32 [N, H, W] in 0..1.
    """
    sizes = (
        (2, size, size * 4 // 3),
        (1, size * 2 // 3 | 1, size * 9 // 10 | 1),
        (1, size * 8 // 3 | 1, size * 3 // 2),
        (1, size * 2, size * 8 // 3 // 2 * 2),
    )
    rng = np.random.default_rng(0)
    for count, height, width in sizes:
        drawn = [_image(height, width, rng) for _ in range(count)]
        yield np.stack([d[0] for d in drawn]), np.stack([d[1] for d in drawn])


def _image(height: int, width: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draws an ellipse of one texture on another, and its soft mask."""
    unit = min(height, width)
    center = (round(width * rng.uniform(0.4, 0.6)), round(height * rng.uniform(0.4, 0.6)))
    axes = (round(unit * rng.uniform(0.2, 0.3)), round(unit * rng.uniform(0.2, 0.3)))
    mask = np.zeros((height, width), np.float32)
    cv2.ellipse(mask, center, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
    inside, outside = _texture(height, width, rng), _texture(height, width, rng)
    image = np.where(mask[..., None] > 0, inside, outside) + rng.normal(0, 6, (height, width, 3))
    soft = cv2.GaussianBlur(mask, (0, 0), max(0.5, unit / 100))
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), soft


def _texture(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Draws smooth blobs of random colors: float32 [H, W, 3] in 0..255."""
    coarse = rng.uniform(0, 255, (7, 7, 3)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


class PythonPath:
    """Probabilities as the package computes them, without the component filter.

    Args:
        parent: Network with its current weights.
        size: Short side of the working size, pixels.
        memory: Memory of the annotated frame; None for none.
        target_model: Target model of the annotated object; None for none.
    """

    def __init__(
        self,
        parent: DeepLabV3Plus,
        size: int,
        memory: Memory | None = None,
        target_model: TargetModel | None = None,
    ):
        self._parent, self._size, self._network = parent, size, ForwardPass(parent)
        self._memory, self._model = memory, target_model

    def __call__(self, frames: np.ndarray, previous: np.ndarray | None) -> np.ndarray:
        """Segments frames one by one.

        Args:
            frames: uint8 [N, H, W, 3] RGB.
            previous: float32 [N, H, W] in 0..1; None runs without it.

        Returns:
            Probabilities float32 [N, H, W].
        """
        geometry = Geometry.fit(frames.shape[1:3], self._size, self._parent.stride)
        probabilities = []
        for position, frame in enumerate(frames):
            features = self._network.encode(geometry.image(frame)[None])
            guide = None if previous is None else geometry.guide(previous[position])
            guide = self._network.guide(features, self._model, guide)
            readout = self._network.read(features, *self._memory) if self._memory else None
            logits = self._network.logits(features, [guide], readout)
            probabilities.append(sigmoid(geometry.logits(logits)))
        return np.stack(probabilities)


def compare(
    endpoints: Mapping[str, EndpointFn],
    path: Callable[[np.ndarray, np.ndarray | None], np.ndarray],
    *,
    size: int,
    threshold: float,
    tolerance: float,
) -> list[ParityCheck]:
    """Compares the endpoints of an exported network with the Python path.

    Args:
        endpoints: Endpoints by name; `guided` is given the previous mask too.
        path: Reference, called as a `PythonPath`.
        size: Short side of the working size, pixels.
        threshold: Probability above which a pixel is object.
        tolerance: Distance of a probability from the threshold below which a mask may differ.

    Returns:
        One check per endpoint and size.
    """
    checks = []
    for frames, masks in parity_batches(size):
        for name, endpoint in endpoints.items():
            previous = masks if name == "guided" else None
            inputs = {"frames": frames, **({} if previous is None else {"previous": previous})}
            expected = path(frames, previous)
            checks.append(_check(name, endpoint(inputs), expected, threshold, tolerance))
    return checks


def _check(
    name: str, outputs: Outputs, expected: np.ndarray, threshold: float, tolerance: float
) -> ParityCheck:
    probability, mask = outputs["probability"], outputs["mask"]
    if probability.shape != expected.shape or mask.shape != expected.shape:
        return ParityCheck(name, expected.shape, float("inf"), 1.0, expected.size)
    differs = mask != (expected > threshold)
    clear = np.abs(expected - threshold) > tolerance
    return ParityCheck(
        name,
        expected.shape,
        float(np.max(np.abs(probability - expected))),
        float(np.mean(differs)),
        int(np.count_nonzero(differs & clear)),
    )
