"""Offline training of the other systems of the benchmark, OSMN and OSVOS.

The defaults are those of the original papers and their published code, whose places stand beside
them; what the light trunk does instead is written in its experiment files. A file names its system
with the key `system`; without, it is a `TrainConfig`, which trains DeepLabV3+.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from deeplab_gygo.config import (
    AugmentConfig,
    SourceConfig,
    TrainConfig,
    ValidationConfig,
    from_dict,
)
from deeplab_gygo.config_systems import OsmnModel, OsvosModel
from deeplab_gygo.errors import UsageError

TrainingLoss = Literal["balanced-sum", "balanced-mean", "cross-entropy"]


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
class SystemTraining:
    """What the trainings of OSMN and OSVOS have in common.

    Attributes:
        sources: Material, as a weighted mix.
        trunk_weights: What the trunk starts from: `imagenet`, `shipped` (the package's
            DeepLabV3+; `efficientnet_lite0` only), a file, or `none` for random values.
        initial: Parent file of the same system and architecture to start from instead: the stage
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


@dataclass
class TrainOsmn(SystemTraining):
    """Offline training of OSMN.

    What is not said here stands in `SystemTraining`. The defaults are stage 2 of Yang et al.
    (README and `osmn_train_eval.py`): DAVIS-2017 at 854x480, batch 4, Adam at 1e-6, 50,000 steps,
    `--fix_bn --randomize_guide`. Stage 1 is written in its experiment file.

    Attributes:
        system: Names the system in a file.
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

    system: Literal["osmn"] = "osmn"
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


@dataclass
class TrainOsvos(SystemTraining):
    """Offline training of OSVOS, its parent network.

    What is not said here stands in `SystemTraining`. The defaults are those of Caelles et al.
    (`osvos_parent_demo.py:28-38`, `osvos.py:85-103`): SGD with momentum, the gradients of ten
    pictures averaged, three stages of side supervision.

    Attributes:
        system: Names the system in a file.
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

    system: Literal["osvos"] = "osvos"
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


TRAINING_CONFIGS: dict[str, type] = {
    "deeplab": TrainConfig,
    "osmn": TrainOsmn,
    "osvos": TrainOsvos,
}
"""What describes the training of a system."""


def load_training(path: str | Path) -> Any:
    """Reads an experiment file of any system.

    Args:
        path: YAML file of a `TrainConfig`, `TrainOsmn` or `TrainOsvos`.

    Returns:
        The configuration, of the kind that the file's `system` says.

    Raises:
        UsageError: The file is missing or no YAML, has a wrong key or value, or names a system
            that is not trained.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError("A configuration is an existing YAML file", met="no such file", where=path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UsageError("A configuration is YAML", met=error, where=path) from error
    if not isinstance(values, dict):
        raise UsageError("A configuration is a mapping of keys", met=type(values), where=path)
    system = values.pop("system", "deeplab")
    if system not in TRAINING_CONFIGS:
        raise UsageError(
            f"A system to train is one of {', '.join(TRAINING_CONFIGS)}", met=system, where=path
        )
    return from_dict(TRAINING_CONFIGS[system], values, path)
