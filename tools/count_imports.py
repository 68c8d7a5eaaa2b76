"""Counts the modules that `deeplab-gygo segment` imports and the functions that it enters.

The command runs in this process; functions of the package are counted in all threads, without
class bodies, lambdas and comprehensions. Example:

    python tools/count_imports.py CLIP --mask MASK --out /tmp/out --steps 3 > counts.json
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import threading
from collections import defaultdict
from pathlib import Path
from types import CodeType, FrameType

import deeplab_gygo
from deeplab_gygo.cli.main import main as run

PACKAGE = Path(deeplab_gygo.__file__).parent


def count(words: list[str]) -> dict[str, object]:
    """Runs `segment` and counts.

    Args:
        words: Words of the command line after `segment`.

    Returns:
        Numbers of modules and functions, the functions by module, and the modules of which no
        function was entered.
    """
    entered: set[CodeType] = set()

    def profile(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(PACKAGE)):
            entered.add(frame.f_code)

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            status = run(["segment", *words, "--quiet"])
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    functions = defaultdict(list)
    for code in entered:
        is_function = code.co_flags & 0x1 and not code.co_name.startswith("<")  # CO_OPTIMIZED
        if is_function:
            path = Path(code.co_filename).relative_to(PACKAGE)
            functions[path.as_posix()].append(code.co_qualname)
    modules = sorted(name for name in sys.modules if name.split(".")[0] == "deeplab_gygo")
    files = {Path(sys.modules[m].__file__).relative_to(PACKAGE).as_posix(): m for m in modules}
    return {
        "status": status,
        "modules": len(modules),
        "functions": sum(map(len, functions.values())),
        "entered": {path: sorted(functions[path]) for path in sorted(functions)},
        "not_entered": [name for path, name in files.items() if path not in functions],
    }


def main() -> None:
    """Runs the tool."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", help="video, or folder of frames; further options are of `segment`")
    known, further = parser.parse_known_args()
    print(json.dumps(count([known.clip, *further]), indent=1))


if __name__ == "__main__":
    main()
