"""OSMN: architecture, online options and offline training.

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
from deeplab_gygo.models.config import ModelConfig


@dataclass
class OsmnModel:
    """Architecture of OSMN (Yang et al., CVPR 2018; code: linjieyangsc/video_seg, model_func.py).

    Attributes:
        trunk: Encoder of the segmentation network, and of the visual modulator.
        decoder: `sides` joins side outputs of the trunk as the original does; `deeplab` takes the
            head and the refinement of DeepLabV3+, so that a parent of this package can be
            modulated (`efficientnet_lite0` only).
        modulate_early: Whether the first stages are modulated too (`--mod_early_conv`).
        spatial_relu: Whether the spatial shifts pass BatchNorm (.99, .001) and ReLU, as in the
            original. Without, the 1x1 convolutions that make them start at zero and may subtract.
        side_channels: Width of the 3x3 convolution of every side; decoder `sides` only.
        deeplab: Architecture of the head; decoder `deeplab` only.
    """

    trunk: Trunk = "vgg16"
    decoder: Literal["sides", "deeplab"] = "sides"
    modulate_early: bool = False
    spatial_relu: bool = True
    side_channels: int = 16
    deeplab: ModelConfig = field(default_factory=ModelConfig)

    @property
    def trunk_name(self) -> str:
        """Name of the encoder."""
        return self.trunk


@dataclass
class OsmnOnline:
    """How OSMN segments a sequence (osmn_online_finetune.py and the command in its README).

    Attributes:
        mode: `one-shot` computes the modulation by the annotated frame once; `fine-tune` trains on
            that frame as well: it is image, visual guide and spatial guide at once.
        steps: Steps of fine-tuning with Adam, one picture each.
        seconds: Time for fine-tuning; it ends at whichever comes first. 0 means no limit. On the
            command line, a time without steps lifts the limit of steps.
        rate: Learning rate.
        scales: Zooms of the annotated frame, drawn at random in every step; where `views` is 0.
        views: Augmented views of the annotated frame to draw from instead, as DeepLabV3+ has them;
            none in the original.
        lucid: Share of views with object and background moved apart.
        view_scale: Range of the zoom of views.
        size: Short side at which the network sees frames, pixels; smaller frames stay as they are.
            0 takes `default_side`.
        threshold: Probability above which a pixel is object, in results and in the spatial guide
            of the next frame.
        filter_components: Drop parts that do not touch the previous mask; not in the original.
        trained: What fine-tuning changes: `all`, the `modulators` alone, or the `decoder` alone.
        frozen_stages: The trunks' stem and stages up to this one are not trained; 0 trains all.
        loss: Class-balanced cross-entropy, summed over the pixels as in the original, or its
            mean, for which rates do not depend on the size of the picture; or the plain mean.
        dice: Weight of the soft Dice loss beside it; none in the original.
        weight_decay: Factor w of w/2 times the sum of the squared trained kernels, added to the
            loss (`osmn_arg_scope`).
        anchor: Weight that holds what is trained to the parent's values, as DeepLabV3+ has it; none
            in the original.
        final_rate: Part of the rate that the last step has, which a cosine leads to; the original's
            rate stays.
    """

    mode: Literal["one-shot", "fine-tune"] = "one-shot"
    steps: int = 100
    seconds: float = 0.0
    rate: float = 1e-5
    scales: tuple[float, ...] = (0.5, 0.8, 1.0)
    views: int = 0
    lucid: float = 0.5
    view_scale: tuple[float, float] = (0.8, 1.3)
    size: int = 0
    threshold: float = 0.5
    filter_components: bool = False
    trained: Literal["all", "modulators", "decoder"] = "all"
    frozen_stages: int = 0
    loss: Loss = "balanced-sum"
    dice: float = 0.0
    weight_decay: float = 2e-4
    anchor: float = 0.0
    final_rate: float = 1.0

    # `light`: chosen on held-back sequences (experiments/results/osmn_choices.json). Modulators
    # that learn from one frame forget what they modulate.
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        ORIGINAL: {},
        LIGHT: {
            "rate": 2e-3,
            "trained": "decoder",
            "loss": "cross-entropy",
            "dice": 1.0,
            "weight_decay": 0.0,
            "views": 12,
        },
    }

    def short_side(self, trunk: Trunk) -> int:
        """Returns the short side in force on a trunk, pixels."""
        return self.size or default_side(trunk, self.mode)


@dataclass
class TrainOsmn(BaselineTrainConfig):
    """Offline training of OSMN.

    What is not said here stands in `BaselineTrainConfig`. The defaults are stage 2 of Yang et al.
    (README and `osmn_train_eval.py`): DAVIS-2017 at 854x480, batch 4, Adam at 1e-6, 50,000 steps,
    `--fix_bn --randomize_guide`. Stage 1 is written in its experiment file.

    Attributes:
        method: Names the method in a file.
        model: Architecture.
        batch: Pictures a step, an even number: each of two moments of a clip is the visual guide
            of the other.
        rate: Peak learning rate of what has weights to start from: the trunks and the decoder.
        modulator_rate: Peak learning rate of what makes scales of the visual guide, but for the
            trunk there; 0 takes `rate`, as the original does.
        spatial_rate: Peak learning rate of what makes shifts of the spatial guide; 0 takes
            `rate`, as the original does. There its BatchNorm brings the shifts to the size of
            the features from the first step on; shifts that start at zero have a way to go that
            the other rates are too small for.
        guide_span: Largest distance of the visual guide's frame, frames; 0 takes any of the
            sequence (`--randomize_guide`).
        guide_dropout: Share of pictures with a blank spatial guide.
        center_perturbation: Largest displacement of the spatial guide, as a part of its standard
            deviation (`util.py`).
        spread_perturbation: Largest factor of that standard deviation (`util.py`).
    """

    method: Literal["osmn"] = "osmn"
    model: OsmnModel = field(default_factory=OsmnModel)
    batch: int = 4
    modulator_rate: float = 0.0
    spatial_rate: float = 0.0
    fix_bn: bool = True
    rate_stairs: Stairs = field(default_factory=lambda: Stairs((), (1.0,)))
    guide_span: int = 0
    guide_dropout: float = 0.0
    center_perturbation: float = 0.2
    spread_perturbation: float = 1.4
