"""A batch skips what is finished, lists what fails, and does the rest.

The network is replaced here by one that answers with the annotations, shifted where asked for: what
a batch does must not depend on it.
"""

import errno
import json

import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.datasets.registry import open_dataset
from deeplab_gygo.errors import StorageError
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.io.masks import write_mask
from deeplab_gygo.runs.batch import Batch
from deeplab_gygo.runs.output_directory import output_directory
from deeplab_gygo.runs.plan import plan_dataset
from deeplab_gygo.runs.run_record import RunRecord
from deeplab_gygo.runs.settings import RunSettings

SEQUENCES = {"shoes/red": 6, "bag": 5, "cup": 4}


class Oracle:
    """Writes the annotations as results, every frame decoded as a network would need it."""

    def __init__(self, settings, shift=0, trouble=None):
        self.settings, self.shift, self.trouble = settings, shift, trouble or {}
        self.done = []

    def run(self, clip, out, *, keep_bars=True):
        if clip.sequence.name in self.trouble:
            raise self.trouble[clip.sequence.name]
        with output_directory(out) as folder:
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

    def run(*, config=None, shift=0, trouble=None, **changes):
        settings = RunSettings(
            online=config or OnlineConfig(), weights=parent_header, progress=False, **changes
        )
        oracle = Oracle(settings, shift, trouble)
        items = plan_dataset(dataset, "val")
        batch = Batch(items, settings, tmp_path / "out", make_runner=lambda settings: oracle)
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
        {"overwrite": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_setting_does_everything_anew(run, change):
    run()
    _, done = run(**change)
    assert done == list(SEQUENCES)


@pytest.mark.parametrize("changed", ["JPEGImages", "Annotations"])
def test_a_changed_input_does_its_sequence_anew(dataset, run, changed):
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
    assert done == ["bag"]


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


@pytest.mark.parametrize(
    "error",
    [StorageError("Output must be writable"), OSError(errno.ENOSPC, "No space left on device")],
)
def test_a_full_disk_ends_the_batch_and_keeps_what_is_finished(tmp_path, run, error):
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
