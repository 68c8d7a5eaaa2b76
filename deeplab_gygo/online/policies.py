"""What is adapted when, as objects that a segmenter asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from deeplab_gygo.config import GuideUse, OnlineConfig


class OnlinePolicy(Protocol):
    """Decides how a segmenter uses the annotated first frame.

    Attributes:
        adapts: Whether the network is fine-tuned on the first frame.
        guide: How the previous mask guides the decoder.
        sees_mask: Whether the annotated mask is used at all.
    """

    adapts: bool
    guide: GuideUse
    sees_mask: bool


@dataclass(frozen=True)
class ZeroShot:
    """The parent alone: it never looks at the mask."""

    adapts: bool = False
    guide: GuideUse = "none"
    sees_mask: bool = False


@dataclass(frozen=True)
class OneShot:
    """The parent, guided by the first mask and then by its own previous one."""

    adapts: bool = False
    guide: GuideUse = "previous"
    sees_mask: bool = True


@dataclass(frozen=True)
class FirstFrame:
    """The parent, fine-tuned on the first frame (Caelles et al., OSVOS, CVPR 2017)."""

    guide: GuideUse
    adapts: bool = True
    sees_mask: bool = True


def policy_for(config: OnlineConfig) -> OnlinePolicy:
    """Returns the policy that a configuration names."""
    if config.mode == "zero-shot":
        return ZeroShot()
    if config.mode == "one-shot":
        return OneShot()
    return FirstFrame(guide=config.guide)
