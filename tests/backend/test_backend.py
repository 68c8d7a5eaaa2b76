"""TensorFlow and JAX give the same numbers, and anything else is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from deeplab_gygo import backend

PROBE = Path(__file__).with_name("backend_probe.py")


def _probe(name: str, code: list[str] | None = None) -> subprocess.CompletedProcess:
    environment = {**os.environ, "KERAS_BACKEND": name, "JAX_PLATFORMS": "cpu"}
    if name == "jax":
        # The compiler's optimization would take longer than the few steps.
        environment["XLA_FLAGS"] = (
            "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
        )
    command = [sys.executable, *(code or [str(PROBE)])]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def reports() -> dict[str, dict]:
    found = {}
    for name in ("tensorflow", "jax"):
        done = _probe(name)
        assert done.returncode == 0, done.stderr[-2000:]
        found[name] = json.loads(done.stdout.strip().splitlines()[-1])
        assert found[name]["backend"] == name
    return found


def test_forward_passes_agree(reports):
    np.testing.assert_allclose(
        reports["jax"]["before"], reports["tensorflow"]["before"], rtol=1e-4, atol=1e-5
    )


def test_run_time_resizes_agree(reports):
    np.testing.assert_allclose(
        reports["jax"]["resized"], reports["tensorflow"]["resized"], rtol=1e-4, atol=1e-5
    )


def test_gradient_steps_agree_and_learn(reports):
    losses = {name: report["losses"] for name, report in reports.items()}
    np.testing.assert_allclose(losses["jax"], losses["tensorflow"], rtol=1e-3)
    assert losses["jax"][-1] < losses["jax"][0]
    np.testing.assert_allclose(
        reports["jax"]["after"], reports["tensorflow"]["after"], rtol=1e-2, atol=1e-2
    )
    assert not np.allclose(reports["jax"]["after"], reports["jax"]["before"], atol=1e-3)


def test_a_memory_says_the_same(reports):
    readout = np.array(reports["tensorflow"]["readout"])
    assert readout.shape == (2, 3, 18) and readout.std() > 0.05  # or equality would say little
    np.testing.assert_allclose(reports["jax"]["readout"], readout, rtol=1e-3, atol=1e-4)


def test_refined_logits_agree(reports):
    refined = np.array(reports["tensorflow"]["refined"])
    assert refined.std() > 0.01
    np.testing.assert_allclose(reports["jax"]["refined"], refined, rtol=1e-3, atol=1e-4)


def test_steps_on_clips_agree(reports):
    losses = {name: report["clip_losses"] for name, report in reports.items()}
    np.testing.assert_allclose(losses["jax"], losses["tensorflow"], rtol=1e-3)
    assert losses["jax"][-1] < losses["jax"][0]


def test_all_steps_as_one_program_are_the_same_steps(reports):
    for report in reports.values():
        single, swept = report["sweep"]["single"], report["sweep"]["swept"]
        np.testing.assert_allclose(swept, single, rtol=1e-5)
        assert len(set(np.round(single, 5))) == len(single)  # or equality would say little
        assert report["sweep"]["gap"] < 1e-4  # weights and slots of the optimizers
    losses = [report["sweep"]["swept"] for report in reports.values()]
    np.testing.assert_allclose(*losses, rtol=1e-3)


def test_compiled_programs_are_kept_for_the_next_process(tmp_path):
    code = (
        "from pathlib import Path; import sys, numpy; from deeplab_gygo import backend;"
        "backend.keep_compiled(Path(sys.argv[1]));"
        "backend.compiled_function(lambda a: a @ a + 1)(numpy.ones((8, 8), 'float32'))"
    )
    done = _probe("jax", ["-c", code, str(tmp_path / "kept")])
    assert done.returncode == 0, done.stderr[-2000:]
    assert any((tmp_path / "kept").iterdir())


def test_another_backend_is_refused():
    code = "import keras; from deeplab_gygo import backend; keras.backend.backend = lambda: 'torch'"
    done = _probe("tensorflow", ["-c", f"{code}; backend.name()"])
    assert done.returncode != 0
    assert "UsageError" in done.stderr and "KERAS_BACKEND" in done.stderr


@pytest.mark.parametrize("name", ["no_such_backend", "numpy"])
def test_a_backend_that_cannot_be_used_is_a_wrong_usage(name):
    """Whatever Keras raises for it, before or after its import."""
    code = "from deeplab_gygo import backend; backend.name()"
    done = _probe(name, ["-c", code])
    assert "UsageError" in done.stderr.splitlines()[-1]
    assert "KERAS_BACKEND=tensorflow" in done.stderr.splitlines()[-1]


def test_float16_without_a_scaled_loss_is_refused():
    done = _probe(
        "jax", ["-c", "from deeplab_gygo import backend; backend.set_precision('float16')"]
    )
    assert done.returncode != 0
    assert "UsageError" in done.stderr and "bfloat16" in done.stderr


def test_a_policy_is_restored_after_its_block():
    import keras

    from deeplab_gygo import backend

    before = keras.config.dtype_policy().name
    with pytest.raises(RuntimeError), backend.policy("bfloat16") as precision:
        assert precision == "bfloat16"
        layer = keras.layers.Dense(2)
        raise RuntimeError
    assert keras.config.dtype_policy().name == before
    assert layer.compute_dtype == "bfloat16"


def test_an_unknown_precision_is_refused():
    from deeplab_gygo import backend
    from deeplab_gygo.errors import UsageError

    with pytest.raises(UsageError, match="bfloat16"):
        backend.set_precision("float8")


def test_adam_by_one_operation_is_adam():
    import keras
    from keras import layers

    from deeplab_gygo.backend import GradientStep

    class Separate(keras.optimizers.Adam):
        """Adam that is not replaced."""

    rng = np.random.default_rng(0)
    images = rng.normal(size=(3, 8, 8, 2)).astype(np.float32)
    targets = rng.normal(size=(3, 8, 8, 1)).astype(np.float32)
    ends, slots = [], []
    for fused in (True, False):
        keras.utils.set_random_seed(1)
        image = keras.Input((8, 8, 2))
        model = keras.Model(image, layers.Conv2D(1, 3, padding="same")(layers.Conv2D(4, 1)(image)))
        optimizer = (keras.optimizers.Adam if fused else Separate)(1e-2, beta_2=0.99)
        step = GradientStep(
            model,
            lambda outputs, t: keras.ops.mean(keras.ops.square(outputs - t)),
            [(optimizer, model.trainable_variables)],
        )
        for number in range(7):
            optimizer.learning_rate = 1e-2 / (1 + number)
            step(images, targets)
        ends.append([np.array(v.numpy()) for v in model.trainable_variables])
        slots.append([np.array(v.numpy()) for v in optimizer.variables])
    assert int(slots[0][0]) == 7
    for one, other in zip(ends[0] + slots[0], ends[1] + slots[1], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "plain"),
    [({}, True), ({"clipnorm": 1.0}, False), ({"weight_decay": 0.1}, False),
     ({"amsgrad": True}, False), ({"use_ema": True}, False),
     ({"gradient_accumulation_steps": 2}, False)],
)  # fmt: skip
def test_only_a_plain_adam_is_replaced(options, plain):
    import keras

    from deeplab_gygo.backend import GradientStep

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    optimizer = keras.optimizers.Adam(1e-2, **options)
    step = GradientStep(
        model,
        lambda outputs, targets: keras.ops.mean(outputs - targets),
        [(optimizer, model.trainable_variables)],
    )
    ones = np.ones((1, 2), np.float32), np.ones((1, 1), np.float32)
    operations = step.launch.get_concrete_function(*ones).graph.get_operations()
    assert any(op.type == "ResourceApplyAdam" for op in operations) == plain


@pytest.mark.parametrize("scaled", [False, True], ids=["float32", "scaled"])
def test_all_steps_are_one_program_of_xla_too(monkeypatch, scaled):
    """As on an accelerator, where TensorFlow compiles them, also with a loss that is scaled."""
    import keras
    from keras import layers

    from deeplab_gygo.backend import steps

    rng = np.random.default_rng(0)
    stack = rng.normal(size=(3, 8, 8, 2)), rng.normal(size=(3, 8, 8, 1))
    stack = tuple(array.astype(np.float32) for array in stack)
    losses = []
    for compiles in (False, True):
        keras.utils.set_random_seed(1)
        image = keras.Input((8, 8, 2))
        model = keras.Model(image, layers.Conv2D(1, 3, padding="same")(image))
        optimizer = keras.optimizers.Adam(1e-2)
        if scaled:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=1024.0)
        step = steps.GradientStep(
            model,
            lambda outputs, targets: keras.ops.mean(keras.ops.square(outputs - targets)),
            [(optimizer, model.trainable_variables)],
        )
        monkeypatch.setattr(steps, "devices", lambda compiles=compiles: ["one"] * compiles)
        picks, rates = [(index % 3,) for index in range(6)], [(1e-2,)] * 6
        losses.append(np.array(step.sweep([stack], picks, rates)))
        again = np.array(step.sweep([stack], picks, rates))
        assert again.sum() < losses[-1].sum()  # it goes on where it ended, and learns
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_a_step_runs_on_inputs_of_several_sizes():
    """With relaxed shapes TensorFlow pads a dilated convolution for an earlier size."""
    image = keras.Input((None, None, 3))
    features = layers.AveragePooling2D(4)(image)
    features = layers.Conv2D(4, 3, padding="same", activation="relu")(features)
    features = layers.Conv2D(4, 3, padding="same", dilation_rate=2)(features)
    model = keras.Model(image, features)
    groups = [(keras.optimizers.SGD(0.0), model.trainable_variables)]
    step = backend.GradientStep(model, lambda outputs, _: keras.ops.mean(outputs**2), groups)
    for height, width in ((35, 26), (47, 26), (26, 47)):
        images = np.ones((1, 4 * height, 4 * width, 3), np.float32)
        expected = float(np.mean(np.square(model(images))))
        assert step(images, np.zeros(1, np.float32)) == pytest.approx(expected, rel=1e-4)
