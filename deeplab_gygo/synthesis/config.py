"""Training material and its augmentation, as dataclasses that are the YAML schema too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class AugmentConfig:
    """Random changes of a training picture.

    Attributes:
        scale: Range of the zoom, log-uniform; 1 fits the short side of the picture to the crop.
        rotate: Largest rotation, degrees.
        flip: Probability of a horizontal flip.
        brightness: Largest relative change of brightness; likewise `contrast`, `saturation`.
        hue: Largest shift of hue, as a part of the full circle.
        gray: Probability of a picture without colour.
        blur: Probability of Gaussian or motion blur.
        noise: Probability of sensor noise.
        jpeg: Probability of a strong JPEG compression.
        object_in_crop: Probability that the crop is drawn around the object.
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


@dataclass
class SourceConfig:
    """One part of the material that a parent is trained on.

    Attributes:
        kind: `gygo`, `davis2016`, `davis2017` (video), `stills` (folder with images/ and masks/)
            or `compose` (cut-outs on backgrounds).
        root: Folder of the material; a relative one starts at the trainer's `data_root`.
        weight: Share of the samples, relative to the other sources.
        split: Split of a video dataset.
        exclude: Names of sequences held back.
        backgrounds: `compose` only: folders of pictures to compose onto.
        stills: `compose` only: folders of stills whose objects are cut out and whose pictures
            serve as backgrounds with a distractor.
        guided: `compose` only: share of pictures in which only the guide names the object.
        resolution: `gygo` and DAVIS only: `480p` or the original's folder name.
    """

    kind: Literal["gygo", "davis2016", "davis2017", "stills", "compose"]
    root: str = ""
    weight: float = 1.0
    split: str = "train"
    exclude: list[str] = field(default_factory=list)
    backgrounds: list[str] = field(default_factory=list)
    stills: list[str] = field(default_factory=list)
    guided: float = 0.5
    resolution: str = "480p"
