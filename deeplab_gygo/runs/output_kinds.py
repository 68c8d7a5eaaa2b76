"""The kinds of results that a run writes, and their options; imports neither video nor network."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deeplab_gygo.errors import DependencyError, InputError, UsageError
from deeplab_gygo.io.names import expanded
from deeplab_gygo.io.plain_values import shown

PICTURES = ("masks", "cutout", "webp", "soft", "crop", "spin")
"""Kinds that are pictures: of object ids, two of cut-outs, of probabilities, two of squares."""

VIDEOS = ("overlay", "webm", "prores", "background", "matte", "gif", "webp-animation")
"""Kinds that are videos and animations; transparent are all but overlay, background and matte."""

ANNOTATIONS = (
    "coco",
    "cvat",
    "yolo",
    "labelme",
    "label-studio",
    "davis",
    "youtube-vos",
    "npz",
)
"""Kinds that are formats of annotation tools and datasets, of `io.annotations`."""

OUTPUTS = (*PICTURES, *VIDEOS, *ANNOTATIONS, "report")
"""All kinds of results, the names for `--outputs`."""

DEFAULT_OUTPUTS = ("masks", "overlay")

COLORS = {"green": (0, 255, 0), "white": (255, 255, 255), "black": (0, 0, 0)}
"""Backgrounds by name, sRGB."""

MAX_SPIN = 1000


@dataclass(frozen=True)
class OutputOptions:
    """Options of the kinds of results.

    Attributes:
        background: What is behind the object in `background`: a name of `COLORS`, #RRGGBB, or a
            picture, which is scaled to cover the frames.
        foreground: Whether the colors of the object's edges are estimated, so that nothing of the
            old background remains in them; needs the extra `matte`.
        smooth: Whether the alpha of cut-outs is averaged with that of the frames before and after,
            along the optical flow.
        spin: Number of pictures of `spin`.

    Raises:
        UsageError: A value is out of range, or there is no such picture.
        DependencyError: The package that estimates colors is missing.

    Example:
        >>> OutputOptions(background="#ff8000").color
        (255, 128, 0)
    """

    background: str = "green"
    foreground: bool = False
    smooth: bool = False
    spin: int = 36

    def __post_init__(self):
        if self.color is None and not expanded(self.background).is_file():
            raise UsageError(
                f"A background is {', '.join(COLORS)}, #RRGGBB, or a picture",
                met=f"no such file, {shown(self.background)}",
                where="--background",
                remedy="Give --background white, or the path of a picture",
            )
        if not (isinstance(self.spin, int) and 1 <= self.spin <= MAX_SPIN):
            rule = f"A spin has 1 to {MAX_SPIN} pictures"
            raise UsageError(
                rule, met=shown(self.spin), where="--spin", remedy="Give --spin 36, or leave it out"
            )
        if self.foreground and find_spec("pymatting") is None:
            raise DependencyError("pymatting", "matte", "--foreground")

    @property
    def color(self) -> tuple[int, int, int] | None:
        """The background as sRGB 0..255; None for a picture."""
        if self.background in COLORS:
            return COLORS[self.background]
        if re.fullmatch("#[0-9a-fA-F]{6}", self.background):
            red, green, blue = bytes.fromhex(self.background[1:])
            return red, green, blue
        return None

    @property
    def picture(self) -> Path | None:
        """The picture of the background; None for a color."""
        return expanded(self.background) if self.color is None else None

    def identity(self, outputs: tuple[str, ...]) -> dict[str, Any]:
        """Returns the options that some kinds follow from, as plain values.

        Args:
            outputs: The kinds.

        Raises:
            InputError: The picture cannot be read.
        """
        values: dict[str, Any] = {}
        cutouts = set(outputs) - {"masks", "overlay", "soft", "report", *ANNOTATIONS}
        if self.smooth and cutouts:
            values["smooth"] = True
        if self.foreground and cutouts - {"matte"}:
            values["foreground"] = True
        if "spin" in outputs:
            values["spin"] = self.spin
        if "background" in outputs:
            values["background"] = self.color and list(self.color)
            if self.picture is not None:
                try:
                    content = self.picture.read_bytes()
                except OSError as error:
                    raise InputError(
                        "The picture of the background must be readable",
                        met=error.strerror,
                        where=self.picture,
                    ) from error
                values["background"] = hashlib.sha256(content).hexdigest()
        return values


DEFAULT_OPTIONS = OutputOptions()
