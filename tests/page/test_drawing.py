"""Drawing on the page: the tools, undo, keys, and that every edit is saved."""

from __future__ import annotations

import numpy as np
from page.browser import Editor, wait_for
from page.mock_server import HEIGHT, WIDTH, center, disk


def overlap(a, b):
    """J of two masks."""
    a, b = a > 0, b > 0
    return (a & b).sum() / (a | b).sum()


def circle(index, radius=60.0, corners=40):
    """Points of a circle around the disk."""
    x, y = center(index)
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return [(x + radius * np.cos(a), y + radius * np.sin(a)) for a in angles]


def test_a_brush_paints_the_pixels_under_it(editor, mock):
    editor.tool("brush")
    editor.brush_size(30)
    editor.drag([(100.0, 180.0), (200.0, 180.0)])
    mask = wait_mask(mock, 0)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    away = np.hypot(np.maximum(0, np.maximum(100 - x, x - 200)), y - 180)
    assert overlap(mask, away <= 30) > 0.98
    assert set(np.unique(mask)) == {0, 1}


def wait_mask(mock, index):
    """Waits until a frame is annotated; returns its mask."""
    wait_for(lambda: index in mock.annotations)
    return mock.annotations[index]


def test_a_polygon_closes_at_its_first_corner(editor, mock):
    editor.tool("polygon")
    for x, y in [*circle(0), circle(0)[0]]:
        editor.page.mouse.click(*editor.screen(x, y))
    assert overlap(wait_mask(mock, 0), disk(0)) > 0.97


def test_eraser_and_take_away_leave_other_objects(editor, mock):
    editor.tool("brush")
    editor.brush_size(20)
    editor.drag([(100.0, 100.0), (300.0, 100.0)])
    editor.page.keyboard.press("n")  # a second object
    editor.drag([(100.0, 200.0), (300.0, 200.0)])
    editor.tool("eraser")
    editor.drag([(200.0, 60.0), (200.0, 260.0)])
    wait_for(lambda: 0 in mock.annotations and not mock.annotations[0][200, 200])
    mask = mock.annotations[0]
    assert mask[100, 200] == 1 and mask[200, 120] == 2
    assert [each["id"] for each in mock.objects] == [1, 2]
    editor.tool("brush")
    editor.drag([(120.0, 180.0), (120.0, 220.0)], button="right")
    wait_for(lambda: not mock.annotations[0][200, 120])


def test_fill_fills_holes_and_refuses_open_ground(editor, mock):
    editor.tool("brush")
    editor.brush_size(6)
    editor.drag([*circle(0, 50), circle(0, 50)[0]])
    editor.tool("fill")
    editor.page.mouse.click(*editor.screen(*center(0)))
    wait_for(lambda: 0 in mock.annotations and mock.annotations[0][180, 120])
    before = mock.annotations[0].sum()
    editor.page.mouse.click(*editor.screen(600, 20))
    editor.page.wait_for_selector("#toast.shown")
    editor.wait_saved()
    assert mock.annotations[0].sum() == before


def test_undo_to_the_start_removes_the_annotation_and_redo_brings_it_back(editor, mock):
    editor.tool("brush")
    editor.drag([(100.0, 100.0), (150.0, 100.0)])
    first = wait_mask(mock, 0)
    editor.drag([(100.0, 200.0), (150.0, 200.0)])
    wait_for(lambda: mock.annotations[0].sum() > first.sum())
    editor.page.keyboard.press("Control+z")
    wait_for(lambda: 0 in mock.annotations and np.array_equal(mock.annotations[0], first))
    editor.page.keyboard.press("Control+z")
    wait_for(lambda: 0 not in mock.annotations)
    editor.page.keyboard.press("Control+Shift+z")
    assert np.array_equal(wait_mask(mock, 0), first)


def test_strokes_ask_for_a_mask_and_keep_what_was_drawn_by_hand(editor, mock):
    editor.tool("strokes")
    editor.drag([(100.0, 180.0), (140.0, 190.0)])
    assert np.array_equal(wait_mask(mock, 0), disk(0))
    editor.tool("brush")
    editor.brush_size(10)
    editor.drag([(300.0, 300.0), (320.0, 300.0)])
    wait_for(lambda: mock.annotations[0][300, 310])
    editor.tool("strokes")
    editor.page.keyboard.press("q")
    editor.drag([(400.0, 180.0)])
    wait_for(lambda: len(mock.strokes) == 2)
    editor.wait_saved()
    assert [each["inside"] for each in mock.strokes[1]["strokes"]] == [True, False]
    assert mock.annotations[0][300, 310] and mock.annotations[0][180, 120]
    editor.page.keyboard.press("q")
    editor.tool("box")
    editor.drag([(50.0, 110.0), (190.0, 250.0)])
    wait_for(lambda: len(mock.strokes) == 3)
    assert np.allclose(mock.strokes[2]["box"], (50, 110, 190, 250), atol=1)


def test_strokes_wait_for_the_network(editor, mock):
    mock.fail_strokes = 2
    editor.drag([(100.0, 180.0), (140.0, 190.0)])
    editor.page.wait_for_selector("#toast:has-text('being loaded')")
    assert np.array_equal(wait_mask(mock, 0), disk(0))


def test_a_proposal_is_the_start(editor, mock):
    editor.page.keyboard.press("g")
    assert np.array_equal(wait_mask(mock, 0), disk(0))


def test_the_keyboard_draws(editor, mock):
    editor.tool("brush")
    editor.page.focus("#stage")
    press = editor.page.keyboard.press
    press("Enter")  # a cross in the middle
    press("Enter")  # pen down
    for _ in range(5):
        press("Shift+ArrowRight")
    press("Enter")
    mask = wait_mask(mock, 0)
    assert mask[180, 320] and mask[180, 415] and not mask[180, 440]
    press("Escape")
    press("ArrowRight")  # moves to the next frame again
    editor.wait_for_frame(1)


def test_zoom_and_pan_keep_points_in_place(editor, mock):
    editor.page.mouse.move(*editor.screen(300, 200))
    before = editor.screen(300, 200)
    editor.page.mouse.wheel(0, -600)
    wait_for(lambda: editor.screen(301, 200)[0] - editor.screen(300, 200)[0] > 3)
    assert np.allclose(editor.screen(300, 200), before, atol=4)
    editor.tool("brush")
    editor.brush_size(4)
    editor.drag([(300.0, 200.0), (310.0, 200.0)])
    mask = wait_mask(mock, 0)
    assert mask[200, 305] and not mask[208, 305]
    editor.page.keyboard.press("0")
    wait_for(lambda: editor.screen(301, 200)[0] - editor.screen(300, 200)[0] < 3)


def test_two_fingers_zoom_and_one_draws(new_page, address, mock):
    editor = Editor(new_page(390, 844, has_touch=True, is_mobile=True), address)
    page = editor.page
    touch = page.context.new_cdp_session(page)

    def send(kind, points):
        touches = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    scale = editor.screen(1, 0)[0] - editor.screen(0, 0)[0]
    x, y = editor.screen(*center(0))
    page.tap("[data-tool=brush]")
    send("touchStart", [(x - 20, y)])
    send("touchStart", [(x - 20, y), (x + 20, y)])
    send("touchMove", [(x - 60, y), (x + 60, y)])
    send("touchEnd", [])
    wait_for(lambda: editor.screen(1, 0)[0] - editor.screen(0, 0)[0] > 2 * scale)
    assert 0 not in mock.annotations  # the first finger did not draw
    x, y = editor.screen(*center(0))
    send("touchStart", [(x, y)])
    send("touchMove", [(x + 20, y)])
    send("touchEnd", [])
    assert wait_mask(mock, 0)[center(0)[1], center(0)[0]]
