"""`warm-up`: what it compiles is what a run needs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deeplab_gygo.cli import main as cli

PROBE = Path(__file__).with_name("jax_cache_probe.py")


@pytest.mark.parametrize("size", ["480", "8x480", "480x854x3", "480x99999", "x480", "-48x64"])
def test_a_size_that_is_none_is_refused(size, capsys):
    assert cli.main(["warm-up", f"--size={size}"]) == 2
    assert "HEIGHTxWIDTH" in capsys.readouterr().err


def test_a_backend_that_keeps_no_programs_is_refused(capsys):
    assert cli.main(["warm-up", "--size", "48x64"]) == 2
    assert "KERAS_BACKEND=jax" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_finds_all_its_programs(tmp_path):
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "DEEPLAB_GYGO_CACHE": str(tmp_path / "cache"),
    }
    words = ["warm-up", "--size", "48x64", "--preset", "fast", "--mode", "one-shot"]
    answers = []
    for command in ("-m", "deeplab_gygo", *words), (str(PROBE), str(tmp_path / "result")):
        done = subprocess.run(
            [sys.executable, *command], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        answers.append(done.stdout.strip().splitlines()[-1])
    assert answers[0] == str(tmp_path / "cache" / "programs")
    report = json.loads(answers[1])
    assert report["asked"] > 0 and report["found"] == report["asked"]
