#!/usr/bin/env python
"""Fuzzes the readers of untrusted files, guided by coverage (atheris, libFuzzer).

    python tools/fuzz.py weights --seconds 600
    python tools/fuzz.py --seconds 30 --out out/fuzz

Without a name every target of fuzz_targets.py runs for so long, each in a process of its own. An
input that raises anything but an error of the package, that takes more than 5 s or more than 1 GB
is a finding: it is written to --out and the exit status is 1. Copy it to tests/hostile/seeds/NAME,
where `make test` reads it from then on, and mend the reader.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import fuzz_targets
from fuzz_examples import EXAMPLES, WORDS

SEEDS = Path(__file__).parents[1] / "tests" / "hostile" / "seeds"
SECONDS_PER_INPUT = 5
MEMORY_MB = 1024
"""Memory that one input may add to that of the process with its libraries, MiB."""


def main() -> int:
    """Runs one target in this process, or every target one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("target", nargs="?", choices=sorted(fuzz_targets.TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="time of each target")
    parser.add_argument("--out", type=Path, default=Path("out/fuzz"), help="folder of findings")
    options = parser.parse_args()
    if options.target:
        return _fuzz(options.target, options.seconds, options.out)
    statuses = {}
    for name in sorted(fuzz_targets.TARGETS):
        command = [sys.executable, __file__, name, "--seconds", str(options.seconds)]
        # A process that libFuzzer cannot end is ended from here.
        statuses[name] = _status([*command, "--out", str(options.out)], options.seconds + 120)
    for name, status in statuses.items():
        print(f"{name:10} {'no finding' if status == 0 else f'FINDING, status {status}'}")
    return int(any(statuses.values()))


def _status(command: list[str], limit: float) -> int:
    try:
        return subprocess.run(command, timeout=limit, check=False).returncode
    except subprocess.TimeoutExpired:
        return -1


def _fuzz(name: str, seconds: int, out: Path) -> int:
    try:
        import atheris
    except ImportError:
        sys.exit("atheris is needed, which has packages for Linux on x86-64: pip install atheris")

    with atheris.instrument_imports(include=["deeplab_gygo", "tarfile", "zipfile", "yaml"]):
        with tempfile.TemporaryDirectory() as folder:  # the first run imports what is instrumented
            fuzz_targets.run_target(name, Path(folder), b"")
    corpus = out / name / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(EXAMPLES[name]()):
        (corpus / f"example-{number}").write_bytes(data)
    words = out / name / "words.txt"
    escaped = ["".join(rf"\x{byte:02x}" for byte in word.encode()) for word in WORDS.get(name, [])]
    words.write_text("".join(f'"{word}"\n' for word in escaped))
    scratch = tempfile.TemporaryDirectory()

    def once(data: bytes) -> None:
        with tempfile.TemporaryDirectory(dir=scratch.name) as folder:
            fuzz_targets.run_target(name, Path(folder), data)

    atheris.Setup(
        [
            sys.argv[0],
            str(corpus),
            *([str(SEEDS / name)] if (SEEDS / name).is_dir() else []),
            *([f"-dict={words}"] if escaped else []),
            f"-max_total_time={seconds}",
            f"-timeout={SECONDS_PER_INPUT}",
            f"-rss_limit_mb={MEMORY_MB + 1024}",
            "-max_len=65536",
            f"-artifact_prefix={out / name}/",
            "-print_final_stats=1",
        ],
        once,
    )
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
