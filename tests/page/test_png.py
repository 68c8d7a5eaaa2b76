"""The PNG reader and writer of the page against Pillow."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

DECODE = """async text => {
  const { decodeMask } = await import("/page/png.js");
  const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
  const { ids, width, height } = await decodeMask(bytes.buffer);
  return [Array.from(ids), width, height];
}"""

ENCODE = """async ([ids, width, height]) => {
  const { encodeMask } = await import("/page/png.js");
  const bytes = await encodeMask(Uint8Array.from(ids), width, height);
  return btoa(String.fromCharCode(...bytes));
}"""


@pytest.fixture(scope="module")
def values():
    """Ids that every filter of PNG suits somewhere: flat, ramps, noise."""
    y, x = np.mgrid[:37, :53]
    mask = np.where(x > 30, (x + 3 * y) % 256, 0)
    noise = np.random.default_rng(0).integers(0, 256, mask.shape)
    return np.where(y > 25, noise, mask).astype(np.uint8)


@pytest.mark.parametrize("kind", ["L", "P", "1", "P4", "P2"])
def test_what_pillow_writes_is_read(new_page, address, values, kind):
    page = new_page()
    page.goto(address)
    if kind == "1":
        values = (values > 99).astype(np.uint8)
        picture = Image.fromarray(values.astype(bool))
    elif kind == "L":
        picture = Image.fromarray(values)
    else:
        bits = int(kind[1:] or 8)
        values = values & (2**bits - 1)
        picture = Image.fromarray(values)
        picture.putpalette([v for i in range(2**bits) for v in (i, 0, 0)])
    content = io.BytesIO()
    options = {"bits": int(kind[1:])} if len(kind) > 1 else {}
    picture.save(content, "PNG", **options)
    text = base64.b64encode(content.getvalue()).decode()
    ids, width, height = page.evaluate(DECODE, text)
    assert (height, width) == values.shape
    assert np.array_equal(np.reshape(ids, values.shape), values)


def test_pillow_reads_what_is_written(new_page, address, values):
    from deeplab_gygo.io.palette import davis_palette

    page = new_page()
    page.goto(address)
    text = page.evaluate(ENCODE, [values.ravel().tolist(), values.shape[1], values.shape[0]])
    picture = Image.open(io.BytesIO(base64.b64decode(text)))
    assert picture.mode == "P" and np.array_equal(np.array(picture), values)
    assert np.array_equal(np.reshape(picture.getpalette(), (256, 3)), davis_palette())


def test_a_picture_of_colors_is_no_mask(new_page, address):
    page = new_page()
    page.goto(address)
    content = io.BytesIO()
    Image.new("RGB", (4, 4)).save(content, "PNG")
    with pytest.raises(Exception, match="gray or palette"):
        page.evaluate(DECODE, base64.b64encode(content.getvalue()).decode())
