# make rehearsal   the whole site.yml on two pretend nodes of this machine; STACK=current: with the other stack
# make test        lint, unit tests, and the site on two molecule nodes, a sample of faults included
# make test-faults what the product says of 122 composed and 19 injected faults, scored; resumed and broken runs; links planted for root
# make test-checks every check's fault put into two pretend nodes: found, and nobody accused wrongly; what can be mended is mended
# make test-run    a run is broken in every way, on two pretend nodes and on supervisors of this machine; CASES="split storm": only these;
#                  ARGS=--write-docs writes what the user saw into docs/run.md
# make test-upstream MEGATRON_URL=… ASCENDSPEED_URL=…   the same roles with the real training code
# make check-upstream MEGATRON_URL=… MINDSPEED_URL=… [MEGATRON_VERSION=… MINDSPEED_VERSION=…]   what a newer training code has otherwise
# make bench       the preprocessor's speed against upstream's way and the tokenizers library's; ARGS=--memory: its memory on 2 GB
# make bench-checks what a look at 2, 16 and 64 hosts costs the controller; ARGS=--write-docs writes it into docs/checks.md
# make bench-run   the supervisors of a run: 16 real ones, and a hub with 256 and 1,000 members (docs/run.md)
# make test-vm     sharing by NFS, on two virtual machines
# make clean       remove everything that these made
#
# Each sets up what it needs (Debian/Ubuntu, Python 3.11+, root or sudo).
.DELETE_ON_ERROR:
.PHONY: rehearsal test test-faults test-checks test-run test-upstream check-upstream test-vm bench bench-checks bench-run lint unit shim molecule clean
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
export PATH := $(CURDIR)/$(BIN):$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# A folder of this checkout's own: molecule's choice is the same for every checkout of this name.
export MOLECULE_EPHEMERAL_DIRECTORY := $(CURDIR)/.rehearsal/molecule
# ARGS go to ansible-playbook: make rehearsal ARGS="--tags dataset"
ARGS ?=
# auto: the real Megatron-LM and AscendSpeed where their urls answer, else the stand-ins. PLAN=recipe: 2 x 8 ranks, TP2 PP4 EP2.
UPSTREAM ?= auto
PLAN ?= small
# recipe: Megatron-LM and AscendSpeed of 2024; current: those of 2026 (docs/stacks.md).
STACK ?= recipe
# vm: two virtual machines, the data shared by NFS, a reboot of the worker; with the stand-ins and a small plan of its own.
NODES ?= containers
export MEGATRON_URL ASCENDSPEED_URL STACK MINDSPEED_URL MEGATRON_VERSION MINDSPEED_VERSION

rehearsal: $(VENV)/.done .rehearsal/.packages $(if $(filter vm,$(NODES)),.rehearsal/.machines)
	python -m rehearsal run --nodes $(NODES) --stack $(STACK) --upstream $(UPSTREAM) --plan $(PLAN) -- $(ARGS)

# Two at a time: playing against nodes is waiting for the most part.
test: $(VENV)/.done .rehearsal/.packages
	$(MAKE) --no-print-directory --jobs=2 molecule lint unit shim

lint: $(VENV)/.done .rehearsal/.packages
	ruff check .
	mypy
	yamllint --strict .
	ansible-lint --offline --profile production
	ansible-playbook site.yml -i inventory/ascend --syntax-check
	shellcheck $$(git grep -lE '^#!(/usr)?/bin/(env )?(ba)?sh' -- ':!*.j2')

# On all processors. A file's tests stay together: what they share is made once.
PARALLEL := --numprocesses $$(nproc) --dist loadfile --no-loadscope-reorder

unit: $(VENV)/.done .rehearsal/.packages
	pytest $(PARALLEL)

# What needs torch: the stand-ins of torch_npu and apex against plain torch, and the trainer's.
shim: .rehearsal/torch/.done
	.rehearsal/torch/bin/python -m pytest $(PARALLEL) tests/shim tests/standin

molecule: $(VENV)/.done .rehearsal/.packages
	python -m rehearsal.artifacts
	molecule test -s site

# Fails when ranks are named wrongly or anybody innocent is blamed.
test-faults: $(VENV)/.done .rehearsal/.packages
	PYTHONPATH=collections python -m tests.faults.score $(ARGS)
	python -m tests.faults.injected
	python -m rehearsal.artifacts
	MOLECULE_EPHEMERAL_DIRECTORY=$(CURDIR)/.rehearsal/molecule-faults molecule test -s faults

# Fails when a fault is not found or anybody is accused wrongly. CHECKS="link tls_switch": only these.
test-checks: $(VENV)/.done .rehearsal/.packages
	PYTHONPATH=collections python -m tests.checks.score $(CHECKS)
	[ -n "$(CHECKS)" ] || PYTHONPATH=collections python -m tests.checks.mend

# Fails when a case ends otherwise than expected, names anybody else, or leaves a process.
test-run: $(VENV)/.done .rehearsal/.packages
	PYTHONPATH=collections:roles/pretrain/files python -m tests.run $(CASES) $(ARGS)

# Fails, and does not skip, where the urls do not answer. Two nodes of its own.
test-upstream: $(VENV)/.done .rehearsal/.packages .rehearsal/plans/.done
	python -m rehearsal.artifacts real $(STACK)
	pytest tests/upstream

# With `current`, unless STACK is told.
check-upstream: STACK := $(if $(filter file,$(origin STACK)),current,$(STACK))
check-upstream: $(VENV)/.done .rehearsal/.packages .rehearsal/plans/.done
	python -m rehearsal.check_upstream --stack $(STACK)

# Alone on the machine, please: it fails when a ratio misses its limit.
bench: .rehearsal/bench/venv/.done
	.rehearsal/bench/venv/bin/python -m bench $(ARGS)

# Hosts that are not there: no nodes are needed. Alone on the machine, please.
bench-checks: $(VENV)/.done
	python -m bench.checks $(ARGS)

# Alone on the machine, please. ARGS=--write-docs: into docs/run.md.
bench-run: $(VENV)/.done
	PYTHONPATH=roles/pretrain/files python -m bench.run $(ARGS)

# A cluster folder of its own.
test-vm: export MOLECULE_EPHEMERAL_DIRECTORY := $(CURDIR)/.rehearsal/molecule-nfs
test-vm: $(VENV)/.done .rehearsal/.packages .rehearsal/.machines
	molecule test -s nfs

$(VENV)/.done: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed, found: $$($(PYTHON) --version 2>&1). Set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || bash rehearsal/packages.sh python3-venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

.rehearsal/.packages: rehearsal/packages.sh rehearsal/containers/podman.py | $(VENV)/.done
	mkdir -p .rehearsal
	bash rehearsal/packages.sh $$(python -m rehearsal.containers check) shellcheck makeself g++ make \
	    dnf rpm createrepo-c
	touch $@

.rehearsal/.machines: rehearsal/packages.sh rehearsal/machines/qemu.py | $(VENV)/.done
	mkdir -p .rehearsal
	bash rehearsal/packages.sh $$(python -m rehearsal.machines check)
	touch $@

.rehearsal/torch/.done: rehearsal/constraints.txt requirements-dev.txt | $(VENV)/.done .rehearsal/.packages
	python -m rehearsal.artifacts
	$(PYTHON) -m venv .rehearsal/torch
	.rehearsal/torch/bin/pip install --quiet --disable-pip-version-check --constraint rehearsal/constraints.txt \
	    $$(ls .rehearsal/artifacts/wheels/torch-*.whl) numpy setuptools $$(grep -E '^(pytest|pytest-xdist|hypothesis)==' requirements-dev.txt)
	touch $@

# What the real code imports, for the plans that it is asked about.
.rehearsal/plans/.done: rehearsal/constraints.txt | $(VENV)/.done .rehearsal/.packages
	python -m rehearsal.artifacts
	$(PYTHON) -m venv .rehearsal/plans
	.rehearsal/plans/bin/pip install --quiet --disable-pip-version-check --constraint rehearsal/constraints.txt \
	    $$(ls .rehearsal/artifacts/wheels/torch-*.whl) einops numpy psutil scipy setuptools six transformers
	touch $@

.rehearsal/bench/venv/.done: bench/requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed, found: $$($(PYTHON) --version 2>&1). Set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || bash rehearsal/packages.sh python3-venv
	$(PYTHON) -m venv .rehearsal/bench/venv
	.rehearsal/bench/venv/bin/pip install --quiet --disable-pip-version-check -r bench/requirements.txt
	touch $@

clean:
	-[ ! -x $(BIN)/python ] || $(BIN)/python -m rehearsal.machines clean
	-[ ! -x $(BIN)/python ] || $(BIN)/python -m rehearsal.containers clean
	rm -rf .rehearsal $(VENV) .ansible .mypy_cache .ruff_cache .pytest_cache .hypothesis
