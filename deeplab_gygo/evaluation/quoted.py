"""Published values that stand beside measured ones, with their sources: `quoted.yaml`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.config_file import load_yaml


@dataclass
class QuotedSource:
    """Where values were published.

    Attributes:
        text: Authors, title, place.
        url: Address.
    """

    text: str
    url: str = ""


@dataclass
class QuotedSet:
    """A set of sequences that values are of.

    Attributes:
        label: Its name in tables.
        sequences: Number of sequences.
    """

    label: str
    sequences: int


@dataclass
class QuotedValue:
    """The published values of one method in one mode on one set.

    Attributes:
        method: Name of the method.
        set: Name of the set.
        source: Name of the source.
        mode: `zero-shot`, `one-shot` or `fine-tune`; empty where the source has no such word.
        J: Mean of region similarity, 0..1; likewise `J_recall`, `J_decay`.
        F: Mean of contour accuracy, 0..1; likewise `F_recall`, `F_decay`.
        fps: Frames a second, adaptation included.
        approximate: Whether the source calls `fps` approximate.
        decimals: Digits behind the point that the source gives of J.
        hardware: What it was measured on.
        note: What a reader must know.
        sequences: J by sequence, where it is published.
    """

    method: str
    set: str
    source: str
    mode: str = ""
    J: float | None = None
    J_recall: float | None = None
    J_decay: float | None = None
    F: float | None = None
    F_recall: float | None = None
    F_decay: float | None = None
    fps: float | None = None
    approximate: bool = False
    decimals: int = 3
    hardware: str = ""
    note: str = ""
    sequences: dict[str, float] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Method and mode in one."""
        return f"{self.method} {self.mode}".strip()


@dataclass
class Quotations:
    """Published values and what they refer to.

    Attributes:
        sources: By name.
        sets: By name.
        values: In the order of tables.
    """

    sources: dict[str, QuotedSource] = field(default_factory=dict)
    sets: dict[str, QuotedSet] = field(default_factory=dict)
    values: list[QuotedValue] = field(default_factory=list)

    def only(self, sets: Sequence[str]) -> Quotations:
        """Takes the values of some sets, in the order of these sets, and their sources."""
        values = [value for name in sets for value in self.values if value.set == name]
        used = {value.source for value in values}
        sources = {name: source for name, source in self.sources.items() if name in used}
        return Quotations(sources, {name: self.sets[name] for name in sets}, values)


@cache
def read_quotations() -> Quotations:
    """Reads the published values that the package carries.

    Returns:
        The values; not to be changed.

    Raises:
        InputError: The file names a set or a source that it does not describe.
    """
    path = Path(str(resources.files("deeplab_gygo") / "evaluation" / "quoted.yaml"))
    quotations = load_yaml(Quotations, path)
    for value in quotations.values:
        if value.set not in quotations.sets or value.source not in quotations.sources:
            raise InputError(
                "A quoted value names a set and a source that the file describes",
                met=f"{value.set}, {value.source}",
                where=path,
            )
    return quotations
