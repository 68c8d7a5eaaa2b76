"""One sequence of a batch, opened when its turn comes, in any process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from deeplab_gygo.datasets.registry import Dataset
from deeplab_gygo.errors import InputError
from deeplab_gygo.io.storage import is_url
from deeplab_gygo.runs.clip import Clip, open_clip, open_dataset_clip

_BYTES_OF_FRAME = 20_000  # of a compressed video at 480p, roughly: hints are only compared


@dataclass(frozen=True, slots=True)
class Item:
    """One sequence of a batch; small and picklable, for it goes to other processes.

    Attributes:
        name: Name of its folder below the output folder; may contain slashes. Of an item that
            cannot be opened it is for messages only.
        open: Opens it, given the local copies of `remote`; raises a `DeepLabGygoError` where it
            cannot be used.
        remote: URLs of its files, which must be copied before it is opened; empty of a local one.
        video: Video or folder of frames; empty if unknown.
    """

    name: str
    open: Callable[..., Clip]
    remote: tuple[str, ...] = ()
    video: str = ""

    @contextmanager
    def opened(self) -> Iterator[Clip]:
        """Opens it; remote files are in the scratch folder as long as the context lasts.

        Raises:
            DeepLabGygoError: It cannot be used, or a file cannot be copied.
        """
        with ExitStack() as stack:
            copies: list[Path] = []
            if self.remote:
                from deeplab_gygo.io.scratch import scratch

                copies = [Path(stack.enter_context(scratch().local(url))) for url in self.remote]
            yield self.open(*copies)

    def size_hint(self) -> int:
        """Returns a number that grows with its duration, by which the longest are begun first.

        Nothing is decoded: it is the size of the video in bytes, or about what as many frames as
        its folder has would take; 0 where it is unknown, as of remote files.
        """
        if self.remote or not self.video:
            return 0
        try:
            if os.path.isdir(self.video):
                with os.scandir(self.video) as entries:
                    return _BYTES_OF_FRAME * sum(1 for _ in entries)
            return os.stat(self.video).st_size
        except (OSError, ValueError):  # ValueError: a zero byte in the name
            return 0


@dataclass(frozen=True, slots=True)
class Unusable:
    """Raises why an item cannot be opened.

    Attributes:
        error: The error.
    """

    error: InputError

    def __call__(self) -> Clip:
        raise self.error


@dataclass(frozen=True, slots=True)
class OpenRow:
    """Opens the video of a row of a list.

    Attributes:
        video: Path or URL.
        masks: Paths or URLs of the masks by name or index of their frames; that of the key "" is of
            `frame`.
        frame: Frame of the mask without one; None is the first.
        name: Name of the sequence.
        keep_going: Whether the frames that can be decoded are taken of a damaged video.
        needs_mask: Whether a clip without a mask is an error.
        remote: The URLs among video and masks.
    """

    video: str
    masks: dict[str, str]
    frame: str | None
    name: str
    keep_going: bool
    needs_mask: bool
    remote: tuple[str, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        masks = {frame: _absolute(place) for frame, place in self.masks.items()}
        others = (self.frame, self.name, self.keep_going, self.needs_mask, self.remote)
        return type(self), (_absolute(self.video), masks, *others)

    def __call__(self, *copies: Path) -> Clip:
        local = dict(zip(self.remote, copies, strict=True))
        masks = {frame: local.get(place, Path(place)) for frame, place in self.masks.items()}
        return open_clip(
            local.get(self.video, Path(self.video)),
            masks.get("") if len(masks) == 1 else masks or None,
            frame=self.frame,
            name=self.name,
            needs_mask=self.needs_mask,
            keep_going=self.keep_going,
        )


@dataclass(frozen=True, slots=True)
class OpenListed:
    """Opens a sequence of a dataset; pickled without what the dataset has read.

    Attributes:
        dataset: The dataset.
        name: Name of the sequence.
        listed: The list that names it, for messages.
        needs_mask: Whether a sequence without any annotation is an error.
    """

    dataset: Dataset
    name: str
    listed: Path
    needs_mask: bool

    def __reduce__(self) -> tuple[Any, ...]:
        dataset = self.dataset
        # The root of a dataset at a URL is a folder of this process.
        root = dataset.location if is_url(dataset.location) else dataset.root.absolute()
        kind = (type(dataset), root, dataset.resolution)
        return _open_listed_again, (*kind, self.name, self.listed, self.needs_mask)

    def __call__(self) -> Clip:
        folder = self.dataset.frames_folder(self.name)
        if not os.path.isdir(folder):
            raise InputError(
                "Every sequence that a list names must be on disk",
                met=f"no folder {folder}",
                where=self.listed,
                remedy=f"Download the dataset again, or remove '{self.name}' from the list",
            )
        return open_dataset_clip(self.dataset, self.name, needs_mask=self.needs_mask)


def _absolute(place: str) -> str:
    """Returns a path for a process with another current folder; URLs are as they are."""
    return place if is_url(place) else os.path.abspath(place)


def _open_listed_again(
    kind: type[Dataset], root: Path | str, resolution: str, *values: Any
) -> OpenListed:
    return OpenListed(_reopened(kind, root, resolution), *values)


@lru_cache(maxsize=4)
def _reopened(kind: type[Dataset], root: Path | str, resolution: str) -> Dataset:
    """Opens a dataset once in a process that is handed its sequences."""
    return kind(root, resolution)
