"""Training sources and augmentation: dataclasses that are the YAML schema too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.config_file import check_choices, check_range

MAX_GAP = 1000
"""Frames; more than any use."""


@dataclass
class AugmentConfig:
    """Random geometric and photometric augmentation of a training image.

    Attributes:
        scale: Range of the zoom, log-uniform; 1 fits the short side of the image to the crop.
        rotate: Maximum rotation, degrees.
        flip: Probability of a horizontal flip.
        brightness: Maximum relative change of brightness.
        contrast: Maximum relative change of contrast.
        saturation: Maximum relative change of saturation.
        hue: Maximum shift of hue, as a fraction of the full circle.
        gray: Probability of a grayscale image.
        blur: Probability of Gaussian or motion blur.
        noise: Probability of sensor noise.
        jpeg: Probability of a strong JPEG compression.
        object_in_crop: Probability that the crop is placed around the object.

    Raises:
        UsageError: A value is out of range.
    """

    scale: tuple[float, float] = (0.8, 1.8)
    rotate: float = 12.0
    flip: float = 0.5
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.3
    hue: float = 0.04
    gray: float = 0.05
    blur: float = 0.15
    noise: float = 0.15
    jpeg: float = 0.1
    object_in_crop: float = 0.9

    def __post_init__(self) -> None:
        check_range(self, "scale", 0.05, 20.0)
        if len(self.scale) != 2 or self.scale[0] > self.scale[1]:
            raise UsageError(
                "scale is a range, the smaller zoom first",
                met=list(self.scale),
                where=f"{type(self).__name__}.scale",
            )
        check_range(self, "rotate", 0.0, 180.0)
        for name in ("flip", "brightness", "contrast", "saturation", "hue", "gray", "blur",
                     "noise", "jpeg", "object_in_crop"):  # fmt: skip
            check_range(self, name, 0.0, 1.0)


@dataclass
class SourceConfig:
    """One training source and its weight in the training mix.

    Attributes:
        kind: `gygo`, `davis2016`, `davis2017` (video), `stills` (folder with images/ and masks/)
            or `compose` (synthetic clips of cut-outs over backgrounds).
        root: Folder of the source, or its URL, as the following; a relative one starts at the
            trainer's `data_root`.
        weight: Weight of the source in the mix, relative to the other sources.
        split: Split of a video dataset.
        exclude: Names of sequences that are held out.
        backgrounds: `compose` only: folders of background images.
        stills: `compose` only: folders of stills, used as objects and as backgrounds with a
            distractor.
        ambiguous_fraction: `compose` only: fraction of clips with several similar objects, in
            which only guide or memory identify the target.
        max_gap: Video only: maximum distance to the frame whose mask is the previous one, frames.
        resolution: `gygo` and DAVIS only: `480p` or the folder name of the original resolution.

    Raises:
        UsageError: A value is out of range.
    """

    kind: Literal["gygo", "davis2016", "davis2017", "stills", "compose"]
    root: str = ""
    weight: float = 1.0
    split: str = "train"
    exclude: list[str] = field(default_factory=list)
    backgrounds: list[str] = field(default_factory=list)
    stills: list[str] = field(default_factory=list)
    ambiguous_fraction: float = 0.5
    max_gap: int = 3
    resolution: str = "480p"

    RENAMED_KEYS: ClassVar[dict[str, str]] = {"guided": "ambiguous_fraction"}

    def __post_init__(self) -> None:
        check_choices(self)
        check_range(self, "weight", 0.0, 1e6)
        check_range(self, "ambiguous_fraction", 0.0, 1.0)
        check_range(self, "max_gap", 1, MAX_GAP)
