"""Pictures of other things that keep a fine-tuned network from forgetting its parent.

What a parent was trained on cannot be shipped, and need not be: product pictures that the package
renders itself, with their exact masks, do the same work.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from deeplab_gygo.data.guides import deform_guide, encode_guide
from deeplab_gygo.data.render import render_product_still
from deeplab_gygo.models.deeplab import guide_at_stride
from deeplab_gygo.online.views import View


@lru_cache(maxsize=4)
def rendered_views(count: int, size: tuple[int, int], guided: bool, seed: int = 0) -> list[View]:
    """Renders pictures for replay; the same ones for every sequence of a size.

    Args:
        count: Pictures.
        size: Height and width, pixels; multiples of the stride.
        guided: Whether every other picture is shown with a guide.
        seed: Of the pictures.

    Returns:
        One view a picture.
    """
    views = []
    for index in range(count):
        rendered = render_product_still(seed=seed * 1000 + index, size=size)
        rng = np.random.default_rng([seed, index])
        known = guided and index % 2 == 1
        guide = encode_guide(deform_guide(rendered.mask, rng) if known else None, size)
        views.append(View(rendered.image, rendered.mask, guide_at_stride(guide)))
    return views
