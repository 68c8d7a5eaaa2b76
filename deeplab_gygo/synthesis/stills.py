"""Stills: images with the mask of one object, reduced to the size that training crops need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.images import read_image
from deeplab_gygo.io.masks import read_mask
from deeplab_gygo.synthesis.cache import MemoryCache
from deeplab_gygo.synthesis.sprites import Sprite, list_images, make_sprite


@dataclass(frozen=True)
class StillObject:
    """A still: its object can be cut out, its whole image can be a background.

    Attributes:
        name: Name of the still.
        category: Category; objects of one category look alike.
        collection: Collection that the still belongs to.
        image_path: The image.
        mask_path: Its mask, nonzero is the object.
        short_side: Larger images are reduced to this short side, pixels.
    """

    name: str
    category: str
    collection: str
    image_path: Path
    mask_path: Path
    short_side: int = 400

    sprite_count = 1

    def read(self, cache: MemoryCache) -> tuple[np.ndarray, np.ndarray]:
        """Returns the image, uint8 [height, width, 3] RGB, and the mask, uint8, 0 or 1."""
        key = ("still", str(self.image_path), self.short_side)
        return cache.get(key, lambda: read_still(self.image_path, self.mask_path, self.short_side))

    def sprite(self, index: int, cache: MemoryCache) -> Sprite | None:
        """Cuts the object out, with a soft contour just inside its mask.

        Args:
            index: 0, the only image.
            cache: Cache of decoded images.

        Returns:
            The sprite; None if the border of the image truncates much of the object.
        """
        image, mask = self.read(cache)
        left, top, width, height = cv2.boundingRect(mask)
        if not width:
            return None
        border = int(mask[0].sum() + mask[-1].sum()) + int(mask[:, 0].sum() + mask[:, -1].sum())
        if border > 0.35 * (width + height):
            return None
        box = (slice(top, top + height), slice(left, left + width))
        mask = np.ascontiguousarray(mask[box]) * 255
        soft = cv2.blur(mask, (3, 3), borderType=cv2.BORDER_CONSTANT)
        # Up to a coverage of .45 the old background is mixed in: the ramp starts inside the mask.
        ramp = np.clip((np.arange(256) - 110) * 2.0, 0, 255).astype(np.uint8)
        return make_sprite(image[box], cv2.LUT(soft, ramp))


def find_stills(folder: Path, *, short_side: int = 400) -> list[StillObject]:
    """Lists the stills of a folder with `images/` and `masks/`.

    Args:
        folder: The folder.
        short_side: Larger images are reduced to this short side, pixels.

    Returns:
        Stills in order of their names.

    Raises:
        InputError: A folder is missing or empty, or an image has no mask.
    """
    images = list_images(folder / "images")
    masks = {path.stem: path for path in list_images(folder / "masks", (".png",))}
    if not images:
        raise InputError("A folder of stills holds images/ and masks/", met="none", where=folder)
    missing = [path.name for path in images if path.stem not in masks]
    if missing:
        raise InputError(
            "Every image of a folder of stills has a mask of the same name (PNG)",
            met=f"{len(missing)} without, first {missing[0]}",
            where=folder,
        )
    return [
        StillObject(path.stem, folder.name, folder.name, path, masks[path.stem], short_side)
        for path in images
    ]


def read_still(image_path: Path, mask_path: Path, short_side: int) -> tuple[np.ndarray, np.ndarray]:
    """Reads an image and its gray mask, reduced to a short side.

    Args:
        image_path: The image.
        mask_path: The mask, nonzero is the object.
        short_side: Maximum short side, pixels.

    Returns:
        uint8 [height, width, 3] RGB, and uint8 [height, width], 0 or 1.

    Raises:
        InputError: A file cannot be decoded, or the two differ in size.
    """
    image = read_image(image_path)
    mask = (read_mask(mask_path) > 0).astype(np.uint8)
    if mask.shape != image.shape[:2]:
        raise InputError(
            "A mask has the size of its image",
            met=f"{mask.shape} with an image of {image.shape[:2]}",
            where=mask_path,
        )
    image = limit_short_side(image, short_side)
    if mask.shape != image.shape[:2]:
        size = (image.shape[1], image.shape[0])
        coverage = cv2.resize(mask * 255, size, interpolation=cv2.INTER_AREA)
        mask = (coverage >= 128).astype(np.uint8)
    return image, mask


def limit_short_side(image: np.ndarray, short_side: int) -> np.ndarray:
    """Reduces uint8 [height, width, channels] to a maximum short side in pixels."""
    factor = short_side / min(image.shape[:2])
    if factor >= 1.0:
        return image
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
