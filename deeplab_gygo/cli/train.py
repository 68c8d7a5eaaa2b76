"""`train`: the parent of a method, offline, from an experiment file."""

from __future__ import annotations

import dataclasses
import json
import math
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from deeplab_gygo.cli.config_options import add_config_options, given_values, merged
from deeplab_gygo.cli.options import Request, add_common, import_keras, quiet_start
from deeplab_gygo.cli.progress_options import add_progress_option, shown
from deeplab_gygo.cli.scratch_options import add_scratch_options, use_scratch
from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.config_file import from_dict, to_plain
from deeplab_gygo.io.names import expanded
from deeplab_gygo.io.scratch import held
from deeplab_gygo.io.storage import is_url, local_or_url
from deeplab_gygo.methods import find_method
from deeplab_gygo.runs.progress_displays import Count
from deeplab_gygo.training.checks import check_training
from deeplab_gygo.training.config import TrainConfig, load_training

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from deeplab_gygo.training.trainer import Trainer


def add_arguments(parser: ArgumentParser, request: Request) -> None:
    """Adds the options of the command."""
    parser.add_argument(
        "--config", type=str, required=True, metavar="FILE",
        help="YAML file of a TrainConfig, or with `method: osmn` or `osvos` of their training; "
        "the options below override it",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=str, required=True, metavar="DIR",
        help="folder of checkpoints, logs and parent.npz; an unfinished training is continued",
    )  # fmt: skip
    parser.add_argument(
        "--backbone-weights", type=str, dest="backbone_weights", metavar="WHICH",
        help="imagenet (the default), none, or a file; for osmn and osvos it overrides "
        "trunk_weights of the experiment file",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true", dest="dry_run",
        help="make one batch and compile the step, print parameters, steps, seconds and memory; "
        "nothing is trained",
    )  # fmt: skip
    add_config_options(parser, TrainConfig, "training")
    add_progress_option(parser)
    add_scratch_options(parser, request)
    add_common(parser)


def run(options: Namespace) -> int:
    """Starts or continues a training."""
    use_scratch(options)
    config = training_config(options)
    folder = local_or_url(options.out)
    check_training(config, folder)  # before the seconds that Keras takes
    with ExitStack() as stack:
        if options.dry_run:
            folder = stack.enter_context(TemporaryDirectory())
        with quiet_start(options.debug):
            import_keras()
            trainer = _trainer(config, options, Path(folder))
        if options.dry_run:
            print(json.dumps(trainer.dry_run()))
            return 0
        count = Count("train", "step", config.steps, start=trainer.step)
        progress = stack.enter_context(shown(options, count))

        def show(step: int, steps: int, loss: float) -> None:
            progress.update(step, **({} if math.isnan(loss) else {"loss": loss}))

        path = trainer.run(show)
    summary = {
        "parent": str(path),
        "steps": trainer.step,
        "seconds": round(trainer.seconds, 1),
        "examples_per_second": round(trainer.meter.examples_per_second, 1),
        "input_wait": round(trainer.meter.input_wait, 3),
        "best_j": trainer.best if config.validation else None,
    }
    print(json.dumps(summary))
    return 0


def training_config(options: Namespace) -> Any:
    """Merges the experiment file and the options that override it.

    Args:
        options: Parsed options of the command.

    Returns:
        A `TrainConfig`, `OsmnTraining` or `OsvosTraining`, as the file's `method` says.

    Raises:
        UsageError: The file cannot be used, or an option does not belong to its method.
    """
    base = load_training(expanded(options.config))
    kind = type(base)
    known = {field.name for field in dataclasses.fields(kind)}
    given = given_values(options.training)
    strange = sorted(set(given) - known)
    if strange:
        raise UsageError(
            "A training takes the options of its method",
            met=f"--{strange[0]}",
            where=options.config,
            remedy="Leave it out",
        )
    config = from_dict(kind, merged(to_plain(base), given), "command line")
    if options.backbone_weights is not None and kind is not TrainConfig:
        config = dataclasses.replace(config, trunk_weights=options.backbone_weights)
    return config


def _trainer(config: Any, options: Namespace, folder: Path) -> Trainer:
    if not isinstance(config, TrainConfig):
        trainer = find_method(config.method).resolve("trainer")
        return trainer(config, folder)
    from deeplab_gygo.training.parent_trainer import ParentTrainer

    weights = options.backbone_weights or "imagenet"
    weights = None if weights == "none" else str(held(weights)) if is_url(weights) else weights
    return ParentTrainer(config, folder, backbone_weights=weights)
