"""Offline training of a parent: a dataclass that is the YAML schema too."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.config_file import (
    MAX_SEED,
    check_choices,
    check_range,
    from_dict,
    read_yaml,
)
from deeplab_gygo.methods import METHODS
from deeplab_gygo.models.config import ModelConfig, Precision
from deeplab_gygo.synthesis.clips import FRAMES_PER_CLIP
from deeplab_gygo.synthesis.config import AugmentConfig, SourceConfig

STRIDE = 16
"""Divisor of the sides of training crops."""

MAX_SIDE, MAX_BATCH, MAX_WORKERS, MAX_CACHE_GB = 4096, 1024, 256, 10_000
"""Bounds of the memory and the processes that a training takes."""

MAX_STEPS, MAX_LOG_EVERY = 10**9, 100_000
"""Largest numbers of steps: of a training, and of losses that a checkpoint contains."""

MAX_WEIGHT = 1000
"""Largest weight of a loss, and largest norm to clip to."""

MAX_STAGES = 10
"""Largest number of a stage; the backbones have fewer."""


@dataclass
class ValidationConfig:
    """Sequences on which J is measured during training: never those of a test set.

    Attributes:
        kind: Kind of dataset, as in `SourceConfig`.
        root: Folder of the dataset, or its URL; a relative one starts at the trainer's `data_root`.
        split: Split to read.
        sequences: Names to use; empty takes the whole split.
        stride: Distance between measured frames, frames.
    """

    kind: Literal["gygo", "davis2016", "davis2017"]
    root: str = ""
    split: str = "train"
    sequences: list[str] = field(default_factory=list)
    stride: int = 5

    def __post_init__(self) -> None:
        check_choices(self)
        check_range(self, "stride", 1, MAX_STEPS)


@dataclass
class TrainConfig:
    """Offline training of a parent.

    Attributes:
        model: Architecture.
        sources: Training sources, as a weighted mix.
        init_from: Parent file to start from instead of the backbone's ImageNet weights.
        allow_missing: Whether `init_from` may lack parts of the architecture (memory, refinement),
            which are then initialized at random.
        data_root: Folder that relative roots start at, or its URL; empty: the environment variable
            `DEEPLAB_GYGO_DATA`, or the current folder.
        validation: Sets that are measured every `validate_every` steps.
        crop: Size (height, width) of training crops, pixels, multiples of 16.
        batch: Crops per step; two are one clip.
        trainable: Parts that are trained: `all` but the frozen stages; only the `refinement`; or
            decoder and refinement for `strokes`, on a frozen encoder and on examples of
            `synthesis.strokes`; the latter two at `head_learning_rate`.
        steps: Number of optimizer steps.
        seconds: Time limit of training, earlier runs included; 0: no limit. The learning rate
            schedule then runs over time instead of steps.
        head_learning_rate: Peak learning rate of ASPP and decoder.
        backbone_learning_rate: Peak learning rate of the encoder.
        frozen_stages: The stem and the stages of the encoder up to this one are frozen; -1: none.
        freeze_batch_norm: Whether ASPP and decoder use their moving statistics and no dropout, for
            batches of a few large crops after a training on larger batches.
        weight_decay: Decoupled weight decay of kernels that are not depthwise.
        grad_clip_norm: Maximum global norm of the gradient; 0: no clipping.
        warmup: Steps of linear warm-up, followed by a cosine decay to zero.
        dice_weight: Weight of the soft Dice loss beside the cross-entropy.
        edge_weight: Additional weight of pixels near a contour in the cross-entropy.
        ema_momentum: Momentum of the exponential moving average of the weights that is the result;
            0 keeps the last weights.
        guide_dropout: Fraction of examples without a previous mask, where the image identifies the
            target.
        memory_dropout: Fraction of examples without a memory and without the score of a target
            model, likewise.
        score_dropout: Fraction of examples with a memory and without the score of a target model.
        rollout: Fraction of examples whose previous mask has the errors of the network's own
            prediction added, as in scheduled sampling (Bengio et al., NeurIPS 2015).
        augment: Augmentation.
        validate_every: Steps between validations.
        checkpoint_every: Steps between checkpoints.
        log_every: Steps between log entries.
        workers: Threads that make examples.
        worker_processes: Processes that make examples instead of the threads, for a GPU; 0: none.
            The examples are the same.
        cache_gb: Memory for decoded images, GB, shared by the processes.
        data_parallel: Whether every batch is divided over all GPUs of the machine (JAX only).
        precision: Numeric policy.
        seed: Seed of all randomness.

    Raises:
        UsageError: A value is out of range, or values do not fit together.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    sources: list[SourceConfig] = field(default_factory=list)
    init_from: str = ""
    allow_missing: bool = False
    data_root: str = ""
    validation: list[ValidationConfig] = field(default_factory=list)
    crop: tuple[int, int] = (288, 352)
    batch: int = 6
    trainable: Literal["all", "refinement", "strokes"] = "all"
    steps: int = 10000
    seconds: float = 0.0
    head_learning_rate: float = 1.5e-3
    backbone_learning_rate: float = 3e-4
    frozen_stages: int = 3
    freeze_batch_norm: bool = False
    weight_decay: float = 1e-4
    grad_clip_norm: float = 5.0
    warmup: int = 200
    dice_weight: float = 1.0
    edge_weight: float = 0.0
    ema_momentum: float = 0.999
    guide_dropout: float = 0.5
    memory_dropout: float = 0.5
    score_dropout: float = 0.2
    rollout: float = 0.5
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    validate_every: int = 1000
    checkpoint_every: int = 250
    log_every: int = 20
    workers: int = 2
    worker_processes: int = 0
    cache_gb: float = 6.0
    data_parallel: bool = False
    precision: Precision = "auto"
    seed: int = 0

    # Weight of the logits before refinement in the loss, beside 1 for the refined ones: online
    # fine-tuning uses them.
    COARSE_WEIGHT: ClassVar[float] = 0.5

    RENAMED_KEYS: ClassVar[dict[str, str]] = {
        "initial": "init_from",
        "grow": "allow_missing",
        "trained": "trainable",
        "head_rate": "head_learning_rate",
        "backbone_rate": "backbone_learning_rate",
        "clip": "grad_clip_norm",
        "dice": "dice_weight",
        "edge": "edge_weight",
        "ema": "ema_momentum",
    }

    def __post_init__(self) -> None:
        check_choices(self)
        if len(self.crop) != 2 or any(side % STRIDE for side in self.crop):
            raise UsageError(
                f"crop is a height and a width, multiples of {STRIDE} pixels",
                met=list(self.crop),
                where="TrainConfig.crop",
            )
        check_range(self, "crop", STRIDE, MAX_SIDE)
        for name in ("steps", "validate_every", "checkpoint_every"):
            check_range(self, name, 1, MAX_STEPS)
        for name, high in (
            ("head_learning_rate", 1), ("backbone_learning_rate", 1), ("weight_decay", 1),
            ("grad_clip_norm", MAX_WEIGHT), ("dice_weight", MAX_WEIGHT),
            ("edge_weight", MAX_WEIGHT), ("ema_momentum", 1), ("guide_dropout", 1),
            ("memory_dropout", 1), ("score_dropout", 1), ("rollout", 1), ("seconds", MAX_STEPS),
            ("warmup", MAX_STEPS), ("workers", MAX_WORKERS), ("worker_processes", MAX_WORKERS),
            ("cache_gb", MAX_CACHE_GB), ("seed", MAX_SEED),
        ):  # fmt: skip
            check_range(self, name, 0, high)
        check_range(self, "log_every", 1, MAX_LOG_EVERY)
        check_range(self, "frozen_stages", -1, MAX_STAGES)
        check_range(self, "batch", FRAMES_PER_CLIP, MAX_BATCH)
        if self.batch % FRAMES_PER_CLIP:
            raise UsageError(
                f"A batch contains whole clips of {FRAMES_PER_CLIP} frames",
                met=self.batch,
                where="TrainConfig.batch",
            )
        if self.trainable == "strokes" and not (self.model.guide and self.init_from):
            raise UsageError(
                "Strokes are trained on the encoder of a parent with a guide",
                met=f"model.guide {self.model.guide}, init_from {self.init_from or 'empty'}",
                where="TrainConfig.trainable",
                remedy="Set init_from, or trainable: all",
            )
        if self.trainable == "refinement" and not self.model.refine:
            raise UsageError(
                "Only an architecture with a refinement can train it alone",
                met="model.refine false",
                where="TrainConfig.trainable",
                remedy="Set model.refine, or trainable: all",
            )


def load_training(path: str | Path) -> Any:
    """Reads an experiment file of any method.

    Args:
        path: YAML file; its key `method` names the method to train, by default `deeplab`.

    Returns:
        The training configuration of that method.

    Raises:
        UsageError: The file is missing or no YAML, has a wrong key or value, or names a method
            that cannot be trained.
    """
    values = read_yaml(path)
    name = values.pop("method", values.pop("system", "deeplab"))
    trainable = [method.name for method in METHODS.values() if method.training]
    if name not in trainable:
        raise UsageError(
            f"A method to train is one of {', '.join(trainable)}", met=name, where=path
        )
    return from_dict(METHODS[name].resolve("training"), values, path)
