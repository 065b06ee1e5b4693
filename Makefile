# Everything that a developer types. Needs make, Python 3.11 or later and the package registries; nothing else.

SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOCKS := requirements/dev.txt
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate

# The interpreter that makes the virtual environment: `make setup PYTHON=/path/to/python3.12`.
PYTHON ?= python3
# Passed on: `make demo ARGS="--deals 50 --erp stub --kill"`, `make test ARGS="-k audit"`.
ARGS ?=
# Most tests wait for servers, so four files run at a time even on two cores. `make test SIDE_BY_SIDE=` runs one.
SIDE_BY_SIDE ?= -n 4 --dist loadfile --no-loadscope-reorder
# `make demo KEEP=1` leaves everything running at the end, to look around.
KEEP ?=
# `make image BUILDER=buildah BASE=localhost/python-base:12` builds without a registry.
BUILDER ?= docker
BASE ?=
# `make demo TEMPORAL=cluster` runs on a Temporal cluster in place of the development server.
TEMPORAL ?=

.PHONY: help
help: ## Show what can be made
	@echo "Closedwon: won deals from Salesforce into the ERP."
	@echo
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  make demo KEEP=1                                   keep everything running afterwards'
	@echo '  make demo ARGS="--deals 50 --erp stub --kill"     kill a worker in the middle'

.PHONY: setup
setup: $(STAMP) ## Make .venv with everything installed, as locked in requirements/

$(STAMP): $(LOCKS) pyproject.toml $(wildcard deploy/tryton/pyproject.toml deploy/tryton/*/*.*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "'$(PYTHON)' is not Python 3.11 or later. Name one that is: make setup PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "Making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "Installing what requirements/dev.txt locks (the first time takes a minute)"
	@$(BIN)/python -m pip --disable-pip-version-check -qq install --require-hashes -r $(LOCKS)
	@$(BIN)/python -m pip --disable-pip-version-check -qq install --no-deps --no-build-isolation -e . ./deploy/tryton
	@touch $@

.PHONY: demo
demo: setup ## Deals are won, orders appear in a real ERP, numbers come back
	@$(BIN)/closedwon demo $(if $(KEEP),--keep) $(if $(TEMPORAL),--temporal $(TEMPORAL)) $(ARGS)

.PHONY: cluster
cluster: setup ## Run a Temporal cluster: PostgreSQL, two processes of each service, the UI (needs Go and PostgreSQL)
	@$(BIN)/closedwon test-temporal $(ARGS)

.PHONY: test
test: lint ## Lint, then every test
	@$(BIN)/pytest $(SIDE_BY_SIDE) $(ARGS)

.PHONY: quick
quick: setup ## The tests that take no minutes
	@$(BIN)/pytest -m "not slow" $(SIDE_BY_SIDE) $(ARGS)

.PHONY: lint
lint: setup ## ruff, mypy, import-linter and the language lint
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m tests.language

.PHONY: format
format: setup ## Format the code, and fix what ruff can fix
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

.PHONY: lock
lock: ## Write requirements/ again from pyproject.toml (needs uv)
	$(COMPILE) pyproject.toml -o requirements/runtime.txt
	$(COMPILE) pyproject.toml --extra demo --extra dev --extra traces -o requirements/dev.txt

.PHONY: fuzz
fuzz: setup ## Feed the SOAP parser with hostile bodies for a minute, guided by coverage (needs a wheel of atheris)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip --disable-pip-version-check -qq install 'atheris==3.0.0'
	@$(BIN)/python -m tests.fuzz.soap $(ARGS)

.PHONY: soak
soak: setup ## Play 20,000 random histories of deals, checked by an oracle; ARGS="--seed N --history K" repeats one
	@$(BIN)/python -m tests.property.run $(ARGS)

.PHONY: mutants
mutants: setup ## Plant small faults in the code that decides: its quick tests must notice 95 % of them (up to ten minutes)
	@$(BIN)/python -m tests.mutants $(ARGS)

.PHONY: bench
bench: setup ## Measure speed and cost beside bare Temporal, DBOS and a plain script (an hour); ARGS="throughput" runs one
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: histories
histories: setup ## Record the golden histories again; only for workflows that were never released
	@rm -f tests/replay/histories/*.json.gz
	@CLOSEDWON_RECORD_HISTORIES=tests/replay/histories $(BIN)/pytest -q tests/workflows tests/integration/test_handoff.py tests/integration/test_sweeps*.py \
		tests/integration/test_alerts.py tests/integration/operations/test_erps.py tests/integration/audit/test_scheduled.py tests/cases/test_recovery_restore.py \
		-k "workflows or kept_event or forgotten_position or sweeps or alerts or erps or scheduled or r7"

.PHONY: proto
proto: setup ## Generate closedwon/pubsub_api from its eventbus.proto again
	@$(BIN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. closedwon/pubsub_api/eventbus.proto

.PHONY: docs
docs: setup ## Write the generated pages in docs/ again
	@$(BIN)/python -m workflows.order_diagram > docs/order-states.md
	@$(BIN)/python -m workflows.attention_page > docs/operate/attention-reasons.md
	@$(BIN)/python -m tests.release.licenses > docs/licenses.md
	@$(BIN)/python -m tests.release.sbom > deploy/image/sbom.cdx.json

.PHONY: image
image: setup ## Build the image closedwon:latest; BASE="…" names its base, BUILDER=docker, podman or buildah the builder
	@rm -rf dist && $(BIN)/python -m hatchling build -t wheel -d dist
	@$(BUILDER) build $(if $(filter buildah,$(BUILDER)),--isolation chroot) $(if $(BASE),--build-arg BASE=$(BASE)) \
		--file deploy/image/Dockerfile --tag closedwon:latest $(ARGS) .

.PHONY: manifests
manifests: setup ## Render deploy/kubernetes from the chart (needs helm)
	@$(BIN)/python -m tests.release.manifests

.PHONY: screenshots
screenshots: setup ## Take the pictures in docs/images again (needs Chromium)
	@CLOSEDWON_KEEP_SCREENSHOTS=1 $(BIN)/pytest -q tests/e2e/test_ui.py tests/e2e/test_pages.py

.PHONY: release-check
release-check: setup ## Build what would be released, and try it in empty environments, on each Python on the PATH
	@$(BIN)/python -m tests.release $(ARGS)

.PHONY: clean
clean: ## Remove everything that was made, .venv and the demo's data too
	rm -rf $(VENV) .closedwon build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
