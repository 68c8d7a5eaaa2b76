"""Reading the pictures and masks of training material, reduced to what training crops need."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import cv2
import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.images import IMAGE_SUFFIXES, read_image
from deeplab_gygo.io.masks import read_mask


def find_pictures(folders: Iterable[Path]) -> list[Path]:
    """Lists the pictures of folders, to be used as backgrounds.

    Args:
        folders: Folders, searched with their subfolders.

    Returns:
        Paths in order.

    Raises:
        InputError: A folder has no picture.
    """
    found: list[Path] = []
    for folder in folders:
        pictures = list_pictures(folder)
        if not pictures:
            raise InputError("a folder of backgrounds holds pictures", met="none", where=folder)
        found += pictures
    return found


def list_pictures(folder: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> list[Path]:
    """Lists the files of a folder and its subfolders by their suffix.

    Args:
        folder: The folder.
        suffixes: Suffixes in lower case, with the dot.

    Returns:
        Paths in order.

    Raises:
        InputError: The folder does not exist.
    """
    if not folder.is_dir():
        raise InputError("a folder of training material must exist", met="none", where=folder)
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes and not path.name.startswith(".")
    )


def read_picture(path: Path, short_side: int) -> np.ndarray:
    """Reads a picture, reduced to a short side.

    Args:
        path: The picture.
        short_side: Largest short side, pixels.

    Returns:
        uint8 [height, width, 3], RGB.

    Raises:
        InputError: The file is no picture that can be decoded.
    """
    return shrink(read_image(path), short_side)


def shrink(picture: np.ndarray, short_side: int) -> np.ndarray:
    """Reduces a picture whose short side is longer than `short_side`.

    Args:
        picture: uint8 [height, width, channels].
        short_side: Largest short side, pixels.

    Returns:
        uint8 [height, width, channels], the same array when it is small enough.
    """
    factor = short_side / min(picture.shape[:2])
    if factor >= 1.0:
        return picture
    size = (round(picture.shape[1] * factor), round(picture.shape[0] * factor))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def read_still(image_path: Path, mask_path: Path, short_side: int) -> tuple[np.ndarray, np.ndarray]:
    """Reads a photo and its gray mask, reduced to a short side.

    Args:
        image_path: The photo.
        mask_path: The mask, nonzero is the object.
        short_side: Largest short side, pixels.

    Returns:
        uint8 [height, width, 3] RGB, and uint8 [height, width], 0 or 1.

    Raises:
        InputError: A file cannot be decoded, or the two have different sizes.
    """
    image = read_image(image_path)
    mask = (read_mask(mask_path) > 0).astype(np.uint8)
    if mask.shape != image.shape[:2]:
        raise InputError(
            "a mask must have the size of its picture",
            met=f"{mask.shape} with a picture of {image.shape[:2]}",
            where=mask_path,
        )
    image = shrink(image, short_side)
    if mask.shape != image.shape[:2]:
        size = (image.shape[1], image.shape[0])
        coverage = cv2.resize(mask * 255, size, interpolation=cv2.INTER_AREA)
        mask = (coverage >= 128).astype(np.uint8)
    return image, mask
