"""What masks of results and ground truth mean: a right score, or an error, in every encoding."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.errors import InputError
from deeplab_gygo.evaluation import evaluate
from deeplab_gygo.io.masks import write_mask

COUNT, SIDE = 7, 48
COLORS = {1: (0, 0, 255), 2: (255, 0, 0)}
Write = Callable[[Path, np.ndarray], object]


def _masks(*, joins: int = 0, leaves: int = COUNT) -> list[np.ndarray]:
    """Two squares, ids 1 and 2; 2 is there from a frame on, 1 until before a frame."""
    masks = []
    for index in range(COUNT):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        if index < leaves:
            mask[4:20, 4 + index : 20 + index] = 1
        if index >= joins:
            mask[26:44, 26 - index : 42 - index] = 2
        masks.append(mask)
    return masks


def _write(folder: Path, masks: list[np.ndarray], write: Write = write_mask, suffix="png") -> Path:
    (folder / "clip").mkdir(parents=True)
    for index, mask in enumerate(masks):
        write(folder / "clip" / f"{index:05d}.{suffix}", mask)
    return folder


def _colored(colors: dict[int, tuple[int, int, int]]) -> Write:
    def write(path: Path, mask: np.ndarray) -> None:
        image = np.zeros((*mask.shape, 3), np.uint8)
        for label, color in colors.items():
            image[mask == label] = color
        Image.fromarray(image).save(path)

    return write


def _white(path: Path, mask: np.ndarray) -> None:
    Image.fromarray((mask > 0).astype(np.uint8) * 255).save(path)


def _soft(path: Path, mask: np.ndarray) -> None:
    soft = cv2.GaussianBlur((mask > 0).astype(np.float32) * 255, (0, 0), 1.2)
    Image.fromarray(np.rint(soft).astype(np.uint8)).save(path)


def _cut(masks: list[np.ndarray]) -> list[np.ndarray]:
    """What the soft masks are cut at one half to."""
    found = []
    for mask in masks:
        soft = cv2.GaussianBlur((mask > 0).astype(np.float32) * 255, (0, 0), 1.2)
        found.append((np.rint(soft) > 127).astype(np.uint8))
    return found


def _means(score) -> dict[int, float]:
    return {row.object_id: row.region.mean for row in score.objects()}


def test_colors_of_the_ground_truth_are_numbered_once_for_the_sequence(tmp_path, caplog):
    masks = _masks(leaves=4)
    truth = _write(tmp_path / "truth", masks, _colored(COLORS))
    ids = _write(tmp_path / "ids", masks)
    with caplog.at_level(logging.WARNING, "deeplab_gygo"):
        score = evaluate(ids, truth)
    assert (score.region.mean, score.contour.mean) == (1.0, 1.0)
    notes = [record.getMessage() for record in caplog.records]
    assert len(notes) == 2  # one for each side, not one a frame
    assert "#0000ff is 1, #ff0000 is 2" in notes[0]
    assert _means(evaluate(truth, truth)) == {1: 1.0, 2: 1.0}


@pytest.mark.parametrize("first", [1, 2])
def test_same_colors_are_the_same_object_whoever_is_there(tmp_path, first):
    masks = _masks()
    truth = _write(tmp_path / "truth", masks, _colored(COLORS))
    only = [np.where(mask == first, mask, 0).astype(np.uint8) for mask in masks]
    found = _write(tmp_path / "found", only, _colored(COLORS))
    assert _means(evaluate(found, truth)) == {first: 1.0, 3 - first: 0.0}


def test_colors_of_results_are_matched_by_the_given_masks(tmp_path, caplog):
    masks = _masks(joins=2)
    truth = _write(tmp_path / "truth", masks)
    found = _write(tmp_path / "found", masks, _colored({1: (255, 0, 0), 2: (0, 255, 0)}))
    with caplog.at_level(logging.WARNING, "deeplab_gygo"):
        assert _means(evaluate(found, truth)) == {1: 1.0, 2: 1.0}
    assert "matched by the given masks: #ff0000 is 1, #00ff00 is 2" in caplog.text
    (found / "clip" / "00000.png").unlink()
    with pytest.raises(InputError, match=r"no object for #ff0000 \(clip, results\)"):
        evaluate(found, truth)


def test_colors_exchanged_in_a_later_frame_are_wrong(tmp_path):
    masks = _masks()
    truth = _write(tmp_path / "truth", masks)
    swapped = [
        m if i < 3 else np.choose(m, [0, 2, 1]).astype(np.uint8) for i, m in enumerate(masks)
    ]
    found = _write(tmp_path / "found", swapped, _colored({1: (255, 0, 0), 2: (0, 255, 0)}))
    assert _means(evaluate(found, truth)) == {1: 0.4, 2: 0.4}


def test_colors_of_davis_are_ids(tmp_path):
    masks = _masks()
    truth = _write(tmp_path / "truth", masks)
    right, wrong = {1: (128, 0, 0), 2: (0, 128, 0)}, {2: (128, 0, 0), 1: (0, 128, 0)}
    assert evaluate(_write(tmp_path / "a", masks, _colored(right)), truth).region.mean == 1.0
    assert evaluate(_write(tmp_path / "b", masks, _colored(wrong)), truth).region.mean == 0.0


def test_an_object_that_joins_later_is_measured_from_the_frame_after_its_first(tmp_path):
    masks = _masks(joins=3)
    truth = _write(tmp_path / "truth", masks)
    swapped = [
        m if i < 3 else np.choose(m, [0, 2, 1]).astype(np.uint8) for i, m in enumerate(masks)
    ]
    merged = [(mask > 0).astype(np.uint8) for mask in masks]
    perfect = evaluate(_write(tmp_path / "perfect", masks), truth)
    assert [(row.label, row.frame_count) for row in perfect.objects()] == [
        ("clip_1", 5),
        ("clip_2", 2),
    ]
    assert perfect.mean == 1.0
    assert _means(evaluate(_write(tmp_path / "swapped", swapped), truth)) == {1: 0.4, 2: 0.0}
    found = _means(evaluate(_write(tmp_path / "merged", merged), truth))
    assert found[2] == 0.0 and found[1] < 0.8
    late = [m if i != 3 else np.where(m == 2, 0, m).astype(np.uint8) for i, m in enumerate(masks)]
    assert evaluate(_write(tmp_path / "late", late), truth).mean == 1.0


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif"])
def test_soft_edges_are_cut_at_one_half_in_every_file_kind(tmp_path, suffix, caplog):
    masks = _masks()
    truth = _write(tmp_path / "truth", _cut(masks))

    def write(path: Path, mask: np.ndarray) -> None:
        _soft(path.with_suffix(".png"), mask)
        if suffix != "png":
            options = {"jpg": {"quality": 95}, "webp": {"lossless": True}}.get(suffix, {})
            Image.open(path.with_suffix(".png")).save(path, **options)
            path.with_suffix(".png").unlink()

    found = _write(tmp_path / "found", masks, write, suffix)
    with caplog.at_level(logging.WARNING, "deeplab_gygo"):
        score = evaluate(found, truth)
    assert score.region.mean > (0.99 if suffix == "jpg" else 0.9999)
    assert score.contour.mean > 0.99
    assert sum("above one half" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize("write", [_white, _soft])
def test_masks_of_one_object_are_none_of_several(tmp_path, write):
    masks = _masks()
    truth = _write(tmp_path / "truth", masks)
    with pytest.raises(InputError, match=r"their ids, \[1, 2\].*clip, frame 00001.*single object"):
        evaluate(_write(tmp_path / "found", masks, write), truth)


def test_jpeg_masks_of_one_object_are_none_of_several(tmp_path):
    masks = _masks()
    truth = _write(tmp_path / "truth", masks)
    with pytest.raises(InputError, match="single object"):
        evaluate(_write(tmp_path / "found", masks, _white, "jpg"), truth)


def test_masks_of_0_and_1_and_of_0_and_255_are_one_object(tmp_path, caplog):
    one = [(mask > 0).astype(np.uint8) for mask in _masks()]
    mixed = [mask * np.uint8(255 if index % 2 else 1) for index, mask in enumerate(one)]
    for true, found in ((one, mixed), (mixed, one), (mixed, mixed)):
        truth = _write(tmp_path / f"truth{len(list(tmp_path.iterdir()))}", true)
        results = _write(tmp_path / f"results{len(list(tmp_path.iterdir()))}", found)
        assert evaluate(results, truth).mean == 1.0
    assert "both are the object" in caplog.text
    with pytest.raises(InputError, match="single object"):
        evaluate(results, _write(tmp_path / "two", _masks()))


def _gray(path: Path, mask: np.ndarray) -> None:
    Image.fromarray(mask).save(path)


@pytest.mark.parametrize("write", [write_mask, _gray])
def test_void_in_results_is_background(tmp_path, caplog, write):
    masks = _masks()
    void = [mask.copy() for mask in masks]
    for mask in void:
        mask[22:24] = 255
    truth, found = _write(tmp_path / "truth", void), _write(tmp_path / "found", void, write)
    with caplog.at_level(logging.WARNING, "deeplab_gygo"):
        assert evaluate(found, truth).mean == 1.0
    assert caplog.text.count("255 beside ids is void") == 1
    one = [(mask > 0).astype(np.uint8) for mask in masks]
    assert evaluate(found, _write(tmp_path / "one", one)).mean == 1.0


def test_objects_of_results_are_one_where_the_ground_truth_has_one(tmp_path, caplog):
    masks = _masks()
    truth = _write(tmp_path / "truth", masks, _white)
    with caplog.at_level(logging.WARNING, "deeplab_gygo"):
        assert evaluate(_write(tmp_path / "found", masks), truth).mean == 1.0
    assert "taken as one, for the ground truth has one: 1, 2" in caplog.text


def test_values_of_results_are_ids_as_stored_whatever_the_palette(tmp_path):
    masks = _masks()
    truth = _write(tmp_path / "truth", masks)

    def write(path: Path, mask: np.ndarray) -> None:
        picture = Image.fromarray(mask)
        picture.putpalette([255, 255, 255, 0, 0, 0, 90, 90, 90])  # black is not the background
        picture.save(path)

    assert evaluate(_write(tmp_path / "found", masks, write), truth).mean == 1.0


def test_ids_above_255_are_matched_by_value(tmp_path):
    masks = _masks()

    def write(path: Path, mask: np.ndarray) -> None:
        Image.fromarray(np.array([0, 1001, 2002], np.uint16)[mask]).save(path)

    truth = _write(tmp_path / "truth", masks, write)
    only = [np.where(mask == 2, 2, 0).astype(np.uint8) for mask in masks]
    assert _means(evaluate(_write(tmp_path / "found", only, write), truth)) == {1: 0.0, 2: 1.0}
    assert evaluate(_write(tmp_path / "ids", masks), truth).mean == 1.0


def test_a_named_encoding(tmp_path):
    masks = _masks()

    def write(path: Path, mask: np.ndarray) -> None:
        Image.fromarray(np.array([0, 100, 200], np.uint8)[mask]).save(path)

    truth = _write(tmp_path / "truth", masks, _white)
    gray = _write(tmp_path / "gray", masks, write)
    with pytest.raises(InputError, match="--mask-format"):
        evaluate(gray, truth)
    with pytest.raises(InputError, match="--truth-format"):
        evaluate(truth, gray)
    assert evaluate(gray, truth, mask_format="binary").mean == 1.0
    assert evaluate(truth, gray, truth_format="binary").mean == 1.0
    assert evaluate(gray, gray, mask_format="ids", truth_format="ids").mean == 1.0
