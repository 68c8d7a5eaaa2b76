"""Animated WebP and PNG files, and TIFF files of several pages, as sequences.

Their frames are counted, and their end is looked for, by the parts of the file, of which only
headers are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.bit_depth import stored_values
from deeplab_gygo.io.images import (
    MAX_PIXELS,
    TIFF_SIGNATURES,
    decoding_errors,
    is_reduced,
    read_header,
)
from deeplab_gygo.io.reading import check_regular
from deeplab_gygo.io.sequence import Annotations, Frame, frame_name
from deeplab_gygo.io.still_frames import StillFrames

MAX_FRAMES = 100_000
"""Most frames of an animation."""

MAX_ANIMATION_PIXELS = 40_000_000
"""Most pixels of a frame of WebP or PNG, 8K: a file of a few bytes may state any size."""

_PNG, _RIFF, _WEBP = b"\x89PNG\r\n\x1a\n", b"RIFF", b"WEBP"
_OTHERS = (b"\xff\xd8\xff", b"BM", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")  # JPEG, BMP, JPEG 2000
_DEFAULT_DURATION = Fraction(1, 10)  # seconds, where the file states none; browsers do the same


def image_kind(path: Path) -> str | None:
    """Returns what a file is by its first bytes, whatever its name.

    Returns:
        "PNG", "WEBP" or "TIFF", which may be animated; "image" for other still images; None for
        others, which may be videos, as GIF and AVIF.

    Raises:
        InputError: It is no regular file, or cannot be read.
    """
    check_regular(path)
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except OSError as error:
        raise InputError("An input is readable", met=error.strerror, where=path) from error
    if head.startswith(_PNG):
        return "PNG"
    if head.startswith(_RIFF) and head[8:12] == _WEBP:
        return "WEBP"
    if head.startswith(TIFF_SIGNATURES):
        return "TIFF"
    return "image" if head.startswith(_OTHERS) else None


def is_animation(path: Path) -> bool:
    """Checks whether an image has several frames or pages; see `read_header`."""
    return read_header(path).is_animated


class AnimationSequence(StillFrames):
    """Frames of an animated WebP or PNG, or pages of a TIFF file, named 00000, 00001, ...

    Iteration decodes one frame at a time and keeps none. `frame(index)` decodes a WebP or PNG file
    from its beginning.

    Args:
        path: The file.
        name: Name of the sequence; by default that of the file without suffix.
        annotations: As in `Sequence`.

    Raises:
        InputError: The file is absent, no animation, truncated or damaged.
    """

    def __init__(self, path: Path, *, name: str | None = None, annotations: Annotations = None):
        size = read_header(path).size
        kind = image_kind(path)
        times: list[float] | None = None
        if kind != "TIFF" and size[0] * size[1] > MAX_ANIMATION_PIXELS:
            raise InputError(
                f"An animation has at most {MAX_ANIMATION_PIXELS / 1e6:g} million pixels a frame",
                met=f"{size[1]}x{size[0]}",
                where=path,
                remedy="Reduce its size",
            )
        if kind == "TIFF":
            self._pages = _pages(path)  # position in the file of every frame
        else:
            scan = _scan_png if kind == "PNG" else _scan_webp
            with open(path, "rb") as file:
                durations, is_first_hidden = scan(file, path)
            self._pages = [index + is_first_hidden for index in range(len(durations))]
            moments = accumulate((each or _DEFAULT_DURATION for each in durations), initial=0)
            times = [float(moment) for moment in moments][:-1]
        names = [frame_name(index) for index in range(len(self._pages))]
        super().__init__(name or path.stem, path, size, names, annotations)
        self.times = times

    @property
    def files(self) -> list[Path]:
        """The file."""
        return [self.source]

    def __iter__(self) -> Iterator[Frame]:
        with decoding_errors(self.source):
            picture = Image.open(self.source, formats=("WEBP", "PNG", "TIFF"))
        with picture:
            for index, name in enumerate(self.frame_names):
                image = self._reduced(self._page(picture, index), index)
                time = None if self.times is None else self.times[index]
                yield Frame(index, name, time, decode=image.view)

    def frame(self, index: int) -> Frame:
        """Returns one frame, see `Sequence.frame`."""
        frame = super().frame(index)
        time = None if self.times is None else self.times[index]
        return Frame(index, frame.name, time, decode=frame.decode)

    def _read_stored(self, index: int) -> np.ndarray:
        with decoding_errors(self.source):
            picture = Image.open(self.source, formats=("WEBP", "PNG", "TIFF"))
        with picture:
            return self._page(picture, index)

    def _page(self, picture: Image.Image, index: int) -> np.ndarray:
        page = self._pages[index]

        def decode_deep(flags: int) -> np.ndarray | None:
            _, images = cv2.imreadmulti(str(self.source), page, 1, flags=flags)
            return images[0] if images else None

        with decoding_errors(f"{self.source}, frame {index}"):
            picture.seek(page)
            image = stored_values(picture, decode_deep if picture.format == "TIFF" else None)
        if image.shape[:2] != self.size:
            raise InputError(
                "All frames of a sequence must have one size",
                met=f"{image.shape[1]}x{image.shape[0]}, the first is "
                f"{self.size[1]}x{self.size[0]}",
                where=f"{self.source}, frame {index}",
                remedy="Put the frames of each size in a file of their own",
            )
        return image


def _pages(path: Path) -> list[int]:
    """Returns the positions of the pages of a TIFF file that are no smaller copies of others."""
    pages: list[int] = []
    with decoding_errors(path), Image.open(path, formats=("TIFF",)) as picture:
        for page in range(MAX_FRAMES + 1):
            try:
                picture.seek(page)
            except EOFError:
                return pages
            if picture.width * picture.height > MAX_PIXELS:
                raise OSError(f"page {page} has {picture.width}x{picture.height} pixels")
            pages += [] if is_reduced(picture) else [page]
    raise _too_many(path)


def _scan_webp(file: BinaryIO, path: Path) -> tuple[list[Fraction], bool]:
    """Returns the seconds of every frame, and whether the first image is none of them."""
    durations: list[Fraction] = []
    head = file.read(12)
    end = 8 + int.from_bytes(head[4:8], "little")
    while (position := file.tell()) < end:
        head = file.read(8)
        length = int.from_bytes(head[4:], "little")
        if len(head) < 8 or not _holds(file, length):
            raise _truncated(path, len(durations))
        if head[:4] == b"ANMF":
            milliseconds = int.from_bytes(file.read(16)[12:15], "little")
            durations.append(Fraction(milliseconds, 1000))
            if len(durations) > MAX_FRAMES:
                raise _too_many(path)
        file.seek(position + 8 + length + length % 2)
    return durations, False


def _scan_png(file: BinaryIO, path: Path) -> tuple[list[Fraction], bool]:
    """Returns the seconds of every frame, and whether the first image is none of them."""
    durations: list[Fraction] = []
    expected, is_first_hidden = 0, False
    position = file.seek(len(_PNG))
    while True:
        head = file.read(8)
        length = int.from_bytes(head[:4], "big")
        if len(head) < 8 or not _holds(file, length + 4):
            raise _truncated(path, len(durations), expected)
        if head[4:] == b"acTL":
            expected = int.from_bytes(file.read(4), "big")
        elif head[4:] == b"fcTL":
            content = file.read(26)
            # Hundredths of a second where the denominator is 0 (PNG, third edition, 11.3.6.2).
            numerator = int.from_bytes(content[20:22], "big")
            durations.append(Fraction(numerator, int.from_bytes(content[22:24], "big") or 100))
            if len(durations) > MAX_FRAMES:
                raise _too_many(path)
        elif head[4:] == b"IDAT":
            is_first_hidden = is_first_hidden or not durations
        elif head[4:] == b"IEND":
            if len(durations) != expected:
                raise _truncated(path, len(durations), expected)
            return durations, is_first_hidden
        position = file.seek(position + 12 + length)


def _holds(file: BinaryIO, length: int) -> bool:
    """Checks whether a file has as many bytes after its position, which stays."""
    position = file.tell()
    end = file.seek(0, 2)
    file.seek(position)
    return position + length <= end


def _truncated(path: Path, found: int, expected: int = 0) -> InputError:
    return InputError(
        "The animation must be complete",
        met=f"{found} of {expected} frames" if expected else f"its end is missing, {found} frames",
        where=path,
        remedy="Copy or download it again",
    )


def _too_many(path: Path) -> InputError:
    return InputError(
        f"An animation has at most {MAX_FRAMES} frames",
        met="more",
        where=path,
        remedy="Convert it to a video, as by ffmpeg",
    )
