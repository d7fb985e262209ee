# What each target does: README.md. PYTHON names another interpreter (3.11 or newer) for the environment.
PYTHON ?= python3
BIN := .venv/bin
BOOTSTRAP = PYTHONPATH=hub_config $(PYTHON) -m toolkit_hub.host.bootstrap

.PHONY: run test lint bench faults setup runtime

run: setup
	@$(BIN)/python -m toolkit_hub.host.run

setup: .venv/.run
	@$(BIN)/python -m toolkit_hub.host.setup

runtime: .venv/.run
	@$(BIN)/python -m toolkit_hub.host.setup --only engine
	@$(BIN)/python -m toolkit_hub.host.setup --only runtime

test: .venv/.dev
	@$(BIN)/python -m toolkit_hub.host.setup --for-tests
	@$(BIN)/python -m pytest $(ARGS)

lint: .venv/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: .venv/.dev
	@$(BIN)/python -m toolkit_hub.host.setup --for-tests
	@$(BIN)/python -m tests.bench $(if $(ONLY),--only $(ONLY))

faults: .venv/.dev
	@$(BIN)/python -m toolkit_hub.host.setup --for-tests
	@$(BIN)/python -m pytest tests/faults -m 'not sample' $(ARGS)

.venv/.run: pyproject.toml
	@$(BOOTSTRAP) run

.venv/.dev: pyproject.toml
	@$(BOOTSTRAP) dev
