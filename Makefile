# Every verb sets up what it needs in .venv and says what it does.
PYTHON ?= python3
BIN := .venv/bin
NATIVE := $(wildcard csrc/*.h csrc/*.cpp csrc/CMakeLists.txt csrc/cmake/* csrc/cpu/* csrc/cuda/*)
CXX_FILES := $(filter %.h %.cpp %.cu %.cuh,$(NATIVE)) $(wildcard tests/cpp/*.h tests/cpp/*.cpp tests/cpp/*.cu tests/cuda_host/*.h tests/cuda_host/*.cpp)
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install serve test lint format bench soak sanitize cuda-check cuda-races gpu clean

help:
	@echo "make serve    set up everything and serve the shipped model on 127.0.0.1:8000"
	@echo "make test     set up everything and run all tests"
	@echo "make install  only set up: .venv, native build"
	@echo "make lint     formatting, lint, types      make format   rewrite to the house format"
	@echo "make bench    measure on this machine      make soak     the long tests"
	@echo "make sanitize the native tests under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer"
	@echo "make gpu      build, test and tune what runs on a GPU (needs nvcc and a GPU)"

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
	@$(BIN)/python -m pytest -q -n auto $(ARGS)

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

soak: .venv/.dev
	$(BIN)/python -m pytest -v -m soak $(ARGS)

# $(1): a name. $(2): flags. $(3): levels, all if empty. $(4): programs.
define sanitized
	@echo "==> $(4) with $(2)"
	@$(BIN)/cmake -S csrc -B build/sanitize-$(1) -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja \
	  -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python -DPARARNN_TEST_LEVELS=$(3) -DCMAKE_BUILD_TYPE=None \
	  "-DCMAKE_CXX_FLAGS=-O1 -g -fno-omit-frame-pointer $(2) -fno-sanitize-recover=all" >/dev/null
	@$(BIN)/cmake --build build/sanitize-$(1) --target $(4)
	@set -e; for program in $(4); do build/sanitize-$(1)/$$program/$$program; done
endef

# Memory and arithmetic at every level; races, which no level has for itself, at one.
sanitize: .venv/.build-tools
	$(call sanitized,address,-fsanitize=address -fsanitize=undefined,,native_tests cuda_host_tests)
	$(call sanitized,thread,-fsanitize=thread,baseline,native_tests cuda_host_tests)

cuda-races: .venv/.build-tools
	$(call sanitized,thread,-fsanitize=thread,baseline,cuda_host_tests)

# nvcc alone is enough: nothing runs.
cuda-check: .venv/.build-tools
	@if command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ]; then \
	  echo "==> compiling the device code for sm_80, sm_90 and sm_100"; \
	  $(BIN)/cmake -S csrc -B build/cuda-check -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja \
	    -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python && \
	  $(BIN)/cmake --build build/cuda-check --target cuda_compile_check; \
	else echo "==> no nvcc here: the device code is not checked"; fi

# Runs with the machine's own python3 and its torch, without .venv. At last it measures when Newton's method is the
# faster one and rewrites the table that the server and the cells choose by.
gpu:
	cmake -S csrc -B build/gpu -DPython_EXECUTABLE=$$(command -v $(PYTHON))
	cmake --build build/gpu --parallel
	cmake --build build/gpu --target cuda_compile_check
	PYTHONPATH=$(CURDIR):$(CURDIR)/server:$(CURDIR)/clients/python PARARNN_LIBRARY=$(CURDIR)/build/gpu/libpararnn_cpu.so \
	  $(PYTHON) -m pytest -c /dev/null --rootdir=. -v -rs tests/gpu $(ARGS)
	PYTHONPATH=$(CURDIR) PARARNN_LIBRARY=$(CURDIR)/build/gpu/libpararnn_cpu.so $(PYTHON) -m pararnn_core.tune_solvers

clean:
	rm -rf build .venv
