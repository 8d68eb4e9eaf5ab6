# Each target does all its own set-up on a bare machine (Debian, macOS; Python 3.11+).
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE = 1
export TOKENIZERS_PARALLELISM = false
# Else every process compiles torch and transformers anew: a minute of CPU time for each that judges.
unexport PYTHONDONTWRITEBYTECODE

PYTEST = OMP_NUM_THREADS=1 $(BIN)/pytest --dist loadscope --no-loadscope-reorder
# What imports torch to be collected, half a gigabyte of it in each process: in a run of its own.
TORCH_TESTS := tests/engine/local tests/training tests/demo_model tests/benchmarks/test_engine.py tests/line/test_notebook.py

# What the benchmarks do at their smallest: minutes, so in a target of its own.
BENCHMARK_TESTS := $(addprefix tests/benchmarks/test_,benchmarks.py console.py gpu.py load.py)

.PHONY: demo serve up test test-benchmarks coverage test-vllm lint demo-model demo-calibrations evaluation docs reference overlays messages audit sbom chaos compose-check kafka console-images lock clean

demo: .venv/ready
	$(BIN)/moderation demo

serve: .venv/ready
	$(BIN)/moderation demo --serve $(if $(PORT),--port $(PORT))

up:
	scripts/up.sh

test: .venv/ready
	scripts/system-packages.sh test
	scripts/kubernetes-tools.sh
	$(MAKE) lint
	$(PYTEST) -n 3 $(addprefix --ignore=,$(TORCH_TESTS) $(BENCHMARK_TESTS)) $(PYTEST_ARGS) || failed=1; \
	$(PYTEST) -n 2 $(TORCH_TESTS) $(PYTEST_ARGS) && exit $${failed:-0}

test-benchmarks: .venv/ready
	scripts/system-packages.sh test
	$(PYTEST) -n 2 $(BENCHMARK_TESTS)

coverage:
	rm -f .coverage
	$(MAKE) test PYTEST_ARGS="--cov --cov-append --cov-report=term"

test-vllm: .venv/ready
	scripts/vllm.sh
	$(BIN)/pytest tests/engine/vllm_check.py

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

demo-model: .venv/ready
	scripts/system-packages.sh demo-model
	$(BIN)/python -m demo_model
	$(MAKE) demo-calibrations

demo-calibrations: .venv/ready
	for layout in post_first policies_first; do \
	  MODERATION_ENGINE__LAYOUT=$$layout $(BIN)/moderation calibrate bundled \
	    -o moderation_service/demo/calibrations/$$layout.json; \
	done

evaluation: .venv/ready
	$(BIN)/python -m benchmarks.evaluation $(if $(SEED),--seed $(SEED)) $(if $(SCALE),--scale $(SCALE))

docs: .venv/ready
	$(BIN)/zensical build --strict

reference: .venv/ready
	$(BIN)/python scripts/reference.py
	$(BIN)/python scripts/asyncapi.py

messages: .venv/ready
	$(BIN)/python scripts/messages.py $(ADD)

overlays: .venv/ready
	scripts/kubernetes-tools.sh
	$(BIN)/python scripts/render_k8s.py

chaos: .venv/ready
	scripts/system-packages.sh test
	$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only $(ONLY)) \
		$(if $(KAFKA),--kafka $(KAFKA))

audit sbom: .venv/ready
	scripts/supply-chain.sh $@

compose-check: .venv/ready
	scripts/system-packages.sh test
	unshare --mount --net --pid --fork --mount-proc $(BIN)/python -m tests.deploy.compose_processes

kafka: .venv/ready
	scripts/system-packages.sh test
	$(BIN)/python -m moderation_service.bench.local_kafka

console-images: .venv/ready # and those of the model check and the proof of concept
	scripts/system-packages.sh test
	CONSOLE_IMAGES=docs/images $(BIN)/pytest tests/console/pages/test_images.py tests/line/test_notebook.py

bench: .venv/ready
	scripts/system-packages.sh test
	$(BIN)/python -m benchmarks $(NAMES)

lock:
	uv pip compile --upgrade --universal --generate-hashes --python-version 3.11 --all-extras --group dev \
	  pyproject.toml -o requirements.lock

.venv/ready: requirements.lock pyproject.toml scripts/venv.sh
	scripts/venv.sh $(PYTHON)

clean:
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage demo-report.html
