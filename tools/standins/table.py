"""Rendered stand-ins: several similar products on one table, seen by an orbiting phone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
from product_renderer.clip import render_scene
from product_renderer.table import TableEvents, build_table_scene

from standins.dataset import FRAME_RATE, SIZES, Clip


def table_clips(count: int, frames: int, seed: int) -> Iterator[Clip]:
    """Makes clips in which each event of `TableEvents` happens in a third of them or more.

    Args:
        count: Number of clips.
        frames: Frames of a clip, 9 or more.
        seed: Everything follows from it.

    Yields:
        The clips.
    """
    for index in range(count):
        # Coprime periods, so that the events occur in all combinations.
        events = TableEvents(
            cut=index % 5 in (0, 2),
            exit=index % 5 in (1, 2),
            occluded=index % 2 == 0,
            twin=index % 3 == 0,
            same_color=index % 3 == 1,
        )
        rng = np.random.default_rng([seed, index])
        size = SIZES[int(rng.integers(len(SIZES)))]
        scene = build_table_scene(rng, np.arange(frames) / FRAME_RATE, size, events)
        rendered = render_scene(rng, scene, frames, size, [seed, index], FRAME_RATE)
        notes = {"kind": scene.kind, **asdict(events)}
        name = f"table{index:02d}-{scene.kind.replace(' ', '-')}"
        yield Clip(name, ((frame.image, frame.mask) for frame in rendered), notes)
