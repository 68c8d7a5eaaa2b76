"""What is fuzzed: one function a reader, and the name of the file that it reads.

A `DeepLabGygoError` is an answer of a reader; any other exception is a finding.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np

from deeplab_gygo.errors import DeepLabGygoError

FRAME_SIZE = (48, 64)
"""Size of the frame that masks are read for, pixels."""


def _picture(path: Path) -> None:
    from deeplab_gygo.io.images import image_size, read_image

    assert read_image(path).shape[:2] == image_size(path)


def _mask(path: Path) -> None:
    from deeplab_gygo.io.masks import read_mask

    mask = read_mask(path, size=FRAME_SIZE)
    assert mask.shape == FRAME_SIZE and mask.dtype == np.uint8


def _annotation(path: Path) -> None:
    from deeplab_gygo.io.annotations import read_annotation

    mask, _ = read_annotation(path, size=FRAME_SIZE, frame="00000")
    assert mask.ndim == 2 and mask.dtype == np.uint8


def _video_list(path: Path) -> None:
    from deeplab_gygo.runs.plan import plan_videos

    for item in plan_videos(path):
        inside = path.parent / "out"
        assert (inside / item.name).resolve().is_relative_to(inside.resolve())


def _split(path: Path) -> None:
    from deeplab_gygo.datasets.layout import read_split_list

    read_split_list(path)


def _config(path: Path) -> None:
    from deeplab_gygo.inference.config import OnlineConfig
    from deeplab_gygo.io.config_file import load_yaml

    load_yaml(OnlineConfig, path)


def _training(path: Path) -> None:
    from deeplab_gygo.training.config import load_training

    load_training(path)


def _weights(path: Path) -> None:
    from deeplab_gygo.models.weight_file import read_parent_file

    read_parent_file(path)


def _archive(path: Path) -> None:
    from deeplab_gygo.datasets.archive import unpack_archive

    side = path.parent / "unpacked"
    side.mkdir(exist_ok=True)
    unpack_archive(path, side)


def _record(path: Path) -> None:
    from deeplab_gygo.runs.run_record import RunRecord

    RunRecord.read(path.parent)


def _video(path: Path) -> None:
    from deeplab_gygo.io.video import open_video

    sequence = open_video(path)
    for frame in islice(sequence, 20):
        assert frame.image.shape == (*sequence.size, 3)


def _animation(path: Path) -> None:
    from deeplab_gygo.io.video import open_input

    sequence = open_input(path)
    for frame in islice(sequence, 20):
        assert frame.image.shape == (*sequence.size, 3)


TARGETS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "animation": ("animation.png", _animation),
    "annotation": ("annotation", _annotation),
    "archive": ("dataset.tar", _archive),
    "config": ("config.yaml", _config),
    "csv": ("list.csv", _video_list),
    "jsonl": ("list.jsonl", _video_list),
    "labelme": ("mask.json", _mask),
    "mask": ("mask.png", _mask),
    "picture": ("picture.png", _picture),
    "record": ("run.json", _record),
    "split": ("val.txt", _split),
    "training": ("training.yaml", _training),
    "video": ("clip.mp4", _video),
    "weights": ("weights.npz", _weights),
}
"""Name of the file and reader of every target."""


def run_target(name: str, folder: Path, data: bytes | None) -> DeepLabGygoError | None:
    """Gives a file to a reader.

    Args:
        name: A key of `TARGETS`.
        folder: An existing folder that the target may write into.
        data: Content of the file; None where it is in the folder already.

    Returns:
        The error of the package with which the reader refused it; None where it was read.

    Raises:
        Exception: A finding: any other exception, or a warning of a library.
    """
    file, read = TARGETS[name]
    if data is not None:
        (folder / file).write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            read(folder / file)
        except DeepLabGygoError as error:
            return error
    return None
