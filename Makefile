# Everything from a bare clone: `make demo` and `make test` make the environment that they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo browser test test-all lint docs serve-docs ablation bench bench-gpu clean

# The demo installs what a user installs; the tests need the development extra too.
$(VENV)/.installed: setup.py pyproject.toml
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
	$(BIN)/mypy

# Builds the documentation into out/docs; a broken link or an unknown name is an error.
docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

serve-docs: $(VENV)/.installed-dev
	$(BIN)/mkdocs serve

# Chromium for the tests of the page, where there is none and it can be installed.
browser:
	@command -v chromium > /dev/null || command -v google-chrome > /dev/null \
		|| { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && apt-get update -qq \
			&& apt-get install -y -qq --no-install-recommends chromium > /dev/null; } \
		|| echo "No browser was installed: the tests of the page are skipped."

test: lint docs
	@command -v chromium > /dev/null || command -v google-chrome > /dev/null \
		|| echo "No Chromium on the path: tests of the page are skipped; see make browser."
	$(BIN)/python -m pytest

# With the slow tests, and every reader of untrusted files fuzzed for some seconds.
test-all: lint docs
	$(BIN)/python -m pytest -m ''
	$(BIN)/python tools/fuzz.py --seconds 20

# Measures the rows that are missing; needs the environment variable DEEPLAB_GYGO_DATA.
ablation: $(VENV)/.installed
	$(BIN)/python tools/ablation.py

# Time of every stage of a clip on this machine; the engines come with the development extra.
bench: $(VENV)/.installed-dev
	$(BIN)/python tools/measure_speed.py --engines keras onnxruntime openvino --out out/speed.json

# The same on a GPU with JAX, without and with this package's kernels, and each kernel alone; needs
# pip install '.[jax-cuda]' in the environment.
bench-gpu: $(VENV)/.installed-dev
	KERAS_BACKEND=jax $(BIN)/python tools/measure_speed.py --precision bfloat16 --out out/speed_gpu.json
	KERAS_BACKEND=jax DEEPLAB_GYGO_KERNELS=pallas $(BIN)/python tools/measure_speed.py \
		--precision bfloat16 --out out/speed_gpu_kernels.json
	$(BIN)/python tools/measure_kernels.py --out out/kernels_gpu.json

clean:
	rm -rf $(VENV) out build *.egg-info .pytest_cache .ruff_cache .mypy_cache
