"""Natural order of file names: numbers by value, decimals and signs as all the names have them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence, Set
from decimal import Decimal
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path

from deeplab_gygo.errors import InputError

_NUMBER = re.compile(r"((?<![0-9])[+-])?([0-9]+)")
_DECIMAL_NUMBER = re.compile(r"((?<![0-9])[+-])?([0-9]+(?:\.[0-9]+)?)")
_DECIMAL = re.compile(r"(?<![0-9.])[0-9]+\.[0-9]+(?![0-9.])")
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]")

Key = list[tuple[int, Decimal, str]]


def natural_sorted(files: Iterable[Path]) -> list[Path]:
    """Sorts files by their stems, in natural order: frame2 before frame10, in any case.

    What dots and signs mean is decided from all the names. 0.5, 1 and 1.25 are decimals, 1.9 and
    1.10 are counted as versions; -1 is below 0, but the dash of shot-1 and shot-2 separates.

    Raises:
        InputError: The names have two meanings of different order.

    Example:
        >>> [str(path) for path in natural_sorted(map(Path, ["b10.png", "B9.png", "b1.png"]))]
        ['b1.png', 'B9.png', 'b10.png']
        >>> [path.stem for path in natural_sorted(map(Path, ["t1.png", "t0.5.png", "t-1.png"]))]
        ['t-1', 't0.5', 't1']
    """
    files = list(files)
    key = order_key(files)
    return sorted(files, key=lambda path: (key(path.stem), path.name))


def order_key(files: Sequence[Path]) -> Callable[[str], Key]:
    """Decides the meaning of dots and signs in the stems of files.

    Args:
        files: All files that are sorted.

    Returns:
        A function from a stem to its sort key: a tuple for every number and every text between.

    Raises:
        InputError: As in `natural_sorted`.
    """
    stems = [path.stem for path in files]
    meanings = [
        partial(_key, number=number, signed=signed)
        for number in _meanings_of_dots(stems)
        for signed in _meanings_of_signs(stems)
    ]
    orders = [sorted(stems, key=lambda stem: (each(stem), stem)) for each in meanings]  # noqa: B023
    for order in orders[1:]:
        for one, other in zip(orders[0], order, strict=True):
            if one != other:
                raise InputError(
                    "The names of frames must have one order",
                    met=f"{one} or {other} first, as dots and dashes may separate numbers or "
                    "belong to them",
                    where=files[0].parent,
                    remedy="Rename the frames: frame_0001, frame_0002 and so on",
                )
    return meanings[0]


def natural_key(stem: str) -> Key:
    """Returns the sort key of a single name, whose dots and dashes separate."""
    return _key(stem, _NUMBER, frozenset())


def _key(stem: str, number: re.Pattern[str], signed: Set[str]) -> Key:
    """Returns the key of a stem; `signed` has the texts that a sign, not a dash, follows."""
    key: Key = []
    position = 0
    for found in number.finditer(stem):
        sign, digits = found.groups()
        is_sign = sign is not None and _skeleton(stem[: found.start()]) in signed
        text = stem[position : found.start() if is_sign else found.start(2)]
        key += [(1, Decimal(0), text.casefold())] if text else []
        key.append((0, Decimal(f"{sign if is_sign else ''}{digits}"), ""))
        position = found.end()
    return key + ([(1, Decimal(0), stem[position:].casefold())] if stem[position:] else [])


def _skeleton(text: str) -> str:
    return re.sub(r"[0-9]+", "0", text).casefold()


def _meanings_of_signs(stems: list[str]) -> list[Set[str]]:
    """Returns the possible sets of texts that a sign follows; elsewhere a dash separates.

    It is a sign where other names have the number without it, as in a-1, a0 and a1.
    """
    places: dict[str, set[str]] = defaultdict(set)
    for stem in stems:
        for found in _NUMBER.finditer(stem):
            if found[1]:
                places[_skeleton(stem[: found.start()])].add(found[1])
    skeletons = {_skeleton(stem) for stem in stems} if places else set()
    signed = {
        place
        for place, signs in places.items()
        if "+" in signs or any(text.startswith(f"{place}0") for text in skeletons)
    }
    # After a letter or a digit a dash separates; a_-1 and a_-2 are ambiguous.
    doubtful = {place for place in places if not place[-1:].isalnum()} - signed
    return [signed, signed | doubtful] if doubtful else [signed]


def _meanings_of_dots(stems: list[str]) -> list[re.Pattern[str]]:
    """Returns the possible patterns of a fraction: 1.10 is a decimal, or counts on from 1.9."""
    found = [match.group().split(".") for stem in stems for match in _DECIMAL.finditer(stem)]
    if not found or any(_VERSION.search(stem) for stem in stems):
        return [_NUMBER]
    fractions = [fraction for _, fraction in found]
    if len({len(fraction) for fraction in fractions}) == 1:
        return [_DECIMAL_NUMBER]  # both orders are the same
    is_decimal = any(len(fraction) > 1 and fraction[0] == "0" for fraction in fractions)
    is_version = any(len(fraction) > 1 and fraction[-1] == "0" for fraction in fractions)
    if is_decimal != is_version:
        return [_DECIMAL_NUMBER if is_decimal else _NUMBER]
    if is_decimal or (_counts_on(found) and not _has_equal_steps(found)):
        return [_DECIMAL_NUMBER, _NUMBER]
    return [_DECIMAL_NUMBER]


def _counts_on(numbers: list[list[str]]) -> bool:
    """Checks whether the second parts of numbers may count: half of those between are there."""
    pairs = sorted({(int(whole), int(part)) for whole, part in numbers})
    groups = [[part for _, part in group] for _, group in groupby(pairs, lambda pair: pair[0])]
    return all(group[-1] - group[0] < 2 * len(group) for group in groups)


def _has_equal_steps(numbers: list[list[str]]) -> bool:
    values = sorted({Decimal(".".join(number)) for number in numbers})
    return len({after - before for before, after in pairwise(values)}) == 1
