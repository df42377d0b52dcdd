# Every target makes its environment first, if that is not done; scripts/setup says what goes into it.

READY := .venv/ready
COMPILED_READY := .venv-compiled/ready
BENCH_READY := .venv-bench/ready

.PHONY: setup compiled demo test test-compiled test-pythons fuzz check bench

setup: $(READY)

# anyfc as it is installed on servers: with the hot path compiled, which takes four minutes.
compiled: $(COMPILED_READY)

demo: $(READY)
	.venv/bin/anyfc demo

test: $(READY)
	.venv/bin/pytest

# What a compiled hot path could break, on one: real servers, real clients, and all that the cloud does.
test-compiled: $(COMPILED_READY)
	.venv-compiled/bin/pytest -q tests/conformance tests/contract tests/system

# What runs inside the sandbox, on every Python of this machine and not only on two of them.
test-pythons: $(READY)
	ANYFC_TEST_PYTHONS=all .venv/bin/pytest -q tests/unit/bootstrap

# Property tests again, with other examples each time and twenty times as many.
fuzz: $(READY)
	ANYFC_TEST_PROFILE=fuzz .venv/bin/pytest -q $$(grep -rl --include='*.py' '^from hypothesis' tests/unit tests/contract)

check: $(READY)
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/pytest -q tests/test_layers.py

bench: $(COMPILED_READY) $(BENCH_READY)
	.venv-bench/bin/python -m bench

$(READY): requirements/dev.lock pyproject.toml scripts/setup
	scripts/setup

$(COMPILED_READY): requirements/dev.lock pyproject.toml scripts/setup hatch_build.py $(shell find src -name '*.py')
	scripts/setup compiled

$(BENCH_READY): bench/requirements.lock scripts/setup
	scripts/setup bench
