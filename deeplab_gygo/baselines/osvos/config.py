"""OSVOS: architecture, online options and offline training.

Defaults are those of the paper and the published code, whose places stand beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from deeplab_gygo.baselines.shared.config import (
    LIGHT,
    ORIGINAL,
    BaselineTrainConfig,
    Loss,
    Stairs,
    Trunk,
    default_side,
)


@dataclass
class OsvosModel:
    """Architecture of OSVOS (Caelles et al., CVPR 2017; code: OSVOS-TensorFlow, osvos.py:57-140).

    Attributes:
        trunk: Encoder.
        side_channels: Width of the 3x3 convolution of every side.
    """

    trunk: Trunk = "vgg16"
    side_channels: int = 16

    @property
    def trunk_name(self) -> str:
        """Name of the encoder."""
        return self.trunk


@dataclass
class OsvosOnline:
    """How OSVOS segments a sequence (osvos_demo.py and osvos.py of OSVOS-TensorFlow).

    Attributes:
        mode: `zero-shot` runs the parent alone, `fine-tune` trains it on the annotated frame. No
            mask is carried from frame to frame in either.
        steps: Steps of fine-tuning, one picture each; the authors advise 2000 for better results.
        seconds: As in `OsmnOnline`.
        rate: Learning rate; it is this small because the loss is a sum over all pixels.
        momentum: Of `sgd`.
        weight_decay: Factor w of w/2 times the sum of the squared trained kernels, added to the
            loss.
        optimizer: `sgd` with momentum as in the original, or `adam`.
        loss: As in `OsmnOnline`. Fine-tuning has it on the fused output only.
        dice: Weight of the soft Dice loss beside it; none in the original.
        threshold: Probability above which a pixel is object.
        size: As in `OsmnOnline`.
        frozen_stages: As in `OsmnOnline`.
        bias_multiplier: Factor of the rate of biases (osvos.py:85-103), on top of the next one.
        fuse_multiplier: Factor of the rate of the fusion. The sides' own scores, which have a
            factor in the training of a parent, learn nothing here.
        scales: As in `OsmnOnline`; likewise `views`, `lucid` and `view_scale`.
        flip: Probability of a mirrored picture.
        anchor: As in `OsmnOnline`; likewise `final_rate`.
    """

    mode: Literal["zero-shot", "fine-tune"] = "fine-tune"
    steps: int = 500
    seconds: float = 0.0
    rate: float = 1e-8
    momentum: float = 0.9
    weight_decay: float = 2e-4
    optimizer: Literal["sgd", "adam"] = "sgd"
    loss: Loss = "balanced-sum"
    dice: float = 0.0
    threshold: float = 162 / 255
    size: int = 0
    frozen_stages: int = 0
    bias_multiplier: float = 2.0
    fuse_multiplier: float = 0.01
    scales: tuple[float, ...] = (0.5, 0.8, 1.0)
    views: int = 0
    lucid: float = 0.5
    view_scale: tuple[float, float] = (0.8, 1.3)
    flip: float = 0.5
    anchor: float = 0.0
    final_rate: float = 1.0

    # `light`: chosen on held-back sequences (experiments/results/osvos_choices.json).
    # Class-balanced weights enlarge the object the more, the longer it is fine-tuned.
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        ORIGINAL: {},
        LIGHT: {
            "steps": 200,
            "rate": 5e-4,
            "optimizer": "adam",
            "loss": "cross-entropy",
            "dice": 1.0,
            "weight_decay": 0.0,
            "threshold": 0.5,
            "frozen_stages": 2,
            "bias_multiplier": 1.0,
            "fuse_multiplier": 1.0,
            "views": 12,
        },
    }

    def short_side(self, trunk: Trunk) -> int:
        """Returns the short side in force on a trunk, pixels."""
        return self.size or default_side(trunk, self.mode)


@dataclass
class TrainOsvos(BaselineTrainConfig):
    """Offline training of OSVOS, its parent network.

    What is not said here stands in `BaselineTrainConfig`. The defaults are those of Caelles et al.
    (`osvos_parent_demo.py:28-38`, `osvos.py:85-103`): SGD with momentum, the gradients of ten
    pictures averaged, three stages of side supervision.

    Attributes:
        method: Names the method in a file.
        model: Architecture.
        rate: Peak learning rate; it is this small because the loss is a sum over all pixels.
        steps: Steps in all: ten for each of the original's 50,000.
        rate_stairs: Factors of the rate; 1e-8 and 1e-9 take turns at 10k, 15k, 25k, 30k and 40k
            of 50k changes.
        side_stairs: Weight of the sides' losses beside that of the fused output: 1 until 15k, .5
            until 30k, then 0.
        bias_multiplier: Factor of the rate of biases, on top of the next two.
        side_multiplier: Factor of the rate of the sides' scores.
        fuse_multiplier: Factor of the rate of the fusion.
    """

    method: Literal["osvos"] = "osvos"
    model: OsvosModel = field(default_factory=OsvosModel)
    average: int = 10
    steps: int = 500000
    optimizer: Literal["adam", "sgd"] = "sgd"
    rate: float = 1e-8
    rate_stairs: Stairs = field(
        default_factory=lambda: Stairs((0.2, 0.3, 0.5, 0.6, 0.8), (1.0, 0.1, 1.0, 0.1, 1.0, 0.1))
    )
    side_stairs: Stairs = field(default_factory=lambda: Stairs((0.3, 0.6), (1.0, 0.5, 0.0)))
    bias_multiplier: float = 2.0
    side_multiplier: float = 0.1
    fuse_multiplier: float = 0.01
    threshold: float = 162 / 255
    validate_every: int = 25000
