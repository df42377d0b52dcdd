# Every target makes its environment first, if that is not done; scripts/setup says what goes into it.

READY := .venv/ready
BENCH_READY := .venv-bench/ready

.PHONY: setup demo test test-pythons fuzz check bench

setup: $(READY)

demo: $(READY)
	.venv/bin/anyfc demo

test: $(READY)
	.venv/bin/pytest

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

bench: $(READY) $(BENCH_READY)
	.venv-bench/bin/python -m bench

$(READY): requirements/dev.lock pyproject.toml scripts/setup
	scripts/setup

$(BENCH_READY): bench/requirements.lock scripts/setup
	scripts/setup bench
