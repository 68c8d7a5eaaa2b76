"""Offline training of a parent, as a dataclass that is the YAML schema too."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.config_file import from_dict, read_yaml
from deeplab_gygo.methods import METHODS
from deeplab_gygo.models.config import ModelConfig, Precision
from deeplab_gygo.synthesis.config import AugmentConfig, SourceConfig


@dataclass
class ValidationConfig:
    """Sequences on which J is measured during training: never those of a test set.

    Attributes:
        kind: Kind of dataset, as in `SourceConfig`.
        root: Folder of the dataset.
        split: Split to read.
        sequences: Names to use; empty takes all of the split.
        stride: Every how many frames are measured.
    """

    kind: Literal["gygo", "davis2016", "davis2017"]
    root: str = ""
    split: str = "train"
    sequences: list[str] = field(default_factory=list)
    stride: int = 5


@dataclass
class TrainConfig:
    """Offline training of a parent model.

    Attributes:
        model: Architecture.
        sources: Material, as a weighted mix.
        initial: Parent file to start from instead of the backbone's ImageNet weights.
        grow: Whether `initial` may lack parts of the architecture (a memory, a refinement), which
            then start afresh.
        data_root: Folder that relative roots start at, or the shards that `data pack` made of it;
            the environment variable `DEEPLAB_GYGO_DATA` fills it when it is empty.
        validation: Sets measured every `validate_every` steps.
        crop: Size (height, width) of training crops, pixels.
        batch: Crops a step; two are one clip.
        trained: What learns: `all`, but for what is frozen below, or the `refinement` alone, at
            `head_rate`.
        steps: Optimizer steps in all.
        seconds: Stop early after this training time, counting earlier runs; 0 means no limit. The
            schedule then runs over time instead of steps.
        head_rate: Peak learning rate of ASPP and decoder.
        backbone_rate: Peak learning rate of the encoder.
        frozen_stages: The stem and the encoder's stages up to this one are not trained; -1 trains
            all.
        freeze_batch_norm: Run ASPP and decoder on their moving statistics and without dropout:
            right for batches of a few large crops, after a training on larger batches.
        weight_decay: Decoupled, on kernels that are not depthwise.
        clip: Largest global norm of the gradient.
        warmup: Steps of linear warm-up; the rest is a cosine to zero.
        dice: Weight of the soft Dice loss beside the cross-entropy.
        edge: What a pixel by an edge of the object counts in the cross-entropy beyond others.
        ema: Momentum of the moving average of weights that is kept as the result; 0 keeps the
            last weights.
        guide_dropout: Share of crops without a guide, among those that do not need one.
        memory_dropout: Share of crops without a memory, likewise.
        augment: Random changes of the pictures.
        validate_every: Steps between validations.
        checkpoint_every: Steps between checkpoints.
        log_every: Steps between lines of the log.
        workers: Threads that make samples.
        worker_processes: Processes that make samples instead of the threads, for a GPU that
            threads cannot keep busy; 0 does with threads. Both make the same samples.
        cache_gb: Memory for decoded pictures, GB; processes share it evenly.
        data_parallel: Whether every step is computed by all GPUs of the machine (JAX only), each a
            part of the batch.
        precision: Numeric policy.
        seed: Of everything random.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    sources: list[SourceConfig] = field(default_factory=list)
    initial: str = ""
    grow: bool = False
    data_root: str = ""
    validation: list[ValidationConfig] = field(default_factory=list)
    crop: tuple[int, int] = (288, 352)
    batch: int = 6
    trained: Literal["all", "refinement"] = "all"
    steps: int = 10000
    seconds: float = 0.0
    head_rate: float = 1.5e-3
    backbone_rate: float = 3e-4
    frozen_stages: int = 3
    freeze_batch_norm: bool = False
    weight_decay: float = 1e-4
    clip: float = 5.0
    warmup: int = 200
    dice: float = 1.0
    edge: float = 0.0
    ema: float = 0.999
    guide_dropout: float = 0.5
    memory_dropout: float = 0.5
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


def load_training(path: str | Path) -> Any:
    """Reads an experiment file of any method.

    Args:
        path: YAML file; its key `method` names the method to train, `deeplab` without.

    Returns:
        The training configuration of that method.

    Raises:
        UsageError: The file is missing or no YAML, has a wrong key or value, or names a method
            that is not trained.
    """
    values = read_yaml(path)
    name = values.pop("method", values.pop("system", "deeplab"))
    trained = [method.name for method in METHODS.values() if method.training]
    if name not in trained:
        raise UsageError(f"A method to train is one of {', '.join(trained)}", met=name, where=path)
    return from_dict(METHODS[name].resolve("training"), values, path)
