"""Configuration that OSMN and OSVOS have in common."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from deeplab_gygo.errors import UsageError
from deeplab_gygo.inference.config import UNLIMITED_STEPS, OnlineConfig, check_size
from deeplab_gygo.io.config_file import MAX_SEED, check_choices, check_range
from deeplab_gygo.synthesis.config import AugmentConfig, SourceConfig
from deeplab_gygo.training.config import (
    MAX_BATCH,
    MAX_CACHE_GB,
    MAX_LOG_EVERY,
    MAX_SIDE,
    MAX_STAGES,
    MAX_STEPS,
    MAX_WORKERS,
    ValidationConfig,
)

Trunk = Literal["vgg16", "efficientnet_lite0"]
Loss = Literal["balanced-sum", "balanced-mean", "cross-entropy"]

ORIGINAL, LIGHT = "original", "light"
"""Presets: the numbers of the authors' code for VGG-16, and those for EfficientNet-Lite0."""

STRIDE = 16
"""Stride of a trunk in a segmentation network; image sides are multiples of it. VGG-16 has it
without its pool5; in EfficientNet-Lite0 dilation replaces the last stride."""

MAX_FACTOR = 1000
"""Largest weight of a loss, and largest factor of a learning rate."""

MAX_SIDE_CHANNELS = 256
"""Largest width of the convolution of a side; 16 in the originals."""


@dataclass(frozen=True)
class PiecewiseConstant:
    """A schedule that is constant between boundaries.

    Attributes:
        boundaries: Fractions of the schedule, increasing within 0..1, where the next value begins.
        values: One value more than `boundaries`; empty for no schedule.

    Raises:
        UsageError: The numbers of values and boundaries do not fit, or boundaries do not increase.
    """

    boundaries: tuple[float, ...] = ()
    values: tuple[float, ...] = ()

    RENAMED_KEYS: ClassVar[dict[str, str]] = {"until": "boundaries"}

    def __post_init__(self) -> None:
        edges = (0.0, *self.boundaries, 1.0)
        increasing = all(low < high for low, high in zip(edges, edges[1:], strict=False))
        fits = len(self.values) == len(self.boundaries) + 1 or not (self.values or self.boundaries)
        if not fits or not increasing:
            raise UsageError(
                "A schedule has one value more than `boundaries`, which increase within 0..1",
                met=f"boundaries {list(self.boundaries)}, values {list(self.values)}",
            )

    def at(self, fraction: float) -> float:
        """Returns the value at a fraction of the schedule, 0..1."""
        return self.values[sum(fraction >= boundary for boundary in self.boundaries)]


@dataclass(frozen=True)
class FineTuningConfig:
    """Options of fine-tuning on the annotated frame that OSMN and OSVOS share.

    Attributes:
        mode: Whether and how the annotated frame is used; see the methods.
        steps: Number of fine-tuning steps, one image each.
        seconds: Time limit of fine-tuning; it ends at whichever comes first. 0: no limit. On the
            command line, `--seconds` without `--steps` lifts the limit of steps.
        learning_rate: Learning rate, constant.
        loss: Class-balanced cross-entropy, summed over the pixels as in the original, or its mean,
            for which learning rates do not depend on the image size; or the plain mean.
        dice_weight: Weight of an additional soft Dice loss; 0 in the original.
        weight_decay: Factor w of w/2 times the sum of the squared trained kernels, added to the
            loss.
        scales: Relative sizes of the annotated frame, sampled at every step if `num_views` is 0.
        num_views: Number of augmented views of the annotated frame to sample from instead, as in
            DeepLabV3+; 0 in the original.
        frozen_stages: The stem and the stages of the trunk up to this one are not trained; 0:
            all are.
        size: Short side of the frames as the network sees them, pixels; smaller frames keep their
            size. 0: 480 for VGG-16, and as DeepLabV3+ for EfficientNet-Lite0.
        threshold: Probability above which a pixel is object.

    Raises:
        UsageError: A value is out of range.
    """

    mode: Literal["zero-shot", "one-shot", "fine-tune"] = "fine-tune"
    steps: int = 100
    seconds: float = 0.0
    learning_rate: float = 1e-5
    loss: Loss = "balanced-sum"
    dice_weight: float = 0.0
    weight_decay: float = 2e-4
    scales: tuple[float, ...] = (0.5, 0.8, 1.0)
    num_views: int = 0
    frozen_stages: int = 0
    size: int = 0
    threshold: float = 0.5

    # Short side at which the authors' code sees DAVIS.
    ORIGINAL_SIZE: ClassVar[int] = 480

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {}

    RENAMED_KEYS: ClassVar[dict[str, str]] = {
        "rate": "learning_rate",
        "dice": "dice_weight",
        "views": "num_views",
    }
    REMOVED_KEYS: ClassVar[dict[str, str]] = {
        **dict.fromkeys(
            ("anchor", "final_rate", "filter_components"),
            "it was measured to gain nothing; delete the line",
        ),
        **dict.fromkeys(("lucid", "view_scale", "flip"), "it is a constant now; delete the line"),
    }

    def __post_init__(self) -> None:
        check_choices(self)
        for name, high in (
            ("steps", UNLIMITED_STEPS), ("seconds", math.inf), ("learning_rate", 1),
            ("dice_weight", MAX_FACTOR), ("weight_decay", 1),
            ("num_views", OnlineConfig.MAX_VIEWS), ("frozen_stages", MAX_STAGES),
        ):  # fmt: skip
            check_range(self, name, 0, high)
        check_scales(self)
        check_size(self)
        check_range(self, "threshold", 0, 1)

    def short_side(self, trunk: Trunk) -> int:
        """Returns the short side of the frames as the network sees them, pixels."""
        if self.size or trunk == "vgg16":
            return self.size or self.ORIGINAL_SIZE
        tunes = self.mode == "fine-tune"
        return OnlineConfig.FINE_TUNE_SIZE if tunes else OnlineConfig.DEFAULT_SIZE


def check_scales(config: Any) -> None:
    """Raises `UsageError` unless `scales` holds one or more relative sizes."""
    check_range(config, "scales", 0.05, 4)
    if not config.scales:
        where = f"{type(config).__name__}.scales"
        raise UsageError("scales has one or more values", met="none", where=where)


def flips_only() -> AugmentConfig:
    """Returns the augmentation of both originals: horizontal flips."""
    return AugmentConfig(
        scale=(1.0, 1.0), rotate=0.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0,
        gray=0.0, blur=0.0, noise=0.0, jpeg=0.0,
    )  # fmt: skip


@dataclass
class BaselineTrainConfig:
    """Offline training of OSMN and OSVOS; keys that are not listed are those of `TrainConfig`.

    Attributes:
        trunk_weights: Initialization of the trunk: `imagenet`, a file (of a DeepLabV3+ on the same
            trunk too), or `none` for random values.
        init_from: Parent file of the same method and architecture to start from instead: the
            previous stage.
        crop: Size (height, width) of training images, pixels, multiples of 16.
        scales: Factors of that size, one of which is sampled per step.
        batch: Images per step.
        accumulate_steps: Number of steps whose gradients are averaged for one update.
        steps: Number of steps; `accumulate_steps` of them update the weights once.
        optimizer: `adam`, or `sgd` with `momentum`.
        learning_rate: Peak learning rate.
        momentum: Momentum of `sgd`.
        learning_rate_schedule: Factors of the learning rate; empty for a cosine decay to zero.
        weight_decay: Factor w of w/2 times the sum of the squared trained kernels, added to the
            loss.
        loss: `balanced-sum` is the originals' class-balanced cross-entropy, `balanced-mean` the
            same divided by the number of pixels, `cross-entropy` the plain mean.
        frozen_stages: The stem and the stages of the trunks up to this one are not trained; 0:
            all are.
        freeze_batch_norm: Run every BatchNorm on its moving statistics and train none of its
            variables. Those of a trunk with ImageNet weights are always frozen.
        threshold: Probability above which a pixel is object, in validation.

    Raises:
        UsageError: A value is out of range.
    """

    sources: list[SourceConfig] = field(default_factory=list)
    trunk_weights: str = "imagenet"
    init_from: str = ""
    data_root: str = ""
    validation: list[ValidationConfig] = field(default_factory=list)
    crop: tuple[int, int] = (480, 864)
    scales: tuple[float, ...] = (0.5, 0.8, 1.0)
    batch: int = 1
    accumulate_steps: int = 1
    steps: int = 50000
    seconds: float = 0.0
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 1e-6
    momentum: float = 0.9
    learning_rate_schedule: PiecewiseConstant = field(default_factory=PiecewiseConstant)
    warmup: int = 0
    weight_decay: float = 2e-4
    grad_clip_norm: float = 0.0
    loss: Loss = "balanced-sum"
    dice_weight: float = 0.0
    frozen_stages: int = 0
    freeze_batch_norm: bool = False
    ema_momentum: float = 0.0
    augment: AugmentConfig = field(default_factory=flips_only)
    threshold: float = 0.5
    validate_every: int = 2500
    checkpoint_every: int = 250
    log_every: int = 20
    workers: int = 2
    worker_processes: int = 0
    cache_gb: float = 6.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = 0

    RENAMED_KEYS: ClassVar[dict[str, str]] = {
        "initial": "init_from",
        "average": "accumulate_steps",
        "rate": "learning_rate",
        "rate_stairs": "learning_rate_schedule",
        "clip": "grad_clip_norm",
        "dice": "dice_weight",
        "ema": "ema_momentum",
        "fix_bn": "freeze_batch_norm",
    }

    def __post_init__(self) -> None:
        check_choices(self)
        check_range(self, "crop", STRIDE, MAX_SIDE)
        if any(side % STRIDE for side in self.crop):
            where = f"{type(self).__name__}.crop"
            raise UsageError(f"crop is in multiples of {STRIDE}", met=self.crop, where=where)
        check_scales(self)
        check_range(self, "batch", 1, MAX_BATCH)
        check_range(self, "log_every", 1, MAX_LOG_EVERY)
        for name in ("accumulate_steps", "steps", "validate_every", "checkpoint_every"):
            check_range(self, name, 1, MAX_STEPS)
        for name, high in (
            ("seconds", MAX_STEPS), ("learning_rate", 1), ("warmup", MAX_STEPS),
            ("weight_decay", 1), ("grad_clip_norm", math.inf), ("dice_weight", MAX_FACTOR),
            ("frozen_stages", MAX_STAGES), ("workers", MAX_WORKERS),
            ("worker_processes", MAX_WORKERS), ("cache_gb", MAX_CACHE_GB), ("seed", MAX_SEED),
        ):  # fmt: skip
            check_range(self, name, 0, high)
        check_range(self, "momentum", 0, 1)
        check_range(self, "ema_momentum", 0, 1)
        check_range(self, "threshold", 1e-6, 1 - 1e-6)

    @property
    def min_logit(self) -> float:
        """Logit of the threshold, with which validation compares logits."""
        return float(np.log(self.threshold) - np.log1p(-self.threshold))
