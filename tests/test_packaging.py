"""Version, requirements and changelog agree with the package."""

from __future__ import annotations

import dataclasses
import inspect
import re
import runpy
from importlib import import_module, metadata
from pathlib import Path

import setuptools
import yaml

import deeplab_gygo

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(deeplab_gygo.__file__).parent
MODULES = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in sorted(PACKAGE.rglob("*.py"))
    if re.search("RENAMED_KEYS|REMOVED_KEYS", path.read_text(encoding="utf-8"))
]


def test_the_version_is_that_of_citation_and_changelog():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert citation["version"] == deeplab_gygo.__version__
    assert re.search(r"^## (\S+)", changelog, re.MULTILINE)[1] == deeplab_gygo.__version__


def test_cpu_requirements_are_those_of_the_package():
    lines = (ROOT / "requirements-cpu.txt").read_text(encoding="utf-8").splitlines()
    listed = {_canonical(line) for line in lines if line and not line.startswith("#")}
    required = {
        _canonical(line) for line in metadata.requires("deeplab-gygo") if "extra ==" not in line
    }
    assert {line.replace("tensorflow-cpu", "tensorflow") for line in listed} == required


def test_the_image_is_made_from_locked_packages():
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", lock, flags=re.MULTILINE))
    locked = {entry.split("==")[0] for entry in entries}
    assert all("--hash=sha256:" in entry for entry in entries)
    lines = (ROOT / "requirements-cpu.txt").read_text(encoding="utf-8").splitlines()
    wanted = {re.split("[<>=]", line)[0] for line in lines if not line.startswith("#")}
    assert wanted <= locked
    assert "--require-hashes -r /build/requirements.lock" in (ROOT / "Dockerfile").read_text()


def test_every_data_file_is_in_the_wheel_and_the_wheel_is_small(monkeypatch):
    monkeypatch.chdir(ROOT)
    given = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    runpy.run_path("setup.py")
    patterns = given["package_data"]["deeplab_gygo"]
    packaged = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    files = {
        path
        for path in PACKAGE.rglob("*.*")
        if path.is_file() and path.suffix != ".py" and path.parent.name != "__pycache__"
    }
    assert packaged == files
    assert sum(path.stat().st_size for path in files) < 12e6


def test_the_changelog_lists_every_renamed_and_removed_option():
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    ]
    kinds = {
        kind
        for module in MODULES
        for _, kind in inspect.getmembers(import_module(module), dataclasses.is_dataclass)
    }
    for kind in kinds:
        if kind.__subclasses__():
            continue  # Listed under the names of its subclasses.
        own = [row[1:] for row in rows if row[0] == f"`{kind.__name__}`"]
        for old, new in getattr(kind, "RENAMED_KEYS", {}).items():
            assert [f"`{old}`", f"`{new}`"] in own
        for old in getattr(kind, "REMOVED_KEYS", {}):
            assert any(f"`{old}`" in row[0].split(", ") for row in own)


def _canonical(requirement: str) -> str:
    """Returns a requirement with its version limits sorted, without spaces."""
    name, limits = re.match(r"([\w-]+)\s*(.*)", requirement).groups()
    return name.lower() + ",".join(sorted(limits.replace(" ", "").split(",")))
