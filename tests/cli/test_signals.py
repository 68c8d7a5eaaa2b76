"""Signals end a command with its status, and leave nothing unfinished."""

import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from deeplab_gygo.cli import main as cli


def test_sigterm_ends_as_an_interruption_does_and_the_handler_is_put_back(monkeypatch, capsys):
    cleaned = []

    def run(options):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            cleaned.append(True)

    monkeypatch.setattr("deeplab_gygo.cli.evaluate.run", run)
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(["evaluate", "--results", "x"]) == 143
    assert cleaned
    assert signal.getsignal(signal.SIGTERM) is before
    assert "terminated" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129), ("SIGQUIT", 131)]
)
def test_signals_clean_up_and_a_second_one_does_not_disturb(monkeypatch, capsys, name, status):
    number, cleaned = getattr(signal, name), []

    def run(options):
        try:
            signal.raise_signal(number)
        finally:
            for other in (number, signal.SIGINT, signal.SIGTERM):
                signal.raise_signal(other)
            cleaned.append(True)

    monkeypatch.setattr("deeplab_gygo.cli.evaluate.run", run)
    usual = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
    before = signal.signal(number, usual)
    try:
        assert cli.main(["evaluate", "--results", "x"]) == status
        assert signal.getsignal(number) is usual
    finally:
        signal.signal(number, before)
    assert cleaned
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_cleaning_that_hangs_can_be_interrupted(monkeypatch):
    def run(options):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            raise AssertionError("went on")

    monkeypatch.setattr("deeplab_gygo.cli.evaluate.run", run)
    monkeypatch.setattr(cli, "_CLEANING_SECONDS", 0.0)
    assert cli.main(["evaluate", "--results", "x"]) == 143


def test_an_ignored_signal_stays_ignored(monkeypatch):
    def run(options):
        signal.raise_signal(signal.SIGHUP)  # as under nohup
        return 0

    monkeypatch.setattr("deeplab_gygo.cli.evaluate.run", run)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert cli.main(["evaluate", "--results", "x"]) == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


INTERRUPTED = """
import sys, time
from pathlib import Path
import numpy as np
from deeplab_gygo.cli import evaluate, main
from deeplab_gygo.io.video_writer import VideoWriter
from deeplab_gygo.io.writers import ThreadedWriter, write_png
from deeplab_gygo.runs.output_directory import output_directory

def run(options):
    image = np.zeros((480, 854, 3), np.uint8)
    with output_directory(options.results) as folder:
        video = VideoWriter(folder / "a.mp4", (480, 854))
        with video, ThreadedWriter(folder) as frames, ThreadedWriter(folder) as writer:
            for index in range(10000):
                writer.submit(write_png, folder / "masks" / f"{index}.png", image)
                frames.submit(video.write, image)
                if index == 3:
                    print("ready", flush=True)

evaluate.run = run
sys.argv = ["deeplab-gygo", "evaluate", "--results", sys.argv[1]]
sys.exit(main.main())
"""


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGHUP", 129)])
def test_two_signals_within_a_tenth_of_a_second_leave_whole_files(
    tmp_path, command_environment, name, status
):
    number = getattr(signal, name)
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path / "out")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=command_environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    time.sleep(0.03)
    process.send_signal(number)
    _, message = process.communicate(timeout=60)
    assert process.returncode == status, message
    assert len(message.splitlines()) == 1 and "what was finished is kept" in message
    assert [path.name for path in tmp_path.iterdir()] == ["out.partial"]
    # No video without an end, no half picture, and no side files.
    assert [path.name for path in (tmp_path / "out.partial").iterdir()] == ["masks"]
    for path in (tmp_path / "out.partial" / "masks").iterdir():
        with Image.open(path) as picture:
            picture.load()
