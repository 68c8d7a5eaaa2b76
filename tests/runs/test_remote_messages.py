"""What a batch says of clips at URLs."""

import json

from deeplab_gygo.io import storage
from deeplab_gygo.runs.batch import Batch
from deeplab_gygo.runs.plan import plan_videos
from deeplab_gygo.runs.settings import make_settings


def test_a_damaged_frame_is_named_by_its_url(tmp_path, make_clip, bucket, scratch_folder, caplog):
    folder = make_clip(tmp_path / "shoe", 3)
    (folder / "00001.jpg").write_bytes(b"no picture")
    for path in folder.iterdir():
        storage.upload(path, f"{bucket}/shoe/{path.name}")
    mask = tmp_path / "shoe-masks" / "00000.png"
    (tmp_path / "list.csv").write_text(f"video,mask\n{bucket}/shoe,{mask}\n")
    settings = make_settings(method="copy", outputs=("masks",), progress=False)
    result = Batch(plan_videos(tmp_path / "list.csv"), settings, tmp_path / "out").run()
    (failure,) = map(json.loads, (tmp_path / "out" / "failures.jsonl").read_text().splitlines())
    assert failure["where"] == f"{bucket}/shoe/00001.jpg"
    assert failure["where"] in failure["message"] and failure["where"] in caplog.text
    assert result.count("failed") == 1
    assert str(scratch_folder.folder) not in caplog.text + json.dumps(failure)
