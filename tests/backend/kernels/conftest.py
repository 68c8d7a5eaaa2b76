"""How kernels are run on a machine without a GPU."""

from __future__ import annotations

import pytest

# Most of the time of a test goes to compiling what the interpreter of Pallas makes of a kernel.
QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
TRITON_CALLS = ("__gpu$xla.gpu.triton", "triton_kernel_call")


@pytest.fixture(scope="session")
def run():
    """Function that compiles a function of arrays quickly and runs it: `run(function, *arrays)`."""
    jax = pytest.importorskip("jax")

    def run_quickly(function, *arrays):
        lowered = jax.jit(function).lower(*arrays)
        try:
            compiled = lowered.compile(compiler_options=QUICK)
        except Exception:  # another version's compiler does not know the options
            compiled = lowered.compile()
        return compiled(*arrays)

    return run_quickly


@pytest.fixture(scope="session")
def lowered_to_cuda():
    """Function that lowers a function of shapes for CUDA: `(function, *shapes) -> calls`.

    It returns how many calls of Triton the program has, and skips where JAX needs a GPU for that.
    """
    jax = pytest.importorskip("jax")

    def lower(function, *shapes):
        traced = jax.jit(function).trace(*shapes)
        try:
            text = traced.lower(lowering_platforms=("cuda",)).as_text()
        except RuntimeError as error:
            if "GPU device" not in str(error):
                raise
            pytest.skip(f"JAX {jax.__version__} lowers to CUDA only where a GPU is: {error}")
        return sum(text.count(name) for name in TRITON_CALLS)

    return lower
