"""The simulation of a batch on many workers."""

import json
import math
import re

import pytest


@pytest.fixture
def simulation(tool):
    return tool("simulate_cluster")


def _ideal(simulation, **changes):
    values = {"start_seconds": 0.0, "hand_out_seconds": 0.0, "failures_per_hour": 0.0} | changes
    return simulation.Cluster(**values)


def test_without_losses_it_is_list_scheduling(simulation):
    assert simulation.simulate([1, 1, 1, 1, 4], 2, _ideal(simulation)) == 4
    assert simulation.simulate([3, 3, 2, 2, 2], 2, _ideal(simulation)) == 7  # Graham's example
    assert simulation.efficiency([5] * 8, 4, _ideal(simulation)) == 1


def test_start_and_hand_out_are_added(simulation):
    cluster = _ideal(simulation, start_seconds=10, hand_out_seconds=1)
    assert simulation.simulate([5], 1, cluster) == 16
    # The second worker waits until the first has its clip.
    assert simulation.simulate([5, 5], 2, cluster) == 17
    # One process hands out a clip a second, however many workers there are.
    assert simulation.simulate([1] * 50, 40, _ideal(simulation, hand_out_seconds=1)) == 51


def test_a_clip_is_begun_again_where_a_worker_ends(simulation):
    seconds, cluster = [100.0] * 40, _ideal(simulation, failures_per_hour=6, start_seconds=5)
    took = simulation.simulate(seconds, 4, cluster)
    assert took > 10 * 100 + 5
    assert took == simulation.simulate(seconds, 4, cluster)  # of one seed
    assert math.isfinite(simulation.simulate([100.0], 1, _ideal(simulation, failures_per_hour=30)))


@pytest.mark.parametrize(
    ("changes", "clips", "bottleneck"),
    [
        ({"start_seconds": 100}, 64, "start of the workers"),
        ({"hand_out_seconds": 2}, 64, "handing out"),
        ({"failures_per_hour": 60}, 64, "failures"),
        ({}, 9, "the last clips, while other workers idle"),
    ],
)
def test_the_bottleneck_is_the_largest_loss(simulation, changes, clips, bottleneck):
    row = simulation.row([30.0] * clips, 8, _ideal(simulation, **changes))
    assert row["bottleneck"] == bottleneck
    assert row["losses"][bottleneck] > 0.1
    assert row["seconds"] * row["workers"] * row["efficiency"] == pytest.approx(
        30 * clips, rel=0.01
    )


def test_the_tables_are_made_of_the_results(simulation, monkeypatch, tmp_path):
    for preset in simulation.PRESETS:
        for name in simulation.SETS:
            rows = [{"frames": 11, "amortized_fps": 2.0}, {"frames": 21, "amortized_fps": 4.0}]
            values = {"sequences": rows, "hardware": {"cpu": "Z80"}}
            (tmp_path / f"{name}--{preset}.json").write_text(json.dumps(values))
    rows = [{"measure": "frames of a clip, `fast`, all", "value": 30}]
    (tmp_path / "gpu.json").write_text(json.dumps({"hardware": {"gpu": "G"}, "rows": rows}))
    started = {"median_seconds": {"first_step": 1.5}}
    (tmp_path / "startup_fast.json").write_text(json.dumps(started))
    monkeypatch.setattr(simulation, "RESULTS", tmp_path)
    monkeypatch.setattr(simulation, "RESULT", tmp_path / "cluster_simulation.json")
    monkeypatch.setattr(simulation, "PAGE", tmp_path / "cluster.md")
    monkeypatch.setattr(simulation, "CLIPS", (20, 50))
    monkeypatch.setattr(simulation, "WORKERS", (1, 2))
    monkeypatch.setattr("sys.argv", ["simulate_cluster.py"])
    simulation.main()
    data = json.loads((tmp_path / "cluster_simulation.json").read_text())
    assert (data["measured_clips"], data["mean_seconds"], len(data["rows"])) == (4, 5.0, 4)
    assert data["cluster"]["start_seconds"] == 1.5
    assert data["rows"][0]["efficiency"] == pytest.approx(100 / 101.7, abs=1e-4)
    (tmp_path / "cluster.md").write_text("".join(simulation.SIZING + simulation.SCALING))
    monkeypatch.setattr("sys.argv", ["simulate_cluster.py", "--render"])
    simulation.main()
    page = re.sub(r" +", " ", (tmp_path / "cluster.md").read_text())
    # 5 s a clip in the mean of the first set: 720 an hour, 1000 in 1.4 hours.
    assert "| `--preset fast` | 15 | 5 | 720 | 1.4 | $0.07 |" in page
    assert "One G makes 30 frames a second" in page and "7200 clips an hour" in page
    assert "With 50 ms to hand out a clip" in page
    assert "4 clips measured with `--preset fast`, of 5 s in the mean" in page
