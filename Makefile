# make results/score_8folds.json   any target of the pipeline, with the environment that it needs
# make test                        every check, as the CI runs them
# make lint                        the checks without the tests
# make test-faults                 kills at 25 moments and full disks, for some 20 minutes
# make tables                      the tables of README and docs, from docs/measured
# make env                         only the environment; `make clean-env` removes it
#
# ENV=gpu uses the environment with Unsloth, CORES=2 limits the cores, ARGS='--resources gpu=4'
# passes options to snakemake, PYTHON=/path/to/python3.11 names the Python to start from.

# Plain `=`: variables of the same names in a user's shell (ENV is a common one) mean other things.
ENV = cpu
CORES = all
ARGS =
PYTHON = python3.11 python3 python3.12 python3.13

ifeq ($(filter cpu gpu,$(ENV)),)
$(error ENV=$(ENV): expected cpu or gpu)
endif

VENV = .venv$(if $(filter gpu,$(ENV)),-gpu)
BIN = $(VENV)/bin
NODEPS = $(wildcard envs/$(ENV).nodeps.lock)

# An installation ends with an empty file named for what was installed and where: a changed lock, a
# moved folder (its scripts name their Python by its full path) and an interrupted installation all
# lack theirs, and start anew.
LOCKS = envs/$(ENV).lock $(NODEPS)
READY := $(VENV)/.ready-$(shell { pwd; cat $(LOCKS); } | cksum | tr ' ' '-')
DEV := $(VENV)/.ready-dev-$(shell { pwd; cat $(LOCKS) envs/dev.lock; } | cksum | tr ' ' '-')

# Jobs find the environment's programs first.
RUN = PATH='$(subst ','\'',$(CURDIR))/$(BIN)':"$$PATH" $(BIN)
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Snakemake makes a folder in the user's cache, and ends with a traceback where it cannot.
ifeq ($(shell cache="$${XDG_CACHE_HOME:-$$HOME/.cache}"; mkdir -p "$$cache" 2>/dev/null && test -w "$$cache" && echo writable),)
export XDG_CACHE_HOME := $(CURDIR)/.snakemake/cache
endif

.PHONY: help env lint test test-faults tables clean-env FORCE

help:
	@sed -n '/^$$/q;s/^# \{0,1\}//p' Makefile

# Snakemake knows what is up to date, so make always asks it. The config is checked before, because a file
# that is missing or no text ends Snakemake with a traceback before it reads the workflow.
results/%: FORCE $(READY)
	$(if $(ARGS),@PYTHONPATH=workflow_scripts $(BIN)/python -m arcfold.runs.config $(ARGS))
	$(RUN)/snakemake $@ --cores $(CORES) $(ARGS)

FORCE:

test: export HF_HUB_OFFLINE = 1
test: lint
	$(RUN)/pytest --numprocesses logical --maxprocesses 8 --dist worksteal

test-faults: export HF_HUB_OFFLINE = 1
test-faults: $(DEV)
	$(RUN)/pytest -m slow tests/workflow/test_faults.py

lint: $(DEV)
	$(RUN)/ruff check
	$(RUN)/ruff format --check
	$(RUN)/mypy
	PYTHONPATH=workflow_scripts $(RUN)/lint-imports --no-cache
	$(RUN)/snakefmt --check Snakefile rules
	$(RUN)/snakemake --lint

tables: $(READY)
	$(BIN)/python benchmarks/write_tables.py

env: $(READY)

$(READY):
	@rm -f $(VENV)/.ready-*
	@python=; for name in $(PYTHON); do \
		if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo 'Python 3.11 or newer is needed, and none of these is one: $(PYTHON). Name yours: make PYTHON=/path/to/python3.11 ...' >&2; \
		exit 1; \
	fi; \
	echo "installing the $(ENV) environment into $(VENV) with $$python: some minutes, once"; \
	$$python -m venv --clear $(VENV) >/dev/null 2>&1 \
		|| { $$python -m venv --clear --without-pip $(VENV) \
			&& $$python -m pip --python $(VENV)/bin/python install --quiet --disable-pip-version-check pip; } \
		|| { echo "$$python can make no virtual environment: it needs its modules venv and pip (on Debian: python3-venv)" >&2; exit 1; }
	$(PIP) --requirement envs/$(ENV).lock
	$(if $(NODEPS),$(PIP) --no-deps --requirement $(NODEPS))
	@touch $@

$(DEV): $(READY)
	@rm -f $(VENV)/.ready-dev-*
	$(PIP) --requirement envs/dev.lock
	@touch $@

clean-env:
	rm -rf $(VENV)
