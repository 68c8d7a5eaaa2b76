"""The palette of DAVIS and writing of masks."""

from __future__ import annotations

import os
import stat

import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.errors import InputError, StorageError
from deeplab_gygo.io.masks import davis_palette, read_mask, write_mask


def ids_of(count: int) -> np.ndarray:
    """Stripes of ids 1 to count on background: uint8 [21, 33]."""
    mask = np.zeros((21, 33), np.uint8)
    for number in range(1, count + 1):
        mask[3:18, 6 * number : 6 * number + 5] = number
    return mask


def test_palette_is_that_of_davis():
    # First colors of the palette in the DAVIS-2017 annotations.
    expected = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128)]
    assert [tuple(color) for color in davis_palette()[:6].tolist()] == expected
    assert davis_palette()[20].tolist() == [0, 64, 128]
    assert davis_palette()[255].tolist() == [224, 224, 192]
    assert len(np.unique(davis_palette(), axis=0)) == 256
    with pytest.raises(ValueError):
        davis_palette()[:] = 0


def test_written_masks_are_8_bit_palette_png(tmp_path):
    ids = ids_of(2)
    ids[0] = 255
    path = tmp_path / "new" / "00000.png"
    write_mask(path, ids)
    with Image.open(path) as picture:
        assert (picture.format, picture.mode) == ("PNG", "P")
        np.testing.assert_array_equal(np.asarray(picture), ids)
        np.testing.assert_array_equal(
            np.array(picture.getpalette(), np.uint8).reshape(-1, 3), davis_palette()
        )
    assert path.read_bytes()[24:26] == bytes([8, 3])  # bit depth and color type of the PNG header
    assert os.listdir(path.parent) == ["00000.png"]
    write_mask(path, ids > 0)
    np.testing.assert_array_equal(read_mask(path), ids > 0)


def test_write_mask_refuses_other_arrays(tmp_path):
    for wrong in (np.zeros((4, 4), np.float32), np.zeros((4, 4, 3), np.uint8)):
        with pytest.raises(InputError):
            write_mask(tmp_path / "m.png", wrong)
    assert not os.listdir(tmp_path)


def test_a_failed_write_leaves_the_old_mask_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "m.png"
    write_mask(path, ids_of(1))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("deeplab_gygo.io.atomic.os.replace", full)
    with pytest.raises(StorageError, match="No space left on device.*m.png"):
        write_mask(path, ids_of(2))
    assert os.listdir(tmp_path) == ["m.png"]
    np.testing.assert_array_equal(read_mask(path), ids_of(1))


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_write_mask_into_a_read_only_folder_is_a_storage_error(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(StorageError):
        write_mask(tmp_path / "m.png", ids_of(1))
    tmp_path.chmod(stat.S_IRWXU)


def test_write_mask_below_a_file_is_a_storage_error(tmp_path):
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(StorageError, match="out"):
        write_mask(tmp_path / "out" / "m.png", ids_of(1))
