"""`train`: the parent of a method, offline, from an experiment file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeplab_gygo.cli.config_options import add_config_options, given_values, merged
from deeplab_gygo.cli.options import Request, add_common, import_keras, quiet_start
from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.config_file import from_dict, to_plain
from deeplab_gygo.methods import find_method
from deeplab_gygo.training.config import TrainConfig, load_training

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from deeplab_gygo.training.trainer import Trainer

_POSITIVE = ("steps", "batch", "validate_every", "checkpoint_every", "log_every")


def add_arguments(parser: ArgumentParser, request: Request) -> None:
    """Adds the options of the command."""
    parser.add_argument(
        "--config", type=str, required=True, metavar="FILE",
        help="YAML file of a TrainConfig, or with `method: osmn` or `osvos` of their training; "
        "the options below that such a file has override it too",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=str, required=True, metavar="DIR",
        help="where checkpoints, logs and parent.npz go; an unfinished training goes on",
    )  # fmt: skip
    parser.add_argument(
        "--backbone-weights", type=str, dest="backbone_weights", metavar="WHICH",
        help="imagenet (the default), none, or a file; of another method in place of the file's "
        "trunk_weights, shipped among them",
    )  # fmt: skip
    add_config_options(parser, TrainConfig, "training")
    add_common(parser)


def run(options: Namespace) -> int:
    """Trains, or goes on training."""
    config = training_config(options)
    if not config.sources:
        raise UsageError(
            "A training has sources", met="none", where=options.config, remedy="Name some material"
        )
    for name in _POSITIVE:
        if getattr(config, name) < 1:
            raise UsageError(f"{name} is 1 or more", met=getattr(config, name), where=f"--{name}")
    with quiet_start(options.debug):
        import_keras()
        trainer = _trainer(config, options)
    path = trainer.run()
    summary = {
        "parent": str(path),
        "steps": trainer.step,
        "seconds": round(trainer.seconds, 1),
        "best_j": trainer.best if config.validation else None,
    }
    print(json.dumps(summary))
    return 0


def training_config(options: Namespace) -> Any:
    """Joins the experiment file and the options given beside it.

    Args:
        options: Parsed options of the command.

    Returns:
        A `TrainConfig`, `OsmnTraining` or `OsvosTraining`, as the file's `method` says.

    Raises:
        UsageError: The file cannot be used, or an option does not belong to its method.
    """
    base = load_training(Path(options.config).expanduser())
    kind = type(base)
    known = {field.name for field in dataclasses.fields(kind)}
    given = given_values(options.training)
    strange = sorted(set(given) - known)
    if strange:
        raise UsageError(
            "An option of a training is one that its method has",
            met=f"--{strange[0]}",
            where=options.config,
            remedy="Leave it out, or write what is meant into the file",
        )
    config = from_dict(kind, merged(to_plain(base), given), "command line")
    if options.backbone_weights is not None and kind is not TrainConfig:
        config = dataclasses.replace(config, trunk_weights=options.backbone_weights)
    return config


def _trainer(config: Any, options: Namespace) -> Trainer:
    folder, progress = Path(options.out).expanduser(), not options.quiet
    if not isinstance(config, TrainConfig):
        trainer = find_method(config.method).resolve("trainer")
        return trainer(config, folder, progress=progress)
    from deeplab_gygo.training.parent_trainer import ParentTrainer

    weights = options.backbone_weights or "imagenet"
    weights = None if weights == "none" else weights
    return ParentTrainer(config, folder, backbone_weights=weights, progress=progress)
