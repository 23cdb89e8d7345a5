# Every target can be run again; what is done is not done twice.
PYTHON ?= python3
VENV ?= .venv
HOST ?= 127.0.0.1
PORT ?= 3000
VARIANT ?= cpu
IMAGE ?= ganmint:latest
BACKEND ?= docker
SMOKE_DIR ?= .smoke
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# Test processes side by side. Each takes the next test that no other has begun.
JOBS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist worksteal
BENCHMARKS := start serving overload killed bulk training

ifeq ($(MAKECMDGOALS),bench)
$(if $(filter $(NAME),$(BENCHMARKS)),,$(error make bench NAME=... with one of: $(BENCHMARKS)))
endif

.PHONY: help setup serve test test-fast check format docs bench $(BENCHMARKS:%=bench-%) soak soak-export check-deploy \
	monitoring rolling bento bento-parts image smoke-container lock sbom audit clean

help:  ## list the targets
	@awk -F':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Use
setup: $(VENV)/.ready  ## make the environment, put the bundled models into the store
	@$(BIN)/ganmint models install

serve: setup  ## serve on HOST:PORT (127.0.0.1:3000)
	@exec $(BIN)/ganmint serve --host $(HOST) --port $(PORT)

##@ Change
test-fast: $(VENV)/.dev  ## run the tests that neither train nor start servers (a minute and a half)
	$(PYTEST) -m "not slow"

test: $(VENV)/.dev  ## run every test, in JOBS processes (2): 10 minutes on two cores
	$(PYTEST)

check: $(VENV)/.dev  ## format, lint, types, imports, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/typos

format: $(VENV)/.dev  ## put the sources into shape
	$(BIN)/ruff check --fix --select I .
	$(BIN)/ruff format .

docs: $(VENV)/.docs  ## build the documentation: build/docs/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "build/docs/index.html"

##@ Measure (benchmarks/README.md says what the numbers mean)
bench: $(VENV)/.dev  ## NAME=start, serving, overload, killed, bulk or training; OPTIONS=--help lists more
	@$(if $(filter serving,$(NAME)),$(PIP) mosec,:)
	$(BIN)/python -m benchmarks.$(NAME) $(OPTIONS)

$(BENCHMARKS:%=bench-%): bench-%:
	@$(MAKE) --no-print-directory bench NAME=$*

soak: $(VENV)/.ready  ## 200,000 requests of every kind, every answer checked (15 minutes)
	$(BIN)/python -m benchmarks.soak

soak-export: $(VENV)/.dev  ## kill exports 60 times and compare what they end with
	$(BIN)/python -m benchmarks.soak_export

##@ Deploy
bento: bento-parts  ## pack the store's models into a bento (VARIANT=cpu or cuda)
	$(BIN)/bentoml build deploy --arg variant=$(VARIANT)

# BentoML reads the bento's Dockerfile.j2 only from below the folder that it is run in, and copies it to a temporary one.
image: bento  ## make the container image IMAGE (ganmint:latest) of it by BACKEND (docker, podman, buildah ...)
	cd "$${TMPDIR:-/tmp}" && $(abspath $(BIN))/bentoml containerize ganmint:latest --backend $(BACKEND) --image-tag $(IMAGE)

smoke-container: $(SMOKE_DIR)/venv/.made  ## build the container, ask it for images, stop it under load (root, Debian, 10 minutes)
	@PYTHON=$(SMOKE_DIR)/venv/bin/python SMOKE_DIR=$(SMOKE_DIR) deploy/smoke-container.sh

check-deploy: $(VENV)/.dev $(VENV)/.checkov  ## checkov on the rendered chart, from an environment of its own
	rm -rf build/chart && $(BIN)/python -m deploy.render_chart build/chart
	$(VENV)/checkov/bin/checkov --config-file deploy/checkov.yaml --directory build/chart

monitoring: $(VENV)/.dev  ## every query of dashboard and alerts against a real Prometheus (needs one; 1 minute)
	$(BIN)/python -m deploy.check_monitoring

rolling: $(VENV)/.dev  ## restart two services in turn under 5,000 requests and count the failed ones
	GANMINT_TEST_RESTART_REQUESTS=5000 $(BIN)/python -m pytest -s tests/live/test_restart.py tests/live/test_nginx.py -k "restarted or without_loss"

lock: $(VENV)/.dev  ## state the version and the hashes of every package of the image (network)
	@$(BIN)/python -m deploy.lock

sbom: $(VENV)/.dev  ## list the image's Python packages as CycloneDX: sbom.json
	@$(BIN)/python -m deploy.packages --sbom sbom.json

audit: $(VENV)/.dev  ## look the image's Python packages up among known vulnerabilities (network)
	@$(BIN)/python -m deploy.audit

##@ Clean
clean:  ## remove the environment and caches; the model store and runs stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .schemathesis .smoke build deploy/wheels *.egg-info

bento-parts: setup deploy/wheels/.made

deploy/wheels/.made: $(VENV)/.ready README.md $(shell find ganmint models service training -type f ! -name '*.pyc')
	@rm -rf build deploy/wheels
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir deploy/wheels .
	@touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 13) else "Ganmint needs Python 3.10 to 3.13, this is %d.%d; try: make PYTHON=python3.11 ..." % v)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing Ganmint with PyTorch, ONNX Runtime and BentoML into $(VENV): some minutes the first time."
	@echo "On Linux, PyTorch's CUDA packages are gigabytes; docs/troubleshooting.md says how to leave them out."
	@$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[train]'
	@touch $@

$(VENV)/.dev: $(VENV)/.ready
	@echo "Installing the tools that test and check into $(VENV): some minutes the first time."
	@$(PIP) --editable '.[train,dev]'
	@touch $@

# What builds and tries the container, so that nothing is installed into VENV for it.
$(SMOKE_DIR)/venv/.made: pyproject.toml constraints.txt
	@echo "Installing Ganmint into $(SMOKE_DIR)/venv"
	@$(PYTHON) -m venv $(SMOKE_DIR)/venv
	@$(SMOKE_DIR)/venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[image]' httpx uv
	@touch $@

$(VENV)/.docs: $(VENV)/.ready
	@echo "Installing MkDocs into $(VENV)"
	@$(PIP) --editable '.[docs]'
	@touch $@

# Its pins are not ours.
$(VENV)/.checkov: $(VENV)/bin/python
	$(PYTHON) -m venv $(VENV)/checkov
	$(VENV)/checkov/bin/python -m pip install --quiet --disable-pip-version-check checkov==3.3.30
	@touch $@
