# `make` alone lists what there is. PYTHON chooses the interpreter that the environments are made from.
PYTHON ?= python3
BASE = .venv-demo
DEV = .venv
CHECKOV = .venv-checkov
TRITON = .venv-triton
TRITON_PYTHON ?= /usr/bin/python3.11
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check --constraint .ci/constraints.txt

.PHONY: help demo test lint unit protos docs crds dashboards images released score bench kills sim e2e checkov engines-check triton test-gpu clean

help: ## List the commands.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-13s %s\n", $$1, $$2}'

demo: $(BASE)/ready ## Set up without torch, start Longtake, make one of everything, show it on a page.
	@$(BASE)/bin/longtake demo

test: $(DEV)/ready lint unit sim ## Set up, then all that must be green: lint, unit and sim.

lint: $(DEV)/ready ## Check style, types, layers, protos, and that generated files are current.
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/ruff check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports
	$(DEV)/bin/buf lint protos
	$(DEV)/bin/buf breaking protos --against protos/released.binpb
	$(DEV)/bin/python protos/generate.py --check
	$(DEV)/bin/python docs/generate.py --check
	$(DEV)/bin/python -m operators.api.schema --check
	$(DEV)/bin/python -m helm.monitoring --check

unit: $(DEV)/ready ## Run all tests; those that share the one local Ray go to one worker, beside the rest.
	$(DEV)/bin/python -m pytest -n 2 --dist loadgroup

protos: $(DEV)/ready ## Generate serving/gen from the protos again.
	$(DEV)/bin/python protos/generate.py

docs: $(DEV)/ready ## Generate docs/settings.md from the settings again.
	$(DEV)/bin/python docs/generate.py

crds: $(DEV)/ready ## Generate the chart's CRDs from operators/api again.
	$(DEV)/bin/python -m operators.api.schema

dashboards: $(DEV)/ready ## Generate the chart's dashboards from helm/monitoring again.
	$(DEV)/bin/python -m helm.monitoring

images: ## Write both container images as OCI archives; needs root, debootstrap and umoci, and no engine for containers.
	PYTHON=$(PYTHON) helm/images/build

released: $(DEV)/ready ## At a release, keep its protos: `make lint` refuses later ones that would break its clients.
	$(DEV)/bin/buf build protos --exclude-source-info --output protos/released.binpb

score: $(BASE)/ready ## Score the shipped model through its shipped engines.
	$(BASE)/bin/longtake models score --table directed --table memory --table waiting

bench: $(DEV)/ready ## Run the benchmarks and print their table.
	$(DEV)/bin/python -m loadtests

kills: $(DEV)/ready ## Kill and stop processes of a real Longtake while it works, 200 times; nothing may be lost.
	$(DEV)/bin/python -m loadtests.kills --blows $(or $(KILLS),200)

sim: $(DEV)/ready ## Simulate 8,000 jobs whose processes, clocks and store fail in every way; LIVES=200000 for longer.
	$(DEV)/bin/python -m tests.sim --lives $(or $(LIVES),8000) --seed $(or $(SEED),0) --pairs $(or $(PAIRS),2000)

e2e: $(DEV)/ready ## On a Kubernetes cluster with KubeRay: install, make, kill, upgrade, scale, remove; docs/kubernetes.md.
	$(DEV)/bin/python -m pytest tests/e2e -x -v

checkov: $(DEV)/ready $(CHECKOV)/ready ## Put all that the chart renders and the operator makes to checkov; needs helm.
	$(DEV)/bin/python -m tests.checkov $(CHECKOV)/bin/checkov

engines-check: $(DEV)/ready ## Install TensorRT-RTX, and compile every graph for GPUs; none is needed.
	$(DEV)/bin/python $(PIP_INSTALL) -e '.[tensorrt_rtx]' tensorrt-cu13-bindings
	$(DEV)/bin/python -m pytest tests/unit/engines/runtimes/tensorrt tests/unit/serving/cli/test_engine_variants.py
	$(DEV)/bin/python -m tests.engines_check

triton: $(TRITON)/ready ## Install a Triton Inference Server, which some tests start; needs a Debian's own Python 3.11 in TRITON_PYTHON.

test-gpu: $(DEV)/ready ## Where a GPU is: parity, resume and speed of engines compiled for it, in ten minutes at most.
	timeout 600 $(DEV)/bin/python -m pytest tests/gpu -s -v --timeout 600

clean: ## Remove the environments and what the demo made.
	rm -rf $(BASE) $(DEV) $(CHECKOV) $(TRITON) demo-output build

$(TRITON)/ready: Makefile .ci/constraints.txt
	@echo "Setting up $(TRITON) (once) ..."
	@$(TRITON_PYTHON) -m venv $(TRITON)
	@$(TRITON)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  nvidia-pytriton==0.7.0 numpy==1.26.4 $$(grep '^onnxruntime==' .ci/constraints.txt)
	@touch $@

$(CHECKOV)/ready: Makefile
	@echo "Setting up $(CHECKOV) (once) ..."
	@$(PYTHON) -m venv $(CHECKOV)
	@$(CHECKOV)/bin/python -m pip install --quiet --disable-pip-version-check checkov==3.3.30
	@touch $@

$(BASE)/ready: pyproject.toml .ci/constraints.txt
	@echo "Setting up $(BASE) (once) ..."
	@$(PYTHON) -m venv $(BASE)
	@$(BASE)/bin/python $(PIP_INSTALL) -e .
	@touch $@

$(DEV)/ready: pyproject.toml .ci/constraints.txt
	@echo "Setting up $(DEV) (once) ..."
	@$(PYTHON) -m venv $(DEV)
	@$(DEV)/bin/python $(PIP_INSTALL) -e '.[dev]'
	@touch $@
