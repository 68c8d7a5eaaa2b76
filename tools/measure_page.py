"""Measures the page with the network: first frame, strokes, scrubbing, a correction.

Prints one JSON object: seconds of each measure, and the load of the machine. Needs the development
extra and Chromium:

    python tools/measure_page.py --frames 3000 --out out/page.json
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from page.browser import ARGUMENTS, Editor, executable  # noqa: E402

DEMO = Path(str(files("deeplab_gygo.cli") / "demo_clip"))
TIMEOUT = 600.0
"""Longest wait, seconds."""


class Command:
    """`annotate` on a clip; seconds are counted from its start."""

    def __init__(self, clip: Path, out: Path):
        self.started = time.monotonic()
        words = ["annotate", clip, "--out", out, "--preset", "fast", "--no-browser"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "deeplab_gygo", *map(str, words)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        self.address, _, self.session = line.partition("#/sessions/")

    def end(self) -> None:
        """Ends it."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def wait_until_ready(page: Page, command: Command) -> None:
    """Waits until the network is loaded."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        if page.request.get(f"{command.address}readyz").status == 200:
            return
        time.sleep(0.2)
    raise TimeoutError("the network was not loaded")


def write_video(path: Path, frames: int, size: tuple[int, int]) -> None:
    """Writes a clip of the frames of the demo, there and back again and again, as H.264."""
    pictures = [Image.open(file).convert("RGB") for file in sorted((DEMO / "frames").iterdir())]
    pictures = [np.asarray(picture.resize(size)) for picture in pictures]
    options = {"preset": "ultrafast", "tune": "zerolatency"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        turn = []
        for picture in [*pictures, *pictures[-2:0:-1]]:
            turn += stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24"))
        turn += stream.encode()
        contents = [(bytes(packet), packet.is_keyframe) for packet in turn]
        step = turn[1].pts - turn[0].pts
        for index in range(frames):  # a turn is encoded once
            content, is_keyframe = contents[index % len(contents)]
            packet = av.Packet(content)
            packet.stream, packet.time_base = stream, turn[0].time_base
            packet.pts = packet.dts = index * step
            packet.is_keyframe = is_keyframe
            container.mux(packet)


def measure_first_frame(browser: Any, folder: Path) -> dict[str, float]:
    """Seconds from the command to the first frame, and to a loaded network."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    command = Command(DEMO / "frames", folder / "first")
    try:
        Editor(page, command.address, command.session)
        shown = time.monotonic() - command.started
        wait_until_ready(page, command)
        return {"first_frame": shown, "network": time.monotonic() - command.started}
    finally:
        page.close()
        command.end()


def measure_scrubbing(browser: Any, folder: Path, frames: int, places: int) -> dict[str, float]:
    """Seconds from a click on the timeline of a long clip to the frame on the page."""
    video = folder / "long.mp4"
    write_video(video, frames, (1920, 1080))
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    command = Command(video, folder / "long")
    try:
        Editor(page, command.address, command.session)
        shown = time.monotonic() - command.started
        box = page.locator("#scrubber").bounding_box()
        chosen, seconds = random.Random(0), []
        for _ in range(places):
            x = box["x"] + 10 + chosen.random() * (box["width"] - 20)
            page.mouse.move(x, box["y"] + 20)
            before = page.input_value("#frame-number")
            started = time.monotonic()
            page.mouse.click(x, box["y"] + 20)
            page.wait_for_function(
                """before => { const field = document.getElementById("frame-number");
                const stage = document.getElementById("stage");
                return field.value !== before && stage.dataset.frame === field.value
                  && stage.dataset.sharp === "true"; }""",
                arg=before,
            )
            seconds.append(time.monotonic() - started)
            page.wait_for_timeout(300)
        return {
            "scrub_median": statistics.median(seconds),
            "scrub_90_percent": sorted(seconds)[int(0.9 * len(seconds))],
            "long_first_frame": shown,
        }
    finally:
        page.close()
        command.end()


def measure_work(browser: Any, folder: Path) -> dict[str, float]:
    """Seconds of a stroke, of the run of 70 frames, and of a correction of one of them."""
    video = folder / "short.mp4"
    write_video(video, 70, (480, 854))
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(1000 * TIMEOUT)
    command = Command(video, folder / "short")
    try:
        editor = Editor(page, command.address, command.session)
        wait_until_ready(page, command)
        ys, xs = np.nonzero(np.asarray(Image.open(DEMO / "masks" / "00000.png")))
        x, y = float(xs.mean()), float(ys.mean())
        page.wait_for_timeout(3000)  # the frame in view is encoded
        strokes = []
        for step in range(5):
            with page.expect_response("**/strokes") as answer:
                editor.drag([(x - 30, y + 12.0 * step), (x + 30, y + 12.0 * step)])
                started = time.monotonic()
            answer.value.finished()
            page.wait_for_selector("#toast:not(.shown)", state="attached")
            strokes.append(time.monotonic() - started)
            editor.wait_saved()
        seconds = {"stroke_first": strokes[0], "stroke_median": statistics.median(strokes[1:])}
        seconds["run"] = run_to_end(page)
        editor.go(35)
        page.wait_for_timeout(1000)
        editor.tool("brush")
        editor.drag([(x, y), (x + 10, y)])
        editor.wait_saved()
        seconds["correction"] = run_to_end(page)
        return seconds
    finally:
        page.close()
        command.end()


def run_to_end(page: Page) -> float:
    """Presses Run and waits for the end; returns seconds."""
    started = time.monotonic()
    page.click("#run")
    page.wait_for_selector("#progress:not([hidden])")
    page.wait_for_selector("#progress[hidden]", state="attached")
    return time.monotonic() - started


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=3000, help="of the long clip")
    parser.add_argument("--places", type=int, default=30, help="of the long clip that are shown")
    parser.add_argument("--out", type=Path, help="file for the JSON too")
    options = parser.parse_args()
    result: dict[str, Any] = {"load_before": os.getloadavg()[0], "cpus": os.cpu_count()}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(playwright), args=ARGUMENTS)
        for measure in (
            lambda: measure_first_frame(browser, Path(folder)),
            lambda: measure_scrubbing(browser, Path(folder), options.frames, options.places),
            lambda: measure_work(browser, Path(folder)),
        ):
            found = measure()
            print(found, file=sys.stderr, flush=True)
            result |= found
        browser.close()
    result["load_after"] = os.getloadavg()[0]
    text = json.dumps({k: round(v, 3) for k, v in result.items()}, indent=1)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
