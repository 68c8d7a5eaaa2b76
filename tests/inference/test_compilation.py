"""On JAX few programs are compiled for a first clip, and none for others of like size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROBE = Path(__file__).with_name("jax_clips_probe.py")

LIMIT = 12
"""Programs from the start of a process to its first mask."""


def _report(**options) -> dict:
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, str(PROBE), json.dumps(options)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout.strip().splitlines()[-1])
    assert report["backend"] == "jax"
    return report


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "fine-tune", "preset": "fast", "steps": 2, "num_views": 3},
        pytest.param(
            {"mode": "fine-tune", "preset": "best", "steps": 2, "num_views": 3},
            marks=pytest.mark.slow,
        ),
        pytest.param({"mode": "zero-shot", "preset": "balanced"}, marks=pytest.mark.slow),
    ],
)
def test_few_programs_are_compiled_and_none_again(options):
    report = _report(**options)
    assert report["loading"] == 0, "a network is loaded without computing"
    first, second = report["clips"]
    assert 0 < first["first_mask"] <= LIMIT
    assert first["finite"] and first["masks"] == 8 and second["masks"] == 6
    # Also with other programs: the parts of a frame one by one.
    assert second["programs"] == 0
    assert report["apart"] == pytest.approx(second["probability"], abs=1e-5)
