"""Verification of one sequence: numbering, pairing of frames and masks, sizes and contents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deeplab_gygo.datasets.layout import listing_errors
from deeplab_gygo.datasets.registry import Dataset
from deeplab_gygo.errors import DeepLabGygoError, InputError
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.io.images import image_size, open_picture, read_image
from deeplab_gygo.io.listing import list_images, number_gaps, shorten
from deeplab_gygo.io.masks import check_first_mask, read_mask
from deeplab_gygo.io.reading import check_regular

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Problem:
    """A rule that a dataset violates.

    Attributes:
        severity: "error" if results would be wrong or impossible, else "warning".
        rule: The rule, as a sentence.
        met: The violation.
        sequence: Name of the sequence; None for the dataset.
        file: The file or folder.
        remedy: Instruction to the user.
    """

    severity: str
    rule: str
    met: str | None = None
    sequence: str | None = None
    file: str | None = None
    remedy: str | None = None

    @classmethod
    def of(cls, error: DeepLabGygoError, sequence: str | None = None) -> Problem:
        """Converts an error that a reader raised."""
        met = None if error.met is None else str(error.met)
        file = None if error.where is None else str(error.where)
        return cls(ERROR, error.rule, met, sequence, file, error.remedy)

    def __str__(self) -> str:
        text = f"{self.severity}: {self.rule}"
        text += f"; met: {self.met}" if self.met else ""
        place = self.file or self.sequence
        text += f" ({place})." if place else "."
        return printable(f"{text} {self.remedy}." if self.remedy else text)


class SequenceCheck:
    """Checks one sequence and collects the problems.

    Attributes:
        name: Name of the sequence.
        frames: Frame name -> image file.
        masks: Frame name -> mask file.
        fingerprint: SHA-256 of the first frame's file; None if there is none.
        problems: Violated rules.
    """

    def __init__(self, dataset: Dataset, name: str, *, decode: bool, only_first_mask: bool):
        self.name = name
        self.problems: list[Problem] = []
        self.fingerprint: str | None = None
        self._dataset, self._decode, self._only_first = dataset, decode, only_first_mask
        self.frames: dict[str, Path] = {}
        self.masks: dict[str, Path] = {}

    def run(self, listed_frames: Iterable[list[str]]) -> None:
        """Runs all checks."""
        try:
            with self._dataset.copied(self.name) as (frames, masks):
                self.frames, self.masks = self._list(frames), self._list(masks)
                self._check(listed_frames)
        except InputError as error:  # a folder or file that may not be read
            self.problems.append(Problem.of(error, self.name))

    def _check(self, listed_frames: Iterable[list[str]]) -> None:
        if not self.frames:
            self._report(
                "A sequence has frames", "no image", self._dataset.frames_folder(self.name)
            )
            return
        first = next(iter(self.frames.values()))
        check_regular(first)
        with listing_errors(first), open(first, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
            self.fingerprint = content if file.tell() else None
        self._check_numbering()
        self._check_pairing(listed_frames)
        self._check_contents()

    @property
    def _first(self) -> str:
        """Name of the frame that must have a mask."""
        first = next(iter(self.frames))
        if not self._dataset.joining_objects:
            return first
        return next((stem for stem in self.frames if stem in self.masks), first)

    def _report(
        self,
        rule: str,
        met: str,
        file: Path | None = None,
        remedy: str | None = None,
        severity: str = ERROR,
    ) -> None:
        place = str(file) if file is not None else None
        self.problems.append(Problem(severity, rule, met, self.name, place, remedy))

    def _list(self, folder: Path) -> dict[str, Path]:
        files: dict[str, Path] = {}
        with listing_errors(folder):
            paths = list_images(folder)
        for path in paths:
            if path.stem in files:
                self._report(
                    "A frame has one file",
                    f"{files[path.stem].name} and {path.name}",
                    folder,
                    "Remove one of them",
                )
            files.setdefault(path.stem, path)
        return files

    def _check_numbering(self) -> None:
        stems = list(self.frames)
        step, gaps = number_gaps(stems)
        if gaps:
            self._report(
                f"The numbers of the frames go up in equal steps, here of {step}",
                shorten(f"{stems[i]} is followed by {stems[i + 1]}" for i in gaps),
                self._dataset.frames_folder(self.name),
                "Check whether frames are missing",
                WARNING,
            )

    def _check_pairing(self, listed_frames: Iterable[list[str]]) -> None:
        folder = self._dataset.masks_folder(self.name)
        first = self._first
        remedy = "Fetch the dataset again; files are missing"
        if first not in self.masks:
            self._report("The first frame has a mask", f"no mask for {first}", folder, remedy)
        unpaired = [stem for stem in self.frames if stem not in self.masks and stem != first]
        if unpaired and not self._only_first:
            met = f"{len(unpaired)} frames without: {shorten(unpaired)}"
            self._report("Every frame has a mask of its name", met, folder, remedy)
        orphans = [stem for stem in self.masks if stem not in self.frames]
        if orphans:
            met = f"{len(orphans)} masks without: {shorten(orphans)}"
            self._report("Every mask has a frame of its name", met, folder, remedy)
        absent = sorted({stem for stems in listed_frames for stem in stems} - set(self.frames))
        if absent:
            met = f"{len(absent)} absent: {shorten(absent)}"
            image_folder = self._dataset.frames_folder(self.name)
            self._report("Every frame that a list names is on disk", met, image_folder, remedy)

    def _check_contents(self) -> None:
        expected: tuple[int, int] | None = None
        first = self._first
        for stem, path in self.frames.items():
            size = self._size_of(path)
            if size is not None and expected is not None and size != expected:
                met = f"{size[1]}x{size[0]} after {expected[1]}x{expected[0]}"
                self._report("All frames of a sequence have one size", met, path)
            expected = expected or size
            if stem in self.masks:
                self._check_mask(self.masks[stem], size, first=stem == first)

    def _check_mask(self, path: Path, size: tuple[int, int] | None, *, first: bool) -> None:
        try:
            if self._decode or first:
                picture = open_picture(path)
                mask_size = picture.height, picture.width
                values = np.asarray(picture.convert("L") if picture.mode == "1" else picture)
                self._check_values(path, values, first)
            else:
                mask_size = image_size(path)
        except InputError as error:
            self.problems.append(Problem.of(error, self.name))
            return
        if size is not None and size != mask_size:
            met = f"{mask_size[1]}x{mask_size[0]} for a frame of {size[1]}x{size[0]}"
            self._report("A mask has the size of its frame", met, path)

    def _check_values(self, path: Path, values: np.ndarray, first: bool) -> None:
        """Checks the stored values of a mask, [H, W] or [H, W, channels].

        Raises:
            InputError: It is the first mask and no valid annotation.
        """
        if values.dtype != np.uint8:
            self._report("A mask has 8 bits per pixel", str(values.dtype), path)
            return
        ids = np.flatnonzero(np.bincount(values.reshape(-1), minlength=256))
        objects = [int(value) for value in ids if value]
        met = f"{len(ids)} values: {shorten(str(value) for value in ids)}"
        if self._dataset.multi_object and objects == [self._dataset.void_label]:
            self._report(
                "A mask of this dataset holds ids of objects",
                f"{met}; {objects[0]} marks ignored pixels",
                path,
                "Check whether the masks are those of DAVIS-2016",
            )
            return
        if not self._dataset.multi_object and len(objects) > 1:
            remedy = "It is read as one object; check whether it is the right mask"
            self._report("A mask has two values, background and object", met, path, remedy, WARNING)
        if first:
            mask = read_mask(path, mask_format=self._dataset.mask_format(path), keep_void=True)
            check_first_mask(mask, mask.shape, path)

    def _size_of(self, path: Path) -> tuple[int, int] | None:
        """Returns height and width of an image; None, and a problem, if it cannot be read."""
        try:
            return read_image(path).shape[:2] if self._decode else image_size(path)
        except InputError as error:
            self.problems.append(Problem.of(error, self.name))
            return None
