"""Pareto front of the stored results, and the check that every preset is on it."""

import json
from dataclasses import asdict, replace

import pytest

from deeplab_gygo.inference.config import OnlineConfig, preset
from deeplab_gygo.io.config_file import to_plain


@pytest.fixture
def pareto(tool, tmp_path, monkeypatch):
    """The tool, working in a folder of its own."""
    module = tool("plot_pareto")
    monkeypatch.setattr(module.update_results, "ROOT", tmp_path)
    monkeypatch.setattr(module.update_results, "RESULTS", tmp_path / "results")
    (tmp_path / "results").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "results.md").write_text(f"before\n{module.BEGIN}\n{module.END}\nafter\n")
    return module


@pytest.fixture
def keep(tmp_path):
    """Function that stores a result of two clips of ten frames, made at two frames per second."""

    def keep(name, online, J, adaptation=4.0, cpu="Z80"):
        made = 20 if online.mode == "zero-shot" else 18
        row = {"sequence": "bag", "frames": 10, "J": J, "F": J}
        data = {
            "name": f"davis--{name}",
            "mean": {"frames": 20, "J": J, "F": J, "adaptation_seconds": adaptation,
                     "amortized_fps": made / (2 * adaptation + 0.5 * made)},
            "sequences": [row, {**row, "sequence": "cup", "J": J - 0.1}],
            "worst": {"sequence": "cup", "J": J - 0.1},
            "online": to_plain(online),
            "preset": name if name in OnlineConfig.PRESETS else None,
            "hardware": {"cpu": cpu},
        }  # fmt: skip
        (tmp_path / "results" / f"davis--{name}.json").write_text(json.dumps(data))

    return keep


@pytest.fixture
def all_presets(keep):
    """All presets, each better and slower than the one before."""
    for number, name in enumerate(OnlineConfig.PRESETS):
        keep(name, preset(name), 0.8 + 0.02 * number, adaptation=4.0 + 10 * number)


def _points(pareto, tmp_path, frames=70):
    return {p.name: p for p in pareto.read_points(tmp_path / "results", "davis", frames)}


def test_the_time_of_a_clip_is_fine_tuning_and_every_predicted_frame(pareto, keep, tmp_path):
    keep("fine-tune", OnlineConfig(), 0.8)
    keep("zero-shot", OnlineConfig(mode="zero-shot"), 0.7, adaptation=0.0)
    points = _points(pareto, tmp_path)
    assert points["fine-tune"].clip_seconds == pytest.approx(4 + 69 * 0.5)
    assert points["fine-tune"].fps == pytest.approx(69 / (4 + 69 * 0.5))
    assert points["zero-shot"].clip_seconds == pytest.approx(70 * 0.5)
    assert points["fine-tune"].worst == "cup (0.70)"
    assert list(points) == ["zero-shot", "fine-tune"]  # the fastest first


def test_a_failed_sequence_has_no_time(pareto, keep, tmp_path):
    keep("fine-tune", OnlineConfig(), 0.8)
    path = tmp_path / "results" / "davis--fine-tune.json"
    data = json.loads(path.read_text())
    data["sequences"].append({"sequence": "ghost", "frames": None, "J": None, "F": None})
    path.write_text(json.dumps(data))
    assert _points(pareto, tmp_path)["fine-tune"].clip_seconds == pytest.approx(4 + 69 * 0.5)


def test_a_result_belongs_to_a_preset_with_all_its_options(pareto):
    for name in OnlineConfig.PRESETS:
        assert pareto.preset_of(to_plain(preset(name))) == name
    assert pareto.preset_of(to_plain(replace(preset("best"), learning_rate=0.5))) == ""
    older = to_plain(preset("best"))
    del older["threshold"]  # measured before this option existed
    assert pareto.preset_of(older) == ""


def test_presets_on_the_front_pass_the_check(pareto, all_presets, capsys):
    assert pareto.main(["--dataset", "davis", "--check"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("J", "adaptation", "beaten"),
    [
        (0.9, 1.0, {"fast", "balanced", "best"}),
        (0.83, 5.0, {"balanced"}),
        (0.82, 14.0, set()),  # a tie dominates nothing
        (0.7, 50.0, set()),
    ],
)
def test_a_dominated_preset_fails_the_check(
    pareto, all_presets, keep, tmp_path, capsys, J, adaptation, beaten
):
    keep("other", OnlineConfig(learning_rate=0.5), J, adaptation)
    found = pareto.dominated(list(_points(pareto, tmp_path).values()))
    assert set(found) - {"other"} == beaten
    assert pareto.main(["--dataset", "davis", "--check"]) == (1 if beaten else 0)
    message = capsys.readouterr().err
    for name in OnlineConfig.PRESETS:
        reported = f"The preset {name} is not on the front: other beats it." in message
        assert reported == (name in beaten)


def test_a_preset_that_is_not_measured_fails_the_check(pareto, all_presets, tmp_path, capsys):
    (tmp_path / "results" / "davis--best.json").unlink()
    assert pareto.main(["--dataset", "davis", "--check"]) == 1
    assert "The preset best is not measured" in capsys.readouterr().err


def test_a_preset_with_other_options_than_today_fails_the_check(pareto, all_presets, keep, capsys):
    keep("best", replace(preset("best"), steps=9), 0.9, adaptation=30.0)
    assert pareto.main(["--dataset", "davis", "--check"]) == 1
    message = "The preset best is not measured with its options of today."
    assert capsys.readouterr().err == f"{message}\n"


def test_points_of_different_machines_fail_the_check(pareto, all_presets, keep, capsys):
    keep("zero-shot", OnlineConfig(mode="zero-shot"), 0.5, 0.0, cpu="6502")
    assert pareto.main(["--dataset", "davis", "--check"]) == 1
    assert "different machines: cpu 6502; cpu Z80." in capsys.readouterr().err


def test_a_check_writes_nothing(pareto, all_presets, tmp_path):
    before = (tmp_path / "docs" / "results.md").read_text()
    pareto.main(["--dataset", "davis", "--check"])
    assert (tmp_path / "docs" / "results.md").read_text() == before
    assert not (tmp_path / "docs" / "pareto.png").exists()


def test_curve_and_table_are_written_and_the_same_again(pareto, all_presets, keep, tmp_path):
    pytest.importorskip("matplotlib")
    keep("slow", OnlineConfig(learning_rate=0.5), 0.7, adaptation=40.0)
    assert pareto.main(["--dataset", "davis"]) == 0
    page, drawing = (tmp_path / "docs" / "results.md").read_text(), tmp_path / "docs" / "pareto.png"
    first = drawing.read_bytes()
    assert first.startswith(b"\x89PNG")
    assert page.startswith(f"before\n{pareto.BEGIN}\n")
    assert page.endswith("after\n")
    assert "](pareto.png)" in page
    lines = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line] for line in lines[1:]]
    assert [row[0] for row in rows] == ["**fast**", "**balanced**", "**best**", "slow"]
    assert [row[-1] for row in rows] == ["yes"] * 3 + ["no: fast, balanced, best"]
    assert pareto.main(["--dataset", "davis"]) == 0
    assert (tmp_path / "docs" / "results.md").read_text() == page
    assert drawing.read_bytes() == first


def test_dominated_points_are_hollow(pareto, all_presets, keep, tmp_path, monkeypatch):
    figure_module = pytest.importorskip("matplotlib.figure")
    keep("slow", OnlineConfig(learning_rate=0.5), 0.7, adaptation=40.0)
    figures = []
    save = figure_module.Figure.savefig
    monkeypatch.setattr(
        figure_module.Figure,
        "savefig",
        lambda self, *a, **k: figures.append(self) or save(self, *a, **k),
    )
    points = list(_points(pareto, tmp_path).values())
    pareto.draw(points, tmp_path / "curve.png", "davis", 70)
    (axes,) = figures[0].axes
    labels = [text.get_text().split(",")[0] for text in axes.texts]
    drawn = dict(zip(labels, axes.collections, strict=True))
    white = (1.0, 1.0, 1.0, 1.0)
    assert {name for name, dots in drawn.items() if tuple(dots.get_facecolor()[0]) == white} == {
        "slow"
    }
    (front,) = axes.lines
    assert list(front.get_ydata()) == [p.J for p in points if p.name != "slow"]


def test_no_results_is_an_error_with_a_remedy(pareto, capsys):
    assert pareto.main(["--dataset", "gygo"]) == 65
    assert "update_results.py add" in capsys.readouterr().err


def test_dominance_is_no_tie(pareto, all_presets, tmp_path):
    for point in _points(pareto, tmp_path).values():
        assert not point.dominates(type(point)(**asdict(point)))
