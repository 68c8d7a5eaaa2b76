"""`evaluate` of masks at URLs: the scores of a local copy, one sequence in the scratch folder."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from storage_servers import put

from deeplab_gygo.cli.main import main
from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.evaluation import evaluate
from deeplab_gygo.io import storage

pytest.importorskip("fsspec", reason="fsspec is not installed")

NAMES = ("bag", "shoes/red one")


def _write(folder: Path, shift: int = 0) -> None:
    folder.mkdir(parents=True)
    for index in range(4):
        mask = np.zeros((20, 20), np.uint8)
        mask[5:15, 2 + index : 12 + index] = 255
        cv2.imwrite(str(folder / f"{index:05d}.png"), np.roll(mask, shift, 0))


@pytest.fixture
def folders(tmp_path):
    """Folders of the truth, and of a result as `batch` writes it."""
    for number, name in enumerate(NAMES):
        _write(tmp_path / "truth" / name)
        _write(tmp_path / "found" / name / "masks", number + 1)
        _write(tmp_path / "found" / name / "cutout")
        (tmp_path / "found" / name / "run.json").write_text("{}")
    (tmp_path / "found" / "summary.json").write_text("{}")
    return tmp_path


def _means(score):
    return [(s.name, s.region.tobytes(), s.contour.tobytes()) for s in score.sequences]


@pytest.mark.parametrize("jobs", [1, 2])
def test_scores_from_a_bucket_are_those_of_a_folder(
    folders, bucket, scratch_folder, s3_proxy, jobs
):
    found, truth = (put(folders / name, f"{bucket}/{name}") for name in ("found", "truth"))
    local = _means(evaluate(folders / "found", folders / "truth"))
    s3_proxy.requests.clear()
    assert _means(evaluate(found, truth, jobs=jobs)) == local
    assert not s3_proxy.count("GET", "cutout/00000.png") and not s3_proxy.count("GET", "run.json")
    assert s3_proxy.count("GET", "00001.png") == 4


def test_one_sequence_at_a_time_is_in_the_scratch_folder(folders, bucket, scratch_folder):
    found = put(folders / "found", f"{bucket}/found")
    sizes = [sum(p.stat().st_size for p in (folders / "found" / n / "masks").iterdir())
             for n in NAMES]  # fmt: skip
    scratch_folder.max_bytes, scratch_folder.patience = max(sizes), 0.0
    score = evaluate(found, folders / "truth", jobs=1)
    assert len(score.sequences) == 2


def test_a_dataset_at_a_url_is_the_truth_too(tmp_path, make_dataset, scratch_folder):
    root = make_dataset(tmp_path / "data", {"bag": 4, "shoes/red": 3})
    url = put(root, f"memory:/{tmp_path}/data")
    masks = root / "Annotations" / "480p"
    score = evaluate(f"{url}/Annotations/480p", url, dataset="gygo", jobs=2)
    assert _means(score) == _means(evaluate(masks, root, dataset="gygo"))


def test_a_web_server_that_lists_its_folders_is_read(folders, served, scratch_folder):
    base = served(folders)
    score = evaluate(f"{base}/found", f"{base}/truth")
    assert _means(score) == _means(evaluate(folders / "found", folders / "truth"))
    (folders / "unlisted").mkdir()
    (folders / "unlisted" / "index.html").write_text("<p>nothing to see</p>")
    with pytest.raises(InputError, match="no files.*does not list its folders"):
        evaluate(f"{base}/unlisted", folders / "truth")
    with pytest.raises(InputError, match="what exists"):
        evaluate(f"{base}/absent", folders / "truth")


def test_the_folder_may_be_a_bucket(folders, bucket, scratch_folder):
    found = put(folders / "found", bucket)
    assert len(evaluate(found, folders / "truth").sequences) == 2


def test_what_is_no_folder_is_refused(folders, bucket, scratch_folder):
    storage.upload(folders / "found" / "summary.json", f"{bucket}/found.zip")
    for url, said in (
        (f"{bucket}/absent", "what exists.*name of the bucket"),
        (f"{bucket}-other/found", "what exists.*name of the bucket"),
        (f"{bucket}/found.zip", "met: a file.*archive.*local copy"),
    ):
        with pytest.raises(InputError, match=said):
            evaluate(url, folders / "truth")


def test_the_command_reads_and_writes_urls(folders, tmp_path, bucket, scratch_folder, capsys):
    found = put(folders / "found", f"{bucket}/found")
    words = ["evaluate", "--results", found, "--truth", str(folders / "truth"), "-q"]
    words += ["--scratch", str(tmp_path / "other")]
    assert main(words) == 0
    names = storage.list_names(found)
    assert {"scores.json", "table.md", "per-frame.csv"} <= set(names)
    assert f"tables: {found}" in capsys.readouterr().out
    assert main([*words, "--out", f"{bucket}/tables"]) == 0
    assert "scores.json" in storage.list_names(f"{bucket}/tables")
    assert list((tmp_path / "other").glob("*.lock"))


def test_a_damaged_mask_is_named_by_its_url(folders, bucket, scratch_folder, capsys):
    (folders / "found" / "bag" / "masks" / "00001.png").write_bytes(b"no picture")
    found = put(folders / "found", f"{bucket}/found")
    out = ["--out", str(folders / "tables")]
    assert main(["evaluate", "--results", found, "--truth", str(folders / "truth"), *out]) == 65
    assert f"{found}/bag/masks/00001.png" in capsys.readouterr().err
    (folders / "found" / "bag" / "masks" / "00001.png").unlink()
    storage.remove(f"{found}/bag/masks/00001.png")
    assert main(["evaluate", "--results", found, "--truth", str(folders / "truth"), *out]) == 65
    assert f"{found}/bag" in capsys.readouterr().err


def test_tables_do_not_go_to_the_web(folders):
    words = ["evaluate", "--results", "http://127.0.0.1:1/found", "--truth", str(folders / "truth")]
    assert main(words) == UsageError.exit_status
