"""HDF5 files of weights: nothing of another file, and nothing without a limit."""

import os

import h5py
import numpy as np
import pytest

from deeplab_gygo.errors import WeightsError
from deeplab_gygo.models.h5_file import check_h5, is_whole


def _external_link(file, other):
    file["kernel"] = h5py.ExternalLink(str(other), "/secret")


def _external_values(file, other):
    file.create_dataset("kernel", (3,), "u1", external=[(str(other), 0, 3)])


def _virtual(file, other):
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource(str(other), "secret", (3,))
    file.create_virtual_dataset("kernel", layout)


def _soft_link(file, other):
    file["kernel"] = h5py.SoftLink("/nowhere")


def _circle(file, other):
    group = file.create_group("layer")
    group["layer"] = group


def _large(file, other):
    file.create_dataset("kernel", (1 << 30,), "f4", chunks=(1 << 16,), compression="gzip")


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (_external_link, "kernel is a link"),
        (_external_values, "kernel has its values in another file"),
        (_virtual, "kernel has its values in another file"),
        (_soft_link, "kernel is a link"),
        (_circle, "more than 10000 entries"),
        (_large, "4294967296 bytes unpacked"),
    ],
)
def test_files_that_refer_elsewhere_or_are_large_are_refused(make, match, tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as other:
        other["secret"] = np.zeros(3, np.float32)
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        make(file, tmp_path / "secret.h5")
    assert (tmp_path / "weights.h5").stat().st_size < 100_000
    with pytest.raises(WeightsError, match=rf"Weights are whole; met: .*{match}.*weights\.h5"):
        check_h5(tmp_path / "weights.h5", "Weights are whole")


def test_a_file_that_was_cut_is_not_whole(tmp_path):
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        file["layer/kernel"] = np.zeros(1000, np.float32)
    check_h5(path, "Weights are whole")
    assert is_whole(path)
    path.write_bytes(path.read_bytes()[:-500])
    assert not is_whole(path)
    with pytest.raises(WeightsError, match="Weights are whole.*truncated"):
        check_h5(path, "Weights are whole")


def test_no_pipe_is_waited_for(tmp_path):
    os.mkfifo(tmp_path / "weights.h5")
    with pytest.raises(WeightsError, match="Weights are whole; met: a named pipe"):
        check_h5(tmp_path / "weights.h5", "Weights are whole")
