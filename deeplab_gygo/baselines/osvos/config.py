"""OSVOS: architecture, online options and offline training.

Defaults are those of the paper and the published code, cited at each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from deeplab_gygo.baselines.shared.config import (
    LIGHT,
    MAX_FACTOR,
    MAX_SIDE_CHANNELS,
    ORIGINAL,
    BaselineTrainConfig,
    FineTuningConfig,
    PiecewiseConstant,
    Trunk,
)
from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.config_file import check_choices, check_range


@dataclass
class OsvosModel:
    """Architecture of OSVOS (Caelles et al., CVPR 2017; code: OSVOS-TensorFlow, osvos.py:57-140).

    Attributes:
        trunk: Encoder.
        side_channels: Width of the 3x3 convolution of every side.
    """

    trunk: Trunk = "vgg16"
    side_channels: int = 16

    def __post_init__(self) -> None:
        check_choices(self)
        check_range(self, "side_channels", 1, MAX_SIDE_CHANNELS)

    @property
    def trunk_name(self) -> str:
        """Name of the encoder."""
        return self.trunk


@dataclass(frozen=True)
class OsvosOnline(FineTuningConfig):
    """Online options of OSVOS (osvos_demo.py and osvos.py of OSVOS-TensorFlow).

    The other options are those of `FineTuningConfig`. The loss is on the fused output only; the
    authors advise 2000 steps for better results.

    Attributes:
        mode: `zero-shot` runs the parent alone, `fine-tune` trains it on the annotated frame. Every
            frame is segmented independently in both.
        learning_rate: Learning rate; the original's is small because the loss is a sum over pixels.
        optimizer: `sgd` with momentum as in the original, or `adam`.
        momentum: Momentum of `sgd`.
        bias_multiplier: Factor of the learning rate of biases (osvos.py:85-103).
        fuse_multiplier: Factor of the learning rate of the fusion.
    """

    mode: Literal["zero-shot", "fine-tune"] = "fine-tune"
    steps: int = 500
    learning_rate: float = 1e-8
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: float = 0.9
    threshold: float = 162 / 255
    bias_multiplier: float = 2.0
    fuse_multiplier: float = 0.01

    # `light`: chosen on held-out sequences (experiments/results/osvos_choices.json).
    # Class-balanced weights enlarge the mask with every further step.
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        ORIGINAL: {},
        LIGHT: {
            "steps": 200,
            "learning_rate": 5e-4,
            "optimizer": "adam",
            "loss": "cross-entropy",
            "dice_weight": 1.0,
            "weight_decay": 0.0,
            "threshold": 0.5,
            "frozen_stages": 2,
            "bias_multiplier": 1.0,
            "fuse_multiplier": 1.0,
            "num_views": 12,
        },
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "momentum", 0, 1)
        check_range(self, "bias_multiplier", 0, MAX_FACTOR)
        check_range(self, "fuse_multiplier", 0, MAX_FACTOR)


@dataclass
class OsvosTraining(BaselineTrainConfig):
    """Offline training of the OSVOS parent; the other keys are those of `BaselineTrainConfig`.

    The defaults are those of Caelles et al. (`osvos_parent_demo.py:28-38`, `osvos.py:85-103`): SGD
    with momentum, gradients accumulated over ten images, three stages of side supervision.

    Attributes:
        method: Name of the method in a file.
        model: Architecture.
        learning_rate: Peak learning rate; small because the loss is a sum over pixels.
        steps: Number of steps: ten for each of the original's 50,000 updates.
        learning_rate_schedule: Factors of the learning rate; 1e-8 and 1e-9 alternate at 10k, 15k,
            25k, 30k and 40k of 50k updates.
        side_loss_schedule: Weight of the loss of each side relative to that of the fused output: 1
            until 15k, .5 until 30k, then 0.
        bias_multiplier: Factor of the learning rate of biases, on top of the next two.
        side_multiplier: Factor of the learning rate of the side scores.
        fuse_multiplier: Factor of the learning rate of the fusion.
    """

    method: Literal["osvos"] = "osvos"
    model: OsvosModel = field(default_factory=OsvosModel)
    accumulate_steps: int = 10
    steps: int = 500000
    optimizer: Literal["adam", "sgd"] = "sgd"
    learning_rate: float = 1e-8
    learning_rate_schedule: PiecewiseConstant = field(
        default_factory=lambda: PiecewiseConstant(
            (0.2, 0.3, 0.5, 0.6, 0.8), (1.0, 0.1, 1.0, 0.1, 1.0, 0.1)
        )
    )
    side_loss_schedule: PiecewiseConstant = field(
        default_factory=lambda: PiecewiseConstant((0.3, 0.6), (1.0, 0.5, 0.0))
    )
    bias_multiplier: float = 2.0
    side_multiplier: float = 0.1
    fuse_multiplier: float = 0.01
    threshold: float = 162 / 255
    validate_every: int = 25000

    RENAMED_KEYS: ClassVar[dict[str, str]] = {
        **BaselineTrainConfig.RENAMED_KEYS,
        "side_stairs": "side_loss_schedule",
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.side_loss_schedule.values:
            raise UsageError("side_loss_schedule has one value or more", met="none")
        for name in ("bias_multiplier", "side_multiplier", "fuse_multiplier"):
            check_range(self, name, 0, MAX_FACTOR)
