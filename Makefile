# Two commands do everything on a fresh machine: `make demo` and `make test`. Both make .venv if it is not there.

PYTHON ?= python3
BIN := .venv/bin
REQUIREMENTS := requirements/torch.txt requirements/runtime.txt requirements/no-deps.txt requirements/dev.txt

FULL := .venv-full/bin
# A wheel of mmcv 2.1.0 that was compiled for this Python and PyTorch; without one, compiling takes 21 minutes on 2 cores.
MMCV_WHEEL ?=
# Tests that run side by side, up to 2 GB each: one per core, at most four. `make test JOBS=0` runs them in one process.
JOBS ?= auto
MINUTES ?= 60
SIDE_BY_SIDE := -n $(JOBS) --maxprocesses 4 --dist worksteal

# They start one cluster after the other.
CLUSTER_TESTS := tests/cluster tests/restoration/test_on_cluster.py tests/studies/test_study_on_cluster.py \
	tests/benchmarks/test_cluster_use.py
# Where `make app` finds and puts videos.
ROOT ?= .

.PHONY: help app demo train-demo test test-app test-slow test-cluster test-export test-full-host fuzz lint clean

help:
	@echo "make demo       restore a real clip with official weights; results in work_dirs/demo"
	@echo "make app        open a page in the browser: previews of your own footage, a queue of jobs; ROOT=FOLDER says where it is"
	@echo "make train-demo train a small network on real clips, on a CPU (5 minutes); results in work_dirs/train_demo"
	@echo "make test       run the tests (minutes); make test-slow runs the slow ones as well"
	@echo "make test-cluster run the tests on Ray clusters that they start on this machine (minutes)"
	@echo "make test-app   install Gradio and Playwright into .venv and run the tests of the page; Chromium has to be there"
	@echo "make test-export  install onnx and onnxruntime into .venv and run the tests of the export"
	@echo "make test-full-host  run those that MMagic's host matters to beside compiled mmcv, torchvision, diffusers and all"
	@echo "                that MMagic imports, in .venv-full (MMCV_WHEEL=FILE, or compiles mmcv: 21 minutes)"
	@echo "make fuzz       feed odd and damaged files to what reads and joins videos, for MINUTES=60"
	@echo "make lint       check the style"
	@echo "make clean      remove .venv, .venv-full and the demos' results"
	@echo "PYTHON=python3.12 make ... uses another Python, 3.10 to 3.12"

app: .venv/app
	$(BIN)/python -m vsr_plugin app --open --root "$(ROOT)"

demo: .venv/ready
	$(BIN)/python tools/demo.py

train-demo: .venv/ready
	$(BIN)/python tools/train_demo.py

test: .venv/ready
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

test-slow: .venv/ready
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not cluster and not browser"

test-cluster: .venv/ready
	$(BIN)/python -m pytest -m "cluster or not cluster" $(CLUSTER_TESTS)

test-app: .venv/app
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/app-test.txt
	$(BIN)/python -m pytest tests/app -m "browser or not browser"

test-export: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/export.txt
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) tests/export

test-full-host: .venv-full/ready
	$(FULL)/python -m pytest $(SIDE_BY_SIDE) tests/apis tests/mmagic_host tests/training tests/models tests/weights \
		tests/evaluation/test_extra_metrics.py tests/test_registry.py tests/cli/test_environment.py

fuzz: .venv/ready
	$(BIN)/python tests/fuzzing/fuzz.py --minutes $(MINUTES)

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf .venv .venv-full work_dirs/demo work_dirs/train_demo

# The stamp is written last, so an interrupted installation is taken up again.
.venv/ready: $(REQUIREMENTS) setup.py
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || \
		{ echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1), Python 3.10 to 3.12 is needed; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(addprefix -r ,$(filter-out %no-deps.txt,$(REQUIREMENTS)))
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements/no-deps.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	$(BIN)/python -m vsr_plugin env
	@touch $@

.venv/app: .venv/ready requirements/app.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/app.txt
	@touch $@

.venv-full/ready: requirements/full-host.txt requirements/no-deps.txt requirements/dev.txt setup.py
	$(PYTHON) -m venv .venv-full
	$(FULL)/python -m pip install --quiet --disable-pip-version-check -r requirements/full-host.txt -r requirements/dev.txt
ifneq ($(MMCV_WHEEL),)
	$(FULL)/python -m pip install --quiet --disable-pip-version-check --no-deps $(MMCV_WHEEL)
else
	$(FULL)/python -m pip install --quiet --disable-pip-version-check "setuptools<81" wheel ninja psutil packaging
	MMCV_WITH_OPS=1 $(FULL)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation mmcv==2.1.0
endif
	$(FULL)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements/no-deps.txt
	$(FULL)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
# The wheel of torchvision on PyPI is for CUDA; beside a CPU build of PyTorch it needs help to be imported.
	$(FULL)/python -c "import torchvision" 2>/dev/null || \
		cp tests/full_host/sitecustomize.py "$$($(FULL)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	$(FULL)/python -W ignore -c "import torchvision, diffusers, lpips, mmcv.ops; from mmagic.apis import MMagicInferencer"
	$(FULL)/python -m vsr_plugin env
	@touch $@
