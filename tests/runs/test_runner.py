"""One network for many clips, and folders that are whole."""

import dataclasses
import itertools
import json
import math
import shutil
import time
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.errors import InputError, StorageError, UsageError
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.io.array_sequence import ArraySequence
from deeplab_gygo.io.masks import read_mask, write_mask
from deeplab_gygo.runs.clip import open_clip
from deeplab_gygo.runs.run_record import RunRecord
from deeplab_gygo.runs.settings import RunSettings

CONFIG = OnlineConfig(steps=2, num_views=2, size=64)


@pytest.fixture(scope="module")
def tiny_parent(thin_parent):
    """The network that all tests of this module load."""
    return thin_parent


@pytest.fixture(scope="module")
def runner(tiny_parent):
    """The runner that all tests share, as a batch shares it between its sequences."""
    from deeplab_gygo.runs.runner import SequenceRunner

    return SequenceRunner(RunSettings(online=CONFIG, weights=tiny_parent, progress=False))


@pytest.fixture(scope="module")
def zero_shot_runner(tiny_parent):
    """The same without fine-tuning."""
    from deeplab_gygo.runs.runner import SequenceRunner

    online = dataclasses.replace(CONFIG, mode="zero-shot")
    return SequenceRunner(RunSettings(online=online, weights=tiny_parent, progress=False))


@pytest.fixture
def change(monkeypatch):
    """Function that changes settings of a shared runner until the test ends."""

    def changed(runner, **values):
        monkeypatch.setattr(runner, "settings", dataclasses.replace(runner.settings, **values))

    return changed


slow = partial(pytest.param, marks=pytest.mark.slow)


def _clip(tmp_path, make_clip, name="clip", count=5, seed=0, **options):
    make_clip(tmp_path / name, count, seed)
    return open_clip(tmp_path / name, tmp_path / f"{name}-masks" / "00000.png", **options)


def _masks(folder):
    return np.stack([read_mask(path) for path in sorted((folder / "masks").iterdir())])


def _corrected(mask):
    mask = mask.copy()
    mask[20:30, 30:40] = 1 - mask[20:30, 30:40]
    return mask


def test_a_clip_gives_the_same_masks_whatever_came_before_it(tmp_path, make_clip, runner):
    clip = _clip(tmp_path, make_clip)
    runner.run(clip, tmp_path / "first")
    runner.run(_clip(tmp_path, make_clip, "other", 4, seed=1), tmp_path / "between")
    runner.run(clip, tmp_path / "second")
    assert (_masks(tmp_path / "first") == _masks(tmp_path / "second")).all()


def test_masks_have_the_names_and_sizes_of_the_frames_and_the_first_is_the_given_one(
    tmp_path, make_clip, runner
):
    clip = _clip(tmp_path, make_clip)
    record = runner.run(clip, tmp_path / "out")
    masks = _masks(tmp_path / "out")
    assert masks.shape == (5, *clip.sequence.size)
    assert (masks[0] == clip.mask).all()
    assert (record.masks, record.frames, record.steps) == (5, 4, 2)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["masks"] == 5


def test_every_frame_of_the_network_is_timed(tmp_path, make_clip, runner):
    record = runner.run(_clip(tmp_path, make_clip), tmp_path / "out")
    assert len(record.frame_seconds) == len(record.network_seconds) == record.frames
    assert min(record.network_seconds) > 0
    assert record.amortized_fps == record.frames / record.total_seconds
    assert RunRecord.read(tmp_path / "out").amortized_fps == record.amortized_fps


def test_wall_time_is_split_among_the_frames_of_a_batch():
    from deeplab_gygo.runs.runner import _frame_seconds

    moments = [5.0, 6.0, 6.5, 9.0, 12.0]
    every = [0, 1, 2, 3]
    assert _frame_seconds(moments, every, 3, 0.0) == [pytest.approx(4 / 3, abs=1e-4)] * 3 + [3.0]
    assert _frame_seconds(moments, every, 1, 0.0) == [1.0, 0.5, 2.5, 3.0]
    # The annotated frames are not made by the network, and fine-tuning is not part of a frame.
    assert _frame_seconds(moments, [1, 2, 3], 1, 0.25) == [0.5, 2.5, 3.0]
    assert _frame_seconds(moments, every, 1, 0.25) == [0.75, 0.5, 2.5, 3.0]
    assert _frame_seconds(moments[:1], [], 4, 0.0) == []


def test_a_run_without_all_masks_is_an_error_and_makes_no_result(
    tmp_path, make_clip, runner, monkeypatch
):
    run = runner._segmenter.run
    clip = _clip(tmp_path, make_clip)
    for count in (0, 3):

        def some(*given, number=count, **named):
            yield from itertools.islice(run(*given, **named), number)

        monkeypatch.setattr(runner._segmenter, "run", some)
        with pytest.raises(InputError, match=f"{count} masks of 5"):
            runner.run(clip, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_zero_shot_makes_the_first_mask_too(tmp_path, make_clip, zero_shot_runner):
    record = zero_shot_runner.run(_clip(tmp_path, make_clip), tmp_path / "out")
    assert (record.masks, record.frames, record.steps) == (5, 5, 0)
    assert len(record.frame_seconds) == 5


def test_zero_shot_segments_one_object_whatever_the_mask_shows(
    tmp_path, make_clip, zero_shot_runner, change
):
    change(zero_shot_runner, outputs=("masks", "soft"))
    make_clip(tmp_path / "clip", 3)
    mask = read_mask(tmp_path / "clip-masks" / "00000.png")
    mask[:8, :8] = 2
    clip = open_clip(tmp_path / "clip", mask, needs_mask=False)
    record = zero_shot_runner.run(clip, tmp_path / "out")
    assert record.objects == 1
    assert sorted(path.name for path in (tmp_path / "out" / "soft").iterdir())[0] == "00000.png"


def test_a_later_mask_is_propagated_backwards_unless_the_clip_is_of_a_dataset(
    tmp_path, make_clip, runner
):
    clip = _clip(tmp_path, make_clip, frame="2")
    record = runner.run(clip, tmp_path / "out")
    names = sorted(path.stem for path in (tmp_path / "out" / "masks").iterdir())
    assert names == [f"0000{k}" for k in range(5)]
    assert (record.first_frame, record.annotated, record.frames) == ("00000", ["00002"], 4)
    assert len(record.frame_seconds) == len(record.network_seconds) == len(record.confidence) == 4
    record = runner.run(dataclasses.replace(clip, both_ways=False), tmp_path / "forward")
    assert (record.first_frame, record.masks, record.frames) == ("00002", 3, 2)
    assert (_masks(tmp_path / "forward") == _masks(tmp_path / "out")[2:]).all()


def test_going_on_from_a_frame_keeps_the_masks_before_it(tmp_path, make_clip, runner, monkeypatch):
    clip = _clip(tmp_path, make_clip)
    runner.run(clip, tmp_path / "out")
    before = _masks(tmp_path / "out")
    corrected = _corrected(before[3])
    path = tmp_path / "out" / "masks" / "00003.png"
    write_mask(path, corrected)
    # The corrected mask is not lost: it is given.
    clip = open_clip(tmp_path / "clip", path, frame="00003")
    monkeypatch.setattr(runner, "settings", dataclasses.replace(runner.settings, overwrite=True))
    record = runner.run(clip, tmp_path / "out")
    after = _masks(tmp_path / "out")
    assert (after[:3] == before[:3]).all() and (after[3] == corrected).all()
    assert record.masks == 5 and record.annotated == ["00003"]


def test_masks_that_were_corrected_by_hand_are_not_replaced(
    tmp_path, make_clip, runner, monkeypatch
):
    clip = _clip(tmp_path, make_clip)
    runner.run(clip, tmp_path / "out")
    path = tmp_path / "out" / "masks" / "00003.png"
    write_mask(path, _corrected(read_mask(path)))
    content = path.read_bytes()
    monkeypatch.setattr(runner, "settings", dataclasses.replace(runner.settings, overwrite=True))
    with pytest.raises(UsageError, match="masks/00003.png.*--mask FRAME=FILE"):
        runner.run(clip, tmp_path / "out")
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "stop_after",
    [slow(1), 2, slow(4), 5],
)
@pytest.mark.parametrize("frame", [None, "3"])
def test_an_interrupted_run_goes_on_with_the_same_masks(
    tmp_path, make_clip, runner, change, monkeypatch, stop_after, frame
):
    from deeplab_gygo.inference.frame_store import FrameStore

    change(runner, outputs=("masks", "cutout", "soft"))
    clip = _clip(tmp_path, make_clip, count=8, frame=frame)
    expected = runner.run(clip, tmp_path / "whole")
    put, segmented = FrameStore.put, []

    def stopping(store, prediction, state):
        if len(segmented) == stop_after:
            raise KeyboardInterrupt
        segmented.append(prediction.index)
        put(store, prediction, state)

    with monkeypatch.context() as patched:
        patched.setattr(FrameStore, "put", stopping)
        with pytest.raises(KeyboardInterrupt) as stopped:
            runner.run(clip, tmp_path / "out")
    partial = tmp_path / "out.partial"
    assert f"{stop_after} frames are kept" in stopped.value.__notes__[0]
    again = []
    monkeypatch.setattr(
        FrameStore, "put", lambda s, p, state: (again.append(p.index), put(s, p, state))
    )
    steps = []
    monkeypatch.setattr(runner._segmenter._tuner, "adapt", lambda *a, **k: steps.append(1))
    record = runner.run(clip, tmp_path / "out")
    assert record.files == expected.files and record.losses == expected.losses
    assert not steps and not partial.exists() and not list(tmp_path.glob(".out*"))
    given = 0 if frame is None else 3
    assert sorted(segmented + again).count(given) <= 2
    assert len(segmented) + len(again) == 8 + (1 if frame else 0)


@pytest.mark.parametrize(
    "stop_after",
    [slow(1), 4, slow(6)],
)
@pytest.mark.parametrize("anchors", [0, 2])
def test_an_interrupted_zero_shot_run_goes_on_with_the_same_masks(
    tmp_path, make_clip, tiny_parent, monkeypatch, anchors, stop_after
):
    from deeplab_gygo.inference.frame_store import FrameStore
    from deeplab_gygo.runs.runner import SequenceRunner

    monkeypatch.setattr(OnlineConfig, "CHUNK_SIZE", 4)
    online = OnlineConfig(mode="zero-shot", size=64, zero_shot_anchor_frames=anchors)
    settings = RunSettings(online, weights=tiny_parent, outputs=("masks", "soft"), progress=False)
    make_clip(tmp_path / "clip", 8)
    clip = open_clip(tmp_path / "clip", None, needs_mask=False)
    runner = SequenceRunner(settings)
    expected = runner.run(clip, tmp_path / "whole")
    put, segmented = FrameStore.put, []

    def counting(store, prediction, state):
        if len(segmented) == stop_after:
            raise KeyboardInterrupt
        segmented.append(prediction.index)
        put(store, prediction, state)

    with monkeypatch.context() as patched:
        patched.setattr(FrameStore, "put", counting)
        with pytest.raises(KeyboardInterrupt):
            runner.run(clip, tmp_path / "out")
        stop_after = 9
        record = runner.run(clip, tmp_path / "out")
    assert record.files == expected.files and record.confidence == expected.confidence
    assert segmented == list(range(8))


@pytest.mark.parametrize(
    ("frame", "stop_after", "frames"), [("0", 3, 200), ("2", 1, 1100), ("2", 5, 1400)]
)
def test_the_seconds_of_a_resumed_run_are_those_of_all_its_processes(
    tmp_path, make_clip, runner, monkeypatch, frame, stop_after, frames
):
    from deeplab_gygo.inference.frame_store import FrameStore
    from deeplab_gygo.runs import runner as module
    from deeplab_gygo.runs import unfinished

    clip = _clip(tmp_path, make_clip, count=6, frame=frame)
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + ahead)
    for each in (module, unfinished):
        monkeypatch.setattr(each, "time", clock)
    ahead, put, begin = 0, FrameStore.put, FrameStore.begin

    def slow_put(store, prediction, state):
        nonlocal ahead, stop_after
        ahead += 100
        if not stop_after:
            raise KeyboardInterrupt
        stop_after -= 1
        put(store, prediction, state)

    def slow_begin(store, state):
        nonlocal ahead
        ahead += 1000
        begin(store, state)

    kept = stop_after
    with monkeypatch.context() as patched:
        patched.setattr(FrameStore, "put", slow_put)
        patched.setattr(FrameStore, "begin", slow_begin)
        with pytest.raises(KeyboardInterrupt):
            runner.run(clip, tmp_path / "out")
    ahead = 50_000  # between the processes
    record = runner.run(clip, tmp_path / "out")
    assert record.total_seconds == pytest.approx(1000 + 100 * kept, abs=90)
    assert record.adaptation_seconds > 0
    assert len(record.frame_seconds) == 5
    # The given mask is no frame; the propagation backwards counts for the first frame.
    assert sum(record.frame_seconds) == pytest.approx(frames, abs=90)
    assert sum(record.frame_seconds[4:]) < 90


def test_an_interrupted_run_of_other_settings_is_not_lost(
    tmp_path, make_clip, tiny_parent, monkeypatch
):
    from deeplab_gygo.runs.runner import SequenceRunner

    settings = RunSettings(CONFIG, weights=tiny_parent, progress=False)
    runner, clip = SequenceRunner(settings), _clip(tmp_path, make_clip)
    frame = tmp_path / "clip" / "00004.jpg"
    content = frame.read_bytes()
    frame.write_bytes(content[:-300])
    with pytest.raises(InputError) as damaged:
        runner.run(clip, tmp_path / "out")
    partial = tmp_path / "out.partial"
    assert damaged.value.__notes__ and list((partial / "masks").iterdir())
    frame.write_bytes(content)  # another input than that of the interrupted run
    with pytest.raises(UsageError, match="--overwrite to discard"):
        runner.run(clip, tmp_path / "out")
    assert list((partial / "masks").iterdir())
    monkeypatch.setattr(runner, "settings", dataclasses.replace(settings, overwrite=True))
    assert runner.run(clip, tmp_path / "out").masks == 5
    assert not partial.exists()


def test_masks_of_an_interrupted_run_that_were_corrected_are_not_replaced(
    tmp_path, make_clip, runner, monkeypatch
):
    clip = _clip(tmp_path, make_clip)
    run = runner._segmenter.run

    def stopping(*given, **options):
        for prediction in run(*given, **options):
            if prediction.index == 4:
                raise KeyboardInterrupt
            yield prediction

    with monkeypatch.context() as patched:
        patched.setattr(runner._segmenter, "run", stopping)
        with pytest.raises(KeyboardInterrupt):
            runner.run(clip, tmp_path / "out")
    path = tmp_path / "out.partial" / "masks" / "00001.png"
    corrected = _corrected(read_mask(path))
    write_mask(path, corrected)
    with pytest.raises(UsageError, match="00001.png"):
        runner.run(clip, tmp_path / "out")
    assert (read_mask(path) == corrected).all()


def test_an_earlier_result_is_replaced_as_a_whole(tmp_path, make_clip, runner):
    runner.run(_clip(tmp_path, make_clip, count=5), tmp_path / "out")
    runner.run(_clip(tmp_path, make_clip, "shorter", 3), tmp_path / "out")
    assert len(_masks(tmp_path / "out")) == 3


def test_a_frame_that_is_damaged_late_leaves_the_earlier_result(tmp_path, make_clip, runner):
    clip = _clip(tmp_path, make_clip)
    runner.run(clip, tmp_path / "out")
    frame = tmp_path / "clip" / "00004.jpg"
    frame.write_bytes(frame.read_bytes()[:-300])
    with pytest.raises(InputError, match="00004.jpg"):
        runner.run(clip, tmp_path / "out")
    assert len(_masks(tmp_path / "out")) == 5
    # The network is as before, and serves the next clip.
    assert runner.run(_clip(tmp_path, make_clip, "next", 3), tmp_path / "next-out").masks == 3


def test_every_object_keeps_its_id(tmp_path, make_clip, runner):
    make_clip(tmp_path / "clip", 3)
    ids = np.zeros((64, 96), np.uint8)
    ids[18:46, 20:34], ids[18:46, 34:48] = 1, 3
    Image.fromarray(ids).save(tmp_path / "ids.png")
    clip = open_clip(tmp_path / "clip", tmp_path / "ids.png")
    record = runner.run(clip, tmp_path / "out")
    assert (record.objects, record.steps) == (2, 4)
    masks = _masks(tmp_path / "out")
    assert (masks[0] == ids).all()
    assert set(np.unique(masks)) <= {0, 1, 3}


@pytest.mark.parametrize("change", ["mask removed", "file added", "folder removed"])
def test_files_that_change_during_a_run_end_it(tmp_path, make_clip, runner, monkeypatch, change):
    run = runner._segmenter.run

    def changing(*given, **options):
        for prediction in run(*given, **options):
            yield prediction
            if prediction.name == "00003":
                (folder,) = tmp_path.glob("out.partial")
                while not (mask := folder / "masks" / "00001.png").exists():
                    time.sleep(0.01)  # written in a thread
                if change == "mask removed":
                    mask.unlink()
                elif change == "file added":
                    (folder / "masks" / "note.txt").write_text("of another program")
                else:
                    while folder.exists():  # a thread writes the newest mask meanwhile
                        shutil.rmtree(folder, ignore_errors=True)

    monkeypatch.setattr(runner._segmenter, "run", changing)
    with pytest.raises(StorageError, match="00001.png|note.txt|removed|No such file"):
        runner.run(_clip(tmp_path, make_clip, count=6), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_record_lists_the_files_of_all_outputs(tmp_path, make_clip, tiny_parent):
    from deeplab_gygo.runs.runner import SequenceRunner

    make_clip(tmp_path / "clip", 3)
    ids = np.zeros((64, 96), np.uint8)
    ids[18:46, 20:34], ids[18:46, 34:48] = 1, 3
    outputs = ("masks", "overlay", "cutout", "soft")
    online = dataclasses.replace(CONFIG, mode="one-shot")
    settings = RunSettings(online, weights=tiny_parent, outputs=outputs, progress=False)
    runner = SequenceRunner(settings)
    for mask in (ids, ids > 0):
        clip = open_clip(tmp_path / "clip", mask.astype(np.uint8))
        record = runner.run(clip, tmp_path / "out")
        assert record == RunRecord.read(tmp_path / "out")
        soft = {"soft/1", "soft/3"} if mask is ids else {"soft"}
        files = {f"{place}/0000{k}.png" for place in {"masks", "cutouts", *soft} for k in range(3)}
        assert record.files.keys() == files | {"overlay.mp4"}


def test_frames_that_no_overlay_can_have_are_refused_before_the_work(tmp_path, runner):
    frames = ArraySequence(np.zeros((2, 16, 16386, 3), np.uint8))
    wide = open_clip(frames, np.eye(16, 16386, dtype=np.uint8))
    with pytest.raises(InputError, match="16386x16.*Leave out the video"):
        runner.run(wide, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_values_that_are_not_finite_do_not_lose_the_result(
    tmp_path, make_clip, runner, monkeypatch
):
    run = runner._segmenter.run
    monkeypatch.setattr(
        runner._segmenter,
        "run",
        lambda *a, **k: (dataclasses.replace(p, confidence=math.nan) for p in run(*a, **k)),
    )
    runner.run(_clip(tmp_path, make_clip, count=3), tmp_path / "out")
    assert math.isnan(RunRecord.read(tmp_path / "out").confidence["00001"])


def test_warnings_of_the_input_are_recorded(tmp_path, make_clip, runner, monkeypatch):
    clip = _clip(tmp_path, make_clip, count=3)
    monkeypatch.setattr(type(clip.sequence), "warnings", ("2 frames are concealed",))
    runner.run(clip, tmp_path / "out")
    assert "2 frames are concealed" in RunRecord.read(tmp_path / "out").warnings
