"""Sprites: RGBA images of objects without their background, and folders of cut-outs."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.images import IMAGE_SUFFIXES
from deeplab_gygo.synthesis.cache import MemoryCache

_CUTOUT_SUFFIXES = (".png", ".webp")
_VIEW_NAME = re.compile(r"^(?P<object>.+)__(?P<view>\d+)$")
_MIN_SCALE = 0.6  # a sprite shown smaller is first averaged down, against aliasing
_MARGIN = 2  # transparent pixels around a sprite, so that its contour is resampled smoothly


@dataclass(frozen=True)
class Sprite:
    """One image of an object without its background.

    Attributes:
        rgba: uint8 [height, width, 4], RGB premultiplied by alpha, and alpha.
        area: Area of the object, pixels.
    """

    rgba: np.ndarray
    area: float

    @property
    def nbytes(self) -> int:
        """Bytes held, with those of the reduced versions, for the cache."""
        return self.rgba.nbytes * 21 // 16

    @cached_property
    def _half(self) -> np.ndarray:
        return _halved(self.rgba)

    @cached_property
    def _quarter(self) -> np.ndarray:
        return _halved(self._half)

    def reduced(self, scale: float) -> tuple[np.ndarray, float]:
        """Returns the version for a size on the canvas.

        Args:
            scale: Canvas pixels per sprite pixel.

        Returns:
            uint8 [height, width, 4], as `rgba`, and its reduction factor.
        """
        if scale >= _MIN_SCALE:
            return self.rgba, 1.0
        if scale >= _MIN_SCALE / 2:
            return self._half, 2.0
        return self._quarter, 4.0


@dataclass(frozen=True)
class CutoutObject:
    """An object given as images with an alpha channel; several images are a turntable spin.

    Attributes:
        name: Name of the object.
        category: Category; objects of one category look alike.
        collection: Collection that the object belongs to.
        paths: Images, in the order of the spin.
        longest_side: Larger images are reduced to this side, pixels.
    """

    name: str
    category: str
    collection: str
    paths: tuple[Path, ...]
    longest_side: int = 400

    @property
    def sprite_count(self) -> int:
        """Number of images."""
        return len(self.paths)

    def sprite(self, index: int, cache: MemoryCache) -> Sprite | None:
        """Reads an image, cropped to the object; None if next to nothing is opaque."""
        path = self.paths[index]
        key = ("cutout", str(path), self.longest_side)
        return cache.get(key, lambda: _read_cutout(path, self.longest_side))


def find_cutouts(folder: Path, *, longest_side: int = 400) -> list[CutoutObject]:
    """Lists the objects of a folder of images with transparency.

    Files `<object>__<number>` are the images of one object. The leading letters of a name are its
    category.

    Args:
        folder: Folder, searched with its subfolders.
        longest_side: Larger images are reduced to this side, pixels.

    Returns:
        Objects in order of their names.

    Raises:
        InputError: There is no image.
    """
    images: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in list_images(folder, _CUTOUT_SUFFIXES):
        match = _VIEW_NAME.match(path.stem)
        images[path.parent.name, match["object"] if match else path.stem].append(path)
    if not images:
        raise InputError(
            "A folder of cut-outs holds PNG or WebP images with transparency",
            met="none",
            where=folder,
        )
    found = []
    for (collection, name), paths in sorted(images.items()):
        letters = re.match(r"[A-Za-z]+", name)
        category = f"{collection}/{letters[0].lower() if letters else name}"
        found.append(CutoutObject(name, category, collection, tuple(paths), longest_side))
    return found


def list_images(folder: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> list[Path]:
    """Lists the images of a folder and its subfolders.

    Args:
        folder: The folder.
        suffixes: Suffixes in lower case, with the dot.

    Returns:
        Paths in order.

    Raises:
        InputError: The folder does not exist.
    """
    if not folder.is_dir():
        raise InputError(
            "A training source is an existing folder",
            met="no such folder",
            where=folder,
            remedy="Correct the configuration, or set data_root or DEEPLAB_GYGO_DATA",
        )
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes and not path.name.startswith(".")
    )


def make_sprite(image: np.ndarray, alpha: np.ndarray) -> Sprite | None:
    """Builds a sprite, cropped to its opaque part.

    Args:
        image: uint8 [height, width, 3], RGB.
        alpha: uint8 [height, width], 255 is the object.

    Returns:
        The sprite; None if fewer than 64 pixels are opaque.
    """
    left, top, width, height = cv2.boundingRect((alpha >= 16).astype(np.uint8))
    if not width or np.count_nonzero(alpha >= 128) < 64:
        return None
    box = (slice(top, top + height), slice(left, left + width))
    alpha = np.ascontiguousarray(alpha[box])
    colors = cv2.multiply(image[box], cv2.merge([alpha] * 3), scale=1 / 255)
    rgba = cv2.merge([*cv2.split(colors), alpha])
    margins = (_MARGIN,) * 4
    rgba = cv2.copyMakeBorder(rgba, *margins, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))
    return Sprite(rgba, float(alpha.sum()) / 255.0)


def _read_cutout(path: Path, longest_side: int) -> Sprite | None:
    """Reads an image with transparency."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise InputError("An image is readable", met="undecodable data", where=path)
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.ndim != 3 or image.shape[2] != 4:
        raise InputError(
            "A cut-out has an alpha channel",
            met=f"shape {image.shape}",
            where=path,
            remedy="Save it as PNG or WebP with transparency",
        )
    alpha = np.ascontiguousarray(image[..., 3])
    sprite = make_sprite(cv2.cvtColor(image, cv2.COLOR_BGRA2RGB), alpha)
    factor = longest_side / max(image.shape[:2])
    if sprite is None or factor >= 1.0:
        return sprite
    size = tuple(max(round(side * factor), 1) for side in sprite.rgba.shape[1::-1])
    small = cv2.resize(sprite.rgba, size, interpolation=cv2.INTER_AREA)
    return Sprite(small, float(small[..., 3].sum()) / 255.0)


def _halved(rgba: np.ndarray) -> np.ndarray:
    """Averages pixels two by two, padding an odd last row or column with transparency."""
    rows, columns = rgba.shape[0] % 2, rgba.shape[1] % 2
    if rows or columns:
        rgba = cv2.copyMakeBorder(
            rgba, 0, rows, 0, columns, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0)
        )
    return cv2.resize(rgba, (rgba.shape[1] // 2, rgba.shape[0] // 2), interpolation=cv2.INTER_AREA)
