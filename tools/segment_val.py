"""Segments every sequence of a GyGO list: `python tools/segment_val.py --root GYGO --out DIR`.

One parent is loaded; every sequence is fine-tuned on its first annotation and segmented. Finished
sequences are skipped in a second run, failures are listed in `failures.jsonl`, and a table of J, F,
adaptation seconds and FPS is printed. All options of `deeplab-gygo batch` can be added:
`--mode zero-shot`, `--steps 100`, `--num-parts 4 --part-id 0`, `--overwrite`, ...
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deeplab_gygo.cli import main as cli


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the script.

    Args:
        arguments: Words of the command line; None takes those of the process.

    Returns:
        The exit status of `deeplab-gygo batch`.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", required=True, help="folder of the dataset")
    parser.add_argument("--out", required=True, help="folder of the results")
    parser.add_argument(
        "--list", default="ImageSets/val.txt", help="list of sequences, absolute or below the root"
    )
    parser.add_argument("--dataset", default="gygo", help="kind of the dataset")
    options, others = parser.parse_known_args(arguments)
    return cli.main(
        ["batch", "--dataset", options.dataset, "--root", options.root,
         "--split", _split(options.root, options.list), "--out", options.out, *others]
    )  # fmt: skip


def _split(root: str, listed: str) -> str:
    """Returns the list as given or below the root; otherwise its name as that of a split.

    GyGO spells one of its lists `Train.txt`; names of splits are case-insensitive.
    """
    for path in (Path(listed).expanduser(), Path(root).expanduser() / listed):
        if path.is_file():
            return str(path)
    return Path(listed).stem


if __name__ == "__main__":
    sys.exit(main())
