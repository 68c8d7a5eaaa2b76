"""Reports: whole pages without outside parts, bounded in size, that show what is on the disk."""

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import cv2
import numpy as np
import pytest

from deeplab_gygo.errors import DependencyError, InputError, UsageError
from deeplab_gygo.io.array_sequence import ArraySequence
from deeplab_gygo.io.palette import write_mask
from deeplab_gygo.io.video import open_input
from deeplab_gygo.runs import batch_report, report, report_page
from deeplab_gygo.runs.batch_report import write_batch_report
from deeplab_gygo.runs.report import refresh_clip_report, write_clip_report
from deeplab_gygo.runs.report_pictures import MAX_POINTS, curve, least_confident, spread
from deeplab_gygo.runs.result_files import inspect_files
from deeplab_gygo.runs.run_record import RunRecord, finished_record

SIZE = (48, 64)
VOID_TAGS = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """A parsed page; reading fails where tags do not match or a name is used twice."""

    def __init__(self, path: Path):
        super().__init__()
        self.open, self.tags, self.ids, self.words = [], [], set(), []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append((tag, values))
        if tag not in VOID_TAGS:
            self.open.append(tag)
        if "id" in values:
            assert values["id"] not in self.ids
            self.ids.add(values["id"])

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [values for name, values in self.tags if name == tag]


def check_page(path: Path) -> Page:
    """Checks what holds for every report."""
    page = Page(path)
    for tag, values in page.tags:
        assert tag not in ("script", "link", "iframe")
        for name, value in values.items():
            assert not name.startswith("on")
            assert not re.match(r"\s*(https?:|//|javascript:)", value or "", re.IGNORECASE), name
        if tag == "img":
            assert values["src"].startswith("data:image/jpeg;base64,") and values["alt"]
        for label in values.get("aria-labelledby", "").split():
            assert label in page.ids
    for link in page.all("a"):
        target = link["href"]
        if target.startswith("#"):
            assert target[1:] in page.ids
        else:
            assert target == "run.json" or (path.parent / unquote(target)).exists()
    assert "https:" not in path.read_text() and "http:" not in path.read_text()
    return page


def make_frames(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    for index in range(count):
        image = np.full((*SIZE, 3), 90, np.uint8)
        cv2.circle(image, (20 + index % 20, 24), 12, (20, 180, 240), -1)
        cv2.imwrite(str(folder / f"{index:05d}.png"), image)
    return folder


def write_result(folder: Path, names, *, confidence=None, source="", objects=1, **changes):
    """Writes masks of a disc and a record, as a run would."""
    for index, name in enumerate(names):
        mask = np.zeros(SIZE, np.uint8)
        cv2.circle(mask, (20 + index % 20, 24), 12, 1, -1)
        mask[2:8, 2:8] = objects
        write_mask(folder / "masks" / f"{name}.png", mask)
    values = {
        "config": {"method": "deeplab", "online": {"steps": 4}},
        "seed": 0,
        "hashes": {"input": "aa", "mask": "bb", "weights": "cc"},
        "name": folder.name,
        "source": str(source),
        "first_frame": names[0],
        "masks": len(names),
        "frames": len(names) - 1,
        "objects": objects,
        "outputs": ["masks"],
        "total_seconds": 0.5 * len(names),
        "adaptation_seconds": 2.0,
        "frame_seconds": [0.25] * (len(names) - 1),
        "network_seconds": [0.2] * (len(names) - 1),
        "confidence": dict.fromkeys(names[1:], 0.96) if confidence is None else confidence,
    }
    return RunRecord(**(values | changes)).write(folder)


def write_mask_among(folder: Path) -> Path:
    """Writes a mask of another size than the frames into their folder."""
    write_mask(folder / "a.png", np.eye(96, 128, dtype=np.uint8))
    return folder / "a.png"


@pytest.fixture
def clip(tmp_path):
    """A clip of 12 frames, of which 00005 to 00007 are doubtful, and the folder of its result."""
    sequence = open_input(make_frames(tmp_path / "frames", 12))
    names = sequence.frame_names
    confidence = dict.fromkeys(names[1:], 0.96) | {
        "00005": 0.9, "00006": 0.71, "00007": 0.88,
    }  # fmt: skip
    folder = tmp_path / "result"
    write_result(folder, names, confidence=confidence, source=sequence.source, warnings=["a note"])
    return SimpleNamespace(sequence=sequence, folder=folder, record=RunRecord.read(folder))


class TestClip:
    def test_the_page_is_whole_and_has_every_part(self, clip):
        page = check_page(write_clip_report(clip.folder, clip, clip.record))
        for words in ("a note", "Confidence over time", "Doubtful frames", "Contact sheet", "Files",
                      "Timing", "Settings", "online.steps", "given mask"):  # fmt: skip
            assert words in page.text
        # 12 in the sheet; the least confident one of the doubtful run, without and with its mask
        assert len(page.all("img")) == 12 + 2
        assert "frame-6" in page.ids
        assert {link["href"] for link in page.all("a")} == {"#frame-6", "masks/", "run.json"}
        (chart,) = page.all("svg")
        assert chart["role"] == "img" and "lowest 0.71; 3 below 0.94" in chart["aria-label"]
        marks = [path for path in page.all("path") if path.get("class") == "mark"]
        assert len(marks) == 3

    def test_it_fits_narrow_and_dark_screens(self, clip):
        text = write_clip_report(clip.folder, clip, clip.record).read_text()
        assert 'name="viewport"' in text and "prefers-color-scheme: dark" in text
        for picture in check_page(clip.folder / "report.html").all("img"):
            assert int(picture["width"]) > 0 and int(picture["height"]) > 0

    def test_masks_are_those_on_the_disk(self, clip):
        before = write_clip_report(clip.folder, clip, clip.record).read_bytes()
        assert write_clip_report(clip.folder, clip, clip.record).read_bytes() == before
        corrected = np.zeros(SIZE, np.uint8)
        corrected[20:40, 30:60] = 255  # as other programs write the object
        cv2.imwrite(str(clip.folder / "masks" / "00003.png"), corrected)
        after = write_clip_report(clip.folder, clip, clip.record).read_bytes()
        images = [re.findall(rb'src="([^"]*)"', text) for text in (before, after)]
        assert sum(a != b for a, b in zip(*images, strict=True)) == 1

    def test_a_long_clip_gives_a_small_page_and_decodes_only_what_it_shows(self, tmp_path):
        decoded = []

        class Counted(ArraySequence):
            def _read(self, index):
                decoded.append(index)
                return super()._read(index)

        sequence = Counted(np.random.default_rng(0).integers(0, 255, (1500, *SIZE, 3), np.uint8))
        names = sequence.frame_names
        confidence = {name: 0.5 + (k % 97) / 200 for k, name in enumerate(names)}
        record = write_result(tmp_path / "out", names, confidence=confidence)
        path = write_clip_report(tmp_path / "out", SimpleNamespace(sequence=sequence), record)
        page = check_page(path)
        assert len(page.all("img")) == report.SHEET_FRAMES + 2 * report.DOUBTFUL_FRAMES
        assert len(decoded) <= report.SHEET_FRAMES + report.DOUBTFUL_FRAMES
        assert len([p for p in page.all("path") if p.get("class") == "mark"]) <= MAX_POINTS
        assert path.stat().st_size < 600_000

    def test_texts_of_users_are_no_markup(self, tmp_path):
        evil = '<script>alert("1")</script>'
        frames = np.zeros((3, *SIZE, 3), np.uint8)
        sequence = ArraySequence(frames)
        sequence.frame_names = ["a<img src=x onerror=alert(1)>", "b", "c&lt;\u202e"]
        folder = tmp_path / "out"
        record = write_result(
            folder, sequence.frame_names, name=evil, source=f"/data/{evil}", warnings=[evil],
            config={evil: evil}, preset=evil, command=["x", evil], mask_source=evil,
            hardware={"cpu": evil, "cores": 2, "gpu": evil},
            confidence={"b": 0.5, "c&lt;\u202e": 0.5},
        )  # fmt: skip
        page = check_page(write_clip_report(folder, SimpleNamespace(sequence=sequence), record))
        assert evil in page.text and "a<img" in page.text
        assert "\u202e" not in (folder / "report.html").read_text()

    def test_frames_without_a_mask_are_shown_without_outlines(self, clip):
        for path in (clip.folder / "masks").iterdir():
            path.unlink()
        page = check_page(write_clip_report(clip.folder, clip, clip.record))
        assert sum("without a mask" in image["alt"] for image in page.all("img")) == 12 + 1

    def test_of_a_clip_without_doubtful_frames_the_least_confident_are_large(self, tmp_path):
        sequence = ArraySequence(np.zeros((9, *SIZE, 3), np.uint8))
        names = sequence.frame_names
        confidence = dict.fromkeys(names[1:], 0.99) | {names[4]: 0.94}
        record = write_result(tmp_path / "out", names, confidence=confidence)
        clip = SimpleNamespace(sequence=sequence)
        page = check_page(write_clip_report(tmp_path / "out", clip, record))
        assert "No mask is doubtful; the least confident ones are shown" in page.text
        assert "frame-4" in page.ids and len(page.all("img")) == 9 + 2 * 3
        assert not [path for path in page.all("path") if path.get("class") == "mark"]

    @pytest.mark.parametrize("confidence", [{}, {"00001": math.nan}])
    def test_a_clip_of_one_frame_or_without_values_has_a_page(self, tmp_path, confidence):
        sequence = ArraySequence(np.zeros((1 + len(confidence), *SIZE, 3), np.uint8))
        names = sequence.frame_names
        record = write_result(
            tmp_path / "out", names, confidence=confidence, total_seconds=0.0, frame_seconds=[],
            network_seconds=[],
        )  # fmt: skip
        clip = SimpleNamespace(sequence=sequence)
        page = check_page(write_clip_report(tmp_path / "out", clip, record))
        assert not page.all("svg")

    def test_given_masks_are_named_and_older_ones_are_not(self, tmp_path):
        sequence = ArraySequence(np.zeros((4, *SIZE, 3), np.uint8))
        names = sequence.frame_names
        record = write_result(
            tmp_path / "out", names, annotated=[names[1]], confidence={names[2]: 0.5, names[3]: 0.9}
        )
        page = check_page(
            write_clip_report(tmp_path / "out", SimpleNamespace(sequence=sequence), record)
        )
        assert page.text.count("00001 given mask") == 1
        assert [p for p in page.all("path") if p.get("class") == "given"][0]["d"] == "M333.3 0V200"

    def test_objects_have_colors_of_their_own(self, tmp_path):
        sequence = ArraySequence(np.full((2, *SIZE, 3), 90, np.uint8))
        pages = []
        for objects in (1, 2):
            folder = tmp_path / str(objects)
            record = write_result(folder, sequence.frame_names, objects=objects)
            write_clip_report(folder, SimpleNamespace(sequence=sequence), record)
            pages.append(Page(folder / "report.html").all("img")[-1]["src"])
        assert pages[0] != pages[1]

    def test_another_file_of_that_name_is_never_replaced(self, clip):
        path = clip.folder / "report.html"
        path.write_text("<html>my own notes</html>")
        with pytest.raises(UsageError, match="Rename that file"):
            write_clip_report(clip.folder, clip, clip.record)
        assert path.read_text() == "<html>my own notes</html>"

    def test_without_jinja_the_command_is_named(self, clip, monkeypatch):
        monkeypatch.setattr(report_page, "find_spec", lambda name: None)
        with pytest.raises(DependencyError, match=r"pip install 'deeplab-gygo\[report\]'"):
            write_clip_report(clip.folder, clip, clip.record)
        assert not (clip.folder / "report.html").exists()


class TestFinished:
    def test_the_report_belongs_to_the_result_from_then_on(self, clip):
        for _ in range(2):
            path = refresh_clip_report(clip.folder)
            record = finished_record(clip.folder)
            assert record.files.keys() - clip.record.files.keys() == {"report.html"}
            assert inspect_files(clip.folder, record.files) == ([], [])
        assert check_page(path).all("svg")

    def test_a_corrected_mask_stays_one(self, clip):
        write_mask(clip.folder / "masks" / "00003.png", np.eye(*SIZE, dtype=np.uint8))
        refresh_clip_report(clip.folder)
        record = RunRecord.read(clip.folder)
        assert inspect_files(clip.folder, record.files).corrected == ["masks/00003.png"]

    def test_a_corrected_mask_is_doubtful_no_more(self, clip):
        before = check_page(refresh_clip_report(clip.folder))
        assert "doubtful frames 3" in before.text
        write_mask(clip.folder / "masks" / "00006.png", np.eye(*SIZE, dtype=np.uint8))
        after = check_page(refresh_clip_report(clip.folder))
        assert "doubtful frames 2" in after.text and "00006 corrected" in after.text
        assert "frame-6" not in after.ids and "frame-7" in after.ids

    def test_frames_that_moved_are_asked_for(self, clip, tmp_path):
        (tmp_path / "frames").rename(tmp_path / "moved")
        with pytest.raises(InputError, match="Give --source"):
            refresh_clip_report(clip.folder)
        check_page(refresh_clip_report(clip.folder, tmp_path / "moved"))

    def test_a_mask_among_the_frames_is_no_frame(self, clip, tmp_path):
        mask = write_mask_among(tmp_path / "frames")
        write_result(
            clip.folder,
            clip.sequence.frame_names,
            source=clip.sequence.source,
            mask_source=str(mask),
        )
        for source in (None, tmp_path / "moved"):
            page = check_page(refresh_clip_report(clip.folder, source))
            assert len([i for i in page.all("img") if int(i["width"]) == SIZE[1]]) == 12 + 2 * 3
            if source is None:
                (tmp_path / "frames").rename(tmp_path / "moved")

    def test_other_frames_are_refused(self, clip, tmp_path):
        make_frames(tmp_path / "other", 4)
        with pytest.raises(InputError, match="8 of 11 are not there, the first 00004"):
            refresh_clip_report(clip.folder, tmp_path / "other")
        assert not (clip.folder / "report.html").exists()

    def test_a_record_without_a_source_is_no_folder(self, tmp_path):
        write_result(tmp_path / "out", ["00000"])
        with pytest.raises(InputError, match="none in the record"):
            refresh_clip_report(tmp_path / "out")

    def test_a_folder_without_a_record_is_refused(self, tmp_path):
        with pytest.raises(InputError, match="run.json"):
            refresh_clip_report(tmp_path)


def row(name, status="done", **values):
    blank = {"J": None, "F": None, "error": None, "warnings": []}
    return {"sequence": name, "status": status} | blank | values


def write_summary(out, rows, name="summary.json", **values):
    mean = {"J": 0.9, "F": 0.8}
    (out / name).write_text(json.dumps({"sequences": rows, "mean": mean} | values))


@pytest.fixture
def batch(tmp_path):
    """Four finished clips and a failed one; three have J."""
    frames = make_frames(tmp_path / "frames", 8)
    names = [f"{index:05d}" for index in range(8)]
    out = tmp_path / "out"
    quality = {"good": 0.97, "a/bad": 0.8, "fair": 0.95, "unknown": 0.85}
    for name, value in quality.items():
        confidence = dict.fromkeys(names[1:], value)
        write_result(out / name, names, confidence=confidence, source=frames, name=name)
    rows = [
        row("good", J=0.95, F=0.9), row("a/bad", J=0.6, F=0.5), row("fair", J=0.9, F=0.9),
        row("unknown", "skipped"), row("broken", "failed", error="it is <b>damaged</b>"),
    ]  # fmt: skip
    write_summary(out, rows)
    return out


class TestBatch:
    @staticmethod
    def headings(page, path):
        return re.findall(r"<h3[^>]*>([^<]*)</h3>", path.read_text())

    def test_the_worst_come_first_each_with_a_strip_and_links(self, batch):
        (batch / "good" / "report.html").write_text("x")
        (batch / "good" / "overlay.mp4").write_text("x")
        path = write_batch_report(batch)
        page = check_page(path)
        assert self.headings(page, path) == ["broken", "a/bad", "unknown", "fair", "good"]
        assert {link["href"] for link in page.all("a")} == {
            "a/bad/", "unknown/", "fair/", "good/", "good/report.html", "good/overlay.mp4",
        }  # fmt: skip
        assert 4 * 5 <= len(page.all("img")) <= 4 * 6
        for words in ("5 3 done, 1 skipped", "it is <b>damaged</b>", "mean J 0.900", "J 0.600"):
            assert words in page.text

    def test_a_clip_whose_frames_are_gone_is_shown_without_pictures(self, batch, tmp_path):
        (tmp_path / "frames").rename(tmp_path / "moved")
        page = check_page(write_batch_report(batch))
        assert not page.all("img") and page.text.count("without pictures") == 4

    def test_corrected_masks_are_doubtful_no_more(self, batch):
        assert "doubtful frames 14" in check_page(write_batch_report(batch)).text
        write_mask(batch / "a/bad" / "masks" / "00001.png", np.eye(*SIZE, dtype=np.uint8))
        page = check_page(write_batch_report(batch))
        assert "doubtful frames 13" in page.text

    def test_only_the_worst_of_many_have_pictures(self, batch, monkeypatch):
        monkeypatch.setattr(batch_report, "STRIPS", 2)
        path = write_batch_report(batch)
        page = check_page(path)
        assert 5 <= len(page.all("img")) <= 6 and "The first 2 have pictures" in page.text
        assert len(self.headings(page, path)) == 5

    def test_parts_are_joined_and_a_repeated_clip_counts_once(self, batch):
        rows = json.loads((batch / "summary.json").read_text())["sequences"]
        (batch / "summary.json").unlink()
        write_summary(batch, rows[:3], "summary-0-of-2.json")
        write_summary(batch, rows[2:], "summary-1-of-2.json")
        path = write_batch_report(batch)
        page = check_page(path)
        assert len(self.headings(page, path)) == 5
        assert "mean J" not in page.text  # of objects, which is not known of both parts

    @pytest.mark.parametrize(
        "name", ["../other", "/etc", 'x"><script>1</script>', "javascript:alert(1)", ".."]
    )
    def test_names_of_a_summary_stay_in_the_folder_and_are_no_markup(self, batch, name):
        write_summary(batch, [row(name), row(name + "2", "failed", error=name)])
        page = check_page(write_batch_report(batch))
        assert all(not link["href"].startswith(("..", "/")) for link in page.all("a"))

    @pytest.mark.parametrize("values", [[], {}, {"sequences": [1]}, {"sequences": [{"J": 1}]}])
    def test_a_damaged_summary_is_named(self, batch, values):
        (batch / "summary.json").write_text(json.dumps(values))
        with pytest.raises(InputError, match="summary.json"):
            write_batch_report(batch)

    def test_a_batch_that_did_not_end_has_no_report(self, batch):
        (batch / "summary.json").unlink()
        with pytest.raises(InputError, match="to its end"):
            write_batch_report(batch)

    def test_another_file_of_that_name_is_never_replaced(self, batch):
        (batch / "report.html").write_text("mine")
        with pytest.raises(UsageError, match="only an earlier report"):
            write_batch_report(batch)
        (batch / "report.html").unlink()
        assert write_batch_report(batch) == write_batch_report(batch)


class TestCurve:
    @staticmethod
    def draw(values, times=()):
        return curve(range(len(values)), [f"{k:05d}" for k in range(len(values))], values, times)

    def test_values_are_placed_between_the_ticks(self):
        made = self.draw([1.0, 0.8, 0.9])
        assert made.path == "M0.0 0.0L500.0 200.0L1000.0 100.0"
        assert [(mark.x, mark.y, mark.name) for mark in made.marks] == [
            (500.0, 200.0, "00001"), (1000.0, 100.0, "00002"),
        ]  # fmt: skip
        assert [label for _, label in made.y_ticks] == ["0.80", "0.85", "0.90", "0.95", "1.00"]
        assert made.threshold == pytest.approx(60)

    def test_a_value_that_is_missing_interrupts_the_curve(self):
        assert self.draw([0.9, math.nan, 0.9, 0.9]).path.count("M") == 2
        assert self.draw([math.nan]) is None and self.draw([None]) is None

    def test_a_given_mask_is_a_line_and_interrupts_nothing(self):
        made = curve(range(4), list("abcd"), [None, 0.9, None, 0.9], [], {"a": "x", "c": "y"})
        assert made.path.count("M") == 1
        assert [text for _, text in made.notes] == ["a: x", "c: y"]

    def test_of_many_frames_the_lowest_are_shown(self):
        values = [0.95] * 5000
        values[1234] = 0.3
        made = self.draw(values, [k / 10 for k in range(5000)])
        assert made.path.count("L") <= MAX_POINTS
        assert [mark.index for mark in made.marks] == [1234]
        assert made.x_ticks[0][1] == "0.0" and made.x_ticks[-1][1] == "499.9"

    def test_doubtful_frames_are_apart_from_each_other(self):
        values = [0.96] * 200 + [0.7] * 100 + [0.96] * 200
        found = least_confident(values, 12)
        assert len(found) == 10 and np.diff(found).min() >= 10
        assert least_confident([None, 0.95], 12) == []
        assert least_confident([0.5, 0.95, 0.95, 0.95, math.nan], 1) == [4]

    def test_positions_are_spread_to_both_ends(self):
        for count in (1, 2, 24, 25, 1000):
            found = spread(count, 24)
            assert found[0] == 0 and found[-1] == count - 1
            assert len(set(found)) == len(found) == min(count, 24)
