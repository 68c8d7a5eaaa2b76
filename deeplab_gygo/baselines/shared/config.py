"""What the configurations of OSMN and OSVOS have in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from deeplab_gygo.errors import UsageError
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.synthesis.config import AugmentConfig, SourceConfig
from deeplab_gygo.training.config import ValidationConfig

Trunk = Literal["vgg16", "efficientnet_lite0"]
Loss = Literal["balanced-sum", "balanced-mean", "cross-entropy"]
TrainingLoss = Literal["balanced-sum", "balanced-mean", "cross-entropy"]

TRUNKS: tuple[Trunk, ...] = ("vgg16", "efficientnet_lite0")

ORIGINAL_SIDE = 480
"""Short side at which the originals see DAVIS, pixels."""

ORIGINAL, LIGHT = "original", "light"
"""Presets: the numbers of the authors' code for VGG-16, and what EfficientNet-Lite0 needs."""


def default_side(trunk: Trunk, mode: str) -> int:
    """Returns the short side in pixels at which a method sees frames where `size` is 0.

    Args:
        trunk: Its trunk: VGG-16 sees what the originals do, the light one what the project's
            DeepLabV3+ does in the same mode.
        mode: Its mode.
    """
    if trunk == "vgg16":
        return ORIGINAL_SIDE
    return OnlineConfig.FINE_TUNE_SIZE if mode == "fine-tune" else OnlineConfig.DEFAULT_SIZE


@dataclass
class Stairs:
    """A value that changes in steps while a schedule goes on.

    Attributes:
        until: Parts of the schedule, 0..1 and rising, at which the next value begins.
        values: One value more than `until`; none at all where the file has no stairs.
    """

    until: tuple[float, ...] = ()
    values: tuple[float, ...] = ()

    def at(self, fraction: float) -> float:
        """Returns the value where `fraction` of the schedule is done.

        Raises:
            UsageError: The numbers of values and of steps do not fit, or `until` does not rise.
        """
        edges = (0.0, *self.until, 1.0)
        rises = all(low < high for low, high in zip(edges, edges[1:], strict=False))
        if len(self.values) != len(self.until) + 1 or not rises:
            raise UsageError(
                "Stairs have one value more than `until`, which rises between 0 and 1",
                met=f"until {list(self.until)}, values {list(self.values)}",
            )
        return self.values[sum(fraction >= edge for edge in self.until)]


def plain_pictures() -> AugmentConfig:
    """Returns what both originals change of a training picture: it may be mirrored."""
    return AugmentConfig(
        scale=(1.0, 1.0), rotate=0.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0,
        gray=0.0, blur=0.0, noise=0.0, jpeg=0.0,
    )  # fmt: skip


@dataclass
class BaselineTrainConfig:
    """What the trainings of OSMN and OSVOS have in common.

    Attributes:
        sources: Material, as a weighted mix.
        trunk_weights: What the trunk starts from: `imagenet`, `shipped` (the package's
            DeepLabV3+; `efficientnet_lite0` only), a file, or `none` for random values.
        initial: Parent file of the same method and architecture to start from instead: the stage
            before.
        data_root: As in `TrainConfig`.
        validation: Sets measured every `validate_every` steps; none of them may be a test set.
        crop: Size (height, width) of training pictures, pixels, multiples of 16.
        scales: Factors of that size, one of which is drawn for every step.
        batch: Pictures a step.
        average: Steps whose gradients are averaged to one update of the weights.
        steps: Steps in all; `average` of them change the weights once.
        seconds: As in `TrainConfig`: the schedule then runs over time instead of steps.
        optimizer: `adam`, or `sgd` with `momentum`.
        rate: Peak learning rate.
        momentum: Of `sgd`.
        rate_stairs: Factors of the rate over the schedule; empty makes it a cosine to zero.
        warmup: Steps of linear warm-up.
        weight_decay: Factor w of w/2 times the sum of the squared trained kernels, added to the
            loss.
        clip: Largest global norm of a step's gradient; 0 leaves it as it is.
        loss: `balanced-sum` is the originals' class-balanced cross-entropy, `balanced-mean` the
            same divided by the number of pixels, `cross-entropy` the plain mean.
        dice: Weight of the soft Dice loss beside it.
        frozen_stages: The trunks' stem and stages up to this one are not trained; 0 trains all.
        fix_bn: Run every BatchNorm on its moving statistics and train none of its values. Those
            of a trunk with ImageNet weights always are.
        ema: As in `TrainConfig`; 0 keeps the last weights.
        augment: Random changes of the pictures.
        threshold: Probability above which a pixel is object, in validation.
        validate_every: Steps between validations.
        checkpoint_every: Steps between checkpoints.
        log_every: Steps between lines of the log.
        workers: Threads that make examples.
        worker_processes: Processes that make examples instead of the threads.
        cache_gb: Memory for decoded pictures, GB; processes share it evenly.
        precision: Numeric policy.
        seed: Of everything random.
    """

    sources: list[SourceConfig] = field(default_factory=list)
    trunk_weights: str = "imagenet"
    initial: str = ""
    data_root: str = ""
    validation: list[ValidationConfig] = field(default_factory=list)
    crop: tuple[int, int] = (480, 864)
    scales: tuple[float, ...] = (0.5, 0.8, 1.0)
    batch: int = 1
    average: int = 1
    steps: int = 50000
    seconds: float = 0.0
    optimizer: Literal["adam", "sgd"] = "adam"
    rate: float = 1e-6
    momentum: float = 0.9
    rate_stairs: Stairs = field(default_factory=Stairs)
    warmup: int = 0
    weight_decay: float = 2e-4
    clip: float = 0.0
    loss: TrainingLoss = "balanced-sum"
    dice: float = 0.0
    frozen_stages: int = 0
    fix_bn: bool = False
    ema: float = 0.0
    augment: AugmentConfig = field(default_factory=plain_pictures)
    threshold: float = 0.5
    validate_every: int = 2500
    checkpoint_every: int = 250
    log_every: int = 20
    workers: int = 2
    worker_processes: int = 0
    cache_gb: float = 6.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = 0
