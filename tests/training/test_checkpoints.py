"""Checkpoint files: what is written, and what is refused when it is read."""

import json
import re
import tracemalloc
import zipfile

import numpy as np
import pytest

from deeplab_gygo.errors import InputError, StorageError, UsageError
from deeplab_gygo.training import checkpoints
from deeplab_gygo.training.checkpoints import CHECKPOINT_NAME, load_checkpoint, save_checkpoint

GROUPS = {
    "network": {"head/kernel": np.arange(6, dtype=np.float32).reshape(2, 3)},
    "optimizer": {"0.0": np.array(7, np.int64)},
    "average": {},
}
METER = {"losses": [0.5, 0.25], "waited": 0.5, "seconds": 2.0}
STATE = {
    "identity": "abc", "step": 3, "seconds": 1.5, "best": 0.25, "validated": 2, "meter": METER,
}  # fmt: skip


def _load(folder, identity="abc"):
    return load_checkpoint(folder, identity, GROUPS)


def _write(folder, arrays):
    np.savez_compressed(folder / CHECKPOINT_NAME, **arrays)


def _arrays(changes=(), state=STATE):
    """The arrays of a file; None leaves one out."""
    text = state if isinstance(state, bytes) else json.dumps(state).encode()
    arrays = {
        "network|head/kernel": GROUPS["network"]["head/kernel"],
        "optimizer|0.0": GROUPS["optimizer"]["0.0"],
        "state": np.frombuffer(text, np.uint8),
        **dict(changes),
    }
    return {name: array for name, array in arrays.items() if array is not None}


def test_a_checkpoint_round_trips(tmp_path):
    assert _load(tmp_path) is None
    save_checkpoint(tmp_path, {"network": {"head/kernel": np.zeros(1)}}, {"step": 1})
    save_checkpoint(tmp_path, GROUPS, STATE)
    loaded, state = _load(tmp_path)
    assert state == STATE and loaded.keys() == GROUPS.keys()
    for group, arrays in GROUPS.items():
        assert loaded[group].keys() == arrays.keys()
        for name, values in arrays.items():
            np.testing.assert_array_equal(loaded[group][name], values)
            assert loaded[group][name].dtype == values.dtype
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT_NAME]


def test_a_checkpoint_of_an_older_version_is_read(tmp_path):
    old = {key: STATE[key] for key in ("identity", "step", "seconds", "best")}
    save_checkpoint(tmp_path, GROUPS, old)
    assert _load(tmp_path)[1] == {**old, "validated": 3, "meter": {}}


def test_a_write_that_fails_keeps_the_former_checkpoint(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, GROUPS, STATE)

    def full(stream, **arrays):
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints.np, "savez", full)
    with pytest.raises(StorageError, match="No space left"):
        save_checkpoint(tmp_path, GROUPS, {**STATE, "step": 4})
    monkeypatch.undo()
    assert _load(tmp_path)[1]["step"] == 3
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT_NAME]


def test_another_configuration_is_said_before_its_arrays_are_compared(tmp_path):
    save_checkpoint(tmp_path, {"network": {"other": np.zeros(3)}}, STATE)
    with pytest.raises(UsageError, match="another configuration"):
        _load(tmp_path, "def")


@pytest.mark.parametrize("length", [0, 10, 200, -30])
def test_a_cut_file_is_refused_with_its_path_and_a_remedy(tmp_path, length):
    save_checkpoint(tmp_path, GROUPS, STATE)
    path = tmp_path / CHECKPOINT_NAME
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=f"{CHECKPOINT_NAME}.*another --out"):
        _load(tmp_path)


def test_no_flipped_bit_passes(tmp_path):
    save_checkpoint(tmp_path, GROUPS, STATE)
    path = tmp_path / CHECKPOINT_NAME
    content = path.read_bytes()
    (expected, _), refused = _load(tmp_path), 0
    for position in range(0, len(content), 7):
        path.write_bytes(
            content[:position] + bytes([content[position] ^ 16]) + content[position + 1 :]
        )
        try:
            loaded, state = _load(tmp_path)
        except InputError:
            refused += 1
            continue
        # A bit that the format does not use, such as that of a date.
        assert state == STATE
        for group, arrays in expected.items():
            for name, values in arrays.items():
                np.testing.assert_array_equal(loaded[group][name], values)
    assert refused > 40


NAN = np.array([[np.nan, 0, 0], [0, 0, 0]], np.float32)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network|head/kernel": NAN}, "head/kernel is not finite"),
        ({"network|head/kernel": np.zeros((3, 2), np.float32)}, r"\[3, 2\], not float32 \[2, 3\]"),
        ({"network|head/kernel": np.zeros((2, 3))}, "float64"),
        ({"network|head/kernel": None}, "1 arrays missing"),
        ({"network|head/kernel": np.array([{}], object)}, "dtype object"),
        ({"average|more": np.zeros(3)}, "1 arrays unknown"),
        ({"state": None}, "state"),
        ({"state": np.zeros(3, np.float32)}, "no JSON"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, changes, said):
    _write(tmp_path, _arrays(changes))
    with pytest.raises(InputError, match=f"{said}.*{CHECKPOINT_NAME}.*another --out"):
        _load(tmp_path)


@pytest.mark.parametrize(
    "state",
    [
        b"[]", b"3", b"{", b'{"identity": "abc"}', b"\xff", b"[" * 10_000,
        *({**STATE, key: value} for key, value in (
            ("step", -1), ("step", 2.5), ("step", "3"), ("step", True), ("step", 10**400),
            ("seconds", -1.0), ("seconds", None), ("best", "high"), ("best", [1]),
            ("validated", 4), ("validated", None), ("identity", 3),
            ("meter", []), ("meter", {"losses": ["x"]}), ("meter", {"losses": 3}),
            ("meter", {"waited": -1}), ("meter", {"more": 1}),
        )),
        json.dumps({**STATE, "seconds": 0}).replace('"seconds": 0', '"seconds": NaN').encode(),
        json.dumps({**STATE, "best": 0}).replace('"best": 0', '"best": 1e999').encode(),
    ],
)  # fmt: skip
def test_a_state_of_other_types_is_refused(tmp_path, state):
    _write(tmp_path, _arrays(state=state))
    with pytest.raises(InputError, match=f"{CHECKPOINT_NAME}.*another --out"):
        _load(tmp_path)


def test_a_bomb_is_not_unpacked(tmp_path):
    bomb = np.zeros(64 << 20, np.uint8)
    for name in ("network|head/kernel", "state", "more"):
        _write(tmp_path, _arrays({name: bomb}))
        tracemalloc.start()
        with pytest.raises(InputError, match=re.escape(CHECKPOINT_NAME)):
            _load(tmp_path)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 16 << 20, name


def test_a_header_that_asks_for_more_than_the_file_has_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / CHECKPOINT_NAME, "w") as archive:
        for name, array in _arrays().items():
            with archive.open(f"{name}.npy", "w") as stream:
                if name == "state":
                    np.lib.format.write_array(stream, array)
                    continue
                header = {"descr": "<f4", "fortran_order": False, "shape": (10**9, 10**3)}
                np.lib.format.write_array_header_1_0(stream, header)
    with pytest.raises(InputError, match=re.escape(CHECKPOINT_NAME)):
        _load(tmp_path)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path):
    (tmp_path / CHECKPOINT_NAME).mkdir()
    with pytest.raises(InputError, match="regular file"):
        _load(tmp_path)
