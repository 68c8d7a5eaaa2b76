"""Folders of results and ground truth as the tools of the field write them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.errors import InputError
from deeplab_gygo.evaluation import evaluate
from deeplab_gygo.io.masks import write_mask

COUNT = 6


def _mask(index: int, shift: int = 0) -> np.ndarray:
    mask = np.zeros((30, 40), np.uint8)
    mask[5:17, 4 + index + shift : 16 + index + shift] = 1
    mask[20:28, 10 + index : 20 + index] = 2
    return mask


def _write(folder: Path, names=None, shift: int = 0, suffix: str = "png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(COUNT):
        name = f"{index:05d}" if names is None else names[index]
        if name:
            Image.fromarray(_mask(index, shift)).save(folder / f"{name}.{suffix}")
    return folder


@pytest.fixture
def truth(tmp_path) -> Path:
    """Two sequences of two objects."""
    for name in ("a", "b"):
        _write(tmp_path / "truth" / name)
    return tmp_path / "truth"


@pytest.mark.parametrize(
    "below",
    ["{}", "{}/masks", "Annotations/{}", "Annotations/480p/{}", "Annotations/480p/{}/masks"],
)
def test_layouts_of_results(tmp_path, truth, below):
    for name in ("a", "b"):
        _write(tmp_path / "found" / below.format(name))
    score = evaluate(tmp_path / "found", truth)
    assert [row.label for row in score.objects()] == ["a_1", "a_2", "b_1", "b_2"]
    assert score.mean == 1.0


@pytest.mark.parametrize("below", ["Annotations", "Annotations/480p"])
def test_layouts_of_the_ground_truth(tmp_path, below):
    """The root of a dataset: its frames are no masks."""
    for name in ("a", "b"):
        _write(tmp_path / "data" / below / name)
        _write(tmp_path / "data" / below.replace("Annotations", "JPEGImages") / name, suffix="jpg")
        _write(tmp_path / "found" / name)
    score = evaluate(tmp_path / "found", tmp_path / "data")
    assert [sequence.name for sequence in score.sequences] == ["a", "b"]
    assert score.mean == 1.0


@pytest.mark.parametrize("true", ["clip", ""])
@pytest.mark.parametrize("found", ["clip", "clip/masks", "masks", ""])
def test_a_single_sequence_needs_no_folder_of_its_name(tmp_path, true, found):
    _write(tmp_path / "truth" / "clip")
    _write(tmp_path / "found" / found)
    truth = tmp_path / "truth" if true == "clip" else tmp_path / "truth" / "clip"
    score = evaluate(tmp_path / "found", truth)
    assert [row.label for row in score.objects()] == ["clip_1", "clip_2"]
    assert score.mean == 1.0


def test_frames_of_several_suffixes_are_all_frames(tmp_path, truth):
    for folder in (truth / "a", tmp_path / "found" / "a", tmp_path / "found" / "b"):
        _write(folder)
        for index in (2, 4):
            (folder / f"{index:05d}.png").unlink()
            Image.fromarray(_mask(index)).save(folder / f"{index:05d}.bmp")
    score = evaluate(tmp_path / "found", truth)
    assert [len(sequence.frame_names) for sequence in score.sequences] == [COUNT, COUNT]
    assert score.mean == 1.0


@pytest.mark.parametrize("name", ["overview.webp", "contact.png", "overview.jpg"])
def test_images_without_a_number_are_no_frames(tmp_path, truth, name, caplog):
    for folder in (truth, tmp_path / "found"):
        for sequence in "ab":
            _write(folder / sequence)
            Image.new("RGB", (90, 50), (9, 200, 70)).save(folder / sequence / name)
    with caplog.at_level(logging.WARNING, "deeplab_gygo"):
        assert evaluate(tmp_path / "found", truth).mean == 1.0
    assert not caplog.records


def test_frames_beside_their_masks_are_no_masks(tmp_path, truth):
    for sequence in "ab":
        _write(tmp_path / "found" / sequence)
        for index in range(COUNT):
            frame = Image.new("RGB", (40, 30), (200, 40 * index, 30))
            frame.save(tmp_path / "found" / sequence / f"{index:05d}.jpg")
    assert evaluate(tmp_path / "found", truth).mean == 1.0


def test_two_masks_of_a_frame_are_refused(tmp_path, truth):
    for sequence in "ab":
        _write(tmp_path / "found" / sequence)
    Image.fromarray(_mask(2)).save(tmp_path / "found" / "b" / "00002.tif")
    with pytest.raises(InputError, match=r"00002.png and 00002.tif \(.*b\)"):
        evaluate(tmp_path / "found", truth)


def test_results_without_ground_truth_are_noted(tmp_path, truth, caplog):
    for sequence in "ab":
        _write(tmp_path / "found" / sequence)
    (truth / "b" / "00003.png").unlink()
    with caplog.at_level(logging.WARNING, "deeplab_gygo"):
        assert evaluate(tmp_path / "found", truth).mean == 1.0
    notes = [record.getMessage() for record in caplog.records]
    assert notes == ["b: 1 results have no ground truth and are not measured: 00003"]


@pytest.mark.parametrize("below", ["{}", "{}/masks", "Annotations/480p/{}", "shop/{}/masks"])
def test_sequences_without_ground_truth_are_noted(tmp_path, truth, below, caplog):
    others = [f"other{number}" for number in range(14)]
    for name in ("a", "b"):
        _write(tmp_path / "found" / (below if "shop" not in below else "{}").format(name))
    for name in others:
        (tmp_path / "found" / below.format(name)).mkdir(parents=True)
        (tmp_path / "found" / below.format(name) / "00000.png").write_bytes(b"never read")
    (tmp_path / "found" / "a" / "cutouts").mkdir(parents=True)
    (tmp_path / "found" / "a" / "cutouts" / "00000.png").touch()
    (tmp_path / "found" / "overview.png").touch()
    assert evaluate(tmp_path / "found", truth).mean == 1.0
    (message,) = [record.getMessage() for record in caplog.records]
    place = "shop/" if "shop" in below else ""
    assert (
        f"found: 14 sequences have no ground truth and are not measured: {place}other0" in message
    )
    assert message.endswith(f"{place}other11 and 2 more")


def test_results_that_are_all_measured_need_no_note(tmp_path, truth, caplog):
    for name in ("a", "b"):
        _write(tmp_path / "found" / name / "masks")
    evaluate(tmp_path / "found", truth)
    evaluate(_write(tmp_path / "one" / "masks").parent, _write(tmp_path / "true"))
    assert not caplog.records


def test_results_of_every_frame_fit_ground_truth_of_every_fifth(tmp_path, caplog):
    names = [f"{5 * index:05d}" for index in range(COUNT)]
    _write(tmp_path / "truth" / "Annotations" / "clip", names)
    _write(tmp_path / "found" / "Annotations" / "clip", names)
    for index in range(5 * COUNT):
        path = tmp_path / "found" / "Annotations" / "clip" / f"{index:05d}.png"
        if not path.exists():
            write_mask(path, _mask(0))
    with caplog.at_level(logging.WARNING, "deeplab_gygo"):
        assert evaluate(tmp_path / "found", tmp_path / "truth").mean == 1.0
    assert not caplog.records


@pytest.mark.parametrize(("true", "found"), [(0, 1), (1, 0), (5, 9)])
def test_results_that_are_numbered_from_another_number_are_refused(tmp_path, true, found):
    """The frames that count have results of their names, but of other frames."""
    _write(tmp_path / "truth" / "clip", [f"{index:05d}" for index in range(true, true + COUNT)])
    _write(tmp_path / "found" / "clip", [f"{index:05d}" for index in range(found, found + COUNT)])
    with pytest.raises(InputError, match="numbered as the ground truth|frames missing"):
        evaluate(tmp_path / "found", tmp_path / "truth")


@pytest.mark.parametrize(
    "names", [[str(index) for index in range(COUNT)], [f"frame_{i:05d}" for i in range(COUNT)]]
)
def test_other_names_are_refused_and_shown(tmp_path, names):
    _write(tmp_path / "truth" / "clip")
    _write(tmp_path / "found" / "clip", names)
    with pytest.raises(InputError, match=rf"clip: frame 00001 .* there are {names[0]}, {names[1]}"):
        evaluate(tmp_path / "found", tmp_path / "truth")


def test_an_archive_is_refused_with_its_remedy(tmp_path, truth):
    (tmp_path / "results.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"met: a file \(.*results.zip\). Unpack"):
        evaluate(tmp_path / "results.zip", truth)
