# Everything starts here: `make reproduce`, `make test`; `make help` lists the rest.

PYTHON ?= python3
VENV ?= .venv
CORES ?= all
CONFIG ?=
PROFILE ?= default
ARGS ?=

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

# The library is used from where it lies, so the environment holds the locked requirements and nothing else.
export PYTHONPATH := $(CURDIR)/workflow/lib

# Settings of pip's in the shell that would put packages elsewhere than into the environment.
export PIP_USER := 0
unexport PIP_TARGET PIP_PREFIX PIP_ROOT

# Modules are compiled when first imported, not at installation: most never are, and compiling all of them takes as long
# as the rest of the set-up. What is compiled must then be kept, also where the shell says otherwise.
export PYTHONDONTWRITEBYTECODE :=

# Snakemake takes all that follows --configfile for files, up to the next flag.
SNAKEMAKE = $(VENV)/bin/snakemake $(if $(CONFIG),--configfile $(CONFIG)) --workflow-profile profiles/$(PROFILE)

# On a cluster, the profile says how many jobs wait or run at a time, and the plugins that submit them are needed.
ON_CLUSTER = $(filter-out default,$(PROFILE))

# The run that is verified, from the same files in the same order as Snakemake reads them; known once the
# environment exists. Of `make reproduce`, Snakemake itself says which run it made.
RUN = $(shell $(VENV)/bin/python -c 'import sys, yaml; print([c["run"] for c in map(yaml.safe_load, map(open, sys.argv[1:])) if "run" in c][-1])' config/config.yaml $(CONFIG))

.PHONY: help setup reproduce verify smoke check test test-cluster test-all docs bench equivalence lock clean
.DEFAULT_GOAL := help

help:
	@echo "make reproduce   set up, run the whole workflow up to its report, print the claims"
	@echo "                   CORES=2                    processor cores to use (default: all)"
	@echo "                   CONFIG=config/smoke.yaml   settings that override config/config.yaml"
	@echo "                   PROFILE=slurm              submit to a cluster; docs/cluster.md"
	@echo "                   ARGS='--forcerun figure'   any further flag or target of snakemake; of a part, no report"
	@echo "                   SNAKEMAKE_REPORT=1         Snakemake's own report of rules, code and times beside it"
	@echo "make verify      whether a finished run is whole and as it was written; CONFIG= as for reproduce, or RUN=name"
	@echo "make smoke       the same workflow in some minutes, on tiny settings"
	@echo "make check       lint and the quick tests, under a minute"
	@echo "make test        set up, run lint and the tests; ARGS='-k train' goes to pytest"
	@echo "make test-cluster"
	@echo "                 the tests of the cluster profiles, on a Slurm that they start and on stand-ins for others"
	@echo "make test-all    both of them, and the site of docs/"
	@echo "make docs        build the site of docs/ into build/site, in an environment of its own"
	@echo "make bench       time training, also behind the front end, and search against plain loops; on a quiet machine"
	@echo "make equivalence train under each of the engine's settings and compare; an hour or more"
	@echo "make setup       only make $(VENV) and install requirements.lock into it"
	@echo "make lock        write requirements.lock anew from pyproject.toml"
	@echo "make clean       remove $(VENV) and caches; results stay"

setup: $(VENV)/.installed $(if $(ON_CLUSTER),$(VENV)/.installed-slurm)

# The stamp is written last, so an interrupted set-up is taken up again and a finished one is left alone.
$(VENV)/.installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Python >= 3.11 is needed, but $(PYTHON) is $$($(PYTHON) --version 2>&1); try make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
	    echo "$(PYTHON) has no venv module; install it (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --no-compile --disable-pip-version-check --requirement requirements.lock
	@touch $@

$(VENV)/.installed-slurm: requirements-slurm.lock $(VENV)/.installed
	$(VENV)/bin/python -m pip install --quiet --no-compile --disable-pip-version-check --requirement $<
	@touch $@

# Where all of a run was made, not a part or a plan of it, Snakemake leaves the run's settings in a note. Verdicts
# are then printed, of that very run, whatever flags its settings came by, and Snakemake's own report is made if wanted.
reproduce: setup
	@export MEMRNN_NOTE=$$(mktemp); trap 'rm -f "$$MEMRNN_NOTE"' EXIT; \
	call() { echo "$$*"; "$$@"; }; \
	call $(SNAKEMAKE) $(if $(ON_CLUSTER),,--cores $(CORES)) $(ARGS); \
	if [ -s "$$MEMRNN_NOTE" ]; then \
	    results=results/$$($(VENV)/bin/python -c 'import json, sys; print(json.load(sys.stdin)["run"])' < "$$MEMRNN_NOTE"); \
	    $(if $(SNAKEMAKE_REPORT),call $(SNAKEMAKE) --configfile "$$MEMRNN_NOTE" --report "$$results/snakemake_report.html";) \
	    $(VENV)/bin/python -m memrnn.analysis.claims "$$results"; \
	fi

verify: setup
	@$(VENV)/bin/python -m memrnn.run.verify results/$(RUN)

smoke: CONFIG = config/smoke.yaml
smoke: reproduce

# One thread per worker: two workers on two cores, without the libraries' own threads in each other's way. Whole files, in
# the order of tests/conftest.py, the longest first.
PYTEST = OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -q
TWO = -n 2 --dist loadfile --no-loadscope-reorder

check: setup
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .
	$(VENV)/bin/python -m snakefmt --check Snakefile workflow
	$(PYTEST) $(TWO) -m quick $(ARGS)

test: setup
	$(PYTEST) $(TWO) --ignore tests/workflow/test_cluster.py --ignore tests/workflow/test_site.py $(ARGS)

test-cluster: setup
	$(PYTEST) tests/workflow/test_cluster.py $(ARGS)

test-all: setup
	$(PYTEST) $(TWO) --durations 20 $(ARGS)

docs: $(VENV)-docs/.installed
	NO_MKDOCS_2_WARNING=1 $(VENV)-docs/bin/python -m mkdocs build --strict
	@echo "build/site/index.html; with the search: python3 -m http.server --directory build/site"

$(VENV)-docs/.installed: requirements-docs.lock
	$(PYTHON) -m venv $(VENV)-docs
	$(VENV)-docs/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

bench: setup
	$(VENV)/bin/python benchmarks/training.py $(ARGS)
	$(VENV)/bin/python benchmarks/slow_points.py
	$(VENV)/bin/python benchmarks/convnet.py

equivalence: setup
	$(VENV)/bin/python benchmarks/equivalence.py --cores $(CORES) $(ARGS)

# Local version tags (+cpu) and the packages of one kind of accelerator are left out: the lock must fit any machine.
lock:
	rm -rf $(VENV)-lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet --no-compile --disable-pip-version-check '.[workflow,dev]'
	{ echo "# Exact versions for Python 3.11 to 3.13; made from pyproject.toml by: make lock"; \
	  $(VENV)-lock/bin/python -m pip freeze --exclude memrnn | sed 's/+[a-z0-9.]*$$//' \
	  | grep -v -E '^(nvidia-|cuda-|triton)'; } > requirements.lock.new
	mv requirements.lock.new requirements.lock
	$(VENV)-lock/bin/python -m pip install --quiet --no-compile --disable-pip-version-check '.[slurm]'
	{ echo "# What clusters need on top of requirements.lock; made from pyproject.toml by: make lock"; \
	  echo "--requirement requirements.lock"; \
	  $(VENV)-lock/bin/python -m pip freeze --exclude memrnn | grep '^snakemake-executor-plugin-'; } > requirements-slurm.lock.new
	mv requirements-slurm.lock.new requirements-slurm.lock
	rm -rf $(VENV)-lock build workflow/lib/*.egg-info
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet --disable-pip-version-check $$($(PYTHON) -c \
	    'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"])')
	{ echo "# What the site of docs/ needs, apart from requirements.lock; made from pyproject.toml by: make lock"; \
	  $(VENV)-lock/bin/python -m pip freeze; } > requirements-docs.lock.new
	mv requirements-docs.lock.new requirements-docs.lock
	rm -rf $(VENV)-lock

clean:
	rm -rf $(VENV) $(VENV)-lock $(VENV)-docs .pytest_cache .ruff_cache .hypothesis build workflow/lib/*.egg-info
	find benchmarks config envs tests workflow -name __pycache__ -type d -prune -exec rm -rf {} +
