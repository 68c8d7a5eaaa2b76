"""Trainings that are stopped anywhere, and resumed as if they had not been."""

import contextlib
import math
import shutil
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from deeplab_gygo.errors import DeepLabGygoError, InputError, UsageError
from deeplab_gygo.training import trainer as trainer_module
from deeplab_gygo.training.monitoring import ThroughputMeter

STATEFUL = ("trainer.py", "checkpoints.py", "monitoring.py", "interrupts.py", "run_folder.py",
            "weight_file.py", "atomic.py", "steps.py", "tiny_training.py")  # fmt: skip
"""Modules before whose lines a training is stopped."""


class Killed(BaseException):
    """Passes every handler of the package, as the end of a process does."""


class _Clock:
    """A clock that advances by as much at every look."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        self.now += 0.25
        return self.now


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """A clock that makes no difference, frequent averages, steps in flight, no TensorBoard."""
    monkeypatch.setattr(trainer_module, "time", _Clock())
    monkeypatch.setattr(trainer_module, "ThroughputMeter", lambda _: ThroughputMeter(2))
    monkeypatch.setattr("deeplab_gygo.training.steps.UPDATE_EVERY", 2)
    monkeypatch.setattr("deeplab_gygo.training.monitoring.find_spec", lambda name: None)


@pytest.fixture
def undisturbed(tiny, tmp_path):
    """What the files state after a training that nothing disturbed."""
    tiny.TinyTrainer(tiny.tiny_config(), tmp_path / "undisturbed").run()
    expected = tiny.content(tmp_path / "undisturbed")
    assert expected["names"] == tiny.FILES
    scores = {row[2] for row in expected["log.csv"] if row[1] == "validation/set/first"}
    assert len(scores) == 3
    return expected


@contextlib.contextmanager
def _at_every_line(act):
    """Calls `act` before every line of the modules that are `STATEFUL`."""

    def trace(frame, event, _):
        path = frame.f_code.co_filename
        if not path.endswith(STATEFUL) or "site-packages" in path:
            return None
        if event == "line":
            act()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def _stop_at(trainer, numbers, stop) -> bool:
    """Runs a training and calls `stop` before lines of given numbers; returns if it was stopped."""
    passed = 0

    def act():
        nonlocal passed
        passed += 1
        if passed in numbers:
            stop()

    try:
        with _at_every_line(act):
            trainer.run()
    except (KeyboardInterrupt, Killed):
        return True
    return False


def _resumed(tiny, folder, copy) -> dict:
    """Goes on in a copy of the folder, as a process does whose predecessor is gone."""
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.lock"))
    tiny.TinyTrainer(tiny.tiny_config(), copy).run()
    found = tiny.content(copy)
    shutil.rmtree(copy)
    return found


def _interrupt():
    signal.raise_signal(signal.SIGINT)


def _raise(kind):
    def stop():
        raise kind

    return stop


def _lines_of_a_run(tiny, folder) -> int:
    count = 0

    def act():
        nonlocal count
        count += 1

    with _at_every_line(act):
        tiny.TinyTrainer(tiny.tiny_config(), folder).run()
    return count


@pytest.mark.parametrize("every", [97, pytest.param(11, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("stop", "times"), [(_interrupt, 1), (_interrupt, 3), (_raise(KeyboardInterrupt), 1),
                        (_raise(Killed), 1)],
    ids=["signal", "three signals", "exception", "exception that nothing handles"],
)  # fmt: skip
def test_stopped_at_any_line(tiny, undisturbed, tmp_path, stop, times, every):
    stopped = 0
    for number in range(1, _lines_of_a_run(tiny, tmp_path / "counted"), every):
        run = tmp_path / f"run{number}"
        trainer = tiny.TinyTrainer(tiny.tiny_config(), run)
        stopped += _stop_at(trainer, range(number, number + times), stop)
        assert _resumed(tiny, run, tmp_path / "copy") == undisturbed, number
        shutil.rmtree(run)
    assert stopped > 5


def test_killed_between_any_two_writes(tiny, undisturbed, tmp_path):
    run, states = tmp_path / "run", {}
    run.mkdir()

    def keep():
        """Copies the folder whenever its files have changed, or an unfinished one came or went."""
        state = tuple(
            path.name if path.name.startswith(".") else (path.name, path.stat().st_mtime_ns)
            for path in sorted(run.iterdir())
            if path.suffix != ".lock"
        )
        if state not in states:
            states[state] = tmp_path / f"state{len(states)}"
            shutil.copytree(run, states[state], ignore=shutil.ignore_patterns("*.lock"))

    with _at_every_line(keep):
        tiny.TinyTrainer(tiny.tiny_config(), run).run()
    assert len(states) > 30
    names = [{path.name for path in folder.iterdir()} for folder in states.values()]
    assert any(name.startswith(".parent.npz") for name in set().union(*names))
    for folder in states.values():
        assert _resumed(tiny, folder, tmp_path / "copy") == undisturbed, folder.name


class _InterruptedValidation:
    """Is interrupted the first time, between its two scores."""

    def __init__(self, network, stop):
        self.network, self.stop, self.calls = network, stop, 0

    def run(self):
        self.calls += 1
        if self.calls == 1:
            self.stop()
        return {"set/first": 0.5}


@pytest.mark.parametrize("stop", [_interrupt, _raise(InputError("damaged")), _raise(Killed)])
def test_averages_are_never_saved_as_weights(tiny, tmp_path, stop):
    trainer = tiny.TinyTrainer(tiny.tiny_config(), tmp_path / "run")
    trainer.validation = _InterruptedValidation(trainer.parent, stop)
    with pytest.raises((KeyboardInterrupt, InputError, Killed)):
        trainer.run()
    with np.load(tmp_path / "run" / "checkpoint.npz") as arrays:
        name = "head/dense/kernel"
        weights, average = arrays[f"network|{name}"], arrays[f"average|{name}"]
    np.testing.assert_array_equal(trainer.parent.parts[0].layers[1].kernel.numpy(), weights)
    assert not np.array_equal(weights, average)
    validated = []
    resumed = tiny.TinyTrainer(tiny.tiny_config(), tmp_path / "run")
    run = resumed.validation.run
    resumed.validation.run = lambda: validated.append(resumed.step) or run()
    resumed.run()
    assert validated == [3, 6, 8]


def test_two_signals_during_a_checkpoint_lose_nothing(tiny, tmp_path, monkeypatch):
    trainer = tiny.TinyTrainer(tiny.tiny_config(), tmp_path / "run")
    save, batches = trainer_module.save_checkpoint, trainer.batches

    def save_slowly(*given):
        _interrupt()
        _interrupt()
        save(*given)

    def interrupted():
        for batch in batches():
            if trainer.step == 5:
                monkeypatch.setattr(trainer_module, "save_checkpoint", save_slowly)
                _interrupt()
            yield batch

    trainer.batches = interrupted
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    monkeypatch.setattr(trainer_module, "save_checkpoint", save)
    assert tiny.TinyTrainer(tiny.tiny_config(), tmp_path / "run").step == 5


def test_a_training_that_used_up_its_time_is_not_continued(tiny, tmp_path):
    config = tiny.tiny_config(seconds=1.0)  # of four steps, by this clock
    first = tiny.TinyTrainer(config, tmp_path / "run")
    first.run()
    before = tiny.content(tmp_path / "run")
    again = tiny.TinyTrainer(config, tmp_path / "run")
    again.run()
    assert again.step == first.step and tiny.content(tmp_path / "run") == before


def test_a_second_training_in_a_folder_is_refused(tiny, tmp_path):
    first = tiny.TinyTrainer(tiny.tiny_config(), tmp_path / "run")
    with ThreadPoolExecutor(1) as other, pytest.raises(UsageError, match="one run at a time"):
        other.submit(tiny.TinyTrainer, tiny.tiny_config(), tmp_path / "run").result()
    first.run()
    assert tiny.TinyTrainer(tiny.tiny_config(), tmp_path / "run").step == 8


def test_leftovers_are_removed_and_nothing_else(tiny, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for name in (".checkpoint.npz.17-4.part", ".last.npz.part", ".notes.part", "my.part"):
        (run / name).write_text("half")
    tiny.TinyTrainer(tiny.tiny_config(), run).run()
    assert tiny.content(run)["names"] == tiny.FILES | {".notes.part", "my.part"}


@pytest.mark.parametrize("kind", ["loss", "weights"])
def test_what_is_not_finite_is_never_saved(tiny, tmp_path, kind):
    run = tmp_path / "run"
    trainer = tiny.TinyTrainer(tiny.tiny_config(), run)
    step = trainer.train_step

    def diverges(*given):
        loss = step(*given)
        if trainer.step == 5:
            kernel = trainer.parent.parts[0].layers[1].kernel
            kernel.assign(np.full(kernel.shape, np.nan, np.float32))
            return np.float32(np.nan) if kind == "loss" else loss
        return loss

    diverges.state = step.state
    diverges.prepare = step.prepare
    trainer.train_step = diverges
    with pytest.raises(DeepLabGygoError, match="step 6.*another --out"):
        trainer.run()
    for name in ("checkpoint.npz", "last.npz", "parent.npz"):
        with np.load(run / name) as arrays:
            assert all(np.isfinite(arrays[key]).all() for key in arrays.files)
    assert tiny.TinyTrainer(tiny.tiny_config(), run).step == 4


def test_results_without_a_checkpoint_are_not_replaced(tiny, tmp_path):
    from deeplab_gygo.training.checks import check_training

    tiny.TinyTrainer(tiny.tiny_config(), tmp_path / "run").run()
    check_training(tiny.tiny_config(), tmp_path / "run")
    (tmp_path / "run" / "checkpoint.npz").unlink()
    with pytest.raises(UsageError, match="parent.npz and last.npz without checkpoint.npz"):
        check_training(tiny.tiny_config(), tmp_path / "run")


def test_progress_is_told_after_every_step(tiny, tmp_path):
    told = []
    tiny.TinyTrainer(tiny.tiny_config(), tmp_path / "run").run(lambda *values: told.append(values))
    assert [values[:2] for values in told] == [(step, 8) for step in range(1, 9)]
    losses = [loss for *_, loss in told]
    assert math.isnan(losses[0]) and all(map(math.isfinite, losses[4:]))  # logged every 2 steps
