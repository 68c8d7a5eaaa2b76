"""Published scores that tables show beside measured ones, with their sources (`quoted.yaml`)."""

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
    """A publication.

    Attributes:
        text: Authors, title, place.
        url: Address.
    """

    text: str
    url: str = ""


@dataclass
class QuotedSet:
    """A set of sequences with published scores.

    Attributes:
        label: Name in tables.
        sequences: Number of sequences.
    """

    label: str
    sequences: int


@dataclass
class QuotedValue:
    """Published scores of one method in one mode on one set.

    Attributes:
        method: Name of the method.
        set: Key of the set.
        source: Key of the source.
        mode: `zero-shot`, `one-shot` or `fine-tune`; empty if the source names none.
        J: Mean region similarity in [0, 1]; likewise `J_recall`, `J_decay`.
        F: Mean contour accuracy in [0, 1]; likewise `F_recall`, `F_decay`.
        JF: Mean of J and F in [0, 1], where the source gives no other score.
        fps: Frames per second, adaptation included.
        approximate: Whether the source calls `fps` approximate.
        decimals: Number of published decimals of J.
        hardware: Hardware of the measurement.
        trained_on: Material of the offline training, the classification images of a pretrained
            backbone left out; empty if unknown.
        note: Remark for readers.
        sequences: J by sequence, if published.
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
    JF: float | None = None
    fps: float | None = None
    approximate: bool = False
    decimals: int = 3
    hardware: str = ""
    trained_on: str = ""
    note: str = ""
    sequences: dict[str, float] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Method and mode."""
        return f"{self.method} {self.mode}".strip()


@dataclass
class Quotations:
    """Published scores with their sets and sources.

    Attributes:
        sources: Sources by key.
        sets: Sets by key.
        values: Scores in the order of tables.
    """

    sources: dict[str, QuotedSource] = field(default_factory=dict)
    sets: dict[str, QuotedSet] = field(default_factory=dict)
    values: list[QuotedValue] = field(default_factory=list)

    def only(self, sets: Sequence[str]) -> Quotations:
        """Returns the scores on some sets, in the order of these sets, and their sources."""
        values = [value for name in sets for value in self.values if value.set == name]
        used = {value.source for value in values}
        sources = {name: source for name, source in self.sources.items() if name in used}
        return Quotations(sources, {name: self.sets[name] for name in sets}, values)


@cache
def read_quotations() -> Quotations:
    """Reads the published scores of the package; the result is shared and must not be changed.

    Raises:
        InputError: A value names a set or a source that the file lacks.
    """
    path = Path(str(resources.files("deeplab_gygo") / "evaluation" / "quoted.yaml"))
    quotations = load_yaml(Quotations, path)
    for value in quotations.values:
        if value.set not in quotations.sets or value.source not in quotations.sources:
            raise InputError(
                "A quoted value names a set and a source of the file",
                met=f"{value.set}, {value.source}",
                where=path,
            )
    return quotations
