"""Rendered product clips with exact masks: a textured object, a handheld camera.

The clips serve as a demonstration, as test material, and as labeled pictures that fine-tuning can
mix in. They need nothing but numpy and OpenCV, and depend on their seed alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.atomic import storage_error
from deeplab_gygo.io.masks import write_mask
from product_renderer.catalog import KINDS
from product_renderer.optics import Phone, develop, draw_opening
from product_renderer.scene import Scene, build_scene
from product_renderer.shading import render
from product_renderer.textures import Generator

_SMALLEST = 32  # Pixels: below that a product has no shape.


@dataclass(frozen=True)
class RenderedFrame:
    """A rendered picture and what is the product in it.

    Attributes:
        image: uint8 [H, W, 3] RGB.
        mask: uint8 [H, W], 1 where at least half of the pixel shows the product, else 0.
    """

    image: np.ndarray
    mask: np.ndarray


def product_kinds() -> list[str]:
    """Returns the names of the kinds of products that can be rendered."""
    return list(KINDS)


def render_product_clip(
    *,
    frames: int = 25,
    size: tuple[int, int] = (854, 480),
    seed: int = 0,
    frame_rate: float = 5.0,
    kind: str | None = None,
) -> Iterator[RenderedFrame]:
    """Renders an orbit of a handheld phone round a product.

    Args:
        frames: Number of frames.
        size: (H, W) in pixels; portrait by default, as GyGO's clips are.
        seed: Everything in the clip follows from it.
        frame_rate: Frames per second; the orbit's speed is in seconds.
        kind: One of `product_kinds()`; drawn from the seed when absent.

    Yields:
        The frames, one at a time.

    Raises:
        UsageError: A value is out of range, or the kind is unknown.
    """
    _check(frames, size, seed, frame_rate, kind)
    return _clip(frames, size, seed, frame_rate, kind)


def render_product_still(
    seed: int, size: tuple[int, int], *, kind: str | None = None
) -> RenderedFrame:
    """Renders one picture of a product; another seed gives another product in another place.

    Args:
        seed: Everything in the picture follows from it.
        size: (H, W) in pixels.
        kind: One of `product_kinds()`; drawn from the seed when absent.

    Returns:
        The picture and its mask.

    Raises:
        UsageError: A value is out of range, or the kind is unknown.
    """
    _check(1, size, seed, 1.0, kind)
    return next(_clip(1, size, seed, 1.0, kind))


def write_product_clip(
    folder: str | Path,
    *,
    frames: int = 25,
    size: tuple[int, int] = (854, 480),
    seed: int = 0,
    frame_rate: float = 5.0,
    kind: str | None = None,
    quality: int = 92,
) -> Path:
    """Renders a clip into `frames/00000.jpg`, ... and `masks/00000.png`, ... of a folder.

    Args:
        folder: Where to write; made when absent. Files of the same names are replaced.
        frames: Number of frames.
        size: (H, W) in pixels.
        seed: Everything in the clip follows from it.
        frame_rate: Frames per second.
        kind: One of `product_kinds()`; drawn from the seed when absent.
        quality: JPEG quality of the frames, 0..100.

    Returns:
        The folder.

    Raises:
        UsageError: A value is out of range, or the kind is unknown.
        StorageError: A file cannot be written.
    """
    folder = Path(folder)
    clip = render_product_clip(
        frames=frames, size=size, seed=seed, frame_rate=frame_rate, kind=kind
    )
    image_folder, mask_folder = folder / "frames", folder / "masks"
    try:
        image_folder.mkdir(parents=True, exist_ok=True)
        mask_folder.mkdir(parents=True, exist_ok=True)
        for index, frame in enumerate(clip):
            parameters = [cv2.IMWRITE_JPEG_QUALITY, quality]
            _, encoded = cv2.imencode(".jpg", frame.image[..., ::-1], parameters)
            (image_folder / f"{index:05d}.jpg").write_bytes(encoded.tobytes())
            write_mask(mask_folder / f"{index:05d}.png", frame.mask)
    except OSError as error:
        raise storage_error(error.filename or folder, error) from error
    return folder


def _check(frames: int, size, seed: int, frame_rate: float, kind: str | None) -> None:
    """Raises UsageError where an argument of the renderer is out of range."""
    if frames < 1:
        raise UsageError("A clip has at least one frame", met=f"frames={frames}")
    if len(size) != 2 or min(size) < _SMALLEST:
        raise UsageError(
            f"The size of a rendered clip is (H, W) of at least {_SMALLEST} pixels", met=size
        )
    if seed < 0:
        raise UsageError("A seed is an integer of 0 or more", met=seed)
    if not frame_rate > 0:
        raise UsageError("A frame rate is positive", met=frame_rate)
    if kind is not None and kind not in KINDS:
        raise UsageError(
            "The kind of product is unknown", met=kind, remedy=f"Use one of: {', '.join(KINDS)}"
        )


def _clip(frames: int, size, seed: int, frame_rate: float, kind) -> Iterator[RenderedFrame]:
    """Draws the scene and renders frame by frame; see `render_product_clip`."""
    rng = np.random.default_rng(seed)
    scene = build_scene(rng, (frames - 1) / frame_rate, size, kind)
    yield from render_scene(rng, scene, frames, size, seed, frame_rate)


def render_scene(
    rng: Generator,
    scene: Scene,
    frames: int,
    size: tuple[int, int],
    seed: int | list[int],
    frame_rate: float,
) -> Iterator[RenderedFrame]:
    """Draws a phone and renders the frames of a scene.

    Args:
        rng: Generator that the phone is drawn from.
        scene: The scene; its object 0 is the target of the masks.
        frames: Number of frames.
        size: (H, W) in pixels.
        seed: Seed of the noise of the frames.
        frame_rate: Frames per second.

    Yields:
        The frames, one at a time.
    """
    opening = draw_opening(rng)
    phone = None
    for index in range(frames):
        time = index / frame_rate
        rendered = render(scene, scene.orbit.view(time, size), opening)
        if phone is None:
            # The phone sets itself by the first frame; from then on it only drifts.
            phone = Phone.draw(rng, rendered.light, moving=frames > 1)
        motion = _motion(scene, time, phone.shutter, size)
        # Each frame has its own generator, so that its noise does not depend on those before it.
        noise = np.random.default_rng([*np.atleast_1d(seed), index])
        image = develop(phone, rendered.light, time, motion, noise)
        yield RenderedFrame(image, rendered.mask)


def _motion(scene: Scene, time: float, shutter: float, size: tuple[int, int]) -> np.ndarray:
    """Returns how far the product moves in the image during the exposure, float64 [2] pixels."""
    center = scene.orbit.center[None]
    before, after = (
        scene.orbit.view(time + side * shutter / 2, size).project(center)[0, :2] for side in (-1, 1)
    )
    return after - before
