"""The systems of the GyGO benchmark beside DeepLabV3+: their architectures and online options.

The defaults are those of the original papers and their published code, whose places stand beside
them; what the light trunk needs instead is said in the experiment files and presets. Like
`config.py`, the dataclasses are the YAML schema too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from deeplab_gygo.config import PLAIN_SIZE, TUNED_SIZE, ModelConfig, OnlineConfig

System = Literal["deeplab", "osmn", "osvos", "copy", "flow", "grabcut"]
Trunk = Literal["vgg16", "efficientnet_lite0"]
Loss = Literal["balanced-sum", "balanced-mean", "cross-entropy"]

SYSTEMS: tuple[System, ...] = ("deeplab", "osmn", "osvos", "copy", "flow", "grabcut")
"""Every segmenter that the commands know; the last three are references without weights."""

TRUNKS: tuple[Trunk, ...] = ("vgg16", "efficientnet_lite0")

ORIGINAL_SIDE = 480
"""Short side at which the originals see DAVIS, pixels."""


def default_side(trunk: Trunk, mode: str) -> int:
    """Returns the short side in pixels at which a system sees frames where `size` is 0.

    Args:
        trunk: Its trunk: VGG-16 sees what the originals do, the light one what the project's
            DeepLabV3+ does in the same mode.
        mode: Its mode.
    """
    if trunk == "vgg16":
        return ORIGINAL_SIDE
    return TUNED_SIZE if mode == "fine-tune" else PLAIN_SIZE


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


@dataclass
class OsvosModel:
    """Architecture of OSVOS (Caelles et al., CVPR 2017; code: OSVOS-TensorFlow, osvos.py:57-140).

    Attributes:
        trunk: Encoder.
        side_channels: Width of the 3x3 convolution of every side.
    """

    trunk: Trunk = "vgg16"
    side_channels: int = 16


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

    def short_side(self, trunk: Trunk) -> int:
        """Returns the short side in force on a trunk, pixels."""
        return self.size or default_side(trunk, self.mode)


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

    def short_side(self, trunk: Trunk) -> int:
        """Returns the short side in force on a trunk, pixels."""
        return self.size or default_side(trunk, self.mode)


@dataclass
class ReferenceOnline:
    """A reference without weights; the copied first mask needs nothing else.

    Attributes:
        mode: All references start from the annotated frame and learn nothing.
    """

    mode: Literal["one-shot"] = "one-shot"


@dataclass
class FlowOnline(ReferenceOnline):
    """The previous mask, warped by dense inverse search optical flow (Kroeger et al., ECCV 2016).

    Attributes:
        preset: OpenCV's preset of the flow.
    """

    preset: Literal["ultrafast", "fast", "medium"] = "medium"


@dataclass
class GrabCutOnline(ReferenceOnline):
    """GrabCut (Rother et al., SIGGRAPH 2004) with the colour models of the annotated frame.

    Attributes:
        iterations: Rounds of fitting the colour models to the annotated frame; they are frozen
            afterwards.
        reach: Pixels around the last mask in which the object is looked for.
    """

    iterations: int = 5
    reach: float = 20.0


MODEL_CONFIGS: dict[str, type] = {"deeplab": ModelConfig, "osmn": OsmnModel, "osvos": OsvosModel}
"""Architecture by system; the references have none."""

ONLINE_CONFIGS: dict[str, type] = {
    "deeplab": OnlineConfig,
    "osmn": OsmnOnline,
    "osvos": OsvosOnline,
    "copy": ReferenceOnline,
    "flow": FlowOnline,
    "grabcut": GrabCutOnline,
}
"""Online options by system."""

MODES: dict[str, tuple[str, ...]] = {
    "deeplab": ("zero-shot", "one-shot", "fine-tune"),
    "osmn": ("one-shot", "fine-tune"),
    "osvos": ("zero-shot", "fine-tune"),
    "copy": ("one-shot",),
    "flow": ("one-shot",),
    "grabcut": ("one-shot",),
}
"""Modes that a system has."""


def system_of(model: Any) -> System:
    """Returns the name of the system that an architecture belongs to.

    Args:
        model: `ModelConfig`, `OsmnModel` or `OsvosModel`.

    Returns:
        A key of `MODEL_CONFIGS`.

    Raises:
        KeyError: It is none of these.
    """
    return {kind: system for system, kind in MODEL_CONFIGS.items()}[type(model)]


def trunk_of(model: Any) -> str:
    """Returns the name of the network that an architecture stands on."""
    return model.backbone if isinstance(model, ModelConfig) else model.trunk
