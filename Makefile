# Each target works as the first command in a fresh clone: it makes .venv by itself.
PYTHON ?= python3
BIN := .venv/bin

# The newest Python that runs, and the oldest that we support.
NEWEST_PYTHON ?= $(shell for python in python3.13 python3.12; do $$python -c "" 2>/dev/null && echo $$python && exit; \
	done; echo python3)
OLDEST_PYTHON ?= python3.11
# A version of torch in place of the newest or oldest, as in `make test-oldest OLDEST_TORCH=2.13.0`.
NEWEST_TORCH ?=
OLDEST_TORCH ?=

.PHONY: demo test test-slow test-newest test-oldest test-io-newest test-pretrained check clean

demo: .venv/ready
	$(BIN)/unetkit demo

test: .venv/ready
	$(BIN)/python -m pytest -m "not slow"

# What `make test` leaves out: kills, clusters, recipes from end to end, every kind of net in 3D.
test-slow: .venv/ready
	$(BIN)/python -m pytest -m slow

# constraints.txt says what `make test` ran with; pip takes what is newest. pip upgrades an environment that is there.
test-newest:
	$(NEWEST_PYTHON) -m venv .venv-newest
	.venv-newest/bin/pip install --quiet --upgrade --upgrade-strategy eager torch$(addprefix ==,$(NEWEST_TORCH)) -e ".[dev]"
	.venv-newest/bin/python -m pytest

# The lower bounds of pyproject.toml. Old releases warn of what the newest of their own requirements have deprecated, as
# matplotlib 3.8 does of pyparsing.
test-oldest:
	$(OLDEST_PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python tests/requirements.py oldest $(OLDEST_TORCH) > .venv-oldest/pins.txt
	.venv-oldest/bin/pip install --quiet -r .venv-oldest/pins.txt
	.venv-oldest/bin/pip install --quiet --no-deps -e .
	.venv-oldest/bin/python -m pytest -W ignore::DeprecationWarning

# Formats change most often, and their tests need no torch: in a minute or two, newest Python, newest readers.
test-io-newest:
	$(NEWEST_PYTHON) -m venv .venv-io-newest
	.venv-io-newest/bin/python tests/requirements.py files > .venv-io-newest/names.txt
	.venv-io-newest/bin/pip install --quiet --upgrade --upgrade-strategy eager -r .venv-io-newest/names.txt
	.venv-io-newest/bin/pip install --quiet --no-deps -e .
	.venv-io-newest/bin/python -m pytest tests/io

# timm needs torchvision, which does not import beside the CPU build of torch 2.13: an environment of its own, of 6 GB.
test-pretrained:
	$(PYTHON) -m venv .venv-pretrained
	.venv-pretrained/bin/pip install --quiet torch==2.14.1 torchvision==0.29.1 timm
	.venv-pretrained/bin/pip install --quiet -e ".[dev]"
	.venv-pretrained/bin/python -m pytest tests/nets/test_timm.py tests/nets/test_pretrained.py

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# torch first and by version: a range would bring the CUDA build.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf .venv .venv-* .pytest_cache .mypy_cache .ruff_cache
