"""Reading of masks: every common encoding becomes uint8 [H, W] of object ids.

The encoding is detected by content, see docs/masks.md: images of 0 and 255, ids of 8 or 16 bits,
palettes, transparency, colors, soft edges; annotation files.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.io.labelme import ObjectIds, is_labelme, read_labelme
from deeplab_gygo.io.mask_checks import check_aspect, check_first_mask, fit_mask, may_be_inverted
from deeplab_gygo.io.mask_encodings import MAX_MASK_PIXELS, analyze_picture
from deeplab_gygo.io.mask_files import open_mask
from deeplab_gygo.io.mask_legend import Legend
from deeplab_gygo.io.mask_values import Content, Fixed
from deeplab_gygo.io.palette import VOID, davis_palette, write_mask

__all__ = [
    "ANNOTATION_SUFFIXES",
    "MASK_FORMATS",
    "MASK_SUFFIXES",
    "VOID",
    "MaskReader",
    "as_mask",
    "check_aspect",
    "check_first_mask",
    "davis_palette",
    "fit_mask",
    "object_ids",
    "read_mask",
    "write_mask",
]

logger = logging.getLogger(__name__)

MASK_FORMATS = ("auto", "ids", "binary", "palette", "rgb", "alpha", "matte", "labelme")
MASK_SUFFIXES = (".png", ".json", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".jpg", ".jpeg")
"""Suffixes of the masks in a folder."""

ANNOTATION_SUFFIXES = (".json", ".xml", ".txt", ".npy", ".npz")
"""Suffixes of files that are read as annotations, and not as pictures, where they are named."""

_STORED = ("ids", "palette")  # formats of values as they are stored, void too


class MaskReader:
    """Reads the masks of one sequence; values and colors mean the same id in all of them.

    Args:
        mask_format: Encoding of the files, as in `read_mask`.
        warn_inverted: Warn of a mask that covers the frame as a background does.

    Raises:
        UsageError: There is no such format.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mask.png"
        >>> write_mask(path, np.array([[0, 1], [2, 0]], np.uint8))
        >>> reader = MaskReader()
        >>> reader.scan([path])
        >>> reader.read(path).tolist()
        [[0, 1], [2, 0]]
    """

    def __init__(self, mask_format: str = "auto", *, warn_inverted: bool = False):
        if mask_format not in MASK_FORMATS:
            raise UsageError(f"A mask format is one of {', '.join(MASK_FORMATS)}", met=mask_format)
        self.mask_format = mask_format
        self._warn_inverted = warn_inverted
        self._legend = Legend()
        self._object_ids = ObjectIds()
        self._notes: set[str] = set()

    def scan(self, paths: Iterable[str | Path]) -> None:
        """Collects the values and colors of files, so that ids do not depend on their order.

        Args:
            paths: All mask files of the sequence.

        Raises:
            InputError: A file is absent, damaged or no mask.
        """
        for path in map(Path, paths):
            if self._is_labelme(path):
                self._object_ids.scan(path)
            elif not self._is_annotation(path):
                self._legend.add(self._analyze(path, None, None))

    def read(
        self,
        path: str | Path,
        size: tuple[int, int] | None = None,
        keep_void: bool | None = None,
        *,
        frame: str | None = None,
    ) -> np.ndarray:
        """Reads a mask like `read_mask`, by the ids of the files scanned and read so far.

        A note that was logged for an earlier file is not repeated.

        Args:
            path: Image or annotation file.
            size: Height and width of the frame in pixels.
            keep_void: Keep 255 beside ids, void; None does so with "ids" and "palette" only.
            frame: Name of the frame, for files of many.

        Returns:
            uint8 [H, W] of object ids, 0 background.

        Raises:
            InputError: The file is absent, damaged, no mask, does not fit `size`, or contradicts
                a file read before.
        """
        path = Path(path)
        content = self._analyze(path, size, frame)
        self._legend.add(content)
        mask, notes = self._legend.decode(content, path)
        if not (self.mask_format in _STORED if keep_void is None else keep_void):
            mask[mask == VOID] = 0
        if size is not None:
            mask, resized = fit_mask(mask, size, path)
            notes = notes + resized
        for note in notes:
            if note not in self._notes:
                self._notes.add(note)
                logger.info("%s: %s", path, note)
        if self._warn_inverted and may_be_inverted(mask):
            logger.warning(
                "%s: the mask covers %.0f%% of the frame and all four borders; invert it if the "
                "object is the dark or transparent part", path, 100 * float((mask > 0).mean()),
            )  # fmt: skip
        return mask

    def _is_annotation(self, path: Path) -> bool:
        return path.suffix.lower() in ANNOTATION_SUFFIXES

    def _is_labelme(self, path: Path) -> bool:
        if self.mask_format == "labelme":
            return True
        return self._is_annotation(path) and path.suffix.lower() == ".json" and is_labelme(path)

    def _analyze(self, path: Path, size: tuple[int, int] | None, frame: str | None) -> Content:
        def check_size(met: tuple[int, int]) -> None:
            if size is not None:
                check_aspect(met, size, path)

        most = max(MAX_MASK_PIXELS, math.prod(size or ()))
        if self._is_labelme(path):
            labelme = read_labelme(
                path, size, max_pixels=most, check_size=check_size, object_ids=self._object_ids
            )
            return Fixed(*labelme)
        if self._is_annotation(path):
            from deeplab_gygo.io.annotations import read_annotation

            return Fixed(
                *read_annotation(
                    path,
                    size=size,
                    frame=frame,
                    check_size=check_size,
                    mask_format=self.mask_format,
                )
            )
        picture, lossy, notes = open_mask(path, max_pixels=most, check_size=check_size)
        for note in notes:
            logger.info("%s: %s", path, note)
        return analyze_picture(picture, self.mask_format, path, lossy=lossy)


def object_ids(*masks: np.ndarray) -> list[int]:
    """Returns the ids in masks, uint8 [H, W], ascending, without background and void.

    Example:
        >>> object_ids(np.array([[0, 2], [1, 255]], np.uint8))
        [1, 2]
    """
    found = {int(label) for mask in masks for label in np.unique(mask)}
    return sorted(found - {0, VOID})


def read_mask(
    path: str | Path,
    *,
    size: tuple[int, int] | None = None,
    mask_format: str = "auto",
    keep_void: bool | None = None,
    frame: str | None = None,
) -> np.ndarray:
    """Reads a mask from an image or an annotation file; assumptions and repairs are logged (INFO).

    Args:
        path: Image; JSON of labelme, COCO or Label Studio; XML of CVAT; text of YOLO; npy or npz.
        size: Height and width of the frame in pixels; a mask of the same aspect is resized to it.
        mask_format: Encoding of the file. "auto" detects it; "ids" takes values as they are
            stored; "binary" everything but 0; "palette" the indices; "rgb" an object per color;
            "alpha" what is not transparent; "matte" gray or alpha above one half; "labelme".
        keep_void: Keep 255 beside ids, void, rather than making it background. By default only
            with the formats "ids" and "palette".
        frame: Name of the frame, for files that hold the masks of several.

    Returns:
        uint8 [H, W] of object ids, 0 background. A mask without ids has 1 for its object.

    Raises:
        InputError: The file is absent, damaged, no mask, has several readings, or does not fit
            `size`.
        UsageError: There is no such format.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mask.png"
        >>> write_mask(path, np.array([[0, 1], [2, 0]], np.uint8))
        >>> read_mask(path).tolist()
        [[0, 1], [2, 0]]
    """
    reader = MaskReader(mask_format, warn_inverted=True)
    return reader.read(path, size, keep_void, frame=frame)


def as_mask(
    mask: np.ndarray, *, size: tuple[int, int] | None = None, where: str | Path = "mask"
) -> np.ndarray:
    """Converts a mask in memory to object ids.

    Args:
        mask: bool or uint8 [H, W]: object ids, or 0 and 255 only.
        size: Height and width of the frame in pixels; a mask of the same aspect is resized to it.
        where: Name of the mask for messages.

    Returns:
        uint8 [H, W] of object ids, 0 background. 255 beside ids, void, becomes background.

    Raises:
        InputError: The array has another dtype or shape, or does not fit `size`.

    Example:
        >>> as_mask(np.array([[0, 255], [255, 0]], np.uint8)).tolist()
        [[0, 1], [1, 0]]
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype not in (np.uint8, np.bool_) or not mask.size:
        raise InputError(
            "A mask is bool or uint8 [H, W]", met=f"{mask.dtype} {list(mask.shape)}", where=where
        )
    ids = mask.astype(np.uint8)
    ids[ids == VOID] = 0
    if not ids.any():
        ids = (mask != 0).astype(np.uint8)
    return ids if size is None else fit_mask(ids, size, where)[0]
