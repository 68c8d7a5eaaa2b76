"""The page and its server: propagation, saving, restarts, export, layout, accessibility."""

from __future__ import annotations

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from page.browser import Editor, serving, wait_for
from page.mock_server import disk, make_app


def annotate(editor, mock, index=0):
    """Draws something by hand on a frame."""
    editor.go(index)
    editor.tool("brush")
    editor.drag([(300.0, 300.0), (330.0, 300.0)])
    wait_for(lambda: index in mock.annotations)
    editor.wait_saved()


def run(editor):
    """Runs to the end."""
    editor.page.click("#run")
    editor.page.wait_for_selector("#progress:not([hidden])")
    editor.page.wait_for_selector("#progress[hidden]", state="attached")


def test_a_run_shows_progress_then_masks_confidence_and_doubtful_frames(editor, mock):
    annotate(editor, mock)
    run(editor)
    page = editor.page
    page.wait_for_selector("#next-doubt:not([disabled])")
    assert page.inner_text("#doubts") == "2 doubtful"
    editor.go(0)
    page.keyboard.press("d")
    editor.wait_for_frame(7)
    assert page.get_attribute("#scrubber", "aria-valuetext") == (
        "Frame 7 of 25, confidence 40 %, doubtful"
    )
    page.keyboard.press("d")
    editor.wait_for_frame(17)
    page.keyboard.press("d")  # after the last one the first again
    editor.wait_for_frame(7)
    assert "doubtful" in page.locator("#thumb-7").get_attribute("class")
    page.keyboard.press("Home")
    assert "annotated" in page.locator("#thumb-0").get_attribute("class")


def test_frames_follow_a_run_and_it_can_be_stopped(new_page):
    app = make_app(frames=60, seconds=0.1)
    with serving(app) as address:
        editor = Editor(new_page(), address)
        annotate(editor, app.state.mock)
        editor.page.click("#run")
        wait_for(lambda: int(editor.page.input_value("#frame-number")) > 3)
        editor.page.click("#run")
        editor.page.wait_for_selector("#progress[hidden]", state="attached")
        assert 3 < len(app.state.mock.results) < 59
        assert editor.page.inner_text("#run") == "Go on"


def test_a_correction_starts_from_the_result_and_a_run_leaves_it(editor, mock):
    annotate(editor, mock)
    run(editor)
    editor.go(7)
    wait_for(lambda: "Segmented" in editor.page.inner_text("#frame-facts"))
    editor.tool("brush")
    editor.brush_size(5)
    editor.drag([(20.0, 20.0), (40.0, 20.0)])
    wait_for(lambda: 7 in mock.annotations)
    corrected = mock.annotations[7]
    assert corrected[20, 30] == 1
    assert np.array_equal(corrected[60:] > 0, disk(7, 52)[60:] > 0)
    run(editor)
    editor.go(7)
    assert "Annotated by hand" in editor.page.inner_text("#frame-facts")
    editor.page.click("#release")
    wait_for(lambda: 7 not in mock.annotations)


def test_all_frames_are_segmented_anew_on_demand_alone(editor, mock):
    anew = editor.page.locator("#run-anew")
    assert anew.is_disabled()
    annotate(editor, mock)
    run(editor)
    assert mock.anew is False
    anew.click()
    wait_for(lambda: mock.anew)
    editor.page.wait_for_selector("#progress[hidden]", state="attached")
    assert anew.is_enabled()


def test_edits_are_saved_when_the_server_is_back(editor, mock):
    mock.fail_saves = 2
    editor.tool("brush")
    editor.drag([(100.0, 100.0), (150.0, 100.0)])
    editor.page.wait_for_selector("#saving[data-state=offline]")
    wait_for(lambda: 0 in mock.annotations)
    editor.wait_saved()


def test_an_edit_survives_a_closed_tab_and_a_dead_server(new_page):
    app = make_app()
    page = new_page()
    with serving(app) as address:
        editor = Editor(page, address)
        editor.tool("brush")
        editor.drag([(100.0, 100.0), (150.0, 100.0)])
        wait_for(lambda: 0 in app.state.mock.annotations)
        editor.wait_saved()
    port = int(address.rstrip("/").rpartition(":")[2])
    drawn = app.state.mock.annotations[0].sum()
    editor.drag([(100.0, 200.0), (150.0, 200.0)])
    page.wait_for_selector("#saving[data-state=offline]")
    context = page.context
    page.close()
    with serving(app, port):
        Editor(context.new_page(), address)
        wait_for(lambda: app.state.mock.annotations[0].sum() > drawn)


def test_an_open_page_connects_to_a_restarted_server(new_page):
    app = make_app()
    with serving(app) as address:
        editor = Editor(new_page(), address)
    port = int(address.rstrip("/").rpartition(":")[2])
    editor.tool("brush")
    editor.drag([(100.0, 100.0), (150.0, 100.0)])
    editor.page.wait_for_selector("#saving[data-state=offline]")
    app = make_app()
    with serving(app, port):
        wait_for(lambda: 0 in app.state.mock.annotations, 20)
        run(editor)
        wait_for(lambda: len(app.state.mock.results) == 24)


def test_the_export_has_all_outputs_and_a_link(editor, mock):
    annotate(editor, mock)
    page = editor.page
    page.keyboard.press("Control+e")
    boxes = page.locator("#outputs [name=output]")
    from deeplab_gygo.runs.output_kinds import OUTPUTS

    values = boxes.evaluate_all("all => all.map(each => each.value)")
    assert sorted(values) == sorted(OUTPUTS)
    page.check("[value=coco]")
    page.uncheck("[value=overlay]")
    page.click("#export-start")
    page.wait_for_selector("#download:visible")
    assert mock.exported[0]["outputs"] == ["masks", "coco"]
    assert mock.exported[0]["options"]["background"] == "#00ff00"
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.path().read_bytes() == b"PK"


def test_a_long_clip_has_few_thumbnails_and_a_short_way_to_every_frame(new_page):
    app = make_app(frames=3000)
    with serving(app) as address:
        editor = Editor(new_page(), address)
        page = editor.page
        assert page.locator(".thumb").count() < 30
        box = page.locator("#scrubber").bounding_box()
        page.mouse.click(box["x"] + 10 + (box["width"] - 20) / 2, box["y"] + 30)
        wait_for(lambda: abs(int(page.input_value("#frame-number")) - 1500) < 4)
        page.wait_for_selector("#thumb-1500 img.loaded")
        assert page.locator(".thumb").count() < 30
        page.keyboard.press("End")
        editor.wait_for_frame(2999)
        page.keyboard.press("Shift+ArrowLeft")
        editor.wait_for_frame(2989)


def test_a_click_on_a_thumbnail_and_a_name_of_an_object(editor, mock):
    page = editor.page
    page.click("#thumb-5")
    editor.wait_for_frame(5)
    page.fill("[aria-label='Name of object 1']", "<b>shoe</b>")
    page.press("[aria-label='Name of object 1']", "Enter")
    wait_for(lambda: mock.objects and mock.objects[0]["name"] == "<b>shoe</b>")
    assert page.locator("#objects b").count() == 0


@pytest.mark.parametrize("look", ["overlay", "outline", "cutout", "frame"])
def test_looks(editor, mock, look):
    mock.annotations[0] = disk(0)
    page = editor.page
    page.reload()
    editor.wait_for_frame(0)
    page.click(f"[data-look={look}]")
    page.wait_for_timeout(150)
    import io

    from PIL import Image

    picture = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)

    def color(x, y):
        at = editor.screen(x, y)
        return picture[round(at[1]), round(at[0])]

    inside, outside = color(120, 180), color(500, 300)
    orange = np.array((214, 118, 60))
    if look == "overlay":
        assert np.abs(inside - orange).max() > 12
    else:
        assert np.abs(inside - orange).max() < 16
    if look == "cutout":
        assert outside.min() > 200  # the checker


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_and_axe_finds_no_violation(new_page, address, mock, width, scheme):
    height = 800 if width > 500 else 844
    page = new_page(width, height, color_scheme=scheme, reduced_motion="reduce")
    editor = Editor(page, address)
    annotate(editor, mock)
    run(editor)

    def check():
        size = page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
        )
        assert size[0] <= width and size[1] <= height
        found = Axe().run(page).response["violations"]
        assert not found, [(each["id"], [n["html"] for n in each["nodes"]]) for each in found]

    check()
    if width < 500:
        page.click("#open-panel")
    page.click("[data-look=cutout]")
    check()
    page.click("[data-action=help]:visible")
    check()
    page.keyboard.press("Escape")
    if width < 500:
        page.click("#open-panel")
    page.click("#export")
    check()
    page.keyboard.press("Escape")
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector("#clips button")
    check()


def test_a_clip_is_opened_from_the_first_page(new_page, address):
    page = new_page()
    page.goto(address)
    page.click("#clips button")
    page.wait_for_selector('#stage[data-frame="0"]')
