# Every verb sets up what it needs in .venv and says what it does.
PYTHON ?= python3
BIN := .venv/bin
NATIVE := $(wildcard csrc/*.h csrc/*.cpp csrc/CMakeLists.txt csrc/cpu/* csrc/cuda/*)
CXX_FILES := $(filter %.h %.cpp %.cu %.cuh,$(NATIVE))
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install serve test lint format bench soak gpu clean

help:
	@echo "make serve    set up everything and serve the shipped model on 127.0.0.1:8000"
	@echo "make test     set up everything and run all tests"
	@echo "make install  only set up: .venv, native build"
	@echo "make lint     formatting, lint, types      make format   rewrite to the house format"
	@echo "make bench    measure on this machine      make soak     the long tests"
	@echo "make gpu      build, test and measure the GPU code (needs nvcc and a GPU)"

.venv/.created:
	@echo "==> [1/3] creating .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/.build-tools: .venv/.created
	@echo "==> [2/3] installing torch and the build tools"
	@$(BIN)/python -m pip install "torch>=2.11,<2.14" "scikit-build-core>=0.11" "cmake>=3.26" ninja
	@touch $@

.venv/.installed: .venv/.build-tools pyproject.toml clients/python/pyproject.toml $(NATIVE)
	@echo "==> [3/3] building the native library and installing pararnn-server"
	@$(BIN)/python -m pip install --no-build-isolation --editable . --editable clients/python
	@touch $@

.venv/.dev: .venv/.installed
	@echo "==> installing the test tools"
	@$(BIN)/python -m pip install --no-build-isolation --editable ".[dev]"
	@touch $@

install: .venv/.installed

serve: .venv/.installed
	@exec $(BIN)/pararnn serve $(ARGS)

test: .venv/.dev
	@$(BIN)/python -m pytest -q $(ARGS)

lint: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/clang-format --dry-run --Werror $(CXX_FILES)
	$(BIN)/mypy

format: .venv/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/clang-format -i $(CXX_FILES)

bench: .venv/.dev
	$(BIN)/python -m benchmarks.run $(ARGS)

clean:
	rm -rf build .venv
