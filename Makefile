# Every target can be run again; what is done is not done twice.
PYTHON ?= python3
VENV ?= .venv
HOST ?= 127.0.0.1
PORT ?= 3000
VARIANT ?= cpu
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help setup serve test check format bench-start bench-serving bench-overload bench-killed bench-bulk \
	bench-training soak soak-export bento bento-parts smoke-container sbom audit check-deploy monitoring rolling clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.ready  ## make the environment, put the bundled models into the store
	@$(BIN)/ganmint models install

serve: setup  ## serve on HOST:PORT (127.0.0.1:3000)
	@exec $(BIN)/ganmint serve --host $(HOST) --port $(PORT)

test: $(VENV)/.dev  ## run every test
	$(BIN)/python -m pytest

check: $(VENV)/.dev  ## format, lint, types, imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.dev  ## put the sources into shape
	$(BIN)/ruff check --fix --select I .
	$(BIN)/ruff format .

bench-start: $(VENV)/.ready  ## start-up time and memory of the service
	$(BIN)/python -m benchmarks.start

bench-serving: $(VENV)/.dev  ## throughput, CPU and latency against the ceiling and a peer (10 minutes)
	@$(PIP) mosec
	$(BIN)/python -m benchmarks.serving

bench-overload: $(VENV)/.ready  ## three times the capacity, recovery, fairness (3 minutes)
	$(BIN)/python -m benchmarks.overload

bench-killed: $(VENV)/.ready  ## a worker killed under load: what is lost, how long until ready again (2 minutes)
	$(BIN)/python -m benchmarks.killed

soak: $(VENV)/.ready  ## 200,000 requests of every kind, every answer checked (15 minutes)
	$(BIN)/python -m benchmarks.soak

bench-bulk: $(VENV)/.ready  ## bulk export against its ceiling and a simple script (5 minutes)
	$(BIN)/python -m benchmarks.bulk

soak-export: $(VENV)/.dev  ## kill exports 60 times and compare what they end with
	$(BIN)/python -m tests.service.export.soak

bench-training: $(VENV)/.ready  ## training speed by precision, switches and processes (10 minutes)
	$(BIN)/python -m benchmarks.training

check-deploy: $(VENV)/.dev $(VENV)/.checkov  ## checkov on the rendered chart, from an environment of its own
	rm -rf build/chart && $(BIN)/python -m tests.deploy.rendered build/chart
	$(VENV)/checkov/bin/checkov --config-file deploy/checkov.yaml --directory build/chart

monitoring: $(VENV)/.dev  ## every query of dashboard and alerts against a real Prometheus (needs one; 1 minute)
	$(BIN)/python -m tests.deploy.live

rolling: $(VENV)/.dev  ## restart two services in turn under 5,000 requests and count the failed ones
	GANMINT_TEST_RESTART_REQUESTS=5000 $(BIN)/python -m pytest -s tests/live/test_restart.py -k restarted

bento: bento-parts  ## a bento of the store's models (VARIANT=cpu or cuda); then: bentoml containerize ganmint:latest
	$(BIN)/bentoml build deploy --arg variant=$(VARIANT)

bento-parts: setup deploy/wheels/.made

deploy/wheels/.made: $(VENV)/.ready README.md $(shell find ganmint models service training -type f ! -name '*.pyc')
	@$(PIP) uv
	@rm -rf build deploy/wheels
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir deploy/wheels .
	@cp constraints.txt deploy/
	@touch $@

smoke-container: setup $(VENV)/.dev  ## build the container, ask it for images, stop it under load (root, Debian, 10 minutes)
	@deploy/smoke-container.sh

sbom: $(VENV)/.dev  ## list the image's Python packages as CycloneDX: sbom.json
	@$(BIN)/python -m deploy.packages --sbom sbom.json

audit: $(VENV)/.dev  ## look the image's Python packages up among known vulnerabilities (network)
	@$(BIN)/python -m deploy.audit

clean:  ## remove the environment and caches; the model store and runs stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .smoke deploy/wheels deploy/constraints.txt *.egg-info

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 13) else "Ganmint needs Python 3.10 to 3.13, this is %d.%d; try: make PYTHON=python3.11 ..." % v)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (a few minutes the first time)"
	@$(PIP) --editable '.[train]'
	@touch $@

$(VENV)/.dev: $(VENV)/.ready
	@$(PIP) --editable '.[train,dev]'
	@touch $@

# Its pins are not ours.
$(VENV)/.checkov: $(VENV)/bin/python
	$(PYTHON) -m venv $(VENV)/checkov
	$(VENV)/checkov/bin/python -m pip install --quiet --disable-pip-version-check checkov==3.3.30
	@touch $@
