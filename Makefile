# Everything from a bare clone: `make demo` and `make test` make the environment they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all lint ablation bench bench-gpu clean

# The demo installs what a user installs; the tests need the development extra too.
$(VENV)/.installed: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/deeplab-gygo demo --out out/demo --overwrite

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

test: lint
	$(BIN)/python -m pytest

test-all: lint
	$(BIN)/python -m pytest -m ''

# Runs the rows that are not measured yet; needs the environment variable DEEPLAB_GYGO_DATA.
ablation: $(VENV)/.installed
	$(BIN)/python tools/ablation.py

# Where the seconds of a clip go on this machine; the engines come with the development extra.
bench: $(VENV)/.installed-dev
	$(BIN)/python tools/measure_speed.py --engines keras onnxruntime openvino --out out/speed.json

# The same on a GPU, without and with this package's kernels, and every kernel alone beside its plain
# twin. It needs JAX for it: pip install 'jax[cuda12]' in the environment.
bench-gpu: $(VENV)/.installed-dev
	KERAS_BACKEND=jax $(BIN)/python tools/measure_speed.py --precision bfloat16 --out out/speed_gpu.json
	KERAS_BACKEND=jax DEEPLAB_GYGO_KERNELS=pallas $(BIN)/python tools/measure_speed.py \
		--precision bfloat16 --out out/speed_gpu_kernels.json
	$(BIN)/python tools/measure_kernels.py --out out/kernels_gpu.json

clean:
	rm -rf $(VENV) out build *.egg-info .pytest_cache .ruff_cache
