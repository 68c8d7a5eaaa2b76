"""Hostile and mutated files are refused at once: nothing runs, nothing else is opened."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hostile.hostile_files import HOSTILE

MUTATIONS = 100
LIMIT_SECONDS = 5
LIMIT_MEGABYTES = 1024

# Files that are odd and yet have a meaning.
READ = {"names_that_are_none", "labelme_long_number"}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    probe = Path(__file__).with_name("hostile_probe.py")
    command = [sys.executable, str(probe), str(folder), str(MUTATIONS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=540)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not (folder / "executed").exists()
    assert not list(folder.rglob("escaped"))
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {row["case"]: row for row in rows}, done.stderr


@pytest.mark.parametrize("case", sorted(HOSTILE))
def test_a_hostile_file_is_refused(answers, case):
    row = answers[0][case]
    assert row["seen"] == []
    assert row["seconds"] < LIMIT_SECONDS
    assert row["megabytes"] < LIMIT_MEGABYTES
    if case not in READ:
        assert row["status"] in (2, 65), row["error"]


def test_mutated_files_are_read_or_refused(answers):
    rows = [row for case, row in answers[0].items() if case.startswith("mutated")]
    assert len(rows) > 1000
    assert [row for row in rows if row["seen"]] == []
    assert max(row["seconds"] for row in rows) < LIMIT_SECONDS
    assert {row["status"] for row in rows} == {0, 2, 65}


def test_libraries_print_nothing(answers):
    assert answers[1] == ""
