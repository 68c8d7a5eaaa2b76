"""OSMN: architecture, online options and offline training.

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
    STRIDE,
    BaselineTrainConfig,
    FineTuningConfig,
    PiecewiseConstant,
    Trunk,
)
from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.config_file import check_choices, check_range
from deeplab_gygo.models.config import ModelConfig


@dataclass
class OsmnModel:
    """Architecture of OSMN (Yang et al., CVPR 2018; code: linjieyangsc/video_seg, model_func.py).

    Attributes:
        trunk: Encoder of the segmentation network, and of the visual modulator.
        decoder: `sides` fuses side outputs of the trunk as the original does; `deeplab` is the
            head and the refinement of DeepLabV3+, so that a parent of this package can be
            modulated (`efficientnet_lite0` only).
        modulate_early: Whether the first stages are modulated too (`--mod_early_conv`).
        spatial_relu: Whether BatchNorm (.99, .001) and ReLU follow the 1x1 convolutions that make
            the spatial shifts, as in the original. Otherwise these convolutions start at zero and
            shifts can be negative.
        side_channels: Width of the 3x3 convolution of every side; decoder `sides` only.
        deeplab: Architecture of the head; decoder `deeplab` only.

    Raises:
        UsageError: A value is out of range, or the parts do not fit together.
    """

    trunk: Trunk = "vgg16"
    decoder: Literal["sides", "deeplab"] = "sides"
    modulate_early: bool = False
    spatial_relu: bool = True
    side_channels: int = 16
    deeplab: ModelConfig = field(default_factory=ModelConfig)

    def __post_init__(self) -> None:
        check_choices(self)
        check_range(self, "side_channels", 1, MAX_SIDE_CHANNELS)
        expected, met = (self.trunk, STRIDE), (self.deeplab.backbone, self.deeplab.output_stride)
        if self.decoder == "deeplab" and met != expected:
            raise UsageError(
                f"Decoder deeplab has backbone and output stride of the trunk, {expected}",
                met=met,
                where="model.deeplab",
                remedy="Use decoder sides, or the same network in both places",
            )

    @property
    def trunk_name(self) -> str:
        """Name of the encoder."""
        return self.trunk


@dataclass(frozen=True)
class OsmnOnline(FineTuningConfig):
    """Online options of OSMN (osmn_online_finetune.py and the command in its README).

    The other options are those of `FineTuningConfig`; fine-tuning uses Adam.

    Attributes:
        mode: `one-shot` computes the modulation from the annotated frame once; `fine-tune` also
            trains on that frame: it is image, visual guide and spatial guide at once.
        adapt: Variables that fine-tuning changes: `all`, the `modulators` or the `decoder`.
    """

    mode: Literal["one-shot", "fine-tune"] = "one-shot"
    adapt: Literal["all", "modulators", "decoder"] = "all"

    # `light`: chosen on held-out sequences (experiments/results/osmn_choices.json). Modulators
    # that are fine-tuned on one frame lose their offline training.
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        ORIGINAL: {},
        LIGHT: {
            "learning_rate": 2e-3,
            "adapt": "decoder",
            "loss": "cross-entropy",
            "dice_weight": 1.0,
            "weight_decay": 0.0,
            "num_views": 12,
        },
    }

    RENAMED_KEYS: ClassVar[dict[str, str]] = {
        **FineTuningConfig.RENAMED_KEYS,
        "trained": "adapt",
    }


@dataclass
class OsmnTraining(BaselineTrainConfig):
    """Offline training of OSMN; the other keys are those of `BaselineTrainConfig`.

    The defaults are stage 2 of Yang et al. (README and `osmn_train_eval.py`): DAVIS-2017 at
    854x480, batch 4, Adam at 1e-6, 50,000 steps, `--fix_bn --randomize_guide`. Stage 1 is an
    experiment file.

    Attributes:
        method: Name of the method in a file.
        model: Architecture.
        batch: Images per step, an even number: each of the two frames of a clip is the visual
            guide of the other.
        learning_rate: Peak learning rate of the pretrained parts: the trunks and the decoder.
        modulator_learning_rate: Peak learning rate of the visual modulator behind its trunk; 0:
            `learning_rate`, as in the original.
        spatial_learning_rate: Peak learning rate of the spatial modulator; 0: `learning_rate`, as
            in the original, where BatchNorm scales the shifts to the features from the first step
            on. Shifts that start at zero need a higher one.
        guide_span: Maximum distance of the visual guide's frame, frames; 0: any of the sequence
            (`--randomize_guide`).
        guide_dropout: Fraction of images with a blank spatial guide.
        center_perturbation: Maximum displacement of the spatial guide, relative to its standard
            deviation (`util.py`).
        spread_perturbation: Maximum factor of that standard deviation (`util.py`).
    """

    method: Literal["osmn"] = "osmn"
    model: OsmnModel = field(default_factory=OsmnModel)
    batch: int = 4
    modulator_learning_rate: float = 0.0
    spatial_learning_rate: float = 0.0
    freeze_batch_norm: bool = True
    learning_rate_schedule: PiecewiseConstant = field(
        default_factory=lambda: PiecewiseConstant((), (1.0,))
    )
    guide_span: int = 0
    guide_dropout: float = 0.0
    center_perturbation: float = 0.2
    spread_perturbation: float = 1.4

    RENAMED_KEYS: ClassVar[dict[str, str]] = {
        **BaselineTrainConfig.RENAMED_KEYS,
        "modulator_rate": "modulator_learning_rate",
        "spatial_rate": "spatial_learning_rate",
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch % 2:
            raise UsageError("batch is a multiple of 2, the frames of a clip", met=self.batch)
        check_range(self, "guide_span", 0)
        for name in ("modulator_learning_rate", "spatial_learning_rate", "guide_dropout"):
            check_range(self, name, 0, 1)
        check_range(self, "center_perturbation", 0, MAX_FACTOR)
        check_range(self, "spread_perturbation", 1, MAX_FACTOR)
