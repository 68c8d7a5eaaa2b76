"""Nothing is compiled again from one clip to the next of the same size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROBE = Path(__file__).with_name("jax_clips_probe.py")


@pytest.mark.slow
def test_jax_compiles_for_the_first_clip_alone(tmp_path):
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, str(PROBE)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout.strip().splitlines()[-1])
    assert report["backend"] == "jax"
    first, *others = report["clips"]
    assert first["programs"] > 0 and first["steps"] == 4 and first["finite"]
    # Windows of other lengths at the end: 10 frames, and 11, after the annotated one.
    assert [clip["masks"] for clip in others] == [10, 11]
    assert [clip["programs"] for clip in others] == [0, 0]
