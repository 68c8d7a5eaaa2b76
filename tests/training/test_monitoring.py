"""Losses, input wait and scalar logs of a training."""

import csv
import json

import numpy as np
import pytest

from deeplab_gygo import backend
from deeplab_gygo.errors import DeepLabGygoError, UsageError
from deeplab_gygo.training.monitoring import ScalarLog, ThroughputMeter


class _Loss:
    """A loss that records whether it was read."""

    def __init__(self, value):
        self.value, self.is_read = value, False

    def __float__(self):
        self.is_read = True
        return float(self.value)


def test_the_losses_of_the_last_steps_are_not_read():
    meter = ThroughputMeter(in_flight=2)
    losses = [_Loss(value) for value in (1.0, 2.0, 3.0, 4.0)]
    for step, loss in enumerate(losses, start=1):
        meter.add_loss(step, loss)
    assert [loss.is_read for loss in losses] == [True, True, False, False]
    assert meter.summary()["loss"] == 1.5
    assert "loss" not in meter.summary()
    meter.synchronize()
    assert all(loss.is_read for loss in losses)


def test_means_do_not_depend_on_waiting_for_the_device():
    def means(synchronized):
        meter, found = ThroughputMeter(in_flight=2), []
        for step in range(1, 13):
            meter.add_loss(step, float(step) ** 2)
            if step in synchronized:
                meter.synchronize()
            if step % 4 == 0:
                found.append(meter.summary()["loss"])
        return found

    assert means(()) == means((3, 4, 8, 11)) == means(range(13))


def test_the_figures_since_the_last_summary_round_trip():
    meter, other = ThroughputMeter(in_flight=2), ThroughputMeter(in_flight=2)
    for step in range(1, 6):
        meter.add_loss(step, np.float32(step / 3))
        meter.add_time(0.1, waited=0.03, examples=4)
    other.set_state(json.loads(json.dumps(meter.state())))
    for each in (meter, other):
        each.add_loss(6, 4.0)
    assert meter.summary() == other.summary()
    other.set_state({})
    assert other.summary() == {"input_wait": 0.0, "examples_per_second": 0.0}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_is_reported_with_its_step(value):
    meter = ThroughputMeter(in_flight=2)
    for step in range(1, 8):
        meter.add_loss(step, 1.0)
    meter.add_loss(8, value)
    with pytest.raises(DeepLabGygoError, match="step 8"):
        meter.synchronize()


def test_input_wait_and_throughput_are_of_the_time_since_the_last_summary_and_of_all():
    meter = ThroughputMeter()
    for _ in range(3):
        meter.add_time(8.0, waited=2.0, examples=4)
    assert meter.summary() == {"input_wait": 6.0 / 24.0, "examples_per_second": 0.5}
    meter.add_time(24.0, waited=0.0, examples=24)
    assert meter.summary() == {"input_wait": 0.0, "examples_per_second": 1.0}
    assert meter.input_wait == 6.0 / 48.0
    assert meter.examples_per_second == 36.0 / 48.0


def _rows(folder):
    with open(folder / "log.csv", newline="") as stream:
        return [(int(r["step"]), r["name"], float(r["value"])) for r in csv.DictReader(stream)]


def _write(folder, steps, step=0, validated=0):
    log = ScalarLog(folder, step, validated)
    for number in steps:
        log.write(number, {"loss": 0.5 / number, "rate": 1e-3})
    log.close()


def test_scalars_are_appended_over_runs(tmp_path):
    _write(tmp_path, [1])
    _write(tmp_path, [2], step=1)
    assert _rows(tmp_path) == [
        (1, "loss", 0.5), (1, "rate", 1e-3), (2, "loss", 0.25), (2, "rate", 1e-3)
    ]  # fmt: skip


def test_rows_after_the_checkpoint_are_removed(tmp_path):
    _write(tmp_path, [1, 2, 3, 4])
    _write(tmp_path, [3], step=2)
    assert [step for step, _, _ in _rows(tmp_path)] == [1, 1, 2, 2, 3, 3]
    assert [path.name for path in tmp_path.iterdir()] in (["log.csv"], ["log.csv", "events"],
                                                          ["events", "log.csv"])  # fmt: skip


@pytest.mark.parametrize(("validated", "kept"), [(2, 3), (1, 2), (0, 1)])
def test_scores_of_a_validation_that_is_done_again_are_removed(tmp_path, validated, kept):
    log = ScalarLog(tmp_path, 0, 0)
    log.write(1, {"validation/set": 0.25})
    log.write(2, {"loss": 1.0})
    log.write(2, {"validation/set": 0.5})
    log.close()
    _write(tmp_path, [], step=2, validated=validated)
    assert len(_rows(tmp_path)) == kept
    assert (2, "loss", 1.0) in _rows(tmp_path)


@pytest.mark.parametrize("end", ["3", "3,loss", "3,loss,0.1", "3,loss,0.12\r", "x,loss,1\r\n"])
def test_a_row_that_was_not_finished_is_removed(tmp_path, end):
    _write(tmp_path, [1, 2])
    with open(tmp_path / "log.csv", "a", newline="") as stream:
        stream.write(end)
    _write(tmp_path, [], step=9, validated=9)
    assert [step for step, _, _ in _rows(tmp_path)] == [1, 1, 2, 2]


@pytest.mark.parametrize("text", ["", "step,na", "step,name,value\r"])
def test_a_header_that_was_not_finished_is_written_again(tmp_path, text):
    (tmp_path / "log.csv").write_bytes(text.encode())
    _write(tmp_path, [1])
    assert len(_rows(tmp_path)) == 2


@pytest.mark.parametrize("text", ["my notes", "a,b,c\n1,2,3\n", "step,name\n"])
def test_a_log_of_another_kind_is_not_touched(tmp_path, text):
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(UsageError, match="log.csv.*another --out"):
        ScalarLog(tmp_path, 0, 0)
    assert (tmp_path / "log.csv").read_text() == text


def _events(folder):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    found = []
    for path in sorted((folder / "events").iterdir()):
        for event in loader.EventFileLoader(str(path)).Load():
            found += [(event.step, value.tag) for value in event.summary.value]
    return sorted(found)


@pytest.mark.skipif(backend.name() != "tensorflow", reason="events are TensorFlow's")
def test_events_are_those_of_the_log(tmp_path):
    _write(tmp_path, [1, 2, 3, 4])
    assert len(_events(tmp_path)) == 8
    _write(tmp_path, [3], step=2)
    assert _events(tmp_path) == sorted((step, name) for step, name, _ in _rows(tmp_path))
    _write(tmp_path, [4], step=3)
    assert _events(tmp_path) == sorted((step, name) for step, name, _ in _rows(tmp_path))
