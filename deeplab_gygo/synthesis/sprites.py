"""Objects without their background: pictures with transparency, and objects of annotated stills."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.synthesis.backgrounds import list_pictures, read_still
from deeplab_gygo.synthesis.cache import MemoryCache

_CUTOUT_SUFFIXES = (".png", ".webp")
_VIEW_NAME = re.compile(r"^(?P<object>.+)__(?P<view>\d+)$")
_LEAST_SCALE = 0.6  # a view that is shown smaller is first averaged down, against aliasing
_MARGIN = 2  # transparent pixels round a view, so that its outline is resampled smoothly


@dataclass(frozen=True)
class View:
    """One view of an object without its background.

    Attributes:
        rgba: uint8 [height, width, 4], RGB multiplied by alpha, and alpha.
        area: Pixels that the object covers.
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
        """Returns the version that suits a size on the canvas.

        Args:
            scale: Canvas pixels a pixel of the view.

        Returns:
            uint8 [height, width, 4], as `rgba`, and how many pixels of the view are one of its.
        """
        if scale >= _LEAST_SCALE:
            return self.rgba, 1.0
        if scale >= _LEAST_SCALE / 2:
            return self._half, 2.0
        return self._quarter, 4.0


@dataclass(frozen=True)
class CutoutObject:
    """An object whose pictures have an alpha channel; several pictures are neighboring views.

    Attributes:
        name: Name of the object.
        category: Objects of one category look alike.
        family: Collection that the object belongs to.
        paths: Pictures, in the order of the turn.
        longest_side: Larger pictures are reduced to this side, pixels.
    """

    name: str
    category: str
    family: str
    paths: tuple[Path, ...]
    longest_side: int = 400

    @property
    def view_count(self) -> int:
        """Number of views."""
        return len(self.paths)

    def view(self, index: int, cache: MemoryCache) -> View | None:
        """Reads a view; None when it shows next to nothing.

        Args:
            index: Number of the view.
            cache: Holds decoded views.

        Returns:
            The view, cropped to the object.
        """
        path = self.paths[index]
        key = ("cutout", str(path), self.longest_side)
        return cache.get(key, lambda: _read_cutout(path, self.longest_side))


@dataclass(frozen=True)
class StillObject:
    """A photo with a mask: its object can be cut out, or the whole photo can be a background.

    Attributes:
        name: Name of the photo.
        category: Objects of one category look alike.
        family: Collection that the photo belongs to.
        image_path: The photo.
        mask_path: Its mask, nonzero is the object.
        short_side: Larger photos are reduced to this short side, pixels.
    """

    name: str
    category: str
    family: str
    image_path: Path
    mask_path: Path
    short_side: int = 400

    @property
    def view_count(self) -> int:
        """Number of views: one."""
        return 1

    def picture(self, cache: MemoryCache) -> tuple[np.ndarray, np.ndarray]:
        """Reads the photo with its mask.

        Args:
            cache: Holds decoded pictures.

        Returns:
            uint8 [height, width, 3] RGB, and uint8 [height, width], 0 or 1.
        """
        key = ("still", str(self.image_path), self.short_side)
        return cache.get(key, lambda: read_still(self.image_path, self.mask_path, self.short_side))

    def view(self, index: int, cache: MemoryCache) -> View | None:
        """Cuts the object out; None when the border of the photo cuts much of it off.

        Args:
            index: Ignored, there is one view.
            cache: Holds decoded pictures.

        Returns:
            The view, cropped to the object.
        """
        del index
        return _cut_out(*self.picture(cache))


def find_cutouts(folder: Path, *, longest_side: int = 400) -> list[CutoutObject]:
    """Lists the objects of a folder of pictures with transparency.

    Files `<object>__<number>` are the views of one object. The letters that a name begins with
    are taken as its category.

    Args:
        folder: Folder, searched with its subfolders.
        longest_side: Larger pictures are reduced to this side, pixels.

    Returns:
        Objects in order of their names.

    Raises:
        InputError: There is no picture.
    """
    views: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in list_pictures(folder, _CUTOUT_SUFFIXES):
        match = _VIEW_NAME.match(path.stem)
        views[path.parent.name, match["object"] if match else path.stem].append(path)
    if not views:
        raise InputError(
            "a folder of cut-outs holds PNG or WebP pictures with transparency",
            met="none",
            where=folder,
        )
    found = []
    for (family, name), paths in sorted(views.items()):
        letters = re.match(r"[A-Za-z]+", name)
        category = f"{family}/{letters[0].lower() if letters else name}"
        found.append(CutoutObject(name, category, family, tuple(paths), longest_side))
    return found


def find_stills(folder: Path, *, short_side: int = 400) -> list[StillObject]:
    """Lists the photos of a folder with `images/` and `masks/`.

    Args:
        folder: The folder.
        short_side: Larger photos are reduced to this short side, pixels.

    Returns:
        Photos in order of their names.

    Raises:
        InputError: A folder is missing or empty, or a photo has no mask.
    """
    images = list_pictures(folder / "images")
    masks = {path.stem: path for path in list_pictures(folder / "masks", (".png",))}
    if not images:
        raise InputError("a folder of stills holds images/ and masks/", met="none", where=folder)
    bare = [path.name for path in images if path.stem not in masks]
    if bare:
        raise InputError(
            "every picture of a folder of stills has a mask of the same name (PNG)",
            met=f"{len(bare)} without, first {bare[0]}",
            where=folder,
        )
    return [
        StillObject(path.stem, folder.name, folder.name, path, masks[path.stem], short_side)
        for path in images
    ]


def _read_cutout(path: Path, longest_side: int) -> View | None:
    """Reads a picture with transparency as a view."""
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise InputError("a picture must be readable", met="undecodable data", where=path)
    if picture.dtype == np.uint16:
        picture = (picture >> 8).astype(np.uint8)
    if picture.ndim != 3 or picture.shape[2] != 4:
        raise InputError(
            "a cut-out must have an alpha channel",
            met=f"shape {picture.shape}",
            where=path,
            remedy="Save it as PNG or WebP with transparency",
        )
    alpha = np.ascontiguousarray(picture[..., 3])
    view = make_view(cv2.cvtColor(picture, cv2.COLOR_BGRA2RGB), alpha)
    factor = longest_side / max(picture.shape[:2])
    if view is None or factor >= 1.0:
        return view
    size = tuple(max(round(side * factor), 1) for side in view.rgba.shape[1::-1])
    small = cv2.resize(view.rgba, size, interpolation=cv2.INTER_AREA)
    return View(small, float(small[..., 3].sum()) / 255.0)


def _cut_out(image: np.ndarray, mask: np.ndarray) -> View | None:
    """Cuts the object of a photo out, with a soft outline just inside its mask."""
    left, top, width, height = cv2.boundingRect(mask)
    if not width:
        return None
    border = int(mask[0].sum() + mask[-1].sum()) + int(mask[:, 0].sum() + mask[:, -1].sum())
    if border > 0.35 * (width + height):
        return None
    box = (slice(top, top + height), slice(left, left + width))
    soft = cv2.blur(np.ascontiguousarray(mask[box]) * 255, (3, 3), borderType=cv2.BORDER_CONSTANT)
    # Coverage of .45 and less is the old background's: the ramp starts inside the outline.
    ramp = np.clip((np.arange(256) - 110) * 2.0, 0, 255).astype(np.uint8)
    return make_view(image[box], cv2.LUT(soft, ramp))


def make_view(image: np.ndarray, alpha: np.ndarray) -> View | None:
    """Builds a view from colors and alpha, cropped to what can be seen.

    Args:
        image: uint8 [height, width, 3], RGB.
        alpha: uint8 [height, width], 255 is the object.

    Returns:
        The view; None when fewer than 64 pixels are opaque.
    """
    left, top, width, height = cv2.boundingRect((alpha >= 16).astype(np.uint8))
    if not width or np.count_nonzero(alpha >= 128) < 64:
        return None
    box = (slice(top, top + height), slice(left, left + width))
    alpha = np.ascontiguousarray(alpha[box])
    colors = cv2.multiply(image[box], cv2.merge([alpha] * 3), scale=1 / 255)
    rgba = cv2.copyMakeBorder(
        cv2.merge([*cv2.split(colors), alpha]),
        _MARGIN,
        _MARGIN,
        _MARGIN,
        _MARGIN,
        cv2.BORDER_CONSTANT,
        value=(0, 0, 0, 0),
    )
    return View(rgba, float(alpha.sum()) / 255.0)


def _halved(rgba: np.ndarray) -> np.ndarray:
    """Averages pixels two by two; an odd last row or column is filled up with transparency."""
    rows, columns = rgba.shape[0] % 2, rgba.shape[1] % 2
    if rows or columns:
        rgba = cv2.copyMakeBorder(
            rgba, 0, rows, 0, columns, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0)
        )
    return cv2.resize(rgba, (rgba.shape[1] // 2, rgba.shape[0] // 2), interpolation=cv2.INTER_AREA)
