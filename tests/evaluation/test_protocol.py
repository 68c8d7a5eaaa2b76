"""Results on disk: layouts, completeness, errors of unusable ones."""

from __future__ import annotations

import doctest
import errno
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.evaluation import evaluate, protocol


def write_masks(folder: Path, masks: Mapping[str, np.ndarray]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, mask in masks.items():
        assert cv2.imwrite(str(folder / f"{name}.png"), mask)
    return folder


def numbered(masks: list[np.ndarray], factor: int = 1) -> dict[str, np.ndarray]:
    return {f"{index:05d}": mask * np.uint8(factor) for index, mask in enumerate(masks)}


class MasksInMemory:
    """A dataset of masks without images."""

    def __init__(self, masks: dict[str, list[np.ndarray]], *, kind: str = "gygo"):
        self.kind, self.masks = kind, masks
        self.multi_object = kind == "davis2017"
        self.void_label = 255 if self.multi_object else None

    def names(self, split: str) -> list[str]:
        assert split == "val"
        return list(self.masks)

    def sequence(self, name: str) -> SimpleNamespace:
        count = len(self.masks[name])
        return SimpleNamespace(
            frame_names=[f"{index:05d}" for index in range(count)],
            annotations=dict.fromkeys(range(count), Path("unused.png")),
            annotation=lambda index, keep_void: self.annotation(name, index),
        )

    def annotation(self, name: str, index: int) -> np.ndarray:
        return self.masks[name][index]


@pytest.mark.parametrize("below", ["", "masks"])
@pytest.mark.parametrize("factor", [1, 255])
def test_results_in_either_layout_and_coding(tmp_path, below, factor, clip):
    shares = {"batch-1/cup": [0.1, 0.8, 0.6, 0.1], "batch-1/toy": [0.1, 0.4, 0.2, 0.6, 0.1]}
    masks = {name: clip(values) for name, values in shares.items()}
    for name, (predictions, _) in masks.items():
        write_masks(tmp_path / name / below, numbered(predictions, factor))
    dataset = MasksInMemory({name: truths for name, (_, truths) in masks.items()})
    seen = []
    score = evaluate(tmp_path, dataset, progress=lambda sequence: seen.append(sequence.name))
    assert seen == list(shares)
    assert (score.dataset, score.split) == ("gygo", "val")
    # Mean of the sequences' means, .7 and .4, not of all frames.
    assert score.region.mean == pytest.approx(0.55)
    assert score.region.recall == pytest.approx((1 + 1 / 3) / 2)
    assert score.mean == pytest.approx((0.55 + score.contour.mean) / 2)
    assert "5 of 9 counted" in score.frames_statement
    assert score.with_last_frame().region.mean == pytest.approx((1.5 / 3 + 1.3 / 4) / 2)


def test_jobs_do_not_change_the_score(tmp_path, clip):
    random = np.random.default_rng(3)
    masks = {f"clip-{index}": clip(list(random.uniform(size=6))) for index in range(5)}
    for name, (predictions, _) in masks.items():
        write_masks(tmp_path / name, numbered(predictions))
    dataset = MasksInMemory({name: truths for name, (_, truths) in masks.items()})
    one, many = (evaluate(tmp_path, dataset, jobs=jobs) for jobs in (1, 3))
    assert [row.label for row in one.objects()] == [row.label for row in many.objects()]
    assert one.objects() == many.objects()


def test_a_sequence_without_counted_frames_is_left_out_of_the_means(tmp_path, clip):
    masks = {"long": clip([1, 0.5, 0.7, 1]), "short": clip([1, 1])}
    for name, (predictions, _) in masks.items():
        write_masks(tmp_path / name, numbered(predictions))
    dataset = MasksInMemory({name: truths for name, (_, truths) in masks.items()})
    assert evaluate(tmp_path, dataset).region.mean == pytest.approx(0.6)


def test_the_given_frame_is_not_looked_at_and_the_last_may_be_absent(tmp_path, clip):
    predictions, truths = clip([1.0, 0.5, 0.7, 1.0])
    folder = write_masks(tmp_path / "clip", numbered(predictions))
    (folder / "00000.png").write_bytes(b"not an image")
    (folder / "00003.png").unlink()
    dataset = MasksInMemory({"clip": truths})
    score = evaluate(tmp_path, dataset)
    assert score.region.mean == pytest.approx(0.6)
    assert score.with_last_frame() is None
    with pytest.raises(InputError, match="1 frames missing, first 00003"):
        evaluate(tmp_path, dataset, frames="drop-first")


def test_all_incomplete_sequences_are_named_at_once(tmp_path, clip):
    predictions, truths = clip([1.0] * 6)
    write_masks(tmp_path / "done", numbered(predictions))
    write_masks(tmp_path / "begun", numbered(predictions[:3]))
    dataset = MasksInMemory({"done": truths, "begun": truths, "absent": truths})
    with pytest.raises(InputError) as caught:
        evaluate(tmp_path, dataset)
    message = str(caught.value)
    assert "2 of 3 sequences" in message
    assert "begun: 2 frames missing, first 00003" in message
    assert "absent: no masks" in message
    assert "done:" not in message


def test_a_result_of_another_size_is_refused(tmp_path, clip):
    predictions, truths = clip([1.0] * 4)
    predictions[2] = np.zeros((10, 20), dtype=np.uint8)
    write_masks(tmp_path / "clip", numbered(predictions))
    with pytest.raises(InputError, match=r"20 x 20; met: 20 x 10 \(clip, frame 00002\)"):
        evaluate(tmp_path, MasksInMemory({"clip": truths}))


def test_an_unreadable_result_is_refused(tmp_path, clip):
    predictions, truths = clip([1.0] * 4)
    folder = write_masks(tmp_path / "clip", numbered(predictions))
    (folder / "00001.png").write_bytes((folder / "00001.png").read_bytes()[:40])
    with pytest.raises(InputError, match="00001.png"):
        evaluate(tmp_path, MasksInMemory({"clip": truths}))


def test_an_absent_folder_and_no_jobs_are_refused(tmp_path):
    dataset = MasksInMemory({})
    with pytest.raises(InputError, match="no folder"):
        evaluate(tmp_path / "nowhere", dataset)
    with pytest.raises(UsageError, match="jobs"):
        evaluate(tmp_path, dataset, jobs=0)


def test_results_with_several_objects(tmp_path, two_objects):
    truth = two_objects()
    truth[0, 0] = 255
    # The second object is found in one frame only, and there alone: its id must stay 2.
    missed, alone = np.where(truth == 1, truth, 0), np.where(truth == 2, truth, 0)
    predictions = [missed, missed, alone, missed]
    write_masks(tmp_path / "pair", numbered([mask.astype(np.uint8) for mask in predictions]))
    dataset = MasksInMemory({"pair": [truth] * 4}, kind="davis2017")
    score = evaluate(tmp_path, dataset)
    assert [row.label for row in score.objects()] == ["pair_1", "pair_2"]
    assert [row.region.mean for row in score.objects()] == [0.5, 0.5]
    assert score.region.mean == 0.5


def test_mask_of_0_and_255_for_several_objects_is_explained(tmp_path, two_objects):
    truth = two_objects()
    write_masks(tmp_path / "pair", numbered([(truth > 0).astype(np.uint8)] * 4, 255))
    dataset = MasksInMemory({"pair": [truth] * 4}, kind="davis2017")
    with pytest.raises(InputError, match="single object"):
        evaluate(tmp_path, dataset)


def test_folders_of_one_sequence(tmp_path, clip):
    predictions, truths = clip([1.0, 0.8, 0.6, 1.0])
    truth = write_masks(tmp_path / "truth", numbered(truths, 255))
    flat = write_masks(tmp_path / "flat", numbered(predictions))
    write_masks(tmp_path / "run" / "masks", numbered(predictions, 255))
    for folder in (flat, tmp_path / "run"):
        score = evaluate(folder, truth)
        assert [sequence.name for sequence in score.sequences] == ["truth"]
        assert score.region.mean == pytest.approx(0.7)


def test_other_files_beside_the_masks_do_not_matter(tmp_path, clip):
    predictions, truths = clip([1.0, 0.8, 0.6, 1.0])
    write_masks(tmp_path / "clip" / "masks", numbered(predictions))
    write_masks(tmp_path / "clip", {"contact_sheet": truths[0], "00000": truths[0]})
    (tmp_path / "clip" / "run.json").write_text("{}", encoding="utf-8")
    score = evaluate(tmp_path, MasksInMemory({"clip": truths}))
    assert score.region.mean == pytest.approx(0.7)


def test_void_of_folders_is_background_unless_left_out(tmp_path, clip):
    prediction, truth = (masks[0] for masks in clip([1.0]))
    truth[0:5, 5:15] = 255
    prediction[0:5, 5:15] = 1
    folder = write_masks(tmp_path / "truth", numbered([truth] * 3))
    found = write_masks(tmp_path / "found", numbered([prediction] * 3))
    assert evaluate(found, folder).region.mean == pytest.approx(100 / 150)
    assert evaluate(found, folder, ignore_void=True).region.mean == 1.0


def test_folders_of_many_sequences(tmp_path, clip):
    predictions, truths = clip([1.0, 0.8, 0.6, 1.0])
    for name in ("a/x", "a/y", "b"):
        write_masks(tmp_path / "truth" / name, numbered(truths))
        write_masks(tmp_path / "found" / name, numbered(predictions))
    (tmp_path / "truth" / ".DS_Store").write_bytes(b"")
    score = evaluate(tmp_path / "found", tmp_path / "truth", jobs=2)
    assert [sequence.name for sequence in score.sequences] == ["a/x", "a/y", "b"]
    assert score.region.mean == pytest.approx(0.7)


def test_folders_with_several_objects_are_recognized(tmp_path, two_objects):
    truth = two_objects()
    exchanged = np.choose(truth, [0, 2, 1]).astype(np.uint8)
    folder = write_masks(tmp_path / "truth", numbered([truth] * 3))
    found = write_masks(tmp_path / "found", numbered([exchanged] * 3))
    assert evaluate(found, folder).region.mean == 0.0
    assert evaluate(found, folder, multi_object=False).region.mean == 1.0


def test_frames_are_in_the_order_of_their_numbers(tmp_path, clip):
    predictions, truths = clip([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0])
    names = [f"frame{index}" for index in range(1, 12)]
    folder = write_masks(tmp_path / "truth", dict(zip(names, truths, strict=True)))
    found = write_masks(tmp_path / "found", dict(zip(names, predictions, strict=True)))
    (sequence,) = evaluate(found, folder).sequences
    assert list(sequence.frame_names) == names
    np.testing.assert_allclose(sequence.region[0, 1:], np.arange(9, -1, -1) / 10)


def test_the_root_of_a_dataset_is_opened_by_its_kind(tmp_path, make_dataset):
    root = make_dataset(tmp_path / "data", {"batch/cup": 4})
    score = evaluate(root / "Annotations" / "480p", root, dataset="gygo", split="val")
    assert (score.dataset, score.split, score.mean) == ("gygo", "val", 1.0)
    with pytest.raises(UsageError, match="gygo, davis2016, davis2017"):
        evaluate(root / "Annotations" / "480p", root, dataset="coco")


def test_the_example_of_the_documentation():
    assert doctest.testmod(protocol) == (0, 8)


def test_a_folder_without_masks_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds images"):
        evaluate(tmp_path, tmp_path / "empty")


def test_pipes_devices_and_circles_among_results_are_not_waited_for(tmp_path, clip):
    predictions, truths = clip([0.1, 0.8, 0.6, 0.1])
    write_masks(tmp_path / "truth" / "cup", numbered(truths))
    found = write_masks(tmp_path / "found" / "cup", numbered(predictions))
    for folder in (found, tmp_path / "truth" / "cup", tmp_path / "truth"):
        (folder / "up").symlink_to("..")
        (folder / "me").symlink_to("me")
    os.mkfifo(tmp_path / "truth" / "pipe.png")
    expected = evaluate(tmp_path / "found", tmp_path / "truth").region.mean
    assert 0 < expected < 1
    os.mkfifo(found / "00009.png")
    (found / "00008.png").symlink_to("/dev/zero")
    assert evaluate(tmp_path / "found", tmp_path / "truth").region.mean == expected
    (found / "00001.png").unlink()
    os.mkfifo(found / "00001.png")
    with pytest.raises(InputError, match="1 frames missing, first 00001"):
        evaluate(tmp_path / "found", tmp_path / "truth")


def test_a_folder_of_results_that_may_not_be_listed_is_an_input_error(tmp_path, clip, monkeypatch):
    _, truths = clip([0.1, 0.8, 0.6, 0.1])
    write_masks(tmp_path / "truth" / "cup", numbered(truths))
    write_masks(tmp_path / "found" / "cup", numbered(truths))
    listdir = os.listdir

    def refuse(path="."):
        if str(path) == str(tmp_path / "found" / "cup"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(InputError, match="can be listed; met: Permission denied.*found/cup"):
        evaluate(tmp_path / "found", tmp_path / "truth")


@pytest.mark.parametrize("name", ["n" * 300, "a\0b"])
def test_a_folder_of_results_of_an_impossible_name_is_absent(tmp_path, name):
    with pytest.raises(InputError, match="must exist"):
        evaluate(tmp_path / name, tmp_path)


def test_first_mask_copied_scores_as_recorded(golden, shared_data, tmp_path):
    names = ["car-shadow", "drift-chicane"]
    published = json.loads((golden / "davis16_published.json").read_text(encoding="utf-8"))
    expected = published["methods"]["copy first mask"]["val_dev_sequences"]
    dataset = open_dataset("davis2016", shared_data / "davis16")
    listed = tmp_path / "few.txt"
    listed.write_text("\n".join(names), encoding="utf-8")
    for name in names:
        sequence = dataset.sequence(name)
        (tmp_path / name).mkdir()
        for frame in sequence.frame_names:
            shutil.copy(sequence.annotations[0], tmp_path / name / f"{frame}.png")
    score = evaluate(tmp_path, dataset, split=listed, jobs=2)
    assert score.split == "few"
    for row in score.objects():
        assert row.region.mean == pytest.approx(expected[row.sequence]["J_mean"], abs=6e-5)
        assert row.contour.mean == pytest.approx(expected[row.sequence]["F_mean"], abs=6e-5)
