"""A batch skips what is finished, lists what fails, and does the rest.

The network is replaced here by one that answers with the annotations, shifted where asked for: what
a batch does must not depend on it.
"""

import errno
import itertools
import json
import os
import threading

import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.errors import InputError, StorageError
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.io.atomic import storage_error
from deeplab_gygo.io.locking import locked
from deeplab_gygo.io.masks import read_mask, write_mask
from deeplab_gygo.runs import hand_out
from deeplab_gygo.runs.batch import Batch
from deeplab_gygo.runs.output_directory import output_directory
from deeplab_gygo.runs.plan import Item, plan_dataset
from deeplab_gygo.runs.run_record import RunRecord
from deeplab_gygo.runs.settings import RunSettings

SEQUENCES = {"shoes/red": 6, "bag": 5, "cup": 4}


class Oracle:
    """Writes the annotations as results, every frame decoded as a network would need it."""

    def __init__(self, settings, shift=0, trouble=None, during=None):
        self.settings, self.shift, self.trouble = settings, shift, trouble or {}
        self.done, self.during = [], during or (lambda name: None)

    def run(self, clip, out, *, keep_bars=True):
        if clip.sequence.name in self.trouble:
            raise self.trouble[clip.sequence.name]
        with output_directory(out) as folder:
            self.during(clip.sequence.name)
            for frame in clip.sequence:
                assert frame.image.shape[:2] == clip.sequence.size
                truth = clip.mask if clip.truth is None else clip.truth(frame.index)
                mask = np.roll(truth, self.shift, axis=1)
                write_mask(folder / "masks" / f"{frame.name}.png", mask)
            frames = len(clip.sequence) - 1
            record = RunRecord(
                command=["test"],
                config=self.settings.identity,
                seed=self.settings.seed,
                hashes={**clip.hashes(), "weights": self.settings.weights_hash},
                frames=frames,
                adaptation_seconds=1.0,
                steps=2,
                frame_seconds=[0.5] * frames,
                name=clip.sequence.name,
                masks=frames + 1,
                outputs=["masks"],
                total_seconds=1.0 + 0.5 * frames,
            )
            record.write(folder)
        self.done.append(clip.sequence.name)
        return record


@pytest.fixture
def dataset(tmp_path, make_dataset):
    return open_dataset("gygo", make_dataset(tmp_path / "data", SEQUENCES))


@pytest.fixture
def run(tmp_path, dataset, parent_header):
    """Function that runs a batch and returns its result and the names that were segmented."""

    def run(
        *, config=None, shift=0, trouble=None, during=None, items=None, patience=60.0, **changes
    ):
        settings = RunSettings(
            online=config or OnlineConfig(), weights=parent_header, progress=False, **changes
        )
        oracle = Oracle(settings, shift, trouble, during)
        items = items or plan_dataset(dataset, "val")
        batch = Batch(
            items, settings, tmp_path / "out", make_runner=lambda settings: oracle,
            patience=patience,
        )  # fmt: skip
        return batch.run(), oracle.done

    return run


def _failures(tmp_path):
    lines = (tmp_path / "out" / "failures.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_every_sequence_gets_its_folder_and_the_summary_its_scores(tmp_path, run):
    result, done = run()
    assert done == list(SEQUENCES)
    for name, count in SEQUENCES.items():
        assert len(list((tmp_path / "out" / name / "masks").glob("*.png"))) == count
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [row["sequence"] for row in summary["sequences"]] == list(SEQUENCES)
    assert all(row["J"] == row["F"] == 1.0 for row in summary["sequences"])
    assert summary["mean"]["J"] == 1.0
    assert result.failures_file is None
    assert not (tmp_path / "out" / "failures.jsonl").exists()


def test_scores_are_those_of_the_official_protocol(run):
    result, _ = run(shift=7)
    # The square is 28 wide and moved by 7: 21 of 35 columns are shared.
    assert [row["J"] for row in (o.row() for o in result.outcomes)] == pytest.approx([21 / 35] * 3)
    # First and last frame do not count.
    assert [len(score.counted) for score in result.scores] == [4, 3, 2]


def test_the_amortized_rate_of_the_whole_is_frames_by_seconds(run):
    result, _ = run()
    frames = sum(count - 1 for count in SEQUENCES.values())
    assert result.mean_row()["amortized_fps"] == pytest.approx(frames / (3 + 0.5 * frames))


def test_a_finished_batch_is_skipped_without_loading_a_network(run):
    first, _ = run()
    second, done = run()
    assert done == []
    assert [outcome.status for outcome in second.outcomes] == ["skipped"] * 3
    assert [o.row()["J"] for o in second.outcomes] == [o.row()["J"] for o in first.outcomes]


@pytest.mark.parametrize(
    "change",
    [
        {"config": OnlineConfig(steps=3)},
        {"seed": 1},
        {"outputs": ("masks",)},
        {"precision": "float32"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_results_of_other_settings_are_replaced_only_where_that_is_asked_for(tmp_path, run, change):
    run()
    result, done = run(**change)
    assert done == [] and result.count("failed") == 3
    assert "Give --overwrite" in _failures(tmp_path)[0]["remedy"]
    _, done = run(**change, overwrite=True)
    assert done == list(SEQUENCES)


def test_results_of_an_earlier_version_are_kept_and_named(tmp_path, run):
    run()
    path = tmp_path / "out" / "bag" / "run.json"
    record = json.loads(path.read_text())
    record["versions"]["deeplab-gygo"] = "0.0.1"
    path.write_text(json.dumps(record))
    result, done = run()
    assert done == [] and result.count("skipped") == 3
    assert "made by version 0.0.1" in result.outcomes[1].warnings[0]


@pytest.mark.parametrize("changed", ["JPEGImages", "Annotations"])
def test_a_changed_input_does_its_sequence_anew_with_overwrite(tmp_path, dataset, run, changed):
    run()
    folder = dataset.root / changed / "480p" / "bag"
    path = sorted(folder.iterdir())[0]
    with Image.open(path) as picture:
        picture.load()
    if changed == "JPEGImages":
        picture.save(path, quality=50)
    else:
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    _, done = run()
    assert done == [] and [failure["sequence"] for failure in _failures(tmp_path)] == ["bag"]
    _, done = run(overwrite=True)
    assert "bag" in done


def test_a_damaged_frame_is_listed_and_the_rest_is_done(tmp_path, dataset, run):
    frame = dataset.root / "JPEGImages" / "480p" / "bag" / "00002.jpg"
    whole = frame.read_bytes()
    frame.write_bytes(whole[: len(whole) // 2])
    result, done = run()
    assert done == ["shoes/red", "cup"]
    (failure,) = _failures(tmp_path)
    assert failure["sequence"] == "bag"
    assert failure["where"].endswith("00002.jpg")
    assert failure["remedy"]
    assert failure["exit_status"] == 65
    assert not (tmp_path / "out" / "bag").exists()
    assert result.outcomes[1].row()["error"] == failure["message"]
    # Mended, the same command does only what was missing, and nothing is listed any more.
    frame.write_bytes(whole)
    result, done = run()
    assert done == ["bag"]
    assert not (tmp_path / "out" / "failures.jsonl").exists()


def test_an_unexpected_error_costs_one_sequence_only(tmp_path, run):
    _, done = run(trouble={"bag": RuntimeError("tensor of the wrong kind")})
    assert done == ["shoes/red", "cup"]
    (failure,) = _failures(tmp_path)
    assert "RuntimeError: tensor of the wrong kind" in failure["message"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
@pytest.mark.parametrize("wrap", [True, False])
def test_a_full_disk_ends_the_batch_and_keeps_what_is_finished(tmp_path, run, number, wrap):
    error = OSError(number, os.strerror(number))
    if wrap:
        error = storage_error(tmp_path, error)
        error.__cause__ = OSError(number, os.strerror(number))
    with pytest.raises(StorageError):
        run(trouble={"bag": error})
    assert len(list((tmp_path / "out" / "shoes" / "red" / "masks").glob("*.png"))) == 6
    assert not (tmp_path / "out" / "cup").exists()


def test_an_interruption_is_no_failure_of_a_sequence(tmp_path, run):
    with pytest.raises(KeyboardInterrupt):
        run(trouble={"bag": KeyboardInterrupt()})
    assert (tmp_path / "out" / "shoes" / "red" / "run.json").is_file()
    _, done = run()
    assert done == ["bag", "cup"]


def test_other_files_are_never_replaced(tmp_path, run):
    mine = tmp_path / "out" / "bag" / "notes.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("keep me")
    _, done = run(overwrite=True)
    assert done == ["shoes/red", "cup"]
    assert mine.read_text() == "keep me"
    assert "other files" in _failures(tmp_path)[0]["message"]


def test_a_damaged_record_does_its_sequence_anew(tmp_path, run):
    run()
    (tmp_path / "out" / "bag" / "run.json").write_text("{oops")
    _, done = run()
    assert done == ["bag"]


def test_without_annotations_of_all_frames_there_is_no_score(dataset, run):
    for path in sorted((dataset.root / "Annotations" / "480p" / "cup").iterdir())[1:]:
        path.unlink()
    result, done = run()
    assert done == list(SEQUENCES)
    assert [score.name for score in result.scores] == ["shoes/red", "bag"]
    assert result.outcomes[2].row()["J"] is None


def test_the_table_shows_every_sequence_and_the_means(dataset, run):
    (dataset.root / "JPEGImages" / "480p" / "cup" / "00001.jpg").write_bytes(b"")
    result, _ = run()
    lines = result.table().splitlines()
    assert len({len(line) for line in lines[:7]}) == 1
    assert lines[2].split() == ["shoes/red", "done", "6", "1.0", "1.43", "1.000", "1.000"]
    assert lines[4].split() == ["cup", "failed", "-", "-", "-", "-", "-"]
    assert lines[6].startswith("mean of 2")
    assert "2 done, 0 skipped, 1 failed" in lines[7]


# Finished means whole


def _mask(tmp_path, name="bag", frame="00002"):
    return tmp_path / "out" / name / "masks" / f"{frame}.png"


@pytest.mark.parametrize("damage", ["missing", "empty", "cut"])
def test_a_damaged_result_is_done_anew_and_it_is_said_why(tmp_path, run, damage, caplog):
    run()
    path = _mask(tmp_path)
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(b"" if damage == "empty" else content[: len(content) // 2])
    result, done = run()
    assert done == ["bag"]
    assert path.read_bytes() == content
    assert [outcome.status for outcome in result.outcomes] == ["skipped", "done", "skipped"]
    assert "bag: segmented again: files are damaged: masks/00002.png" in caplog.text
    assert run()[1] == []


def test_a_mask_corrected_by_hand_is_kept_and_reported(tmp_path, run, caplog):
    run(shift=7)
    corrected = np.roll(read_mask(_mask(tmp_path)), -7, axis=1)
    write_mask(_mask(tmp_path), corrected)
    for config in (None, OnlineConfig(steps=3)):  # whatever the settings are by now
        caplog.clear()
        result, done = run(shift=7, config=config)
        assert "bag" not in done
        assert (read_mask(_mask(tmp_path)) == corrected).all()
        assert "bag: kept, for masks were corrected by hand: masks/00002.png" in caplog.text
        summary = json.loads((tmp_path / "out" / "summary.json").read_text())
        assert "corrected by hand" in summary["sequences"][1]["warnings"][0]
        assert result.outcomes[1].row()["J"] > 21 / 35
    _, done = run(shift=7, overwrite=True)
    assert "bag" not in done and "masks/00002.png" in _failures(tmp_path)[0]["met"]
    assert (read_mask(_mask(tmp_path)) == corrected).all()


def test_a_corrected_mask_is_not_deleted_for_another_that_is_missing(tmp_path, run, caplog):
    run()
    corrected = np.zeros_like(read_mask(_mask(tmp_path)))
    write_mask(_mask(tmp_path), corrected)
    _mask(tmp_path, frame="00003").unlink()
    for _ in range(2):
        caplog.clear()
        result, done = run()
        assert done == [] and result.count("failed") == 0
        assert not read_mask(_mask(tmp_path)).any()
        assert "masks/00003.png" in caplog.text and "move the folder" in caplog.text
        assert "not measured" in result.outcomes[1].warnings[1]


def test_a_note_in_a_finished_result_does_not_matter_until_it_is_replaced(tmp_path, run):
    run()
    note = tmp_path / "out" / "bag" / "note.txt"
    note.write_text("mine")
    result, done = run()
    assert done == [] and result.count("skipped") == 3
    _, done = run(overwrite=True)
    assert done == ["shoes/red", "cup"]
    assert "note.txt" in _failures(tmp_path)[0]["met"]
    assert note.read_text() == "mine"


def test_what_killed_runs_left_goes_also_beside_finished_results(tmp_path, run):
    run()
    for name in (".bag.partial-4711", "shoes/.red.partial-0123456789abcdef"):
        (tmp_path / "out" / name).mkdir()
    os.rename(tmp_path / "out" / "cup", tmp_path / "out" / ".cup.former-0123456789abcdef")
    _, done = run()
    assert done == []
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["bag", "cup", "shoes", "summary.json"]
    assert [path.name for path in (tmp_path / "out" / "shoes").iterdir()] == ["red"]


# Two batches on one folder


def test_two_batches_share_the_work(run, monkeypatch):
    """The second batch begins while the first is at its first sequence."""
    monkeypatch.setattr(hand_out, "POLL_SECONDS", 0.01)
    results, started, passed = {}, threading.Event(), threading.Event()

    def first_waits(name):
        started.set()
        assert passed.wait(60)

    def first():
        results["first"] = run(during=first_waits)

    thread = threading.Thread(target=first)
    thread.start()
    assert started.wait(60)
    results["second"] = run(during=lambda name: passed.set())
    thread.join(60)
    (one, done_by_one), (two, done_by_two) = results["first"], results["second"]
    assert done_by_one[0] == "shoes/red" and done_by_two[0] == "bag"
    assert sorted(done_by_one + done_by_two) == sorted(SEQUENCES)
    for result in (one, two):
        assert result.count("failed") == 0 and result.failures_file is None
        assert [outcome.name for outcome in result.outcomes] == list(SEQUENCES)
        assert [outcome.row()["J"] for outcome in result.outcomes] == [1.0] * 3


def test_many_batches_do_every_sequence_once(tmp_path, run, monkeypatch):
    monkeypatch.setattr(hand_out, "POLL_SECONDS", 0.01)
    done, errors = [], []

    def work():
        try:
            done.extend(run()[1])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not errors
    assert sorted(done) == sorted(SEQUENCES)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["bag", "cup", "shoes", "summary.json"]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["done"] + summary["skipped"] == 3


def test_the_wait_for_another_run_has_a_limit(tmp_path, dataset, run, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(hand_out, "POLL_SECONDS", 0.01)
    holds, ends = threading.Event(), threading.Event()

    def hold():
        with locked((tmp_path / "out" / "bag").resolve()):
            holds.set()
            ends.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holds.wait(10)
    try:
        result, done = run(patience=0.1)
    finally:
        ends.set()
        thread.join(10)
    assert done == ["shoes/red", "cup"]
    assert [outcome.status for outcome in result.outcomes] == ["done", "failed", "done"]
    assert "another run writes to it" in _failures(tmp_path)[0]["message"]
    assert "0 s at most" in caplog.text


# One bad row


def _unusable():
    raise InputError("A row is usable", met="none")


def test_a_name_that_cannot_be_costs_one_sequence_only(tmp_path, dataset, run):
    good = plan_dataset(dataset, "val")
    names = ["x" * 245, "y" * 300, "summary.json", "\ud800", "bag\0", "../up", "~/home", ".hid"]
    items = [Item(name, good[1].open) for name in names]
    result, done = run(items=[*items, Item("", _unusable), Item("bag", _unusable), *good])
    assert done == list(SEQUENCES)
    assert result.count("failed") == len(names) + 2
    assert "A row is usable" in _failures(tmp_path)[-2]["message"]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["failed"] == len(names) + 2
    assert all(line.isprintable() for line in result.table().splitlines())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["bag", "cup", "failures.jsonl", "shoes", "summary.json"]


@pytest.mark.parametrize("number", [errno.ENAMETOOLONG, errno.EISDIR, errno.EFBIG, errno.EACCES])
def test_another_error_of_a_file_costs_one_sequence_only(tmp_path, run, number):
    error = storage_error("a", OSError(number, os.strerror(number)))
    error.__cause__ = OSError(number, os.strerror(number))
    result, done = run(trouble={"bag": error})
    assert done == ["shoes/red", "cup"]
    assert os.strerror(number) in _failures(tmp_path)[0]["message"]


def test_a_result_that_somebody_made_meanwhile_costs_one_sequence_only(tmp_path, run):
    def during(name):
        if name == "bag":
            (tmp_path / "out" / "bag").mkdir()
            (tmp_path / "out" / "bag" / "thesis.tex").write_text("years")

    result, done = run(during=during)
    assert [outcome.status for outcome in result.outcomes] == ["done", "failed", "done"]
    assert (tmp_path / "out" / "bag" / "thesis.tex").read_text() == "years"
    assert (tmp_path / "out" / "bag.new" / "run.json").is_file()
    assert "bag.new" in _failures(tmp_path)[0]["remedy"]


def test_failures_stay_listed_when_another_batch_begins(tmp_path, run):
    """Another batch on the folder removes the list of an earlier run when it begins."""
    calls = itertools.count()

    def during(name):
        if next(calls) == 0:
            (tmp_path / "out" / "failures.jsonl").unlink()

    run(trouble={"shoes/red": RuntimeError("odd")}, during=during)
    assert [failure["sequence"] for failure in _failures(tmp_path)] == ["shoes/red"]
