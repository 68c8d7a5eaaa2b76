"""Material packed into shards and back: training sees the same, and nothing is half done."""

import errno
import io
import json
import shutil
import tarfile

import cv2
import numpy as np
import pytest
from PIL import Image

from deeplab_gygo import cli
from deeplab_gygo.config import SourceConfig, TrainConfig, ValidationConfig
from deeplab_gygo.data import shard_writer, shards
from deeplab_gygo.data.cache import MemoryCache
from deeplab_gygo.data.datasets import open_dataset
from deeplab_gygo.data.packed_forms import PackSettings, encode_mask, shrink_labels
from deeplab_gygo.data.pictures import read_picture, read_still
from deeplab_gygo.data.shard_writer import pack_material
from deeplab_gygo.data.shards import INDEX, local_material, read_shard_set, unpack
from deeplab_gygo.data.sources import VideoSource
from deeplab_gygo.errors import InputError, StorageError, UsageError
from deeplab_gygo.user_cache import CACHE_VARIABLE

SHORT_SIDE = 48  # the frames have 64 rows
SETTINGS = PackSettings(SHORT_SIDE, 92)


def _smooth(rng, size):
    """A picture that JPEG codes well, as a photo."""
    coarse = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def _disk(size):
    mask = np.zeros(size, np.uint8)
    cv2.circle(mask, (size[1] // 2, size[0] // 3), size[0] // 4, 255, -1)
    return mask


@pytest.fixture(scope="module")
def material(tmp_path_factory, make_dataset):
    """Clips, stills, cut-outs and backgrounds; some large, some small."""
    root = tmp_path_factory.mktemp("material")
    make_dataset(root / "clips", {"walk": 4, "shop/cup": 3, "held": 2})
    rng = np.random.default_rng(0)
    for folder in ("stills/images", "stills/masks", "cutouts", "backgrounds"):
        (root / folder).mkdir(parents=True)
    # Noise at a low quality grows when it is coded at a higher one.
    for name, size, quality in (("large", (96, 120), 95), ("small", (40, 44), 80)):
        is_small = name == "small"
        picture = rng.integers(0, 256, (*size, 3), np.uint8) if is_small else _smooth(rng, size)
        mask = _disk(size)
        Image.fromarray(picture).save(root / f"stills/images/{name}.jpg", quality=quality)
        Image.fromarray(mask).save(root / f"stills/masks/{name}.png")
        Image.fromarray(picture).save(root / f"backgrounds/{name}.png")
        rgba = np.dstack([_smooth(rng, size), cv2.blur(mask, (3, 3))])
        Image.fromarray(rgba).save(root / f"cutouts/{name}__00000.png")
    return root


@pytest.fixture
def config():
    return TrainConfig(
        sources=[
            SourceConfig(kind="gygo", root="clips", exclude=["held"]),
            SourceConfig(kind="stills", root="stills"),
            SourceConfig(
                kind="compose", root="cutouts", backgrounds=["backgrounds"], stills=["stills"]
            ),
        ]
    )


@pytest.fixture
def packed(material, config, tmp_path):
    out = tmp_path / "packed"
    pack_material(config, material, out, settings=SETTINGS, shard_bytes=20_480, progress=False)
    return out


@pytest.fixture
def restored(packed, tmp_path):
    return unpack(packed, tmp_path / "restored", progress=False)


# === Round trip ===


def test_clips_come_back_with_the_masks_that_training_saw(material, restored):
    def draw(root):
        dataset = open_dataset("gygo", root / "clips")
        source = VideoSource(dataset, MemoryCache(10**7), exclude=["held"], short_side=SHORT_SIDE)
        rng = np.random.default_rng(1)
        return [moment for _ in range(12) for moment in source.draw(rng).moments]

    for moment, other in zip(draw(material), draw(restored), strict=True):
        assert moment.image.shape[0] == SHORT_SIDE
        np.testing.assert_array_equal(moment.mask, other.mask)
        np.testing.assert_array_equal(moment.near, other.near)
        # The frames are noise, the worst that JPEG can meet.
        assert np.abs(moment.image.astype(int) - other.image).mean() < 8
    files = list((restored / "clips/JPEGImages/480p/walk").iterdir())
    assert {Image.open(path).size for path in files} == {(72, 48)}


def test_photos_come_back_with_exact_masks(material, restored):
    for name, level in (("large", 4), ("small", 0)):
        pairs = [
            read_still(
                root / f"stills/images/{name}.jpg", root / f"stills/masks/{name}.png", SHORT_SIDE
            )
            for root in (material, restored)
        ]
        np.testing.assert_array_equal(pairs[0][1], pairs[1][1])
        assert pairs[0][1].any()
        assert np.abs(pairs[0][0].astype(int) - pairs[1][0]).mean() <= level
        backgrounds = [
            read_picture(root / "backgrounds" / f"{name}{suffix}", SHORT_SIDE)
            for root, suffix in ((material, ".png"), (restored, ".jpg"))
        ]
        assert np.abs(backgrounds[0].astype(int) - backgrounds[1]).mean() < 4 or name == "small"


def test_cutouts_come_back_with_their_transparency(material, restored):
    originals = {path.stem: path for path in (material / "cutouts").iterdir()}
    for path in (restored / "cutouts").iterdir():
        rgba = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(int)
        given = cv2.imread(str(originals[path.stem]), cv2.IMREAD_UNCHANGED)
        factor = SHORT_SIDE / max(given.shape[:2])
        if factor < 1:
            size = (round(given.shape[1] * factor), round(given.shape[0] * factor))
            given = cv2.resize(given, size, interpolation=cv2.INTER_AREA)
        assert rgba.shape == given.shape
        assert np.abs(rgba[..., 3] - given[..., 3]).max() <= 1
        inside = given[..., 3] == 255
        assert np.abs(rgba[inside].astype(int) - given[inside]).mean() < 8
    assert len(originals) == 2


def test_a_file_that_would_hardly_shrink_is_copied(material, restored):
    path = "stills/images/small.jpg"
    assert (restored / path).read_bytes() == (material / path).read_bytes()


def test_a_folder_of_stills_that_serves_as_backgrounds_too_is_packed_once(
    material, config, tmp_path
):
    config.sources[2].backgrounds = ["stills"]
    pack_material(config, material, tmp_path / "packed", settings=SETTINGS, progress=False)
    folder = unpack(tmp_path / "packed", tmp_path / "restored", progress=False)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("stills/*/*"))
    assert names == [
        "stills/images/large.jpg",
        "stills/images/small.jpg",
        "stills/masks/large.png",
        "stills/masks/small.png",
    ]


# === Selection ===


def test_what_is_held_back_stays_behind_but_for_what_is_measured(material, config, tmp_path):
    config.sources = config.sources[:1]
    config.validation = [ValidationConfig(kind="gygo", root="clips", sequences=["walk"])]
    for name, held in (("without", []), ("with", ["held"])):
        config.validation[0].sequences = ["walk", *held]
        pack_material(config, material, tmp_path / name, settings=SETTINGS, progress=False)
        folder = unpack(tmp_path / name, tmp_path / f"{name}-restored", progress=False)
        dataset = open_dataset("gygo", folder / "clips")
        assert dataset.names("train") == ["walk", "shop/cup", *held]
        assert dataset.names_on_disk() == sorted(["walk", "shop/cup", *held])


def test_object_ids_and_void_survive(tmp_path, build_set):
    root = build_set(
        {"dance": 2}, {"2017/train.txt": "dance\n"}, values=(1, 3, 255), palette=True, folder="d17"
    )
    config = TrainConfig(sources=[SourceConfig(kind="davis2017", root="d17")])
    pack_material(config, root.parent, tmp_path / "packed", progress=False)
    folder = unpack(tmp_path / "packed", tmp_path / "restored", progress=False)
    masks = [
        open_dataset("davis2017", p / "d17").annotation("dance", 1) for p in (root / "..", folder)
    ]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert set(np.unique(masks[1])) == {0, 1, 3, 255}


@pytest.mark.parametrize("top", [0, 1, 3, 9, 255])
def test_masks_are_coded_without_loss_and_small(top):
    mask = np.zeros((30, 50), np.uint8)
    mask[5:20, 10:30] = top
    data = encode_mask(mask)
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture), mask)
    assert len(data) < (200 if top < 16 else 1000)


def test_reduced_masks_keep_their_ids():
    rng = np.random.default_rng(0)
    mask = np.repeat(np.repeat(rng.integers(0, 5, (20, 30)), 4, 0), 4, 1).astype(np.uint8)
    small = shrink_labels(mask, 40)
    assert small.shape == (40, 60) and set(np.unique(small)) <= set(range(5))
    assert shrink_labels(mask, 80) is mask


def test_only_some_roots(material, config, tmp_path):
    out = tmp_path / "packed"
    found = pack_material(
        config, material, out, settings=SETTINGS, only=["clips", "backgrounds"], progress=False
    )
    assert set(found.by_root()) == {"clips", "backgrounds"}
    with pytest.raises(UsageError, match="clip; met|met: clip "):
        pack_material(config, material, tmp_path / "other", only=["clip"], progress=False)


# === Shards ===


def test_shards_are_plain_tar_files_below_their_limit_that_the_index_names(packed):
    index = json.loads((packed / INDEX).read_text())
    names = sorted(path.name for path in packed.glob("*.tar"))
    assert sorted(shard["name"] for shard in index["shards"]) == names and len(names) > 4
    for shard in read_shard_set(packed).shards:
        assert (packed / shard.name).stat().st_size == shard.size <= 20_480
        with tarfile.open(packed / shard.name, "r:") as archive:
            members = archive.getnames()
        assert len(members) == shard.members
        assert all(member.startswith(f"{shard.root}/") for member in members)


def test_the_same_material_gives_the_same_bytes(material, config, packed, tmp_path):
    again = tmp_path / "again"
    pack_material(
        config, material, again, settings=SETTINGS, shard_bytes=20_480, workers=5, progress=False
    )
    assert (again / INDEX).read_bytes() == (packed / INDEX).read_bytes()


def test_a_training_unpacks_once_and_leaves_folders_as_they_are(
    material, packed, tmp_path, monkeypatch
):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    assert local_material(material) == material
    folder = local_material(packed, progress=False)
    assert (folder / "clips/JPEGImages/480p/walk/00000.jpg").is_file()
    monkeypatch.setattr(shards, "extract_archive", None)
    assert local_material(packed) == folder
    assert [path.name for path in (tmp_path / "cache").glob("shards-*")] == [folder.name]


def test_an_interrupted_unpacking_goes_on(packed, tmp_path, monkeypatch):
    done, extract = [], shards.extract_archive

    def dies(path, *others, **options):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(path.name)
        return extract(path, *others, **options)

    out = tmp_path / "restored"
    monkeypatch.setattr(shards, "extract_archive", dies)
    with pytest.raises(KeyboardInterrupt):
        unpack(packed, out, progress=False)
    assert not out.exists()
    first = list(done)
    done.clear()
    monkeypatch.setattr(
        shards, "extract_archive", lambda p, *o, **k: (done.append(p.name), extract(p, *o, **k))
    )
    unpack(packed, out, progress=False)
    assert not set(first) & set(done)
    total = sum(path.is_file() for path in out.rglob("*"))
    assert total == sum(shard.members for shard in read_shard_set(packed).shards)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


# === Bad input ===


def _cut(path):
    path.write_bytes(path.read_bytes()[:-700])


def _alter(path):
    data = bytearray(path.read_bytes())
    data[600] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("00001-*.tar", _cut, "size in bytes"),
        ("00001-*.tar", _alter, "SHA-256"),
        ("00001-*.tar", lambda path: path.unlink(), "Every shard"),
        (INDEX, lambda path: path.unlink(), INDEX),
        (INDEX, lambda path: path.write_text("{"), "deeplab-gygo data pack"),
        (INDEX, lambda path: path.write_text('{"format": "other"}'), "format"),
    ],
)
def test_a_damaged_set_is_refused(packed, tmp_path, name, damage, words):
    damage(next(packed.glob(name)))
    with pytest.raises(InputError, match=words):
        unpack(packed, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
    if name == INDEX:
        with pytest.raises(InputError, match=words):
            local_material(packed)


def test_folders_that_exist_are_left_alone(material, config, packed, tmp_path):
    before = (packed / INDEX).read_bytes()
    with pytest.raises(InputError, match="must not exist"):
        pack_material(config, material, packed, progress=False)
    assert (packed / INDEX).read_bytes() == before
    with pytest.raises(InputError, match="must not exist"):
        unpack(packed, packed, progress=False)


def test_a_full_disk_leaves_nothing(material, config, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shard_writer.ShardWriter, "_finish", full)
    with pytest.raises(StorageError, match="No space left"):
        pack_material(config, material, tmp_path / "packed", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_picture_is_named_and_leaves_nothing(material, config, tmp_path):
    root = tmp_path / "material"
    shutil.copytree(material, root)
    _cut(root / "stills/images/large.jpg")
    with pytest.raises(InputError, match="large.jpg"):
        pack_material(config, root, tmp_path / "packed", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["material"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: setattr(c.sources[0], "root", "../clips"), "below data_root"),
        (lambda c: setattr(c.sources[1], "root", "/stills"), "below data_root"),
        (lambda c: setattr(c, "sources", []), "reads some material"),
    ],
)
def test_a_configuration_that_cannot_be_packed_is_refused(
    material, config, tmp_path, change, words
):
    change(config)
    with pytest.raises(UsageError, match=words):
        pack_material(config, material, tmp_path / "out", progress=False)


def test_a_file_larger_than_a_shard_is_refused(material, config, tmp_path):
    with pytest.raises(UsageError, match="--shard-mb"):
        pack_material(config, material, tmp_path / "out", shard_bytes=5_000, progress=False)
    assert list(tmp_path.iterdir()) == []


# === Commands ===


def test_the_commands_pack_and_unpack(material, config, tmp_path, capsys):
    from deeplab_gygo.config import to_plain

    path = tmp_path / "experiment.yaml"
    path.write_text(json.dumps(to_plain(config)))
    words = ["--config", str(path), "--data-root", str(material), "--short-side", "48", "-q"]
    assert cli.main(["data", "pack", *words, "--out", str(tmp_path / "packed")]) == 0
    assert "clips: 15 files" in capsys.readouterr().out
    packed = str(tmp_path / "packed")
    assert cli.main(["data", "unpack", packed, "--out", str(tmp_path / "restored"), "-q"]) == 0
    assert open_dataset("gygo", tmp_path / "restored/clips").names("train") == ["walk", "shop/cup"]
    assert cli.main(["data", "pack", *words, "--quality", "0", "--out", str(tmp_path / "o")]) == 2
    assert cli.main(["data", "unpack", packed, "--out", packed, "-q"]) == 65
