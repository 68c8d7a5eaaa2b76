"""Checks of a training before its data is read and its network is built."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from deeplab_gygo.datasets.registry import Dataset, open_dataset
from deeplab_gygo.errors import InputError, StorageError, UsageError
from deeplab_gygo.io import storage
from deeplab_gygo.io.config_file import to_plain
from deeplab_gygo.io.listing import shorten
from deeplab_gygo.io.scratch import SIZE_VARIABLE, scratch
from deeplab_gygo.io.storage import display, is_url
from deeplab_gygo.methods import method_of_architecture
from deeplab_gygo.models.weight_file import read_parent_file
from deeplab_gygo.synthesis.sources import data_place, data_root
from deeplab_gygo.training.config import ValidationConfig
from deeplab_gygo.training.run_folder import make_run_folder

logger = logging.getLogger(__name__)


def check_training(config: Any, folder: str | Path) -> None:
    """Checks output folder, mix of sources, weights to start from and validation sets.

    Only names and headers are read, and of URLs the validation sets; the sources check themselves
    when they are opened.

    Args:
        config: Training configuration of any method.
        folder: Output folder; it is made where it is absent.

    Raises:
        UsageError: The folder cannot be one of this training, no source has a weight, or
            `init_from` has another architecture.
        InputError: Weights or a validation set are missing or damaged.
        StorageError: The folder cannot be made, or what is at URLs does not fit into the scratch
            folder.
    """
    if is_url(folder):
        raise UsageError(
            "A training writes its checkpoints into a local folder",
            met=display(str(folder)),
            where="--out",
            remedy="Give a local folder, and upload it with the client of your storage",
        )
    make_run_folder(Path(folder))
    weights = [source.weight for source in config.sources]
    if not any(weights):
        raise UsageError(
            "A training has sources, one or more with a weight above 0",
            met=f"weights {weights}" if weights else "none",
            where="sources",
            remedy="Add a source, or raise a weight",
        )
    _check_start(config)
    root = data_root(config.data_root)
    _check_scratch(config, root)
    for number, part in enumerate(config.validation):
        _check_validation(part, root, f"validation.{number}")


def _check_start(config: Any) -> None:
    """Compares the architecture of `init_from` with that of the configuration."""
    if not config.init_from:
        return
    architecture, _, _ = read_parent_file(config.init_from, header_only=True)
    may_grow = getattr(config, "allow_missing", False)
    wanted = method_of_architecture(config.model).name
    found = method_of_architecture(architecture).name
    if found == wanted:
        old, new = to_plain(architecture), to_plain(config.model)
        different = {} if may_grow else {key: old[key] for key in new if old[key] != new[key]}
        if not different:
            return
        found = ", ".join(f"{key} {value}" for key, value in different.items())
    remedy = "Correct model or init_from"
    if hasattr(config, "allow_missing"):
        remedy += ", or set allow_missing if only parts are new"
    raise UsageError(
        "A parent to start from has the method and architecture of the configuration",
        met=found,
        where=config.init_from,
        remedy=remedy,
    )


def _check_scratch(config: Any, root: str | Path) -> None:
    """Compares the size of all that is at URLs with that of the scratch folder, where it stays."""
    sizes: dict[str, int] = {}
    for part in (*config.sources, *config.validation):
        if part.kind in ("stills", "compose"):
            roots = (part.root, *part.stills, *part.backgrounds)
            places = (data_place(root, each) for each in roots)
            urls = [str(place) for place in places if is_url(place)]
            sizes |= {url: storage.inspect(url, deep=True).num_bytes for url in urls}
        elif is_url(data_place(root, part.root)):
            dataset = _opened(part, root)
            names = getattr(part, "sequences", None) or dataset.names(part.split)
            sizes |= dataset.remote_bytes(set(names) - set(getattr(part, "exclude", ())))
    needed, room = sum(sizes.values()), scratch().max_bytes
    if needed > room:
        raise StorageError(
            f"The data of a training fits into the scratch folder, of {room / 1e9:g} GB",
            met=f"{needed / 1e9:.3g} GB at URLs",
            where=display(str(root)),
            remedy=f"Allow a larger one by --scratch-gb or {SIZE_VARIABLE}, or leave sources out",
        )
    if needed:
        logger.info("the training has %.3g GB in the scratch folder", needed / 1e9)


def _opened(part: Any, root: str | Path) -> Dataset:
    """Opens the dataset of a source or of a validation set."""
    return open_dataset(part.kind, data_place(root, part.root), getattr(part, "resolution", "480p"))


def _check_validation(config: ValidationConfig, root: str | Path, where: str) -> None:
    dataset = _opened(config, root)
    names = config.sequences or dataset.names(config.split)
    if not names:
        raise InputError(
            "A validation set has at least one sequence",
            met=f"none in the split {config.split}",
            where=f"{where}, {dataset.root}",
            remedy="Name another split, or sequences",
        )
    missing = [name for name in names if not dataset.sequence(name).annotations]
    if missing:
        raise InputError(
            "Every validation sequence has annotations",
            met=f"none of {shorten(missing)}",
            where=f"{where}, {dataset.root}",
            remedy="Name other sequences, or add their masks",
        )
