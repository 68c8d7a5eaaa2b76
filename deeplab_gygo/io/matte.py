"""Alpha, and colors of an object without those of its former background."""

from __future__ import annotations

import sys
import threading
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np

from deeplab_gygo.errors import DependencyError

EDGE = 1 / 60
"""Distance from the contour of the mask at which alpha is not the probability any more, as a
fraction of the short side of the frames."""

_MIN_EDGE = 4  # pixels

_REACH = 16
"""Pixels around the object whose colors are kept: codecs mix the colors of neighbors there."""

_ITERATIONS = {"n_small_iterations": 20, "n_big_iterations": 4}
"""Twice those of pymatting: the error at edges is a fifth lower on the clips of
tools/measure_matte.py."""

_NEUTRAL = 128  # gray of what nobody sees

# Two calls at once would share the threads of numba, which ends the process.
_estimating = threading.Lock()


def edge_alpha(levels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns the alpha of an object: its probability at the edges of its mask, else 0 or 255.

    A low probability far from the object is no haze, and a doubt inside of it no transparency.

    Args:
        levels: Probability as uint8 [H, W], 0..255, or [N, H, W] of several objects, which are
            taken together.
        mask: uint8 [H, W] of object ids.

    Returns:
        uint8 [H, W], 0 background to 255 object.

    Example:
        >>> mask = np.array([[1] * 20 + [0] * 20], np.uint8)
        >>> edge_alpha(np.full((1, 40), 100, np.uint8), mask)[0, [0, 18, 22, 39]].tolist()
        [255, 100, 100, 0]
    """
    levels = levels.max(axis=0) if levels.ndim == 3 else levels
    inside = (mask != 0).astype(np.uint8)
    reach = max(_MIN_EDGE, EDGE * min(mask.shape))
    alpha = levels.copy()
    for region, value in ((inside, 255), (1 - inside, 0)):
        # Without any other pixel the distance of the transform is not defined.
        far = cv2.distanceTransform(region, cv2.DIST_L2, 5) > reach
        alpha[far if (region == 0).any() else region > 0] = value
    return alpha


def estimate_foreground(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Estimates the colors of an object at its edges, where the camera mixed them with others.

    A pixel of partial alpha shows the object and the background behind it; laid over another
    background as it is, it has a halo of the old one. The multi-level method of Germer et al.,
    "Fast Multi-Level Foreground Estimation", ICPR 2020, solves for the color of the object.

    Args:
        image: uint8 [H, W, 3] RGB.
        alpha: uint8 [H, W], 0 background to 255 object.

    Returns:
        uint8 [H, W, 3]: the image, with other colors where alpha is partial and close around.

    Raises:
        DependencyError: pymatting is not installed.
    """
    partial = (alpha > 0) & (alpha < 255)
    if not partial.any():
        return image
    box = _around(partial, _REACH)
    colors, part = image[box], alpha[box]
    with _estimating:
        estimate = _method().estimate_foreground_ml(
            colors.astype(np.float32) / 255, part.astype(np.float32) / 255, **_ITERATIONS
        )
    result = image.copy()
    estimated = np.clip(np.asarray(estimate) * 255 + 0.5, 0, 255).astype(np.uint8)
    result[box] = np.where((part < 255)[..., None], estimated, colors)
    return result


def _method() -> ModuleType:
    """Loads the one module of pymatting that is used.

    The package compiles thirty functions when it is imported, which takes a minute the first time;
    this module compiles its own three.
    """
    package = find_spec("pymatting")
    if package is None or package.origin is None:
        raise DependencyError("pymatting", "matte", "The estimation of colors at edges")
    name = "pymatting.foreground.estimate_foreground_ml"
    if name not in sys.modules:
        place = Path(package.origin).parent / "foreground" / "estimate_foreground_ml.py"
        spec = spec_from_file_location(name, place)
        assert spec is not None and spec.loader is not None
        sys.modules[name] = module_from_spec(spec)  # numba looks for it while it compiles
        try:
            spec.loader.exec_module(sys.modules[name])
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def hide_background(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Returns an RGB image, uint8 [H, W, 3], that is gray where alpha and its surroundings are 0.

    What nobody sees costs no bits, and cannot be made visible again.
    """
    kernel = np.ones((2 * _REACH + 1, 2 * _REACH + 1), np.uint8)
    seen = cv2.dilate((alpha > 0).astype(np.uint8), kernel) > 0
    return np.where(seen[..., None], image, np.uint8(_NEUTRAL))


def compose(image: np.ndarray, alpha: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Lays an object over a background.

    Args:
        image: Colors of the object, uint8 [H, W, 3] RGB.
        alpha: uint8 [H, W], 0 background to 255 object.
        background: uint8 [H, W, 3] RGB, or a color, [3].

    Returns:
        uint8 [H, W, 3] RGB.

    Example:
        >>> white, alpha = np.full((1, 3, 3), 255, np.uint8), np.array([[0, 51, 255]], np.uint8)
        >>> compose(white, alpha, np.array([0, 255, 0], np.uint8)).tolist()
        [[[0, 255, 0], [51, 255, 51], [255, 255, 255]]]
    """
    weight = alpha[..., None].astype(np.uint16)
    mixed = image * weight + background * (255 - weight)
    return ((mixed + 127) // 255).astype(np.uint8)


def cover(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scales a picture, uint8 [H, W, 3], until it covers a size, and cuts off what is outside."""
    height, width = size
    scale = max(height / picture.shape[0], width / picture.shape[1])
    scaled = (
        max(width, round(picture.shape[1] * scale)),
        max(height, round(picture.shape[0] * scale)),
    )
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(picture, scaled, interpolation=method)
    top, left = (resized.shape[0] - height) // 2, (resized.shape[1] - width) // 2
    return np.ascontiguousarray(resized[top : top + height, left : left + width])


def _around(region: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Returns the rows and columns of a region that is not empty, with a margin."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return (
        slice(max(0, rows[0] - margin), rows[-1] + margin + 1),
        slice(max(0, columns[0] - margin), columns[-1] + margin + 1),
    )
