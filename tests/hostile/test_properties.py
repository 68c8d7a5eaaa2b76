"""Properties of the readers, for any input that hypothesis thinks of."""

import json
from pathlib import Path

import numpy as np
import pytest
from fuzz_targets import FRAME_SIZE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deeplab_gygo.errors import DeepLabGygoError, InputError, UsageError
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.io.config_file import from_dict, to_plain
from deeplab_gygo.io.masks import read_mask, write_mask
from deeplab_gygo.io.reading import parse_json, parse_yaml
from deeplab_gygo.training.config import TrainConfig

steady = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
) | st.text(max_size=20)
PLAIN = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


def _fields(kind: type) -> st.SearchStrategy:
    names = st.sampled_from(sorted(kind.__dataclass_fields__))
    return st.dictionaries(names | st.text(max_size=6), PLAIN, max_size=5)


@steady
@given(PLAIN)
def test_json_is_read_as_it_was_written(values):
    assert parse_json(json.dumps(values), "text") == values


@steady
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode()))
def test_any_bytes_are_json_and_yaml_or_refused(data):
    for parse in (parse_json, parse_yaml):
        try:
            parse(data.decode("utf-8", "replace"), "text")
        except InputError as error:
            assert "text" in str(error)


@pytest.mark.parametrize("kind", [OnlineConfig, TrainConfig])
@steady
@given(data=st.data())
def test_any_values_are_a_configuration_or_refused(kind, data):
    values = data.draw(_fields(kind))
    try:
        config = from_dict(kind, values, "file.yaml")
    except UsageError:
        return
    assert from_dict(kind, to_plain(config), "file.yaml") == config


@steady
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_masks_are_read_as_they_were_written(tmp_path, ids):
    path = tmp_path / "mask.png"
    write_mask(path, ids)
    assert (read_mask(path, mask_format="ids", keep_void=True) == ids).all()


NUMBERS = st.integers() | st.floats() | st.booleans() | st.none() | st.text(max_size=3)
SHAPE = st.fixed_dictionaries(
    {},
    optional={
        "label": st.text(max_size=8) | PLAIN,
        "shape_type": st.sampled_from(["polygon", "rectangle", "circle", "mask", "line"]) | PLAIN,
        "points": st.lists(st.lists(NUMBERS, max_size=3), max_size=5) | PLAIN,
        "mask": st.text(max_size=20),
        "group_id": PLAIN,
    },
)


@steady
@given(
    st.fixed_dictionaries(
        {"shapes": st.lists(SHAPE, max_size=3) | PLAIN},
        optional={"imageHeight": PLAIN | st.just(48), "imageWidth": PLAIN | st.just(64)},
    )
)
def test_any_labelme_file_is_a_mask_or_refused(tmp_path, content):
    path = Path(tmp_path / "mask.json")
    path.write_text(json.dumps(content), encoding="utf-8")
    try:
        mask = read_mask(path, size=FRAME_SIZE)
    except DeepLabGygoError as error:
        assert error.exit_status == 65
        return
    assert mask.shape == FRAME_SIZE and mask.dtype == np.uint8
