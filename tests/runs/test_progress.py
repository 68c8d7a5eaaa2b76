"""Progress: bars on a terminal, lines elsewhere, JSON for programs; the clock is given."""

import io
import json

import pytest

from deeplab_gygo.inference.config import UNLIMITED_STEPS
from deeplab_gygo.runs.progress import BatchProgress, ClipProgress
from deeplab_gygo.runs.progress_displays import Count, NoProgress, make_progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Gone(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


class Clock:
    """Seconds that pass when told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def stream():
    return io.StringIO()


def run_clip(kind, stream, clock, *, frames=69, steps=40, seconds=0.5, name="dog", **options):
    with ClipProgress(kind, name, frames, stream=stream, clock=clock, **options) as shown:
        for step in range(steps):
            clock.now += seconds
            shown.tuned(step + 1, steps, 1 / (step + 1))
        for _ in range(frames):
            clock.now += seconds
            shown.segmented()


def events(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


class TestLines:
    def test_a_line_every_ten_seconds_and_one_at_the_end(self, stream, clock):
        run_clip("auto", stream, clock)
        assert stream.getvalue().splitlines() == [
            "fine-tune dog: 20 of 40 steps, loss 0.050, 10 s left",
            "fine-tune dog: 40 steps in 20 s, loss 0.025",
            "segment dog: 20 of 69 frames, 2.00 frames/s, 24 s left",
            "segment dog: 40 of 69 frames, 2.00 frames/s, 14 s left",
            "segment dog: 60 of 69 frames, 2.00 frames/s, 4.5 s left",
            "segment dog: 69 frames in 34 s, 2.00 frames/s",
        ]

    def test_a_short_clip_of_a_batch_takes_no_line(self, stream, clock):
        run_clip("auto", stream, clock, frames=9, steps=5, keep=False)
        assert stream.getvalue() == ""

    def test_an_error_leaves_the_number_of_frames_that_were_done(self, stream, clock):
        with (
            pytest.raises(RuntimeError),
            ClipProgress("auto", "dog", 69, stream=stream, clock=clock) as shown,
        ):
            for _ in range(21):
                shown.segmented()
                clock.now += 0.1
            raise RuntimeError
        assert stream.getvalue() == "segment dog: 21 of 69 frames in 2.1 s, 10.00 frames/s\n"

    def test_the_time_of_the_first_step_is_no_estimate_of_the_others(self, stream, clock):
        with ClipProgress("auto", "dog", 3, stream=stream, clock=clock) as shown:
            clock.now += 60.0  # programs are compiled
            shown.tuned(1, 100, 0.5)
            for step in range(2, 12):
                clock.now += 1.0
                shown.tuned(step, 100, 0.5)
        assert stream.getvalue().splitlines()[:2] == [
            "fine-tune dog: 1 of 100 steps, loss 0.500",
            "fine-tune dog: 11 of 100 steps, loss 0.500, 89 s left",
        ]

    def test_steps_without_a_limit_have_no_total(self, stream, clock):
        with ClipProgress("auto", "dog", 3, objects=2, stream=stream, clock=clock) as shown:
            for step in range(1, 3):
                clock.now += 6.0
                shown.tuned(step, UNLIMITED_STEPS, 0.5)
        assert stream.getvalue().splitlines() == [
            "fine-tune dog object 1/2: 2 steps, loss 0.500",
            "fine-tune dog object 1/2: 2 steps in 12 s, loss 0.500",
        ]

    def test_a_name_cannot_write_a_line_of_its_own(self, stream, clock):
        run_clip("auto", stream, clock, frames=2, steps=0, name="a\nerror: \x1b[2J")
        assert stream.getvalue().count("\n") == 1 and "\x1b" not in stream.getvalue()

    def test_a_reader_that_is_gone_does_not_end_the_work(self, clock):
        run_clip("auto", Gone(), clock, frames=30, steps=0)
        run_clip("json", Gone(), clock, frames=30, steps=0)


class TestJson:
    def test_every_stage_begins_and_ends_with_an_event_and_the_rest_is_throttled(
        self, stream, clock
    ):
        run_clip("json", stream, clock, seconds=0.1)
        found = events(stream)
        for event, key, total in (("fine-tune", "step", 40), ("segment", "frame", 69)):
            own = [item for item in found if item["event"] == event]
            assert [own[0][key], own[-1][key]] == [1, total]
            assert total / 6 <= len(own) <= total / 4
            assert all(item[f"{key}s"] == total and item["clip"] == "dog" for item in own)
            assert own[-1]["eta_seconds"] == 0
        assert found[-1] == {
            "event": "done", "clip": "dog", "frame": 69, "frames": 69, "seconds": 10.9,
        }  # fmt: skip

    def test_the_keys_are_those_of_the_documentation(self, stream, clock):
        run_clip("json", stream, clock, frames=2, steps=1)
        assert [list(item) for item in events(stream)[:2]] == [
            ["event", "clip", "object", "objects", "step", "steps", "loss", "seconds",
             "eta_seconds"],
            ["event", "clip", "frame", "frames", "seconds", "eta_seconds"],
        ]  # fmt: skip

    def test_an_error_is_the_event_stopped(self, stream, clock):
        with (
            pytest.raises(KeyboardInterrupt),
            ClipProgress("json", "dog", 69, stream=stream, clock=clock) as shown,
        ):
            for _ in range(3):
                shown.segmented()
            raise KeyboardInterrupt
        assert [(item["event"], item["frame"]) for item in events(stream)] == [
            ("segment", 1), ("segment", 3), ("stopped", 3),
        ]  # fmt: skip

    def test_a_loss_that_is_not_a_number_and_odd_names_are_valid_json(self, stream, clock):
        name = 'a"\n\u2028é'
        with ClipProgress("json", name, 1, stream=stream, clock=clock) as shown:
            shown.tuned(1, UNLIMITED_STEPS, float("nan"))
        first = json.loads(stream.getvalue().split("\n")[0])
        assert (first["clip"], first["loss"], first["steps"]) == (name, None, None)
        assert first["eta_seconds"] is None


class TestBatch:
    def test_lines_say_how_much_is_left_and_what_failed(self, stream, clock):
        with BatchProgress("auto", 12, stream=stream, clock=clock) as shown:
            for number in range(12):
                status = ["skipped", "skipped", "done", "failed"][min(number, 3)]
                clock.now += 0.0 if status == "skipped" else 6.0
                shown.finished(f"clip{number}", status)
        lines = stream.getvalue().splitlines()
        assert lines[0] == "batch: 4 of 12 clips, 10.0 clips/min, 1 failed, 48 s left"
        assert lines[-1] == "batch: 12 clips in 60 s, 10.0 clips/min, 9 failed"

    def test_every_clip_is_an_event(self, stream, clock):
        with BatchProgress("json", 3, stream=stream, clock=clock) as shown:
            for name in "abc":
                shown.finished(name, "done")
        assert [(item["clip"], item["number"], item["clips"]) for item in events(stream)] == [
            ("a", 1, 3), ("b", 2, 3), ("c", 3, 3),
        ]  # fmt: skip
        assert all(item["event"] == "batch" and item["status"] == "done" for item in events(stream))


class TestKind:
    def test_a_terminal_shows_bars(self, clock):
        terminal = Terminal()
        run_clip("auto", terminal, clock, frames=5, steps=3)
        shown = terminal.getvalue()
        assert "fine-tune dog" in shown and "5/5" in shown and "\r" in shown

    def test_none_writes_nothing(self, clock):
        terminal = Terminal()
        run_clip("none", terminal, clock)
        with BatchProgress("none", 1, stream=terminal, clock=clock) as shown:
            shown.finished("a", "done")
        assert terminal.getvalue() == ""

    def test_json_is_no_bar_on_a_terminal_either(self, clock):
        terminal = Terminal()
        run_clip("json", terminal, clock, frames=2, steps=0)
        assert events(terminal)[-1]["event"] == "done"

    def test_a_process_without_standard_error_shows_nothing(self, monkeypatch):
        monkeypatch.setattr("sys.stderr", None)
        for kind in ("auto", "json"):
            assert isinstance(make_progress(kind, Count("a", "frame", 1)), NoProgress)
            with ClipProgress(kind, "dog", 1) as shown:
                shown.segmented()
