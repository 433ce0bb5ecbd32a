# Everything starts from a fresh checkout and only needs Python >= 3.11, pip, git and make.
PYTHON ?= python3
SYSTEM ?= leave-attendance
BIN := .venv/bin

.PHONY: help setup drill drills all-drills test root lint types sweep fuzz differential faults planted study bench lock clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: .venv/.installed  ## make .venv with everything in it

# Debian ships Python without ensurepip: the environment is then made without pip and filled from outside.
.venv/.installed: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "tocsin: expected Python >= 3.11 as $(PYTHON), found $$($(PYTHON) --version). Try PYTHON=python3.12"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv 2>/dev/null || $(PYTHON) -m venv --clear --without-pip .venv
	@echo "installing into .venv (about a minute)"
	@$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

drill: setup  ## drill SYSTEM on the embedded sandbox and print the verdict
	@$(BIN)/tocsin run experiments/$(SYSTEM)

all-drills: setup  ## every experiment of every system, side by side
	@$(BIN)/tocsin run experiments --parallel auto

# Tests mostly wait: more at once than there are cores. What has a sandbox together stays together, the longest begin
# first, and only the files of a kind are collected, once a worker.
BESIDE := --dist loadgroup --no-loadscope-reorder

test: setup lint types  ## lint, types, tests, planted bugs, healthy runs, a bounded kill sweep
	@$(BIN)/pytest -n 3 --dist loadgroup --ignore tests/root \
		-m 'not planted and not sweep and not account and not drill and not all_drills'
	@$(BIN)/pytest -n 3 $(BESIDE) \
		-m 'planted or sweep' tests/planted tests/sweep tests/commands/parallel/test_side_by_side.py

drills: setup  ## the rest of the tests: every fault on the replicas, their drills, every experiment
	@$(BIN)/pytest -n 3 $(BESIDE) \
		-m 'account or drill' tests/drill tests/second_target tests/commands/test_starts.py tests/sandbox/parts/test_containers.py
	@$(BIN)/pytest -m 'all_drills' tests/drill/test_all_drills.py tests/clocked

root: setup  ## what only root can show: umasks, PostgreSQL under nobody, users of other kinds
	@$(BIN)/pytest -n 3 $(BESIDE) tests/root

lint: setup  ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup  ## mypy --strict on src/
	@$(BIN)/mypy

sweep: setup  ## end N=200 drills at every boundary and by chance, most by SIGKILL; recover, compare the account (SEED=... repeats, JOBS=2, PARALLEL=60 also ends runs side by side)
	@$(BIN)/python -m tests.sweep --kills $(or $(N),200) $(if $(JOBS),--jobs $(JOBS)) $(if $(SEED),--seed $(SEED)) \
		$(if $(PARALLEL),--parallel $(PARALLEL))

fuzz: setup  ## spoil N=1000 files of every kind that people write: each gets an answer (SEED=... repeats)
	@$(BIN)/python -m tests.fuzz --cases $(or $(N),1000) $(if $(SEED),--seed $(SEED))

differential: setup  ## CASES=24000 random alarms against a second evaluator, which sees MUTANTS=30; WINDOWS=30 of Prometheus (SEED=...)
	@$(BIN)/python -m tests.differential --cases $(or $(CASES),24000) --mutants $(or $(MUTANTS),30) \
		--windows $(or $(WINDOWS),30) $(if $(SEED),--seed $(SEED))

faults: setup  ## every fault against every documented error of every call it makes: keeps docs/FAULT_ERRORS.md
	@$(BIN)/python -m tests.faults.table

planted: setup  ## the shelf of planted bugs and 20 healthy runs: prints the table, keeps it in docs/PLANTED_BUGS.md
	@$(BIN)/python -m tests.planted

study: setup  ## how many answers a pass takes: works out the tables of docs/ANSWERS.md
	@$(BIN)/python -m tests.study

bench: setup  ## measure, and print a table
	@$(BIN)/python -m benchmarks.run

lock: setup  ## renew requirements.lock from pyproject.toml
	@$(BIN)/uv pip compile --universal --generate-hashes --extra sandbox --extra dev --extra build \
		--no-emit-index-url --no-header --quiet --output-file requirements.lock pyproject.toml

clean:  ## remove everything that was made here
	rm -rf .venv .tocsin .pytest_cache .mypy_cache .ruff_cache .hypothesis
