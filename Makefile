# Every verb sets up what it needs in .venv and says what it does.
PYTHON ?= python3
BIN := .venv/bin
NATIVE := $(shell find csrc -type f)
CXX_FILES := $(filter %.h %.cpp %.cu %.cuh,$(NATIVE) $(shell find tests/cpp tests/cuda_host -type f))
# An installed package remembers where its folders are.
FOLDERS := $(shell find pararnn_core server clients -name __init__.py)
ARGS ?=
# Address of the package index that torch comes from; empty: that of pip. pytorch.org names one with a build for CPUs alone.
TORCH_INDEX_URL ?=

.DEFAULT_GOAL := help
.PHONY: help install serve test clients browser lint format bench soak sanitize cuda-check cuda-races distil gpu gpu-build gpu-test gpu-sanitize gpu-tune gpu-bench clean

help:
	@echo "make serve    set up everything, fetch the chat model (93 MB, once) and serve it on 127.0.0.1:8000"
	@echo "              ARGS='--checkpoint paragru-5m-stdlib-int8' serves the small model that ships"
	@echo "              TORCH_INDEX_URL=... takes torch from that package index"
	@echo "make test     set up everything and run all tests"
	@echo "make browser  test the page in Chromium (apt-get install chromium)"
	@echo "make clients  install the SDKs of docs/clients.md and try each of them with a server (needs npm)"
	@echo "make install  only set up: .venv, native build"
	@echo "make lint     formatting, lint, types      make format   rewrite to the house format"
	@echo "make bench    measure on this machine      make soak     the long tests"
	@echo "make distil   train the chat model in the background, at the lowest priority; ARGS=status, stop, evaluate ..."
	@echo "make sanitize the native tests under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer"
	@echo "make cuda-check compiles all CUDA code        make cuda-races   looks for data races in it; both without a GPU"
	@echo "make gpu      build, test, tune and measure what runs on a GPU (needs nvcc and a GPU); its parts:"
	@echo "              gpu-build gpu-test gpu-sanitize gpu-tune gpu-bench"

.venv/.created:
	@echo "==> [1/3] creating .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/.build-tools: .venv/.created
	@echo "==> [2/3] installing torch and the build tools"
	@$(BIN)/python -m pip install $(if $(TORCH_INDEX_URL),--index-url "$(TORCH_INDEX_URL)") "torch>=2.11,<2.14"
	@$(BIN)/python -m pip install "scikit-build-core>=0.11" "cmake>=3.26" ninja
	@touch $@

.venv/.installed: .venv/.build-tools pyproject.toml clients/python/pyproject.toml $(FOLDERS) $(NATIVE)
	@echo "==> [3/3] building the native library (compiles C++, 5 to 8 minutes on two cores) and installing pararnn-server"
	@$(BIN)/python -m pip install --no-build-isolation --editable .
	@touch $@

.venv/.dev: .venv/.installed
	@echo "==> installing the test tools"
	@$(BIN)/python -m pip install --no-build-isolation --editable ".[dev]"
	@touch $@

install: .venv/.installed

# Without a checkpoint in ARGS or the environment, `serve` takes the fetched chat model. If it cannot be fetched (1), the
# server serves what there is; an interrupt (130) ends both.
NAMED := $(findstring --checkpoint,$(ARGS))$(PARARNN_CHECKPOINT)$(PARARNN_CHECKPOINT_DIR)$(filter -h --help,$(ARGS))
FETCH := $(if $(NAMED),,$(BIN)/pararnn fetch-model chat >/dev/null || [ $$? -eq 1 ] || exit 0;)

# The server's own last line says what is wrong: make ends by a signal, or "Error 1" would be below it.
serve: .venv/.installed
	@trap : INT; $(FETCH) $(BIN)/pararnn serve $(ARGS) || { kill -PIPE $$PPID; exit 1; }

test: .venv/.dev
	@$(BIN)/python -m pytest -q -n auto $(ARGS)

# Needs Chromium: apt-get install chromium.
browser: .venv/.dev
	@$(BIN)/python -m pytest -v -rs tests/e2e/test_page_*.py tests/server/app/test_page.py $(ARGS)

clients: .venv/.dev
	@$(BIN)/python -m tests.clients.run $(ARGS)

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

# Without ARGS: downloads the teacher and the text, then trains; continues a run that was saved.
# Threads that wait sleep: a busy machine is left to others.
distil: export OMP_WAIT_POLICY = PASSIVE
distil: .venv/.dev
	@if [ -n "$(ARGS)" ]; then exec $(BIN)/python -m checkpoints.distil $(ARGS); fi; \
	$(BIN)/python -m checkpoints.distil prepare && exec $(BIN)/python -m checkpoints.distil start

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
	    -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python -DPARARNN_WARNINGS_ARE_ERRORS=ON && \
	  $(BIN)/cmake --build build/cuda-check --target cuda_compile_check; \
	else echo "==> no nvcc here: the device code is not checked"; fi

# These run with the machine's own python3 and its torch, without .venv. WHEELS: a folder of wheels that it lacks.
GPU_PACKAGES := $(CURDIR)/build/gpu-packages
GPU_ENVIRONMENT = PYTHONPATH=$(CURDIR):$(CURDIR)/server:$(CURDIR)/clients/python:$(GPU_PACKAGES) \
  PARARNN_LIBRARY=$(CURDIR)/build/gpu/libpararnn_cpu.so
GPU_TESTS = -m pytest -c /dev/null --rootdir=. -rs tests/gpu
# Kernels by themselves, on small shapes: a sanitizer makes them a hundred times slower. Without torch's cache every
# tensor is an allocation of its own, so that an access beyond its end is seen. What is broken off has not passed.
SANITIZED ?= not (test_cells or test_graphs or test_model or test_serving or test_tables)
SANITIZER_SECONDS ?= 90
GPU_SECONDS ?= 570
WHEELS ?=

# All parts in turn, each with its time. Without a build there is nothing to run; else the others go on after one fails.
# The tables get what is left of GPU_SECONDS, and a minute at least.
gpu:
	@failed=; start=$$(date +%s); for part in build test sanitize tune bench; do \
	  began=$$(date +%s); arguments=; left=$$(($(GPU_SECONDS) - began + start)); [ $$left -gt 60 ] || left=60; \
	  [ $$part != bench ] || arguments="--time-limit $$left $(ARGS)"; \
	  $(MAKE) --no-print-directory gpu-$$part ARGS="$$arguments" || failed="$$failed gpu-$$part"; \
	  echo "==> gpu-$$part: $$(($$(date +%s) - began)) s"; \
	  [ "$$failed" != " gpu-build" ] || break; \
	done; [ -z "$$failed" ] || { echo "==> failed:$$failed"; exit 1; }

gpu-build:
	@if [ -n "$(WHEELS)" ]; then \
	  $(PYTHON) -m pip install --quiet --no-index --no-deps --upgrade --target $(GPU_PACKAGES) $(WHEELS)/*.whl; fi
	cmake -S csrc -B build/gpu -DPython_EXECUTABLE=$$(command -v $(PYTHON))
	cmake --build build/gpu --parallel

gpu-test:
	$(GPU_ENVIRONMENT) $(PYTHON) $(GPU_TESTS) -v $(ARGS)

gpu-sanitize:
	@sanitizer=$$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer); \
	if [ ! -x "$$sanitizer" ]; then \
	  echo "==> no compute-sanitizer here: memory accesses and races are not checked on the device"; exit 0; fi; \
	failed=0; for tool in memcheck racecheck; do \
	  echo "==> $$tool"; \
	  $(GPU_ENVIRONMENT) PYTORCH_NO_CUDA_MEMORY_CACHING=1 timeout $(SANITIZER_SECONDS) $$sanitizer --tool $$tool --error-exitcode 1 \
	    $(PYTHON) $(GPU_TESTS) -q -k '$(SANITIZED)'; code=$$?; \
	  [ $$code -ne 124 ] || echo "==> $$tool: broken off after $(SANITIZER_SECONDS) s"; \
	  [ $$code -eq 0 ] || failed=1; \
	done; exit $$failed

# Measures which way through a recurrence is the faster one, and rewrites the table that server and cells choose by.
gpu-tune:
	$(GPU_ENVIRONMENT) $(PYTHON) -m pararnn_core.device.tune_solvers $(ARGS)

gpu-bench:
	$(GPU_ENVIRONMENT) $(PYTHON) -m benchmarks.gpu $(ARGS)

clean:
	rm -rf build .venv
