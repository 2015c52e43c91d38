# `make home` makes one network to take home, `make repro` reproduces the results, `make paper` the paper's tables on
# ImageNet, `make check` checks the code in a minute or two, `make test` the pipeline as well, `make test-all` all of it. Each sets
# up what it needs.

UV_VERSION := 0.13.9
UV ?= $(shell command -v uv || echo .tools/bin/uv)
export MLFLOW_DISABLE_TELEMETRY := true
# Importing torch and timm takes 4 s where Python may keep compiled modules, 10 s where it may not.
unexport PYTHONDONTWRITEBYTECODE
unexport PYTHONSAFEPATH
# In a container, a user may have no name and no home (docker run --user 1234), which DVC, MLflow and uv ask for.
export LOGNAME := $(or $(LOGNAME),$(shell id -un 2>/dev/null),$(shell id -u))
ifneq ($(shell test -w "$$HOME" && echo writable),writable)
export HOME := $(CURDIR)/.cache/home
endif
# Everything that uv makes stays in the clone, but for its shared download cache.
export UV_PROJECT_ENVIRONMENT := .venv
RUN = $(UV) run --frozen

PYTEST = OMP_NUM_THREADS=1 $(RUN) pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: home repro paper check test test-all lint format ui

# One network of few values, its packed file and its page: of the profile that params.yaml names, or of your own pictures,
# with PICTURES=folder (a folder in it for every class) and MODEL=name of a timm model.
home: .venv
	@$(RUN) python -m stages.repro --home

# One command makes results in a clone at a time: a second one waits, and says for whom.
repro: .venv
	@$(RUN) python -m stages.repro
	@echo "Results: open reports/*/index.html; runs in MLflow: make ui"

# The paper's two tables on ImageNet, in IMAGENET=folder (train and val in it, a folder for every class in both). Further:
# MINI=10, the first ten images of each class only; NETWORKS=resnet18,resnet50; SEEDS=3, runs of each.
paper: .venv
	@$(RUN) python -m stages.paper

# Without the tests that need a finished `make repro`, and without other slow ones; fewer random examples.
check: .venv lint
	$(PYTEST) -m "not pipeline and not slow and not long" --hypothesis-profile quick

# Without clusters, kills, every command of the README, every runtime of the exports, every family of timm's, the paper's
# tables.
test: .venv lint
	$(PYTEST) -m "not long"

test-all: .venv lint
	$(PYTEST)

lint: .venv
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

format: .venv
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

# MLflow in the browser, on this machine only: the runs of the profile with their numbers, or one, with KEY=its key; on
# PORT=5000 where nothing else is said.
ui: .venv
	@$(RUN) python -m stages.ui

.venv: pyproject.toml uv.lock | $(filter .tools/bin/uv,$(UV))
	$(UV) sync --frozen
	@touch .venv

# Where uv is missing: from the Python registry, into a folder of this clone.
.tools/bin/uv:
	python3 -m pip install --quiet --disable-pip-version-check --target .tools uv==$(UV_VERSION)
