# Two commands do everything on a fresh machine: `make demo` and `make test`. Both make .venv if it is not there.

PYTHON ?= python3
BIN := .venv/bin
REQUIREMENTS := requirements/runtime.txt requirements/no-deps.txt requirements/dev.txt

.PHONY: help demo train-demo test test-slow lint clean

help:
	@echo "make demo       restore a real clip with official weights; results in work_dirs/demo"
	@echo "make train-demo train a small network on real clips, on a CPU (about 10 minutes); results in work_dirs/train_demo"
	@echo "make test       run the tests (minutes); make test-slow runs the slow ones as well"
	@echo "make lint       check the style"
	@echo "make clean      remove .venv and the demos' results"
	@echo "PYTHON=python3.12 make ... uses another Python, 3.10 to 3.12"

demo: .venv/ready
	$(BIN)/python tools/demo.py

train-demo: .venv/ready
	$(BIN)/python tools/train_demo.py

test: .venv/ready
	$(BIN)/python -m pytest

test-slow: .venv/ready
	$(BIN)/python -m pytest -m "slow or not slow"

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf .venv work_dirs/demo work_dirs/train_demo

# The stamp is written last, so an interrupted installation is taken up again.
.venv/ready: $(REQUIREMENTS) setup.py
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || \
		{ echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1), Python 3.10 to 3.12 is needed; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/runtime.txt -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements/no-deps.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	$(BIN)/python -m vsr_plugin env
	@touch $@
