"""Imports between the rooms of the package point one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "deeplab_gygo"

# Every room may import itself and the rooms of the levels above it in this list.
LEVELS = (
    {"errors", "_version"},
    {"methods"},
    {"io"},
    {"datasets"},
    {"evaluation"},
    {"backend"},
    {"models"},
    {"synthesis"},
    {"inference"},
    {"training", "runs", "export"},
    {"baselines", "benchmark"},
    {"server"},
    {"cli"},
    {"__main__"},
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}

# The front door names what it offers for type checkers; at run time it imports by name.
FRONT_DOOR = {"__init__"}

BACKENDS = {"tensorflow", "jax", "torch", "flax"}
# The formats of an export are made from TensorFlow functions.
KNOW_BACKENDS = {"backend", "export"}

LIGHT = (
    "deeplab_gygo",
    "deeplab_gygo.errors",
    "deeplab_gygo.methods",
    "deeplab_gygo.io.video",
    "deeplab_gygo.io.masks",
    "deeplab_gygo.datasets.registry",
    "deeplab_gygo.evaluation",
    "deeplab_gygo.synthesis.composer",
    "deeplab_gygo.inference.config",
    "deeplab_gygo.models.config",
    "deeplab_gygo.training.config",
    "deeplab_gygo.benchmark.report",
    "deeplab_gygo.benchmark.run",
    "deeplab_gygo.server.client",
    "deeplab_gygo.server.serving",
    "deeplab_gygo.cli.main",
)


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _modules(path: Path) -> set[str]:
    """Returns the modules that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
            assert not node.level, f"a relative import in {path}, line {node.lineno}"
    return names


FILES = sorted(path for path in PACKAGE.rglob("*.py") if _room(path) not in FRONT_DOOR)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_import_only_lower_rooms(path):
    room = _room(path)
    for module in _modules(path):
        package, _, rest = module.partition(".")
        other = rest.partition(".")[0]
        if package == "deeplab_gygo" and other in LEVEL and other != room:
            assert LEVEL[other] < LEVEL[room], f"{room} imports {module}"


def test_every_room_has_a_level():
    rooms = {_room(path) for path in FILES}
    assert rooms <= set(LEVEL)
    assert set(LEVEL) <= rooms, "a level of a room that is gone"


def test_only_the_backend_and_the_export_import_a_backend():
    found = {
        str(path.relative_to(PACKAGE)): sorted(used)
        for path in FILES
        if _room(path) not in KNOW_BACKENDS
        and (used := {module.partition(".")[0] for module in _modules(path)} & BACKENDS)
    }
    assert not found


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_do_not_load_keras(module):
    heavy = "{'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)"
    code = f"import sys, {module}; found = {heavy}; assert not found, found"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
