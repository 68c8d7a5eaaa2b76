"""Damage in the structure of video containers.

FFmpeg looks for the next intact part after a damaged one and reports neither. Only sizes and
types of the parts are read here; of GIF the content too.
"""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageSequence
from PIL.Image import DecompressionBombError

# Elements of Matroska (RFC 9559): EBML, Segment, SeekHead, Info, Tracks, Chapters, Attachments,
# Cues, Tags, Cluster, and those of a cluster; Void and CRC-32.
_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_MATROSKA_ELEMENTS = frozenset(
    {
        0x1A45DFA3, _SEGMENT, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1043A770, 0x1941A469,
        0x1C53BB6B, 0x1254C367, _CLUSTER, 0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF, 0xEC, 0xBF,
    }
)  # fmt: skip
_FLV_TAGS = frozenset({8, 9, 18})  # audio, video, script; bit 32 marks an encrypted one
# Length of a packet of a transport stream, and its byte 0x47; with a time stamp; with parity.
_TRANSPORT_PACKETS = ((188, 0), (192, 4), (204, 0))
_SYNC = 0x47
_CHUNK = 5000  # packets


@dataclass(frozen=True)
class Damage:
    """Damage of a container.

    Attributes:
        position: First byte concerned.
        at_end: Whether nothing after it can be read, or the file ends within a part.
    """

    position: int
    at_end: bool


def find_damage(path: Path, names: set[str]) -> Damage | None:
    """Checks the parts of a container from the first to the last.

    Args:
        path: The file.
        names: Names of FFmpeg for the format.

    Returns:
        The first damage; None if there is none, or the format has no parts that can be checked.
    """
    for name, check in _CHECKS.items():
        if name in names:
            with open(path, "rb", buffering=256) as file:
                return check(file, os.fstat(file.fileno()).st_size)
    return None


def _check_matroska(file: BinaryIO, length: int) -> Damage | None:
    position, segment_end = 0, length
    while position < min(length, segment_end):
        file.seek(position)
        head = file.read(12)
        identifier, after = _number(head, 0, keep_marker=True)
        size, after = _number(head, after, keep_marker=False)
        if identifier not in _MATROSKA_ELEMENTS:
            return Damage(position, at_end=after > len(head))
        is_parent = identifier in (_SEGMENT, _CLUSTER)
        if size is None and not is_parent:  # live recordings do not know the size of these two
            return Damage(position, at_end=False)
        end = position + after + (size or 0)
        if end > length:
            return Damage(length if is_parent else position, at_end=True)
        if identifier == _SEGMENT:
            segment_end = end if size else length
        position = position + after if is_parent else end
    return None


def _number(data: bytes, position: int, *, keep_marker: bool) -> tuple[int | None, int]:
    """Reads a number of variable length (RFC 8794): value, None if unknown; next position."""
    width = 9 - data[position].bit_length() if position < len(data) else 9
    value = int.from_bytes(data[position : position + width], "big")
    if keep_marker:
        return value, position + width
    value &= (1 << 7 * width) - 1
    return None if value == (1 << 7 * width) - 1 else value, position + width


def _check_flv(file: BinaryIO, length: int) -> Damage | None:
    position = int.from_bytes(file.read(9)[5:], "big") + 4
    while position < length:
        file.seek(position)
        head = file.read(11)
        end = position + 11 + int.from_bytes(head[1:4], "big") + 4
        if head[0] & 0xDF not in _FLV_TAGS:
            return Damage(position, at_end=False)
        if end > length:
            return Damage(position, at_end=True)
        position = end
    return None


def _check_transport_stream(file: BinaryIO, length: int) -> Damage | None:
    head = np.frombuffer(file.read(204 * 12), np.uint8)
    starts = (
        (start, size)
        for start in range(204)
        for size, sync in _TRANSPORT_PACKETS
        if (head[start + sync :: size][:5] == _SYNC).all() and len(head) >= start + sync + 4 * size
    )
    position, size = next(starts, (0, 188))
    sync = dict(_TRANSPORT_PACKETS)[size]
    while position + size <= length:
        file.seek(position)
        packets = np.frombuffer(file.read(size * _CHUNK), np.uint8)
        lost = np.flatnonzero(packets[sync::size] != _SYNC)
        if lost.size:
            return Damage(position + int(lost[0]) * size, at_end=False)
        position += len(packets) // size * size
    return Damage(position, at_end=True) if position < length else None


def _check_gif(file: BinaryIO, length: int) -> Damage | None:
    """Decodes all frames by Pillow, whose decoder reports damaged ones, unlike that of FFmpeg."""
    damaged = (OSError, SyntaxError, ValueError, LookupError, struct.error, DecompressionBombError)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)  # a frame of many pixels
        try:
            with Image.open(file, formats=("GIF",)) as picture:
                for frame in ImageSequence.Iterator(picture):
                    frame.load()
        except (*damaged, Image.DecompressionBombWarning):
            return Damage(min(file.tell(), length), at_end=True)
    return None


def _check_mp4(file: BinaryIO, length: int) -> Damage | None:
    """Checks the boxes of a fragmented file; the index of others states every frame."""
    position, is_fragmented = 0, False
    while position < length:
        file.seek(position)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:], "big")
        kind = head[4:8]
        is_fragmented = is_fragmented or kind == b"moof"
        if size == 0 and kind == b"mdat":  # up to the end
            return None
        if size < 8 or not kind.isascii() or position + size > length:
            return Damage(position, at_end=True) if is_fragmented else None
        position += size
    return None


_CHECKS: dict[str, Callable[[BinaryIO, int], Damage | None]] = {
    "matroska": _check_matroska,
    "flv": _check_flv,
    "mpegts": _check_transport_stream,
    "gif": _check_gif,
    "mov": _check_mp4,
}
