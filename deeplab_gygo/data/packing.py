"""Which files a training reads, as pieces that can be packed one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from ..config import TrainConfig
from ..config_training import SystemTraining
from ..errors import InputError, UsageError
from .cutouts import find_stills
from .datasets import open_dataset
from .layout import ANNOTATION_FOLDER, IMAGE_FOLDER, shorten
from .packed_forms import (
    Member,
    PackSettings,
    pack_cutout,
    pack_picture,
    pack_sequence,
    pack_still,
)
from .pictures import find_pictures, list_pictures
from .video_dataset import Dataset, list_images

_CUTOUT_SUFFIXES = (".png", ".webp")


@dataclass(frozen=True)
class Piece:
    """Files that are packed together.

    Attributes:
        root: Folder of the material that they belong to, as the configuration names it.
        make: Makes their members; safe to call from any thread.
    """

    root: str
    make: Callable[[], list[Member]]


@dataclass
class _Video:
    """What is used of the data set in one folder.

    Attributes:
        reader: Reads its masks.
        names: Sequences used, in order.
        lists: Lists used, by their path in the data set, and the sequences that they name.
    """

    reader: Dataset
    names: dict[str, None] = field(default_factory=dict)
    lists: dict[Path, list[str]] = field(default_factory=dict)


def material_pieces(
    config: TrainConfig | SystemTraining,
    root: Path,
    settings: PackSettings,
    only: Sequence[str] = (),
) -> list[Piece]:
    """Lists everything that a training configuration reads.

    Sequences that are held back and not measured either are left out, and the lists of the data
    sets name what was packed.

    Args:
        config: Its sources and validation sets count.
        root: Folder that relative roots start at.
        settings: How far pictures are reduced.
        only: Roots to pack, with all below them; empty packs all.

    Returns:
        Pieces, those of a root together.

    Raises:
        InputError: Material is missing or of another layout.
        UsageError: A root or list lies outside of `root`, or `only` names nothing.
    """
    photos = _photo_folders(config)
    named = [part.root for part in (*config.sources, *config.validation)]
    for place in named + [place for place, _ in photos]:
        _require_relative(place)
    videos = _videos(config, root)
    wanted = _wanted([place for place, _ in (*videos, *photos)], only)
    taken: set[Path] = set()
    pieces: list[Piece] = []
    for (place, resolution), video in videos.items():
        if place in wanted:
            pieces += _video_pieces(place, resolution, video, settings, taken)
    for place, kind in photos:
        if place in wanted:
            pieces += _photo_pieces(place, root / place, kind, settings, taken)
    return sorted(pieces, key=lambda piece: wanted.index(piece.root))


def _wanted(roots: list[str], only: Sequence[str]) -> list[str]:
    """Chooses the roots that equal or lie below one of `only`, each once."""
    roots = list(dict.fromkeys(roots))
    for name in only:
        if not any(_is_below(place, name) for place in roots):
            raise UsageError(
                "What is to be packed is a root of the configuration",
                met=name,
                where="--only",
                remedy=f"Name some of: {shorten(roots)}",
            )
    return [place for place in roots if not only or any(_is_below(place, o) for o in only)]


# === Videos ===


def _videos(config: TrainConfig | SystemTraining, root: Path) -> dict[tuple[str, str], _Video]:
    """Collects what sources and validation sets use, by root and resolution."""
    videos: dict[tuple[str, str], _Video] = {}
    for source in config.sources:
        if source.kind not in ("stills", "compose"):
            dataset = open_dataset(source.kind, root / source.root, source.resolution)
            held_back = set(source.exclude)
            names = [name for name in dataset.names(source.split) if name not in held_back]
            _note(videos, source.root, dataset, source.split, names)
    for measured in config.validation:
        dataset = open_dataset(measured.kind, root / measured.root)
        names = measured.sequences or dataset.names(measured.split)
        _note(videos, measured.root, dataset, measured.split, names)
    return videos


def _note(
    videos: dict[tuple[str, str], _Video],
    root: str,
    dataset: Dataset,
    split: str,
    names: list[str],
) -> None:
    video = videos.setdefault((root, dataset.resolution), _Video(dataset))
    if dataset.multi_object:
        video.reader = dataset  # its masks keep the ids, which other kinds read as one object
    video.names |= dict.fromkeys(names)
    if split.lower().removesuffix(".txt") in dataset.splits():
        path = dataset.list_file(split).relative_to(dataset.root)
        video.lists[path] = list(dataset.listed(split))
    elif Path(split).is_file():
        raise UsageError(
            "A split of packed material has its list in the data set",
            met=split,
            where=dataset.root,
            remedy="Put the list into ImageSets and name the split",
        )


def _video_pieces(
    root: str, resolution: str, video: _Video, settings: PackSettings, taken: set[Path]
) -> list[Piece]:
    pieces = []
    for path, listed in video.lists.items():
        names = [name for name in listed if name in video.names]
        if names:
            text = "".join(f"{name}\n" for name in names).encode()
            member = Member(_joined(root, path.as_posix()), text, len(text))
            pieces.append(Piece(root, partial(list, (member,))))
    for name in video.names:
        for folder in (video.reader.image_folder, video.reader.annotation_folder):
            taken.update(path.resolve() for path in list_images(folder / name))
        folders = tuple(
            _joined(root, kind, resolution, name) for kind in (IMAGE_FOLDER, ANNOTATION_FOLDER)
        )
        pieces.append(Piece(root, partial(pack_sequence, video.reader, name, folders, settings)))
    return pieces


# === Photos ===


def _photo_folders(config: TrainConfig | SystemTraining) -> dict[tuple[str, str], None]:
    """Collects the folders of stills, cut-outs and backgrounds with what they hold.

    Backgrounds come last: a folder of stills or frames may serve as backgrounds too.
    """
    stills, cutouts, backgrounds = [], [], []
    for source in config.sources:
        if source.kind == "stills":
            stills.append(source.root)
        elif source.kind == "compose":
            stills += source.stills
            cutouts.append(source.root)
            backgrounds += source.backgrounds
    kinds = {"stills": stills, "cutouts": cutouts, "backgrounds": backgrounds}
    return dict.fromkeys((place, kind) for kind, places in kinds.items() for place in places)


def _photo_pieces(
    root: str, folder: Path, kind: str, settings: PackSettings, taken: set[Path]
) -> list[Piece]:
    """Lists the pieces of a folder but for pictures that are packed already."""
    if kind == "stills":
        return _still_pieces(root, folder, settings, taken)
    if kind == "cutouts":
        paths, pack = list_pictures(folder, _CUTOUT_SUFFIXES), pack_cutout
        if not paths:
            raise InputError(
                "A folder of cut-outs holds PNG or WebP pictures with transparency",
                met="none",
                where=folder,
            )
    else:
        paths, pack = find_pictures([folder]), pack_picture
    return [
        Piece(root, partial(pack, path, _place_of(path, folder, root), settings))
        for path in _new(paths, taken)
    ]


def _still_pieces(root: str, folder: Path, settings: PackSettings, taken: set[Path]) -> list[Piece]:
    masks = {still.image_path: still.mask_path for still in find_stills(folder)}
    pieces = []
    for path in _new(list(masks), taken):
        place = _place_of(path, folder / "images", "")
        places = tuple(_joined(root, kind, place) for kind in ("images", "masks"))
        taken.add(masks[path].resolve())
        pieces.append(Piece(root, partial(pack_still, path, masks[path], places, settings)))
    return pieces


def _new(paths: list[Path], taken: set[Path]) -> list[Path]:
    """Drops pictures that are taken, and takes the others."""
    fresh = [path for path in paths if path.resolve() not in taken]
    taken.update(path.resolve() for path in fresh)
    return fresh


# === Places ===


def _place_of(path: Path, folder: Path, root: str) -> str:
    return _joined(root, path.relative_to(folder).with_suffix("").as_posix())


def _joined(*parts: str) -> str:
    return PurePosixPath(*parts).as_posix()


def _is_below(place: str, other: str) -> bool:
    return PurePosixPath(place).is_relative_to(PurePosixPath(other))


def _require_relative(place: str) -> None:
    path = PurePosixPath(place)
    if path.is_absolute() or ".." in path.parts:
        raise UsageError(
            "A root that is packed lies below data_root",
            met=place,
            where="sources and validation of the configuration",
            remedy="Name it relative to data_root",
        )
