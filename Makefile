# make results/score_8folds.json   any target of the pipeline, with the environment that it needs
# make test                        every check, as the CI runs them
# make lint                        the checks without the tests
# make test-slurm                  the profile for SLURM on a real one of this machine: root, and apt of Debian
# make test-faults                 kills at 25 moments and full disks, for some 20 minutes
# make test-slow                  the tests that run several workflows each: studies, ensembles, archives, pages
# make tables                      the tables of README and docs, from docs/measured
# make verify                      every result against its hash, and what to delete of what is damaged
# make clean-store                 lists what of results/store no run of the config needs; DELETE=yes deletes it
# make env                         only the environment; `make clean-env` removes it
# make wheels                      wheels/: all that `make env` installs, for a machine without a network
# make lock                        the locks of envs/ anew (ARGS=--upgrade: with newer versions)
# make sbom                        sbom-cpu.cdx.json: what the environment is made of (CycloneDX)
# make audit                       whether a locked package has a known vulnerability (asks the network)
#
# ENV=gpu uses the environment with Unsloth, CORES=2 limits the cores, ARGS='--resources gpu=4'
# passes options to snakemake, PYTHON=/path/to/python3.11 names the Python to start from,
# TORCH_INDEX=https://… takes torch with its CUDA from there, without hashes (see envs/README.md).

# Plain `=`: variables of the same names in a user's shell (ENV is a common one) mean other things.
ENV = cpu
CORES = all
ARGS =
PYTHON = python3.11 python3 python3.12 python3.13
DELETE =
TORCH_INDEX =

# What a user's shell says of other Pythons and other installations would go into this one.
unexport PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX PIP_ROOT
export PIP_USER = 0
export PIP_REQUIRE_VIRTUALENV = 0

ifeq ($(filter cpu gpu,$(ENV)),)
$(error ENV=$(ENV): expected cpu or gpu)
endif

VENV = .venv$(if $(filter gpu,$(ENV)),-gpu)
BIN = $(VENV)/bin
TOOLS = .venv-tools

# An installation ends with an empty file named for what was installed and where: a changed lock, a
# moved folder (its scripts name their Python by its full path) and an interrupted installation all
# lack theirs, and start anew.
LOCKS = $(addprefix envs/,pip.lock $(ENV).lock cuda.lock) $(wildcard envs/$(ENV).nodeps.lock)
stamp = .ready$(1)-$(shell { pwd; cat $(2); } | cksum | tr ' ' '-')
READY := $(VENV)/$(call stamp,,$(LOCKS))
DEV := $(VENV)/$(call stamp,-dev,$(LOCKS) envs/dev.lock)
READY_TOOLS := $(TOOLS)/$(call stamp,,envs/pip.lock envs/tools.lock)

# Jobs find the environment's programs first.
RUN = PATH='$(subst ','\'',$(CURDIR))/$(BIN)':"$$PATH" $(BIN)
# A lock is complete, so nothing that it does not name is installed, and nothing whose hash it does not have.
LOCKED = --quiet --disable-pip-version-check --no-deps --require-hashes --requirement
PIP = $(BIN)/python -m pip install --no-build-isolation
TORCH = $$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' envs/$(ENV).lock)
# Of several builds with allowed hashes pip prefers one whose index tells the hash; a wheel in a folder tells none.
# So the build that pip would take is fetched before, and checked then.
define TORCH_FIRST
$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --dest $(VENV)/fetched $(TORCH)
	@sed -n '/^torch==/,/[^\]$$/p' envs/$(ENV).lock > $(VENV)/fetched/torch.lock
	$(PIP) $(LOCKED) $(VENV)/fetched/torch.lock --no-index --find-links $(VENV)/fetched
	@rm -r $(VENV)/fetched
endef
# Whether the build of torch that was installed asks for NVIDIA's libraries: the one of PyPI for Linux does.
BRINGS_CUDA = $(BIN)/python -c 'import sys; from importlib.metadata import requires; \
	sys.exit(not any(name.startswith(("nvidia-", "cuda-")) for name in requires("torch")))'

# Snakemake makes a folder in the user's cache, and ends with a traceback where it cannot.
ifeq ($(shell cache="$${XDG_CACHE_HOME:-$$HOME/.cache}"; mkdir -p "$$cache" 2>/dev/null && test -w "$$cache" && echo writable),)
export XDG_CACHE_HOME := $(CURDIR)/.snakemake/cache
endif

.PHONY: help env wheels lint test test-faults test-slow test-slurm tables verify clean-store lock sbom audit clean-env FORCE

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
	PATH='$(subst ','\'',$(CURDIR))/$(BIN)':"$$PATH" sh tests/without_network.sh $(BIN)/pytest --numprocesses logical --maxprocesses 8 --dist worksteal

test-faults: export HF_HUB_OFFLINE = 1
test-faults: $(DEV)
	$(RUN)/pytest -m slow tests/workflow/test_faults.py

test-slow: export HF_HUB_OFFLINE = 1
test-slow: $(DEV)
	$(RUN)/pytest -m slow --ignore tests/workflow/test_faults.py

test-slurm: export HF_HUB_OFFLINE = 1
test-slurm: $(DEV)
	sh tests/slurm/slurm.sh install
	$(RUN)/pytest -m slurm tests/slurm

lint: $(DEV)
	$(RUN)/ruff check
	$(RUN)/ruff format --check
	$(RUN)/mypy
	PYTHONPATH=workflow_scripts $(RUN)/lint-imports --no-cache
	$(RUN)/snakefmt --check Snakefile rules
	$(RUN)/snakemake --lint

verify: $(READY)
	@$(RUN)/snakemake verify_results --cores 1 --quiet all $(ARGS)

clean-store: export ARCFOLD_DELETE = $(DELETE)
clean-store: $(READY)
	@$(RUN)/snakemake clean_store --cores 1 --quiet all $(ARGS)

tables: $(READY)
	$(BIN)/python benchmarks/write_tables.py

env: $(READY)

# torch as its installation takes it, and its hash is looked at there.
WHEELS = $(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --no-build-isolation --dest wheels
wheels: $(READY)
	$(WHEELS) $(TORCH)
	@sed '/^torch==/,/[^\]$$/d' envs/$(ENV).lock > $(VENV)/but-torch.lock
	$(WHEELS) --require-hashes $(addprefix --requirement ,envs/pip.lock $(VENV)/but-torch.lock $(wildcard envs/$(ENV).nodeps.lock) envs/dev.lock)
	$(if $(TORCH_INDEX),,@if $(BRINGS_CUDA); then $(WHEELS) --require-hashes --requirement envs/cuda.lock; fi)

# $(call new_environment,folder,what is said): a Python of its own with the pip and the setuptools of envs/pip.lock
define new_environment
@rm -f $(1)/.ready-*
@python=; for name in $(PYTHON); do \
	if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$name; break; fi; \
done; \
if [ -z "$$python" ]; then \
	echo 'Python 3.11 or newer is needed, and none of these is one: $(PYTHON). Name yours: make PYTHON=/path/to/python3.11 ...' >&2; \
	exit 1; \
fi; \
echo "installing $(2) into $(1) with $$python: some minutes, once"; \
if $$python -m venv --clear $(1) >/dev/null 2>&1; then pip="$(1)/bin/python -m pip"; \
elif $$python -m venv --clear --without-pip $(1) && $$python -m pip --version >/dev/null; then \
	pip="$$python -m pip --python $(1)/bin/python"; \
else \
	echo "$$python can make no virtual environment: it needs its modules venv and pip (on Debian: python3-venv)" >&2; \
	exit 1; \
fi; \
$$pip install $(LOCKED) envs/pip.lock
endef

$(READY):
	$(call new_environment,$(VENV),the $(ENV) environment)
	$(if $(TORCH_INDEX),$(PIP) --quiet --index-url $(TORCH_INDEX) $(TORCH),$(TORCH_FIRST))
	$(PIP) $(LOCKED) envs/$(ENV).lock
	$(if $(TORCH_INDEX),,@if $(BRINGS_CUDA); then $(PIP) $(LOCKED) envs/cuda.lock; fi)
	$(if $(wildcard envs/$(ENV).nodeps.lock),$(PIP) $(LOCKED) envs/$(ENV).nodeps.lock)
	@touch $@

$(DEV): $(READY)
	@rm -f $(VENV)/.ready-dev-*
	$(PIP) $(LOCKED) envs/dev.lock
	@touch $@

$(READY_TOOLS):
	$(call new_environment,$(TOOLS),the tools of envs/tools.lock)
	$(TOOLS)/bin/python -m pip install $(LOCKED) envs/tools.lock
	@touch $@

lock: $(READY_TOOLS)
	PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" $(TOOLS)/bin/python envs/lock.py $(ARGS)

sbom: $(READY_TOOLS)
	@cat $(LOCKS) | PYTHONWARNINGS=ignore $(TOOLS)/bin/cyclonedx-py requirements - --pyproject pyproject.toml --output-reproducible \
		--output-file sbom-$(ENV).cdx.json
	@echo sbom-$(ENV).cdx.json

audit: $(READY_TOOLS)
	@PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" $(TOOLS)/bin/python envs/audit.py $(ARGS) $(LOCKS)

clean-env:
	rm -rf $(VENV) $(TOOLS)
