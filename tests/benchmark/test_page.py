"""The page is self-contained and shows the results."""

import base64
import re
import shutil
from collections import defaultdict
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from deeplab_gygo.benchmark.report import DatasetPart, make_page, render
from deeplab_gygo.benchmark.tables import dataset_tables


class Reader(HTMLParser):
    """Collects tags, what they load, and the text."""

    def __init__(self):
        super().__init__()
        self.loads, self.links, self.ids, self.tags, self.text = [], [], [], set(), []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "srcset", "data", "poster", "action") or (
                name == "href" and tag != "a"
            ):
                self.loads.append(value)
            elif name == "href":
                self.links.append(value)

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="session")
def page(rendered):
    """The page as text and as read."""
    text = rendered[1][0].read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    return text, reader


def test_nothing_is_loaded_from_elsewhere(page):
    text, reader = page
    assert reader.loads and all(value.startswith("data:image/") for value in reader.loads)
    assert not reader.tags & {"script", "link", "iframe", "object", "embed", "base"}
    style = text.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style and "@import" not in style


def test_figures_load_nothing_from_elsewhere(page):
    drawings = [value for value in page[1].loads if value.startswith("data:image/svg")]
    assert len(drawings) == 3
    for value in drawings:
        svg = base64.b64decode(value.partition(",")[2]).decode()
        references = re.findall(r'(?:href|src)="([^"]*)"', svg)
        assert all(reference.startswith("#") for reference in references)


def test_links_within_the_page_have_their_target(page):
    _, reader = page
    targets = [link[1:] for link in reader.links if link.startswith("#")]
    assert targets and set(targets) <= set(reader.ids)
    assert len(reader.ids) == len(set(reader.ids))


def test_values_quoted_rows_and_reasons_are_shown(page):
    text = " ".join(" ".join(page[1].text).split())
    assert "0.647" in text  # J of bag, 22 / 34
    assert "quoted [1]" in text
    assert "Quoted: GyGO val, 24 sequences (other sequences)" in text
    assert "weights missing" in text
    assert "deeplab-gygo benchmark --out here" in text
    assert "Intel(R) Xeon(R) CPU @ 2.20GHz" in text
    assert "Intel Xeon, 2 cores zero on clips_val; one on clips_val" in text
    assert "3.11.0" in text


def test_sequences_are_sorted_worst_first(page):
    heat = page[0].partition('class="heat"')[2].partition("</table>")[0]
    names = re.findall(r"<tr><td[^>]*>([^<]*)</td>", heat)
    assert names == ["bag", "cup", "red"]


def test_configured_texts_are_escaped(page):
    assert "100 % made up &amp; true" in page[0]


def test_the_same_results_give_the_same_files(rendered):
    _, files, bench = rendered
    before = {path: path.read_bytes() for path in files}
    _, again = render(bench.config, bench.out, bench.data, bench.path.read_text())
    assert again == files
    assert {path: path.read_bytes() for path in again} == before


def test_only_the_strips_need_the_data(measured, tmp_path):
    shutil.copytree(measured.out / "cells", tmp_path / "cells")
    config = measured.config
    config.rows = config.rows[:2]
    results, files = render(config, tmp_path, None, "")
    text = files[0].read_text()
    assert "The strips are left out" in text
    assert "data:image/jpeg" not in text
    assert not results[1].reason and "0.647" in text


def test_a_benchmark_without_results_has_a_page(bench):
    _, files = render(bench.config, bench.out, bench.data, "")
    assert "No results on this dataset yet" in files[0].read_text()
    assert not list((bench.out).glob("figures/*"))


def test_text_from_data_is_no_markup(rendered):
    results, config = rendered[0], rendered[2].config
    hostile = "</pre><img src=x onerror=y><script>z</script>\"'"
    results = [
        replace(r, cell=replace(r.cell, row=replace(r.row, label=hostile, note=hostile)))
        for r in results
    ]
    dataset = replace(config.datasets[0], label=hostile, note=hostile)
    table = replace(dataset_tables(config.datasets, results)[0], dataset=dataset)
    measured = [result for result in results if not result.reason]
    part = DatasetPart(table, measured, [], defaultdict(str), None)
    reader = Reader()
    reader.feed(make_page(replace(config, title=hostile), [part], results, hostile))
    assert "script" not in reader.tags and "x" not in reader.loads
    assert "".join(reader.text).count("<script>z</script>") >= 4
