"""The command `annotate` with the network: draw, run, correct, export; killed in between."""

from __future__ import annotations

import signal
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import pytest
from page.browser import Editor, wait_for

from deeplab_gygo.evaluation import evaluate
from deeplab_gygo.io.masks import read_mask

DEMO = Path(str(files("deeplab_gygo.cli") / "demo_clip"))
SECONDS = 300
"""Longest wait for the network or a propagation, on a busy machine."""


class Command:
    """The running command."""

    def __init__(self, out: Path):
        self.out = out
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> tuple[str, str]:
        """Starts it; returns the address of the page and the id of the session."""
        words = ["annotate", DEMO / "frames", "--out", self.out, "--preset", "fast", "--no-browser"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "deeplab_gygo", *map(str, words)],
            stdout=subprocess.PIPE,
            text=True,
        )
        address, _, session = self.process.stdout.readline().strip().partition("#/sessions/")
        assert session
        return address, session

    def end(self, number: int) -> None:
        """Sends a signal and waits."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(30)
            self.process.stdout.close()
        self.process = None


@pytest.fixture
def command(tmp_path):
    """The command on the clip of the demo."""
    made = Command(tmp_path / "demo")
    yield made
    made.end(signal.SIGTERM)


def truth(index: int) -> np.ndarray:
    """The exact mask of a frame."""
    return read_mask(DEMO / "masks" / f"{index:05}.png")


def draw(editor: Editor, index: int) -> None:
    """Draws the outline of the object with the mouse, in place of what is there."""
    editor.page.click("[data-action=clearObject]")
    editor.tool("polygon")
    outlines, _ = cv2.findContours(truth(index), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = cv2.approxPolyDP(max(outlines, key=cv2.contourArea), 1.0, True)[:, 0] + 0.5
    for point in outline:
        editor.page.mouse.click(*editor.screen(*point), delay=5)
        editor.page.wait_for_timeout(20)
    editor.page.keyboard.press("Shift+Enter")
    editor.page.wait_for_selector(f"#thumb-{index}.annotated")
    editor.wait_saved()


def overlap(found: Path, index: int) -> float:
    """J of the saved annotation of a frame."""
    mask, exact = read_mask(found) > 0, truth(index) > 0
    return (mask & exact).sum() / (mask | exact).sum()


def finished(editor: Editor) -> None:
    """Waits until nothing is propagated and every frame has a mask."""
    editor.page.wait_for_selector("#progress[hidden]", state="attached", timeout=1000 * SECONDS)
    wait_for(lambda: editor.page.inner_text("#run") == "Update", SECONDS)


def test_a_person_draws_runs_corrects_and_exports(command, new_page):
    address, session = command.start()
    page = new_page()
    editor = Editor(page, address, session)
    ready = f"{address}readyz"
    wait_for(lambda: page.request.get(ready).status == 200, SECONDS)

    # A box and two smart strokes give a usable mask, an exact outline a better one.
    ys, xs = np.nonzero(truth(0))
    middle, width = xs.mean(), np.ptp(xs)
    editor.tool("box")
    editor.drag([(xs.min() - 4.0, ys.min() - 4.0), (xs.max() + 4.0, ys.max() + 4.0)])
    page.wait_for_selector("#thumb-0.annotated", timeout=1000 * SECONDS)
    editor.tool("strokes")
    editor.drag([(middle, ys.min() + 15.0), (middle, ys.max() - 15.0)])
    page.click("[data-inside=false]")
    editor.drag([(middle + width, ys.min()), (middle + width, ys.max())])
    page.wait_for_selector("#toast:not(.shown)", state="attached", timeout=1000 * SECONDS)
    page.click("[data-inside=true]")
    editor.wait_saved()
    (folder,) = (command.out / "work" / "sessions").glob("*/annotations")
    saved = folder / "000000.png"
    assert overlap(saved, 0) > 0.8
    draw(editor, 0)
    assert overlap(saved, 0) > 0.97

    # Killed in the middle of a run: nothing is lost, and the open page connects again.
    page.click("#run")
    page.wait_for_selector(".thumb.segmented", timeout=1000 * SECONDS)
    command.end(signal.SIGKILL)
    assert command.start() == (address, session)
    assert overlap(saved, 0) > 0.97
    page.wait_for_timeout(2000)
    finished(editor)

    # The frame with the least confidence is corrected.
    values = page.request.get(f"{address}api/sessions/{session}").json()["confidence"]
    worst = int(np.argmin([1.0 if value is None else value for value in values]))
    editor.go(worst)
    wait_for(lambda: "Segmented" in page.inner_text("#frame-facts"))
    draw(editor, worst)
    page.click("#run")
    finished(editor)

    page.click("#export")
    page.uncheck("[value=overlay]")
    page.click("#export-start")
    page.wait_for_selector("#download:visible", timeout=1000 * SECONDS)
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.path().read_bytes()[:2] == b"PK"
    (export,) = command.out.glob("export-*")
    scores = evaluate(export / "masks", DEMO / "masks", frames="drop-first", multi_object=False)
    (row,) = scores.sequences[0].objects()
    print(f"J {row.region.mean:.4f}, F {row.contour.mean:.4f}")
    assert row.region.mean >= 0.97
