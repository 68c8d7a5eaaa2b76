"""Every tool imports and prints its help."""

from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"
PROGRAMS = [
    path.stem
    for path in sorted(TOOLS.glob("*.py"))
    if "ArgumentParser" in path.read_text(encoding="utf-8")
    and "__main__" in path.read_text(encoding="utf-8")
    # It runs in an environment of its own, with PyTorch.
    and path.stem != "make_backbone_reference"
]


@pytest.mark.parametrize("name", PROGRAMS)
def test_help(tool, name, monkeypatch, capsys):
    module = tool(name)
    monkeypatch.setattr("sys.argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as stopped:
        module.main()
    assert stopped.value.code == 0
    assert "usage:" in capsys.readouterr().out
