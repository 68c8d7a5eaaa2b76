"""Commands and Python code in the documentation fit the package."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from functools import cache
from pathlib import Path

import pytest

from deeplab_gygo.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = sorted(
    {
        line.split("  #")[0].replace("KERAS_BACKEND=jax ", "")
        for page in PAGES
        for line in page.read_text(encoding="utf-8").splitlines()
        if re.match(r"(KERAS_BACKEND=jax )?deeplab-gygo [a-z]", line)
    }
)
BLOCKS = [
    block
    for page in PAGES
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
]


@pytest.fixture(scope="module")
def help_of():
    """A function that returns the whole help of a command."""

    @cache
    def read(words: tuple[str, ...]) -> str:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            main([*words, "--help-all"])
        return out.getvalue()

    return read


@pytest.mark.parametrize("command", COMMANDS)
def test_documented_options_exist(command, help_of):
    words = command.split()[1:]
    name = tuple(words[:2]) if words[0] == "data" else (words[0],)
    known = set(re.findall(r"--[\w.-]+", help_of(name)))
    used = set(re.findall(r"(?<= )--[\w.-]+", command))
    assert known and used <= known


@pytest.mark.parametrize("block", BLOCKS)
def test_python_code_in_the_documentation_is_valid(block):
    ast.parse(block)
