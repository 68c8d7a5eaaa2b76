"""A browser for the tests of the page, and what a person does in it."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]

INSTALL = "install Chromium (apt-get install chromium, or python -m playwright install chromium)"


def executable(playwright: Any) -> str | None:
    """Finds Chromium on the path, else Playwright's own."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    own = playwright.chromium.executable_path
    return own if Path(own).is_file() else None


@contextmanager
def serving(app: Any, port: int = 0) -> Iterator[str]:
    """Serves an application from a thread; yields its address."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        config = uvicorn.Config(
            app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            server.should_exit = server.force_exit = True
            thread.join(5)


def wait_for(condition: Any, seconds: float = 10.0) -> Any:
    """Waits until a function returns something true; returns that."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


class Editor:
    """The page of a session, as a person uses it."""

    def __init__(self, page: Any, address: str, session: str = "s"):
        self.page = page
        page.goto(f"{address}#/sessions/{session}")
        self.wait_for_frame()

    def wait_for_frame(self, index: int | None = None, seconds: float = 20) -> None:
        """Waits until a frame is on the stage."""
        which = '[data-frame]:not([data-frame=""])' if index is None else f'[data-frame="{index}"]'
        self.page.wait_for_selector(f"#stage{which}", timeout=1000 * seconds)

    def go(self, index: int) -> None:
        """Goes to a frame by its number."""
        self.page.fill("#frame-number", str(index))
        self.page.press("#frame-number", "Enter")
        self.wait_for_frame(index)

    def screen(self, x: float, y: float) -> tuple[float, float]:
        """Converts a point of the clip to one of the window."""
        left, top, scale_x, scale_y = map(
            float, self.page.get_attribute("#stage", "data-view").split()
        )
        box = self.page.locator("#stage").bounding_box()
        return box["x"] + left + x * scale_x, box["y"] + top + y * scale_y

    def drag(self, points: list[tuple[float, float]], button: str = "left") -> None:
        """Draws through points of the clip with the mouse."""
        mouse = self.page.mouse
        mouse.move(*self.screen(*points[0]))
        mouse.down(button=button)
        for point in points[1:] or points:
            mouse.move(*self.screen(*point), steps=2)
        mouse.up(button=button)

    def tool(self, name: str) -> None:
        """Chooses a tool."""
        self.page.click(f"[data-tool={name}]")

    def wait_saved(self) -> None:
        """Waits until everything is saved."""
        self.page.wait_for_selector("#saving[data-state=saved]")

    def brush_size(self, pixels: int) -> None:
        """Sets the radius of the brush."""
        self.page.evaluate(
            """pixels => { const field = document.getElementById("radius"); field.value = pixels;
            field.dispatchEvent(new Event("input")); }""",
            pixels,
        )
