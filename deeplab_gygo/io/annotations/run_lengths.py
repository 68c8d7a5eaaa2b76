"""Run-length encodings of masks: COCO (plain and compressed), CVAT and Label Studio.

The strings of COCO are decoded here because the C code of pycocotools trusts them: it reads on
behind the end of one that ends within a number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from deeplab_gygo.io.annotations.common import Area

MAX_RUNS = 4_000_000
"""Most runs of an object; the outline of one in a 4K frame crosses some ten thousand columns."""

MAX_PACKETS = 500_000
"""Most packets of all brushes of a frame; one of a 4K frame has some thousand."""

_MAX_CHARACTERS = 7  # of a number in a compressed string: 35 bits
_BRUSH_HEAD = 53  # bits
_WORD = (1 << 64) - 1
_LENGTH_BITS = (3, 4, 8, 16)  # of the run lengths in a brush, as the editor writes them


def decode_runs(counts: object, size: tuple[int, int]) -> Area:
    """Decodes runs of background and object in turn, down the columns.

    Args:
        counts: Lengths of the runs in pixels, background first.
        size: Height and width of the image.

    Returns:
        The columns from the first pixel of the object to the last.

    Raises:
        ValueError: The runs do not fill the image.
    """
    height, width = size
    if not isinstance(counts, (list, np.ndarray)):
        raise ValueError("its counts are no list")
    if len(counts) > MAX_RUNS:
        raise ValueError(f"{len(counts)} counts")
    lengths = np.asarray(counts)
    if lengths.ndim != 1 or lengths.dtype.kind != "i" or (len(lengths) and lengths.min() < 0):
        raise ValueError("its counts are no list of integers from 0")
    if len(lengths) and (lengths.max() > height * width or lengths.sum() != height * width):
        raise ValueError(f"its counts do not sum up to {height * width} pixels")
    ends = np.cumsum(lengths)
    starts = ends - lengths
    object_runs = np.flatnonzero((np.arange(len(lengths)) & 1) & (lengths > 0))
    if not len(object_runs):
        return slice(0, 0), slice(0, 0), np.zeros((0, 0), bool)
    left = int(starts[object_runs[0]]) // height
    right = -(-int(ends[object_runs[-1]]) // height)
    low, high = left * height, right * height
    within = np.clip(ends, low, high) - np.clip(starts, low, high)
    values = np.repeat((np.arange(len(lengths)) & 1).astype(bool), within)
    return slice(0, height), slice(left, right), values.reshape(right - left, height).T


def decode_string(text: object) -> np.ndarray:
    """Decodes a compressed string of COCO to the lengths of its runs.

    Five bits a character, least significant first; from the fourth run on the difference to the
    run before the last.

    Raises:
        ValueError: The text is no such string.

    Example:
        >>> decode_string("52203").tolist()
        [5, 2, 2, 2, 5]
    """
    if not isinstance(text, str) or not text.isascii() or len(text) > _MAX_CHARACTERS * MAX_RUNS:
        raise ValueError("its counts are no list and no string of COCO")
    codes = np.frombuffer(text.encode(), np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(~codes & 32)
    if len(codes) and (codes.min() < 0 or codes.max() > 63 or not len(ends)):
        raise ValueError("its counts are no list and no string of COCO")
    if len(codes) and ends[-1] != len(codes) - 1:
        raise ValueError("its string of counts ends too early")
    starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64)[: len(ends)]
    lengths = ends - starts + 1
    if lengths.max(initial=0) > _MAX_CHARACTERS:
        raise ValueError("its string of counts has a number out of range")
    if not len(codes):
        return np.zeros(0, np.int64)
    shift = 5 * (np.arange(len(codes)) - np.repeat(starts, lengths))
    numbers = np.add.reduceat((codes & 31) << shift, starts)
    numbers -= np.where(codes[ends] & 16, 1 << (5 * lengths), 0)
    for first in (1, 2):  # runs of one kind are differences along each other
        numbers[first::2] = np.cumsum(numbers[first::2])
    return numbers


def encode_string(counts: Sequence[int]) -> str:
    """Encodes the lengths of runs as the compressed string of COCO; see `decode_string`.

    Example:
        >>> encode_string([5, 2, 2, 2, 5])
        '52203'
    """
    codes = []
    for index, count in enumerate(counts):
        number = int(count) - (int(counts[index - 2]) if index > 2 else 0)
        while True:
            bits, number = number & 31, number >> 5
            more = number != (-1 if bits & 16 else 0)
            codes.append(48 + bits + 32 * more)
            if not more:
                break
    return bytes(codes).decode("ascii")


def object_runs(mask: np.ndarray, *, by_column: bool) -> Iterator[tuple[int, np.ndarray]]:
    """Yields every object of a mask with the lengths of its runs.

    Args:
        mask: uint8 [H, W] of object ids.
        by_column: Whether the runs go down the columns, as in COCO, or along the rows.

    Yields:
        Id and int64 [N]: background and object in turn, background first.
    """
    flat = mask.ravel("F" if by_column else "C")
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    ends, ids = np.append(starts[1:], flat.size), flat[starts]
    for object_id in np.unique(ids[ids > 0]):
        own = ids == object_id
        edges = np.stack([starts[own], ends[own]], axis=1).ravel()
        counts = np.diff(edges, prepend=0)
        rest = flat.size - edges[-1]
        yield int(object_id), np.append(counts, rest) if rest else counts


class BrushDecoder:
    """Decodes the brushes of a frame of Label Studio, all of them together within a limit.

    A brush is an RGBA image in packets of bits, and its opacity is the mask. A header has the
    number of bytes (32 bits), the bits of a value (5) and four widths of run lengths (4 each), less
    one. A packet has a bit that says if one value is repeated, the index of a width (2 bits), a
    length less one, and its values.

    Args:
        max_packets: Most packets of all brushes.
    """

    def __init__(self, max_packets: int = MAX_PACKETS):
        self._max_packets = self._left = max_packets

    def decode(self, data: object, size: tuple[int, int]) -> Area:
        """Decodes a brush.

        Args:
            data: List of bytes, 0..255.
            size: Height and width of the image.

        Raises:
            ValueError: The data is not of that form or not of that size, or the packets of the
                brushes are too many.
        """
        if not isinstance(data, list):
            raise ValueError("its rle is no list of bytes")
        packed = bytes(data) + bytes(8)
        end = 8 * len(data)
        head = int.from_bytes(packed[:7], "big") >> 3
        total, bits = head >> 21, (head >> 16 & 31) + 1
        widths = [(head >> shift & 15) + 1 for shift in (12, 8, 4, 0)]
        if total != 4 * size[0] * size[1] or bits != 8:
            met = f"{total} values of {bits} bits"
            raise ValueError(f"its rle has {met} for {size[1]}x{size[0]} RGBA")
        values, filled, place = bytearray(total), 0, _BRUSH_HEAD
        while filled < total:
            self._left -= 1
            if self._left < 0:
                raise ValueError(f"more than {self._max_packets} packets with those before it")
            window = int.from_bytes(packed[place >> 3 : (place >> 3) + 8], "big")
            window = window << (place & 7) & _WORD
            width = widths[window >> 61 & 3]
            length = (window >> (61 - width) & ((1 << width) - 1)) + 1
            place += 3 + width
            count = 1 if window >> 63 else length
            if place + 8 * count > end or filled + length > total:
                raise ValueError("its rle has too few bytes or too many values")
            part = packed[place >> 3 : (place + 8 * count + 7) >> 3]
            place += 8 * count
            number = (int.from_bytes(part, "big") >> (-place & 7)) & ((1 << 8 * count) - 1)
            literal = number.to_bytes(count, "big")
            values[filled : filled + length] = literal * (length // count)
            filled += length
        opacity = np.frombuffer(values, np.uint8).reshape(*size, 4)[..., 3]
        # Programs that make brushes from masks of 0 and 1 leave these values.
        half = 127 if opacity.max(initial=0) > 1 else 0
        return slice(0, size[0]), slice(0, size[1]), opacity > half


def encode_brush(counts: np.ndarray) -> list[int]:
    """Encodes the runs of an object, along the rows, as a brush of Label Studio.

    Args:
        counts: Lengths of the runs in pixels, background first.

    Returns:
        Bytes, see `BrushDecoder`: white with full opacity inside, transparent black outside.
    """
    bits = [f"{4 * int(counts.sum()):032b}{7:05b}", *(f"{width - 1:04b}" for width in _LENGTH_BITS)]
    for index, count in enumerate(counts.tolist()):
        left = 4 * count
        while left:
            length = min(left, 1 << _LENGTH_BITS[-1])
            width = next(w for w in _LENGTH_BITS if length <= 1 << w)
            code = _LENGTH_BITS.index(width)
            bits.append(f"1{code:02b}{length - 1:0{width}b}{255 * (index & 1):08b}")
            left -= length
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))
