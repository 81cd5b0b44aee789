# The environment is .venv here; `make env` makes it, or brings it up to date when the requirements changed.
# PYTHON=python3.12 make env   chooses another interpreter (3.11 to 3.13).
.DELETE_ON_ERROR:
.PHONY: env demo test slow slurm check lock bench reference

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RESULTS ?= results

env: $(STAMP)

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else \
	  f"ser_ray needs Python 3.11 to 3.13, {sys.executable} is {v[0]}.{v[1]}: PYTHON=python3.12 make env")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(STAMP): requirements.lock pyproject.toml | $(BIN)/uv
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv pip install --quiet --require-hashes -r requirements.lock
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv pip install --quiet --no-deps --editable .
	@touch $@

# a small sweep on the built-in corpus, with its leaderboard and report
demo: env
	$(BIN)/python -m ser_ray.sweep sweeps/demo.yaml --results $(RESULTS)
	$(BIN)/python -m ser_ray report $(RESULTS)/demo

# tests start hundreds of processes: where the environment forbids to keep bytecode, each would compile Ray and PyTorch
test slow slurm: export PYTHONDONTWRITEBYTECODE =

# every test that this machine can run in minutes; the end says what was skipped and why
test: env
	$(BIN)/python -m pytest -rs -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not slurm"

# those that wait long, such as for a node that dies
slow: env
	$(BIN)/python -m pytest -rs -n 2 --dist loadfile --no-loadscope-reorder -m "slow and not slurm"

# on a real SLURM controller with two nodes, in namespaces of this machine; needs root and Debian's slurm-wlm and munge
slurm: env
	$(BIN)/python -m pytest -rs -n 2 --dist loadfile --no-loadscope-reorder -m slurm

check: env
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

lock: $(BIN)/uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-header --quiet --upgrade -o requirements.lock

bench: env
	@for b in benchmarks/bench_*.py; do echo "== $$b"; $(BIN)/python $$b || exit 1; done

# trains the reference sweep anew and keeps its rows; only when numbers are meant to move (say why in CHANGELOG)
reference: env
	$(BIN)/python -m ser_ray.sweep results/reference/sweep.yaml --results $(RESULTS)/anew
	$(BIN)/python results/keep.py $(RESULTS)/anew/reference results/reference
