"""The check of a GPU writes results as they come, and a stage that fails costs only itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def results(tool, tmp_path, monkeypatch):
    monkeypatch.setenv("OUT", str(tmp_path))
    monkeypatch.setenv("GPU_CHECK_WORK", str(tmp_path))
    (tmp_path / "gpu_check.jsonl").write_text("")
    return tool("gpu_results")


def _check(tmp_path, python, **variables):
    environment = {**os.environ, "OUT": str(tmp_path), "GPU_CHECK_PYTHON": python, **variables}
    return subprocess.run(
        ["bash", "tools/gpu_check.sh"], cwd=ROOT, env=environment, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip


def _interpreter(tmp_path, body):
    """A stand-in for Python that runs stages by `body`, and the table by Python."""
    path = tmp_path / "python"
    path.write_text(
        f'#!/bin/bash\ncase "$1 $2" in\n*gpu_results*) exec {sys.executable} "$@";;\n'
        f"*missing) exit 0;;\n{body}\nesac\n"
    )
    path.chmod(0o755)
    return str(path)


def test_a_stage_that_hangs_or_fails_costs_only_itself(tmp_path):
    result = '{"stage": "c", "measure": "m", "value": 0.5, "unit": "s", "wanted": "1 s"}'
    body = (
        "*' a') trap '' TERM; while :; do sleep 0.1; done;;\n*' b') exit 3;;\n"
        f"*' c') echo '{result}' >>\"$OUT/gpu_check.jsonl\";;"
    )
    start = time.monotonic()
    done = _check(
        tmp_path,
        _interpreter(tmp_path, body),
        GPU_CHECK_STAGES="a:1 b:5 c:5",
        GPU_CHECK_SECONDS="30",
    )
    assert done.returncode == 0 and time.monotonic() - start < 20
    lines = [json.loads(x) for x in (tmp_path / "gpu_check.jsonl").read_text().splitlines()]
    ended = {line["stage"]: line["status"] for line in lines if "status" in line}
    assert ended["b"] == "3" and ended["c"] == "0" and ended["a"] in ("124", "137")
    assert "c      m        0.5    s     1 s" in done.stdout.splitlines()


def test_stages_beyond_the_limit_are_listed(tmp_path):
    done = _check(
        tmp_path, _interpreter(tmp_path, "*) exit 0;;"), GPU_CHECK_STAGES="a:9 b:9",
        GPU_CHECK_SECONDS="5",
    )  # fmt: skip
    assert done.returncode == 0
    assert "a: 0 s, status no time left; b: 0 s, status no time left" in done.stdout


def test_missing_packages_end_the_check_at_once(tmp_path, tool, monkeypatch):
    stages = tool("gpu_stages")
    monkeypatch.setattr(stages, "NEEDED", ("json", "no_such_module"))
    with pytest.raises(SystemExit, match=r"no_such_module; install them"):
        stages.missing()
    body = '*) touch "$OUT/ran";;'
    python = _interpreter(tmp_path, body)
    Path(python).write_text(Path(python).read_text().replace("exit 0", "exit 1"))
    assert _check(tmp_path, python).returncode == 1 and not (tmp_path / "ran").exists()


def test_a_command_is_watched_and_ended_in_time(tool, results, tmp_path):
    run, made = tool("gpu_stages").run, tmp_path / "made"
    status, text, seen = run(
        ["sh", "-c", f"echo out; touch {made}; sleep 60"], 0.5, lambda: made.exists()
    )
    assert status == -9 and text == "out\n" and 0 < seen[1] < 0.5
    assert run(["sh", "-c", "exit 4"], 5) == (4, "", None)


def test_results_are_found_again_and_shown(results, tmp_path):
    results.record("fast", "fast: frames", 80.123, "/s")
    results.record("fast", "fast: frames", 91.456, "/s")
    results.record("errors", "e", {"output": 1e-7, "absent": None}, "right")
    assert results.recorded("fast: frames") == 91.456 and results.recorded("other") is None
    text = results.table((tmp_path / "gpu_check.jsonl").read_text())
    assert "100 /s" in text and "91.46" in text and "output 1e-07 " in text


def test_clips_are_drawn_where_no_dataset_is_given(results, tool, tmp_path, monkeypatch):
    clips = tool("gpu_clips")
    monkeypatch.setattr(clips, "REHEARSAL", True)
    monkeypatch.delenv("GPU_CHECK_DATA", raising=False)
    root, names = clips.dataset()
    assert names == ["disk_a", "disk_b"] and clips.dataset() == (root, names)
    annotations = root / "Annotations/480p/disk_a"
    cpu = tmp_path / "cpu/disk_a"
    cpu.mkdir(parents=True)
    (cpu / "masks").symlink_to(annotations)
    monkeypatch.setenv("GPU_CHECK_CPU_MASKS", str(tmp_path / "cpu"))
    scores = clips._score(root, "disk_a", annotations)
    assert scores == {"J": 1.0, "J minus that of the CPU": 0.0, "J between CPU and device": 1.0}
