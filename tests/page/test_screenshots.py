"""The pictures of the documentation, made on demand.

DEEPLAB_GYGO_SCREENSHOTS=1 python -m pytest tests/page/test_screenshots.py -n 0
"""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path

import pytest
from page.browser import Editor, wait_for
from page.test_annotate import SECONDS, Command, draw, finished
from PIL import Image

DOCS = Path(__file__).resolve().parents[2] / "docs"

pytestmark = pytest.mark.skipif(
    not os.environ.get("DEEPLAB_GYGO_SCREENSHOTS"), reason="pictures are made on demand"
)


def shoot(page, name):
    """Writes a picture of the window."""
    page.mouse.move(5, 5)
    page.wait_for_timeout(600)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.save(DOCS / f"annotate_{name}.webp", quality=82, method=6)


def test_pictures(tmp_path, new_page):
    command = Command(tmp_path / "boxes")
    address, session = command.start()
    try:
        page = new_page(color_scheme="light")
        editor = Editor(page, address, session)
        wait_for(lambda: page.request.get(f"{address}readyz").status == 200, SECONDS)
        draw(editor, 0)
        page.click("#run")
        finished(editor)
        editor.go(9)
        page.click("#side-by-side")
        page.click("[data-look=cutout]")
        shoot(page, "light")
        page = new_page(color_scheme="dark")
        editor = Editor(page, address, session)
        editor.go(12)
        editor.tool("strokes")
        shoot(page, "dark")
        for scheme in ("light", "dark"):
            page = new_page(390, 844, color_scheme=scheme, has_touch=True, is_mobile=True)
            editor = Editor(page, address, session)
            editor.go(15)
            if scheme == "dark":
                page.click("#open-panel")
            shoot(page, f"phone_{scheme}")
    finally:
        command.end(signal.SIGTERM)
    assert sum(path.stat().st_size for path in DOCS.glob("annotate_*.webp")) < 400_000
