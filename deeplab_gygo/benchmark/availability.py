"""What a cell needs and whether it is there: the data set, and the weights of its row."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from deeplab_gygo.benchmark.plan import BenchmarkDataset, BenchmarkRow
from deeplab_gygo.datasets.registry import Dataset, open_dataset
from deeplab_gygo.errors import WeightsError
from deeplab_gygo.models.weight_file import file_hash, shipped_parent


def dataset_root(dataset: BenchmarkDataset, data_root: str | Path | None) -> Path:
    """Returns where a data set should lie.

    Args:
        dataset: The data set.
        data_root: Folder that a relative root starts at; None is the working directory.

    Returns:
        Its folder, which need not be there.
    """
    return Path(data_root or "").expanduser() / Path(dataset.root).expanduser()


def find_dataset(dataset: BenchmarkDataset, data_root: str | Path | None) -> Dataset | None:
    """Opens a data set of a benchmark.

    Args:
        dataset: The data set.
        data_root: Folder that a relative root starts at; None for no data.

    Returns:
        The data set; None where its folder is not there.

    Raises:
        InputError: There is a folder, but not of this data set.
    """
    root = dataset_root(dataset, data_root)
    is_known = data_root is not None or Path(dataset.root).expanduser().is_absolute()
    if not (is_known and root.is_dir()):
        return None
    return open_dataset(dataset.kind, root, dataset.resolution)


def weights_path(row: BenchmarkRow) -> Path | None:
    """Returns the file of a row's weights; None where it needs none, or none are shipped.

    The file that a row names need not be there.
    """
    if row.is_reference:
        return None
    if row.weights:
        return Path(row.weights).expanduser()
    try:
        return shipped_parent(row.method)
    except WeightsError:
        return None


def missing_weights(row: BenchmarkRow) -> str:
    """Says why a row has no weights.

    Args:
        row: The row.

    Returns:
        A phrase for a table; empty where the weights are there, or none are needed.
    """
    path = weights_path(row)
    if row.is_reference or (path is not None and path.is_file()):
        return ""
    made = f", made by {row.made_by}" if row.made_by else ""
    if row.weights:
        return f"weights missing: {row.weights}{made}"
    return f"no weights of {row.method} are shipped{made}"


def weights_hash(row: BenchmarkRow) -> str | None:
    """Returns the SHA-256 of a row's weights; None where they are not there."""
    path = weights_path(row)
    if path is None or not path.is_file():
        return None
    status = path.stat()
    return _hash(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)
def _hash(path: Path, changed: int, size: int) -> str:
    """Hashes a file once as long as it stays what it is: several cells have the same weights."""
    return file_hash(path)
