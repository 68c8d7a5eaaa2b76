"""`train`: a parent, offline, from an experiment file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from deeplab_gygo.commands.options import add_common, add_config_options, config_of, quiet_start
from deeplab_gygo.config import TrainConfig
from deeplab_gygo.errors import UsageError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the options of the command."""
    parser.add_argument(
        "--config", type=str, required=True, metavar="FILE", help="YAML file of a TrainConfig"
    )
    parser.add_argument(
        "--out", type=str, required=True, metavar="DIR",
        help="where checkpoints, logs and parent.npz go; an unfinished training goes on",
    )  # fmt: skip
    parser.add_argument(
        "--backbone-weights", type=str, default="imagenet", dest="backbone_weights",
        metavar="WHICH", help="imagenet, none, or a file",
    )  # fmt: skip
    add_config_options(parser, TrainConfig, "training")
    add_common(parser)


def run(options: Namespace) -> int:
    """Trains, or goes on training."""
    config = config_of(TrainConfig, options.config, options.training)
    if not config.sources:
        raise UsageError(
            "A training has sources", met="none", where=options.config, remedy="Name some material"
        )
    for name in ("steps", "batch", "validate_every", "checkpoint_every", "log_every"):
        if getattr(config, name) < 1:
            raise UsageError(f"{name} is 1 or more", met=getattr(config, name), where=f"--{name}")
    weights = None if options.backbone_weights == "none" else options.backbone_weights
    with quiet_start(options.debug):
        from deeplab_gygo.training.parent import ParentTrainer

        trainer = ParentTrainer(
            config,
            Path(options.out).expanduser(),
            backbone_weights=weights,
            progress=not options.quiet,
        )
    path = trainer.run()
    summary = {
        "parent": str(path),
        "steps": trainer.step,
        "seconds": round(trainer.seconds, 1),
        "best_j": trainer.best if config.validation else None,
    }
    print(json.dumps(summary))
    return 0
