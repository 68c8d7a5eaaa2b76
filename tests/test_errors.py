"""Errors cross process borders whole."""

from __future__ import annotations

import pickle

import pytest

from deeplab_gygo.errors import DeepLabGygoError, DependencyError, InputError, StorageError

CASES = [
    InputError("A mask has the size of the frames", met="3x4", where="m.png", remedy="Resize it"),
    StorageError("The folder can be written", met="full"),
    DependencyError("ray", "cluster", "--cluster"),
]


@pytest.mark.parametrize("error", CASES, ids=lambda error: type(error).__name__)
def test_an_error_of_another_process_has_all_its_parts(error: DeepLabGygoError) -> None:
    found = pickle.loads(pickle.dumps(error))
    assert type(found) is type(error)
    assert str(found) == str(error)
    for name in ("rule", "met", "where", "remedy", "exit_status"):
        assert getattr(found, name) == getattr(error, name)
