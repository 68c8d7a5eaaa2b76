"""What is adapted when, and what the network is told, as objects that a segmenter asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from deeplab_gygo.inference.config import GuideUse, OnlineConfig


class OnlinePolicy(Protocol):
    """Decides how a segmenter uses the annotated first frame.

    Attributes:
        adapts: Whether the network is fine-tuned on the first frame.
        guide: What guides the decoder.
        recall: Whether the decoder is told what the memory says.
        sees_mask: Whether the annotated mask is used at all.
    """

    adapts: bool
    guide: GuideUse
    recall: bool
    sees_mask: bool

    def adapts_now(self, age: int, confidence: float) -> bool:
        """Says whether to adapt to a later frame as well.

        Args:
            age: Frames since the annotated one.
            confidence: Of the frame's prediction, 0..1.
        """
        ...


@dataclass(frozen=True)
class ZeroShot:
    """The parent alone: it never looks at the mask.

    It reads a memory where an object has one, of frames that it has segmented itself.
    """

    adapts: bool = False
    guide: GuideUse = "none"
    recall: bool = True
    sees_mask: bool = False

    def adapts_now(self, age: int, confidence: float) -> bool:
        """Never."""
        return False


@dataclass(frozen=True)
class OneShot:
    """The parent, told what the first mask shows and its own previous one."""

    adapts: bool = False
    guide: GuideUse = "target"
    recall: bool = True
    sees_mask: bool = True

    def adapts_now(self, age: int, confidence: float) -> bool:
        """Never."""
        return False


@dataclass(frozen=True)
class FirstFrame:
    """The parent, fine-tuned on the first frame (Caelles et al., OSVOS, CVPR 2017)."""

    guide: GuideUse
    recall: bool
    adapts: bool = True
    sees_mask: bool = True

    def adapts_now(self, age: int, confidence: float) -> bool:
        """Never after the first frame."""
        return False


@dataclass(frozen=True)
class OnlineAdaptation(FirstFrame):
    """Fine-tuned on the first frame, and every few frames on what was predicted with confidence.

    After Voigtlaender & Leibe, "Online adaptation of convolutional neural networks for video
    object segmentation" (OnAVOS), BMVC 2017.

    Attributes:
        every: Frames between adaptations.
        trust: Confidence below which a frame is not learned from.
    """

    every: int = 5
    trust: float = 0.8

    def adapts_now(self, age: int, confidence: float) -> bool:
        """Every few frames, unless the prediction is doubtful."""
        return age % self.every == 0 and confidence >= self.trust


def policy_for(config: OnlineConfig) -> OnlinePolicy:
    """Returns the policy that a configuration names."""
    if config.mode == "zero-shot":
        return ZeroShot()
    if config.mode == "one-shot":
        return OneShot(guide=config.shot_guide)
    if config.online_steps:
        return OnlineAdaptation(
            config.guide, config.recall, every=config.online_every, trust=config.trust
        )
    return FirstFrame(config.guide, config.recall)
