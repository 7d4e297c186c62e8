# Two commands matter: `make lab` runs the mesh, `make test` passes the tests. Both install what they need into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXAMPLE ?= two-networks

.PHONY: lab down test test-all check unit scenarios proto bench lock format clean help
.DEFAULT_GOAL := help

help:  ## what there is
	@awk -F ':.*  ## ' '/^[a-z-]+:.*  ## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

lab: $(STAMP)  ## start an example (EXAMPLE=two-networks), wait, verify, leave it running
	@$(BIN)/isthmus lab up examples/$(EXAMPLE)
	@$(BIN)/isthmus lab verify examples/$(EXAMPLE)

down: $(STAMP)  ## stop the example
	@$(BIN)/isthmus lab down examples/$(EXAMPLE)

test: check  ## everything: checks, unit, playbooks, lab scenarios
	$(BIN)/pytest tests -m "not lab"
	$(BIN)/pytest tests -m "lab and not full"  # its own process: it forks into namespaces, which gRPC's threads would not survive

test-all: check  ## the same with the full matrix of models and faults: about an hour
	$(BIN)/pytest tests -m "not lab"
	ISTHMUS_MATRIX=docs/matrix.md $(BIN)/pytest tests -m lab --durations=20

unit: $(STAMP)  ## the tests that need no namespaces
	$(BIN)/pytest tests -m "not lab"

scenarios: $(STAMP)  ## the tests with real Envoys in namespaces
	$(BIN)/pytest tests -m "lab and not full"

check: $(STAMP)  ## format, lint, types, floors, generated code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest tests/proto

format: $(STAMP)  ## put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)  ## measure; results go to BENCHMARKS.md by hand
	$(BIN)/python -m benchmarks

proto: $(STAMP)  ## generate Python from the .proto files
	$(BIN)/python -m isthmus.proto.generate

lock: $(STAMP)  ## pin what pyproject.toml asks for
	$(BIN)/uv pip compile -q --upgrade --extra dev --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
		-p 3.11 --universal pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
		-p 3.11 --universal -c requirements.lock pyproject.toml -o requirements-run.lock  # what the images hold

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name it: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked packages into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

clean:  ## remove what make made; labs that run are ended by make down
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
