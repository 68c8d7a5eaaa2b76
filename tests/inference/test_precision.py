"""A lower precision segments as well as float32: three clips, the whole way to files."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from product_renderer.clip import write_product_clip

PROBE = Path(__file__).with_name("precision_probe.py")


@pytest.fixture(scope="module")
def reports(tmp_path_factory) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("precision")
    for seed in range(3):
        write_product_clip(folder / f"clip{seed}", frames=10, size=(424, 240), seed=seed)

    def probe(precision: str) -> dict:
        command = [sys.executable, str(PROBE), precision, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout.strip().splitlines()[-1])

    names = ("float32", "bfloat16", "float16")
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(names, pool.map(probe, names), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_halves_cost_no_more_than_two_thousandths_of_j(reports, precision):
    full, half = reports["float32"], reports[precision]
    assert (full["precision"], half["precision"]) == ("float32", precision)
    assert len(full["J"]) == 3 and min(full["J"].values()) > 0.85  # or equality would say little
    assert half["J"] != full["J"]  # it is another precision
    mean = {name: sum(report["J"].values()) / 3 for name, report in reports.items()}
    assert mean[precision] == pytest.approx(mean["float32"], abs=0.002)
    # Forty steps part ways after the first rounding: one clip alone may gain more than that.
    for clip, value in full["J"].items():
        assert half["J"][clip] >= value - 0.002, clip
