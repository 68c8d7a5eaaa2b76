"""Renders the things that fine-tuning pastes into views of the annotated frame.

    python tools/make_distractors.py

Writes deeplab_gygo/assets/distractors.webp: one product a square, of different kinds, cut out.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from deeplab_gygo.data.render import product_kinds, render_product_still
from deeplab_gygo.online.distractors import CELL, SHEET

ROWS, COLUMNS = 4, 6
ASSETS = Path(__file__).resolve().parents[1] / "deeplab_gygo" / "assets"
RENDERED = (288, 288)
"""Size of the rendered picture, of which the product covers a part."""


def cut_out(seed: int, kind: str) -> np.ndarray:
    """Renders a product and fits it into a square: uint8 [CELL, CELL, 4] RGBA."""
    rendered = render_product_still(seed, RENDERED, kind=kind)
    left, top, width, height = cv2.boundingRect(rendered.mask)
    box = (slice(top, top + height), slice(left, left + width))
    rgba = np.dstack([rendered.image[box], 255 * rendered.mask[box]])
    scale = (CELL - 4) / max(width, height)
    size = tuple(max(1, round(side * scale)) for side in (width, height))
    rgba = cv2.resize(rgba, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    cell = np.zeros((CELL, CELL, 4), np.uint8)
    y, x = (CELL - size[1]) // 2, (CELL - size[0]) // 2
    cell[y : y + size[1], x : x + size[0]] = rgba
    return cell


def main() -> None:
    """Writes the sheet."""
    kinds = product_kinds()
    cells = [cut_out(9000 + i, kinds[i % len(kinds)]) for i in range(ROWS * COLUMNS)]
    rows = [np.hstack(cells[i : i + COLUMNS]) for i in range(0, len(cells), COLUMNS)]
    ASSETS.mkdir(exist_ok=True)
    path = ASSETS / SHEET
    Image.fromarray(np.vstack(rows)).save(path, quality=85, method=6)
    print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
