"""Configurations of the baselines: the originals' numbers, ranges, old keys, experiment files."""

from pathlib import Path

import pytest
import yaml

from deeplab_gygo.baselines.classical import FlowOnline, GrabCutOnline
from deeplab_gygo.baselines.osmn.config import OsmnModel, OsmnOnline, OsmnTraining
from deeplab_gygo.baselines.osvos.config import OsvosModel, OsvosOnline, OsvosTraining
from deeplab_gygo.baselines.shared.config import PiecewiseConstant
from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.config_file import from_dict, to_plain
from deeplab_gygo.methods import METHODS, find_method, method_of_architecture
from deeplab_gygo.models.config import ModelConfig
from deeplab_gygo.training.config import TrainConfig, load_training

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
HELD_OUT = {"boat", "dance-jump", "mallard-fly", "scooter-gray", "soccerball"}


@pytest.mark.parametrize("method", METHODS)
def test_configurations_survive_yaml(method):
    kinds = ["options", "architecture", "training"] if find_method(method).weights else ["options"]
    for kind in (find_method(method).resolve(kind) for kind in kinds):
        assert from_dict(kind, to_plain(kind()), "memory") == kind()


@pytest.mark.parametrize("method", METHODS)
def test_a_method_accepts_exactly_its_modes(method):
    kind = find_method(method).resolve("options")
    assert kind().mode in find_method(method).modes
    for mode in ("zero-shot", "one-shot", "fine-tune"):
        if mode in find_method(method).modes:
            assert from_dict(kind, {"mode": mode}, "memory").mode == mode
        else:
            with pytest.raises(UsageError, match="mode"):
                from_dict(kind, {"mode": mode}, "memory")
            with pytest.raises(UsageError, match="mode"):
                kind(mode=mode)


def test_architectures_name_their_method_and_trunk():
    kinds = {m.name: m.resolve("architecture") for m in METHODS.values() if m.architecture}
    for method, kind in kinds.items():
        assert method_of_architecture(kind()).name == method
    assert [kind().trunk_name for kind in kinds.values()] == [
        "efficientnet_lite0", "vgg16", "vgg16"
    ]  # fmt: skip


def test_online_defaults_are_those_of_the_original_code():
    osmn, osvos = OsmnOnline(), OsvosOnline()
    assert (osmn.steps, osmn.learning_rate, osmn.threshold) == (100, 1e-5, 0.5)
    assert osmn.scales == osvos.scales == (0.5, 0.8, 1.0)
    assert (osvos.steps, osvos.learning_rate, osvos.momentum) == (500, 1e-8, 0.9)
    assert osmn.weight_decay == osvos.weight_decay == 2e-4
    assert osvos.threshold * 255 == pytest.approx(162)
    # Multipliers of osvos.py:85-103.
    assert (osvos.bias_multiplier, osvos.fuse_multiplier) == (2.0, 0.01)


def test_the_short_side_depends_on_trunk_and_mode_unless_given():
    for kind, alone in ((OsmnOnline, "one-shot"), (OsvosOnline, "zero-shot")):
        assert kind().short_side("vgg16") == 480
        assert kind(mode="fine-tune").short_side("efficientnet_lite0") == 416
        assert kind(mode=alone).short_side("efficientnet_lite0") == 360
        assert kind(size=320).short_side("vgg16") == 320


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (OsmnOnline, {"steps": -1}),
        (OsmnOnline, {"size": 8}),
        (OsmnOnline, {"scales": ()}),
        (OsmnOnline, {"scales": (0.0, 1.0)}),
        (OsmnOnline, {"scales": (100.0,)}),
        (OsmnOnline, {"num_views": 100_000}),
        (OsmnOnline, {"learning_rate": 1e30}),
        (OsmnOnline, {"adapt": "full"}),
        (OsmnOnline, {"loss": "dice"}),
        (OsvosOnline, {"threshold": 1.5}),
        (OsvosOnline, {"momentum": -0.1}),
        (OsvosOnline, {"fuse_multiplier": -1.0}),
        (GrabCutOnline, {"iterations": 0}),
        (GrabCutOnline, {"search_radius": -1.0}),
        (FlowOnline, {"flow_preset": "slow"}),
        (OsmnModel, {"trunk": "resnet50"}),
        (OsmnModel, {"side_channels": 100_000}),
        (OsvosModel, {"side_channels": 0}),
        (OsvosModel, {"side_channels": 100_000}),
        (ModelConfig, {"aspp_channels": 0}),
        (ModelConfig, {"decoder_channels": 100_000}),
        (ModelConfig, {"refine_guides": 10_000}),
        (ModelConfig, {"dropout": 1.0}),
        (ModelConfig, {"batch_norm_epsilon": 0.0}),
        (ModelConfig, {"output_stride": 2}),
        (OsmnTraining, {"batch": 3}),
        (OsmnTraining, {"crop": (60, 96)}),
        (OsmnTraining, {"crop": (0, 96)}),
        (OsmnTraining, {"crop": (16_000, 96)}),
        (OsmnTraining, {"scales": ()}),
        (OsmnTraining, {"seed": 1 << 32}),
        (OsmnTraining, {"seed": -1}),
        (OsmnTraining, {"workers": 10_000}),
        (OsmnTraining, {"accumulate_steps": 0}),
        (OsmnTraining, {"threshold": 1.0}),
        (OsmnTraining, {"spread_perturbation": 0.5}),
        (OsvosTraining, {"side_multiplier": -0.1}),
        (OsvosTraining, {"side_loss_schedule": PiecewiseConstant()}),
    ],
)
def test_values_out_of_range_are_refused(kind, values):
    with pytest.raises(UsageError, match=next(iter(values))):
        kind(**values)


@pytest.mark.parametrize(
    "architecture",
    [
        {"trunk": "vgg16", "decoder": "deeplab"},
        {
            "trunk": "efficientnet_lite0", "decoder": "deeplab",
            "deeplab": ModelConfig(output_stride=8),
        },
    ],
)  # fmt: skip
def test_a_head_that_does_not_fit_the_trunk_is_refused(architecture):
    with pytest.raises(UsageError, match=r"backbone and output stride.*model\.deeplab"):
        OsmnModel(**architecture)


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        (
            OsmnOnline,
            {"rate": 1e-3, "views": 3, "dice": 0.5, "trained": "decoder"},
            {"learning_rate": 1e-3, "num_views": 3, "dice_weight": 0.5, "adapt": "decoder"},
        ),
        (OsvosOnline, {"rate": 1e-3}, {"learning_rate": 1e-3}),
        (FlowOnline, {"preset": "fast"}, {"flow_preset": "fast"}),
        (GrabCutOnline, {"reach": 7.0}, {"search_radius": 7.0}),
        (
            OsmnTraining,
            {
                "rate": 1e-3, "modulator_rate": 1e-4, "spatial_rate": 1e-2, "fix_bn": False,
                "clip": 5.0, "dice": 1.0, "initial": "a.npz", "average": 2,
                "rate_stairs": {"until": [0.5], "values": [1.0, 0.1]},
            },
            {
                "learning_rate": 1e-3, "modulator_learning_rate": 1e-4,
                "spatial_learning_rate": 1e-2, "freeze_batch_norm": False, "grad_clip_norm": 5.0,
                "dice_weight": 1.0, "init_from": "a.npz", "accumulate_steps": 2,
                "learning_rate_schedule": PiecewiseConstant((0.5,), (1.0, 0.1)),
            },
        ),
        (
            OsvosTraining,
            {"side_stairs": {"until": [], "values": [0.0]}},
            {"side_loss_schedule": PiecewiseConstant((), (0.0,))},
        ),
    ],
)  # fmt: skip
def test_old_keys_are_read_under_their_new_names(kind, old, new):
    assert from_dict(kind, old, "old.yaml") == kind(**new)


@pytest.mark.parametrize("key", ["anchor", "final_rate", "filter_components", "lucid"])
def test_removed_keys_are_refused_with_a_remedy(key):
    with pytest.raises(UsageError, match=rf"{key}.*old\.yaml.*delete the line"):
        from_dict(OsmnOnline, {key: 0.1}, "old.yaml")


def test_a_schedule_is_constant_between_boundaries():
    schedule = PiecewiseConstant((0.3, 0.6), (1.0, 0.5, 0.0))
    values = {0.0: 1.0, 0.29: 1.0, 0.3: 0.5, 0.59: 0.5, 0.6: 0.0, 1.0: 0.0}
    assert {fraction: schedule.at(fraction) for fraction in values} == values


@pytest.mark.parametrize(
    ("boundaries", "values"),
    [((0.5,), (1.0,)), ((0.5, 0.2), (1.0, 1.0, 1.0)), ((), (1.0, 2.0)), ((1.5,), (1.0, 2.0))],
)
def test_a_schedule_that_does_not_fit_is_refused(boundaries, values):
    with pytest.raises(UsageError, match="one value more"):
        PiecewiseConstant(boundaries, values)
    plain = {"boundaries": list(boundaries), "values": list(values)}
    with pytest.raises(UsageError, match="one value more"):
        from_dict(OsmnTraining, {"learning_rate_schedule": plain}, "memory")


def _written(tmp_path, **values) -> Path:
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_the_key_method_chooses_the_configuration(tmp_path):
    assert type(load_training(_written(tmp_path, steps=7))) is TrainConfig
    assert type(load_training(_written(tmp_path, steps=7, method="deeplab"))) is TrainConfig
    osmn = load_training(_written(tmp_path, method="osmn", guide_dropout=0.5))
    assert type(osmn) is OsmnTraining and osmn.guide_dropout == 0.5
    assert type(load_training(_written(tmp_path, method="osvos"))) is OsvosTraining


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"method": "flow"}, "method"),
        ({"method": "osvos", "guide_dropout": 0.1}, "guide_dropout"),
        ({"method": "osmn", "loss": "dice"}, "loss"),
        ({"method": "osmn", "model": {"trunk": "resnet50"}}, "trunk"),
    ],
)
def test_keys_of_another_method_are_refused(tmp_path, values, text):
    with pytest.raises(UsageError, match=text):
        load_training(_written(tmp_path, **values))


@pytest.mark.parametrize(
    "path", sorted(EXPERIMENTS.glob("os[mv]*.yaml")), ids=lambda path: path.stem
)
def test_experiments_use_current_keys_and_hold_out_sequences(path):
    config = load_training(path)
    written = yaml.safe_load(path.read_text())
    assert set(written) <= set(to_plain(config))
    for source in config.sources:
        if source.kind == "davis2016":
            assert source.split == "train" and set(source.exclude) == HELD_OUT
    (davis,) = (s for s in config.validation if s.kind == "davis2016")
    assert davis.split == "train" and set(davis.sequences) == HELD_OUT


def test_the_original_experiments_have_the_published_numbers():
    def rates(config, updates, steps):
        schedule = config.learning_rate_schedule
        return [config.learning_rate * schedule.at(step / updates) for step in steps]

    stage1 = load_training(EXPERIMENTS / "osmn_original_stage1.yaml")
    assert (stage1.crop, stage1.scales, stage1.batch) == ((400, 400), (0.8, 1.0, 1.2), 8)
    assert rates(stage1, 300e3, [1e5, 199e3, 201e3]) == pytest.approx([1e-5, 1e-5, 1e-6])
    stage2 = load_training(EXPERIMENTS / "osmn_original.yaml")
    assert (stage2.batch, stage2.learning_rate, stage2.steps) == (4, 1e-6, 50_000)
    assert stage2.freeze_batch_norm and stage2.optimizer == "adam"
    assert (stage2.loss, stage2.dice_weight) == ("balanced-sum", 0.0)
    osvos = load_training(EXPERIMENTS / "osvos_original.yaml")
    assert rates(osvos, 50e3, [5e3, 12e3, 20e3, 27e3, 35e3, 45e3]) == pytest.approx(
        [1e-8, 1e-9, 1e-8, 1e-9, 1e-8, 1e-9]
    )
    weights = [osvos.side_loss_schedule.at(step / 50e3) for step in (1e4, 2e4, 4e4)]
    assert weights == [1.0, 0.5, 0.0]
    assert (osvos.accumulate_steps, osvos.batch, osvos.steps) == (10, 1, 500_000)


@pytest.mark.parametrize("kind", [OsmnOnline, OsvosOnline])
def test_presets_list_only_what_differs_from_the_defaults(kind):
    defaults = to_plain(kind())
    assert set(kind.PRESETS) == {"original", "light"}
    for values in kind.PRESETS.values():
        plain = to_plain(kind(**values))
        assert {key: plain[key] for key in plain if plain[key] != defaults[key]} == values
