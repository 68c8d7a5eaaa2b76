"""Remedies of errors name commands and options that exist."""

import ast
import re
from pathlib import Path

import pytest

import deeplab_gygo
from deeplab_gygo.cli.main import COMMANDS, _module
from deeplab_gygo.cli.options import Request
from deeplab_gygo.methods import METHODS

PACKAGE = Path(deeplab_gygo.__file__).parent
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z_.-]*[a-z]")
_COMMAND = re.compile(r"deeplab-gygo ([a-z-]+)")


def _texts():
    """Yields the constant texts of every remedy, with their place."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            for keyword in node.keywords:
                if keyword.arg == "remedy":
                    for part in ast.walk(keyword.value):
                        if isinstance(part, ast.Constant) and isinstance(part.value, str):
                            yield f"{path.relative_to(PACKAGE)}:{node.lineno}", part.value


REMEDIES = list(_texts())


@pytest.fixture(scope="module")
def options():
    """The options of all commands and methods."""
    from jsonargparse import ArgumentParser

    found = set()
    for name in COMMANDS:
        for method in METHODS:
            parser = ArgumentParser()
            _module(name).add_arguments(parser, Request(method, show_all=True))
            parsers = [parser]
            for each in parsers:  # those of subcommands are added on the way
                for action in each._actions:
                    found.update(action.option_strings)
                    choices = getattr(action, "choices", None)
                    if isinstance(choices, dict):
                        parsers += [c for c in choices.values() if hasattr(c, "_actions")]
    return found


def test_there_are_remedies():
    assert len(REMEDIES) > 150


def test_every_option_that_a_remedy_names_exists(options):
    unknown = {
        (place, option)
        for place, text in REMEDIES
        for option in _OPTION.findall(text)
        if option not in options
    }
    assert not unknown


def test_every_command_that_a_remedy_names_exists():
    unknown = {
        (place, command)
        for place, text in REMEDIES
        for command in _COMMAND.findall(text)
        if command not in COMMANDS
    }
    assert not unknown
