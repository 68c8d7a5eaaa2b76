"""Weight files that are not what they say: refused in the package's words, before they are read."""

import json
import resource
import subprocess
import sys
import textwrap
import warnings
import zipfile

import numpy as np
import pytest

from deeplab_gygo.errors import WeightsError
from deeplab_gygo.io.arrays import ArrayArchive
from deeplab_gygo.models.weight_file import load_parent, read_parent_file
from deeplab_gygo.models.weight_reader import FORMAT


def _file(path, card: object, save=np.savez_compressed, **arrays):
    """Writes a weight file with any card: text, or a value of JSON."""
    text = card if isinstance(card, bytes) else json.dumps(card).encode()
    save(path, __card__=np.frombuffer(text, np.uint8), **arrays)
    return path


def _head(**changes) -> dict:
    return {"format": FORMAT, "model": {}, "card": {}, **changes}


def _refused(path, match, read=read_parent_file, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(WeightsError, match=match) as error:
            read(path, **options)
    assert path.name in str(error.value) and error.value.exit_status == 65


@pytest.mark.parametrize(
    ("card", "match"),
    [
        ([1], "a card that is \\[1\\]"),
        ("text", "a card that is 'text'"),
        (7, "a card that is 7"),
        (None, "a card that is null"),
        (b"{", "JSON is well-formed"),
        (b"\xff\xfe", "JSON is well-formed"),
        (b"[" * 100_000, "nested deeper"),
        (b'{"format": NaN}', "NaN"),
        ({}, "have the format.*null"),
        (_head(format=["deeplab_gygo.parent.1"]), "have the format.*a list of 1"),
        ({"format": FORMAT, "card": {}}, "mappings model and card; met: model: null"),
        (_head(model=[]), "model: an empty list"),
        (_head(card="none"), "card: 'none'"),
        (_head(card={"method": "stm"}), "deeplab, osmn, osvos; met: stm"),
        (_head(card={"method": ["osmn"]}), "deeplab, osmn, osvos; met: a list of 1"),
        (_head(card={"method": "osmn", "trunk": 7}), "trunk of a card is a text; met: 7"),
        (_head(model={"aspp_channels": 10**6}), "aspp_channels is in 1..512; met: 1000000"),
        (_head(model={"decoder_channels": 10**400}), "decoder_channels is an integer.*bits"),
        (_head(model={"output_stride": 1}), "output_stride is one of 8, 16; met: 1"),
        (_head(model={"aspp_channels": "wide"}), "aspp_channels is an integer; met: 'wide'"),
        (_head(model={"guide": 1}), "guide is true or false; met: 1"),
        (_head(model={"asp_channels": 16}), "known keys.*asp_channels.*Write aspp_channels"),
        (_head(card={"method": "osvos"}, model={"side_channels": 10**6}), "side_channels is in"),
        (
            _head(card={"method": "osmn"}, model={"deeplab": {"key_channels": 10**5}}),
            r"key_channels is in 1..512.*: deeplab\.key_channels",
        ),
    ],
)  # fmt: skip
def test_a_card_that_does_not_fit_its_schema_is_refused(card, match, tmp_path):
    path = _file(tmp_path / "other.npz", card)
    for header_only in (True, False):
        _refused(path, match, header_only=header_only)


def test_a_card_of_any_size_is_not_parsed(tmp_path):
    path = _file(tmp_path / "long.npz", _head(card={"data": "x" * (2 << 20)}))
    _refused(path, "__card__ has 2097.* bytes, more than 1048576", header_only=True)


@pytest.mark.parametrize("method", ["deeplab", "osmn", "osvos"])
@pytest.mark.parametrize("key", ["model", "trunk", "deeplab", "backbone"])
def test_a_card_imports_nothing(method, key, tmp_path):
    """`this` prints when it is imported; the module beside it writes a file."""
    marker = tmp_path / "ran"
    (tmp_path / "planted.py").write_text(f"open({str(marker)!r}, 'w')\n")
    for name in ("planted.X", "this.X"):
        value = {"class_path": name, "init_args": {}}
        model = value if key == "model" else {key: value}
        _file(tmp_path / "other.npz", _head(card={"method": method}, model=model))
        code = textwrap.dedent(
            """
            import sys
            from deeplab_gygo.errors import WeightsError
            from deeplab_gygo.models.weight_file import read_parent_file
            from deeplab_gygo.methods import find_method
            for name in ("deeplab", "osmn", "osvos"):
                find_method(name).resolve("architecture")
            imported = []
            def watch(event, details):
                if event == "import":
                    imported.append(details[0])
            sys.addaudithook(watch)
            try:
                read_parent_file("other.npz")
            except WeightsError:
                print([name for name in imported if name in ("this", "planted")])
            """
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert done.stdout == "[]\n" and not marker.exists()


def test_a_small_file_with_large_arrays_is_refused_at_once(tmp_path):
    path = _file(tmp_path / "zeros.npz", _head(), zeros=np.zeros((50, 1 << 20), np.float32))
    assert path.stat().st_size < 400_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for header_only in (True, False):
        _refused(path, "bytes unpacked, more than", header_only=header_only)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"a": np.array([1, np.nan], np.float32)}, "finite; met: NaN or infinity in a"),
        ({"a": np.array([[1, np.inf]], np.float16)}, "finite; met: NaN or infinity in a"),
        ({"a/moving_variance": np.array([-1], np.float32)}, "0 or more; met: less in a/moving"),
        ({"a": np.ones((2, 2), np.int8), "a//scale": np.full(2, np.inf, "f4")}, "infinity in a"),
        ({"a": np.ones((2, 2), np.int8), "a//scale": np.full(2, 3e38, "f4")}, None),
        ({"a": np.full((2, 2), 100, np.int8), "a//scale": np.full(2, 3e38, "f4")}, "infinity in a"),
        ({"a": np.ones((2, 2), np.int8), "a//scale": np.ones(3, "f4")}, "scale of .3,. for"),
        ({"a": np.array(1, np.int8), "a//scale": np.ones(1, "f4")}, "without a kernel"),
        ({"a//scale": np.ones(2, "f4")}, "without a kernel"),
        ({"a": np.ones((2, 2), np.int8)}, "a of int8"),
        ({"a": np.ones((2, 2), np.float32), "a//scale": np.ones(2, "f4")}, "a of float32"),
        ({"a": np.ones(3, np.uint8)}, "a of uint8"),
        ({"a": np.ones(3)}, "dtype float64"),
        ({"a": np.array(["text"])}, "dtype <U4"),
    ],
    ids=range(14),
)
def test_values_that_are_no_weights_are_refused_by_name(arrays, match, tmp_path):
    path = _file(tmp_path / "other.npz", _head(), **arrays)
    if match is None:
        assert np.isfinite(read_parent_file(path)[1]["a"]).all()
    else:
        _refused(path, match)


@pytest.mark.parametrize("kind", ["array", "bz2", "cut", "folder"])
def test_files_of_another_kind_are_refused(kind, tmp_path):
    path = tmp_path / "parent.npz"
    if kind == "array":
        np.save(tmp_path / "array.npy", np.zeros(3))
        (tmp_path / "array.npy").rename(path)
    elif kind == "bz2":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
            archive.writestr("__card__.npy", b"x")
    elif kind == "cut":
        _file(path, _head(), a=np.random.default_rng(0).normal(size=1000).astype(np.float32))
        path.write_bytes(path.read_bytes()[:-300])
    else:
        path.mkdir()
    for header_only in (True, False):
        _refused(path, "written by this package|regular file", header_only=header_only)


def _changed(path, target, change):
    with np.load(path) as archive:
        arrays = dict(archive)
    change(arrays)
    np.savez_compressed(target, **arrays)
    return target


@pytest.mark.parametrize("inference_only", [True, False])
@pytest.mark.parametrize(
    ("part", "change", "match"),
    [
        ("encoder/stem_conv/kernel", "lost", "1 missing .encoder/stem_conv/kernel"),
        ("head/logit/bias", "lost", "1 missing .head/logit/bias"),
        ("encoder/more/kernel", "added", "1 unknown .encoder/more/kernel"),
        ("encoder/stem_conv/kernel", "large", "1 of another shape .encoder/stem_conv/kernel of"),
        ("head/logit/bias", "large", "1 of another shape .head/logit/bias of"),
    ],
)
def test_arrays_of_another_network_are_not_unpacked(
    inference_only, part, change, match, tiny_parent, tmp_path, monkeypatch
):
    def edit(arrays):
        if change == "lost":
            del arrays[part]
        else:
            arrays[part] = np.zeros(5_000_000, np.float32)

    path = _changed(tiny_parent, tmp_path / "changed.npz", edit)
    read, names = ArrayArchive.read, []
    monkeypatch.setattr(
        ArrayArchive,
        "read",
        lambda self, name, *more: names.append(name) or read(self, name, *more),
    )
    _refused(path, match, load_parent, inference_only=inference_only)
    assert names == ["__card__"]


@pytest.mark.parametrize("inference_only", [True, False])
@pytest.mark.parametrize("name", ["encoder/stem_conv/kernel", "head/logit/kernel"])
def test_arrays_of_another_shape_and_the_same_size_are_refused(
    inference_only, name, tiny_parent, tmp_path
):
    def edit(arrays):
        arrays[name] = arrays[name].reshape(-1)

    path = _changed(tiny_parent, tmp_path / "changed.npz", edit)
    _refused(path, f"1 of another shape .{name}", load_parent, inference_only=inference_only)
