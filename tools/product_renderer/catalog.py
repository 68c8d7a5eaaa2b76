"""The kinds of products that can be rendered."""

from __future__ import annotations

from collections.abc import Callable

from product_renderer import models, toys, vessels
from product_renderer.models import Part
from product_renderer.textures import Generator

KINDS: dict[str, Callable[[Generator], list[Part]]] = {
    "carton": models.carton,
    "bottle": vessels.bottle,
    "can": vessels.can,
    "vase": vessels.vase,
    "mug": vessels.mug,
    "bowl": vessels.bowl,
    "ball": models.ball,
    "shoe": models.shoe,
    "handbag": models.handbag,
    "stack": models.stack,
    "car": toys.car,
    "figure": toys.figure,
    "duck": toys.duck,
    "house": toys.house,
    "ring stack": toys.ring_stack,
    "chair": toys.chair,
    "lamp": toys.table_lamp,
    "teapot": toys.teapot,
    "gadget": toys.camera,
}
