"""Dependencies between rooms point one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "deeplab_gygo"

# Every room may import from itself and from the rooms named.
ALLOWED = {
    "errors": set(),
    "user_cache": set(),
    "config": {"errors"},
    "presets": {"errors", "config"},
    "startup": set(),
    "kernels": {"errors"},
    "backend": {"errors", "kernels"},
    "data": {"errors", "user_cache", "config"},
    "evaluation": {"errors", "config", "data"},
    "models": {"errors", "config", "backend", "data"},
    "training": {"errors", "config", "backend", "data", "evaluation", "models"},
    "online": {"errors", "config", "backend", "data", "models", "training"},
    "outputs": {"errors", "config", "data", "evaluation", "online"},
    "export": {
        "errors",
        "user_cache",
        "config",
        "backend",
        "data",
        "models",
        "online",
        "outputs",
    },  # fmt: skip
}
TOP = {"cli", "commands", "benchmark", "batch", "__main__", "__init__"}


def _room(path: Path) -> str:
    return _named(path.relative_to(PACKAGE).parts[0].removesuffix(".py"))


def _named(module: str) -> str:
    """The configuration is one room of several files: config.py and config_<of what>.py."""
    return "config" if module.startswith("config_") else module


def _imported_rooms(path: Path) -> set[str]:
    rooms = set()
    here = ("deeplab_gygo", *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(here[: len(here) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            names = [f"{module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "deeplab_gygo" and len(parts) > 1:
                rooms.add(parts[1])
    return {
        _named(room)
        for room in rooms
        if (PACKAGE / room).exists() or (PACKAGE / f"{room}.py").exists()
    }


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_rooms_import_only_what_they_may(path):
    room = _room(path)
    if room in TOP:
        return
    assert room in ALLOWED, f"a room without a rule: {room}"
    assert _imported_rooms(path) <= ALLOWED[room] | {room}


def test_only_the_backend_knows_the_backends():
    for path in PACKAGE.rglob("*.py"):
        # What leaves for other runtimes starts from TensorFlow; kernels are the backend's.
        if _room(path) in {"backend", "export", "kernels"} or path.name == "summaries.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            assert not {n.split(".")[0] for n in names} & {"tensorflow", "jax", "torch"}, path


def test_light_rooms_do_not_import_keras():
    code = (
        "import sys, deeplab_gygo, deeplab_gygo.inference.config, deeplab_gygo.datasets.registry,"
        "deeplab_gygo.evaluation.protocol, deeplab_gygo.io.video;"
        "assert not {'keras', 'tensorflow', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
