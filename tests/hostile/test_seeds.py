"""Findings of the fuzzer, kept: every one is read or refused with words."""

from pathlib import Path

import pytest
from fuzz_examples import EXAMPLES
from fuzz_targets import TARGETS, run_target

SEEDS = sorted(path for path in (Path(__file__).parent / "seeds").glob("*/*"))


@pytest.mark.parametrize("seed", SEEDS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_finding_stays_mended(tmp_path, seed):
    run_target(seed.parent.name, tmp_path, seed.read_bytes())


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_well_formed_files_are_read(tmp_path, name):
    for number, data in enumerate(EXAMPLES[name]()):
        folder = tmp_path / str(number)
        folder.mkdir()
        error = run_target(name, folder, data)
        assert error is None or name == "weights", error  # these lack arrays of their architecture
