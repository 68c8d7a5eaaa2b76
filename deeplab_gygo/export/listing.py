"""The files of an export that its model card names; known without loading Keras."""

from __future__ import annotations

from pathlib import Path

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.reading import read_json

CARD_FILE = "model_card.json"
"""Path of the model card inside an export."""

SERVED_CARD_FILE = f"assets.extra/{CARD_FILE}"
"""The same of a SavedModel, where servers expect additional files."""


def exported_files(folder: Path) -> set[str]:
    """Returns the files of an export by relative path, its card included; empty without a card."""
    for place in (CARD_FILE, SERVED_CARD_FILE):
        try:
            card = read_json(folder / place)
        except InputError:
            continue
        files = card.get("sha256") if isinstance(card, dict) else None
        if isinstance(files, dict):
            return {place, *files}
    return set()
