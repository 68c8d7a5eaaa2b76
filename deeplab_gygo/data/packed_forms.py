"""What packing makes of a file: no larger than training needs it, masks without loss.

A picture is reduced to a short side and coded as JPEG, a cut-out as WebP; where that saves little,
the file is copied as it is, which loses nothing. Masks are coded as palette PNG of the size of
their picture, with as few bits as their ids need.
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..errors import InputError, UsageError
from .images import open_picture, read_image
from .palette import davis_palette
from .pictures import read_still, shrink
from .video_dataset import Dataset, list_images

_WORTH = 0.9  # of the original bytes: coding anew loses quality, which must save at least a tenth
_LEVELS = (2, 4, 16, 256)  # sizes of palettes that PNG stores in 1, 2, 4 and 8 bits a pixel
_ALPHA_MODES = ("RGBA", "LA", "PA")


@dataclass(frozen=True)
class PackSettings:
    """How far pictures are reduced.

    Attributes:
        short_side: Larger pictures are reduced to this short side, cut-outs to this longest
            side, pixels.
        quality: Quality of JPEG and WebP, 1 to 100.
    """

    short_side: int = 400
    quality: int = 92

    def __post_init__(self):
        if self.short_side < 1:
            raise UsageError("A short side is 1 pixel or more", met=self.short_side)
        if not 1 <= self.quality <= 100:
            raise UsageError("A quality is a number of 1 to 100", met=self.quality)


@dataclass(frozen=True)
class Member:
    """A file as it is packed.

    Attributes:
        path: Place below the folder of all material, with slashes.
        data: Content.
        original_bytes: Size of the file that it stands for.
    """

    path: str
    data: bytes
    original_bytes: int


def pack_picture(source: Path, place: str, settings: PackSettings) -> list[Member]:
    """Packs a photo.

    Args:
        source: The photo.
        place: Path of the member without suffix.
        settings: How far it is reduced.

    Returns:
        One member.

    Raises:
        InputError: The photo cannot be decoded.
    """
    packed = _encode_jpeg(read_image(source), settings)
    return [_member(source, place, ".jpg", packed)]


def pack_still(
    image_path: Path, mask_path: Path, places: tuple[str, str], settings: PackSettings
) -> list[Member]:
    """Packs a photo and the mask of its object.

    Args:
        image_path: The photo.
        mask_path: Its mask, nonzero is the object.
        places: Paths of the two members without suffix.
        settings: How far both are reduced.

    Returns:
        The photo, and its mask of 0 and 1 as training sees it.

    Raises:
        InputError: A file cannot be decoded, or the two have different sizes.
    """
    image, mask = read_still(image_path, mask_path, settings.short_side)
    packed = _encode_jpeg(image, settings)
    if not _is_worth(packed, image_path.stat().st_size):
        _, mask = read_still(image_path, mask_path, sys.maxsize)
    return [
        _member(image_path, places[0], ".jpg", packed),
        Member(f"{places[1]}.png", encode_mask(mask), mask_path.stat().st_size),
    ]


def pack_sequence(
    dataset: Dataset, name: str, places: tuple[str, str], settings: PackSettings
) -> list[Member]:
    """Packs the frames of a sequence, each followed by its mask; all keep one size.

    Args:
        dataset: Data set of the sequence.
        name: Name of the sequence.
        places: Folders of the frames and of the masks.
        settings: How far they are reduced.

    Returns:
        The frames in order, each followed by its mask of the same ids where it has one.

    Raises:
        InputError: A file cannot be decoded, or sizes differ.
    """
    sequence = dataset.sequence(name)
    files = list_images(dataset.image_folder / name)
    packed = [_encode_jpeg(sequence.frame(index).image, settings) for index in range(len(files))]
    sizes = [path.stat().st_size for path in files]
    is_worth = _is_worth(packed, sum(sizes))
    members = []
    for index, path in enumerate(files):
        data, suffix = (packed[index], ".jpg") if is_worth else (path.read_bytes(), path.suffix)
        members.append(Member(f"{places[0]}/{path.stem}{suffix}", data, sizes[index]))
        mask_path = sequence.annotations.get(index)
        if mask_path is not None:
            mask = dataset.annotation(name, index)
            mask = shrink_labels(mask, settings.short_side) if is_worth else mask
            members.append(
                Member(f"{places[1]}/{path.stem}.png", encode_mask(mask), mask_path.stat().st_size)
            )
    return members


def pack_cutout(source: Path, place: str, settings: PackSettings) -> list[Member]:
    """Packs a picture with transparency.

    Args:
        source: The picture.
        place: Path of the member without suffix.
        settings: How far it is reduced.

    Returns:
        One member.

    Raises:
        InputError: The picture cannot be decoded, or is not transparent.
    """
    picture = open_picture(source)
    if picture.mode not in _ALPHA_MODES and "transparency" not in picture.info:
        raise InputError(
            "A cut-out must have an alpha channel",
            met=f"a picture of the mode {picture.mode}",
            where=source,
            remedy="Save it as PNG or WebP with transparency",
        )
    rgba = _shrink_rgba(np.asarray(picture.convert("RGBA")), settings.short_side)
    coded = io.BytesIO()
    # The alpha channel of a lossy WebP is lossless.
    Image.fromarray(rgba).save(coded, "WEBP", quality=settings.quality, alpha_quality=100)
    return [_member(source, place, ".webp", coded.getvalue())]


def shrink_labels(mask: np.ndarray, short_side: int) -> np.ndarray:
    """Reduces a mask of ids to a short side, as training does with masks of videos.

    Args:
        mask: uint8 [H, W] of object ids.
        short_side: Largest short side, pixels.

    Returns:
        uint8 [h, w] of the same ids, the same array when it is small enough.
    """
    factor = short_side / min(mask.shape)
    if factor >= 1.0:
        return mask
    size = (round(mask.shape[1] * factor), round(mask.shape[0] * factor))
    return cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)


def encode_mask(mask: np.ndarray) -> bytes:
    """Codes a mask as a palette PNG with the colors of DAVIS.

    Args:
        mask: uint8 [H, W] of object ids.

    Returns:
        The file: 1 bit a pixel where there is one object, up to 8 for many ids or void.
    """
    levels = next(count for count in _LEVELS if int(mask.max(initial=0)) < count)
    picture = Image.fromarray(np.ascontiguousarray(mask))
    picture.putpalette(davis_palette()[:levels].tobytes())
    coded = io.BytesIO()
    picture.save(coded, "PNG", compress_level=9)
    return coded.getvalue()


def _encode_jpeg(image: np.ndarray, settings: PackSettings) -> bytes:
    """Codes uint8 [H, W, 3] RGB, reduced."""
    small = cv2.cvtColor(shrink(image, settings.short_side), cv2.COLOR_RGB2BGR)
    options = [cv2.IMWRITE_JPEG_QUALITY, settings.quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    return cv2.imencode(".jpg", small, options)[1].tobytes()


def _shrink_rgba(rgba: np.ndarray, longest_side: int) -> np.ndarray:
    """Reduces uint8 [H, W, 4]; colors count as much as they are opaque."""
    factor = longest_side / max(rgba.shape[:2])
    if factor >= 1.0:
        return rgba
    size = tuple(max(round(side * factor), 1) for side in rgba.shape[1::-1])
    values = rgba.astype(np.float32)
    values[..., :3] *= values[..., 3:] / 255.0
    values = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
    values[..., :3] *= 255.0 / np.maximum(values[..., 3:], 1.0)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _is_worth(packed: bytes | list[bytes], original_bytes: int) -> bool:
    """Says whether coding anew saves enough for what it loses."""
    parts = [packed] if isinstance(packed, bytes) else packed
    return sum(map(len, parts)) <= _WORTH * original_bytes


def _member(source: Path, place: str, suffix: str, packed: bytes) -> Member:
    """Makes a member of the packed form, or of the file itself where that is hardly larger."""
    size = source.stat().st_size
    if _is_worth(packed, size):
        return Member(f"{place}{suffix}", packed, size)
    return Member(f"{place}{source.suffix}", source.read_bytes(), size)
