"""A phone and the server itself: a mask that is drawn by touch is stored."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from page.browser import Editor, serving, wait_for

from deeplab_gygo.io.masks import read_mask
from deeplab_gygo.server.app import create_app
from deeplab_gygo.server.engine import Engine
from deeplab_gygo.server.settings import ServerSettings

DEMO = Path(str(files("deeplab_gygo.cli") / "demo_clip"))
RADIUS = 12


@pytest.fixture
def engine(tmp_path):
    """The engine on an empty folder; its network is not loaded."""
    made = Engine(tmp_path)
    yield made
    made.close()


def test_a_mask_that_is_drawn_by_touch_is_stored(engine, new_page, tmp_path):
    clip = engine.open_clip(DEMO / "frames", "demo")
    session = engine.create_session(clip.id).id
    path = [(clip.width / 2 + step, clip.height / 2 + step / 2) for step in range(-40, 50, 10)]
    with serving(create_app(engine, ServerSettings(tmp_path))) as address:
        page = new_page(390, 844, has_touch=True, is_mobile=True)
        editor = Editor(page, address, session)
        page.tap("[data-tool=brush]")
        editor.brush_size(RADIUS)
        touch = page.context.new_cdp_session(page)
        for index, point in enumerate(path):
            x, y = editor.screen(*point)
            kind = "touchMove" if index else "touchStart"
            touch.send(
                "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]}
            )
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        stored = tmp_path / "sessions" / session / "annotations" / "000000.png"
        wait_for(stored.exists)
        editor.wait_saved()
        page.wait_for_selector("#thumb-0.annotated")
        page.reload()  # what is stored is shown again
        editor.wait_for_frame()
        wait_for(lambda: "Annotated by hand" in page.text_content("#frame-facts"))
    mask = read_mask(stored, mask_format="ids")
    assert engine.session(session).annotated == [0]
    assert all(mask[round(y), round(x)] == 1 for x, y in path)
    ys, xs = np.nonzero(mask)
    assert np.ptp(xs) < 80 + 3 * RADIUS and np.ptp(ys) < 40 + 3 * RADIUS
