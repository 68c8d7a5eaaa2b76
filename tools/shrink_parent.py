"""Stores the weights of a parent in eight bits.

    python tools/shrink_parent.py runs/osmn_gygo/parent.npz experiments/weights/osmn.npz

Architecture and card stay the same; the card records the hash of the original file. The accuracy of
the smaller file must be measured.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from deeplab_gygo.models.weight_file import file_hash, load_parent, save_parent


def main() -> None:
    """Reads, quantizes and writes the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parent", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    parent, card = load_parent(options.parent, inference_only=False)
    card["rounded_from"] = file_hash(options.parent)
    path = save_parent(options.out, parent, card, storage="int8")
    before, after = (file.stat().st_size / 1e6 for file in (options.parent, path))
    print(f"{path}: {after:.1f} MB, from {before:.1f}")


if __name__ == "__main__":
    main()
