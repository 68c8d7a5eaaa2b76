"""A runner that worker processes can import: it answers with the annotations, as a network would.

Every beginning and end of a clip is a line of a journal that all processes append to.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from deeplab_gygo.io.local_names import shown
from deeplab_gygo.io.masks import write_mask
from deeplab_gygo.runs.output_directory import output_directory
from deeplab_gygo.runs.run_record import RunRecord

JOURNAL_VARIABLE = "TEST_BATCH_JOURNAL"
FULL_DISK = "full disk"


@dataclass
class JournalRunner:
    """Writes the annotations as results.

    Attributes:
        settings: Settings of the runs.
        journal: File of the journal.
        kills: How often a clip kills its process after two masks, by its name; -1 for always.
        holds: Whether clips wait, after two masks, until there is a file beside the journal with
            the suffix `.go`.
        errors: Text of the error that a clip raises, by its name.
        seconds: Time of a frame.
    """

    settings: object
    journal: Path
    kills: dict[str, int] = field(default_factory=dict)
    holds: bool = False
    errors: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def run(self, clip, out, *, keep_bars=True):
        name, begun = clip.sequence.name, time.monotonic()
        self._note("begin", name)
        if self.errors.get(name) == FULL_DISK:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out))
        if name in self.errors:
            raise RuntimeError(self.errors[name])
        with output_directory(out) as folder:
            for frame in clip.sequence:
                assert frame.image.shape[:2] == clip.sequence.size
                truth = clip.mask if clip.truth is None else clip.truth(frame.index)
                write_mask(folder / "masks" / f"{frame.name}.png", truth)
                if frame.index == 1:
                    self._disturb(name)
                time.sleep(self.seconds)
            frames = len(clip.sequence) - 1
            record = RunRecord(
                command=["test"],
                config=self.settings.identity,
                seed=self.settings.seed,
                hashes={**clip.hashes(), "weights": self.settings.weights_hash},
                frames=frames,
                frame_seconds=[0.5] * frames,
                name=name,
                source=shown(clip.sequence.source),
                masks=frames + 1,
                outputs=["masks"],
                total_seconds=time.monotonic() - begun,
            ).write(folder)
        self._note("end", name)
        return record

    def _note(self, event: str, name: str) -> None:
        with open(self.journal, "a", encoding="utf-8") as file:
            file.write(f"{event} {name} {os.getpid()}\n")

    def _disturb(self, name: str) -> None:
        begun = events(self.journal).count(("begin", name))
        if self.kills.get(name, 0) < 0 or begun <= self.kills.get(name, 0):
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            while self.holds and not self.journal.with_suffix(".go").exists():
                time.sleep(0.01)
        except BaseException:
            self._note("stopped", name)
            raise


def maker(journal, **options):
    """Returns a picklable function that makes a runner."""
    return partial(JournalRunner, journal=Path(journal), **options)


def start_holding(settings, debug):
    """Stands for `cli.options.start_runner`: clips wait; the journal is that of the environment."""
    return JournalRunner(settings, Path(os.environ[JOURNAL_VARIABLE]), holds=True)


def events(journal) -> list[tuple[str, str]]:
    """Returns the events of a journal: what, and the name of the clip."""
    if not Path(journal).exists():
        return []
    return [tuple(line.split()[:2]) for line in Path(journal).read_text().splitlines()]


def begun(journal) -> list[str]:
    """Returns the names of the clips that were begun, in order."""
    return [name for event, name in events(journal) if event == "begin"]


def process_ids(journal) -> set[int]:
    """Returns the ids of the processes that worked."""
    return {int(line.split()[2]) for line in Path(journal).read_text().splitlines()}


def is_running(process_id: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        status = Path(f"/proc/{process_id}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_until(condition, seconds: float = 120.0) -> None:
    """Waits until a condition holds; fails after some seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


INTERRUPTED = """
import sys
from deeplab_gygo.cli import batch, main
import batch_runner

batch.start_runner = batch_runner.start_holding
sys.exit(main.main())
"""


def start_command(tmp_path, root, environment, *words):
    """Starts a batch of clips that wait, in a process of its own; returns when two do."""
    journal, out = tmp_path / "journal", tmp_path / "out"
    path = os.pathsep.join([os.path.dirname(__file__), environment["PYTHONPATH"]])
    process = subprocess.Popen(
        [
            sys.executable, "-c", INTERRUPTED, "batch", "--dataset", "gygo", "--root", str(root),
            "--out", str(out), "--outputs", "masks", "--workers", "2", *words,
        ],
        env={**environment, "PYTHONPATH": path, JOURNAL_VARIABLE: str(journal)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    waiting = "*.partial/masks/00001.png"
    try:
        wait_until(lambda: len(list(out.glob(waiting))) == 2 or process.poll() is not None, 300)
        assert process.poll() is None, process.stderr.read()
    except AssertionError:
        process.kill()
        raise
    return process
