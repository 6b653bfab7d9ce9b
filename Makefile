# PYTHON makes the virtual environment (3.11 or later); ARGS is handed to the command of `demo` or `test`.
PYTHON ?= python3
ARGS ?=

VENV := .venv
LOWEST := build/lowest
APP := build/app
TOOLS := build/tools
PIP_VERSION := 26.2
BIN := $(VENV)/bin
# Written when everything is installed, so that an interrupted installation is taken up again.
INSTALLED := $(VENV)/catseg-installed
# Present while a new environment's packages come in: what it is found with may be half there, and is made anew.
INCOMPLETE := $(VENV)/catseg-incomplete

SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help install demo test test-app test-tools test-lowest lint format lock clean

help: ## Show this help
	@awk -F ': .*## ' '/^[a-z-]+: .*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Install catseg, Detectron2 and exact versions of the rest into .venv

demo: $(INSTALLED) ## Generate the shapes data, train, evaluate and write images into output/shapes
	$(BIN)/python -m catseg.shapes.demo --output output/shapes $(ARGS)

test: $(INSTALLED) ## Run the tests, on all processor cores
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal $(ARGS)

test-app: $(APP)/catseg-installed ## Run the tests of the web app, in a browser where there is one
	PYTHONPATH=$(CURDIR) $(APP)/bin/python -m pytest tests/app tests/cli/test_app.py $(ARGS)

test-tools: $(TOOLS)/catseg-installed ## Run the tests of integrations/ with the packages of Label Studio and CVAT
	PYTHONPATH=$(CURDIR) $(TOOLS)/bin/python -m pytest tests/integrations $(ARGS)

test-lowest: $(LOWEST)/catseg-installed ## Run the quick tests on the lowest versions that pyproject.toml allows
	$(LOWEST)/bin/python -m pytest --numprocesses auto --dist worksteal -m "not slow" \
	    tests/modeling tests/checkpoint tests/data tests/evaluation tests/engine/test_training_step.py $(ARGS)

lint: $(INSTALLED) ## Check style, types and the import rule
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -m pytest --quiet tests/test_imports.py

format: $(INSTALLED) ## Format the code and repair what ruff can
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

# Gradio and labelling tools want other versions than all else is tested with: environments on top of the other one.
$(APP)/catseg-installed $(TOOLS)/catseg-installed: build/%/catseg-installed: $(INSTALLED) requirements-%.lock
	rm -rf $(@D) && $(BIN)/python -m venv $(@D)
	$(BIN)/python -c 'import site; print(site.getsitepackages()[0])' \
	    > "$$($(@D)/bin/python -c 'import site; print(site.getsitepackages()[0])')/below.pth"
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-$*.lock
	touch $@

$(LOWEST)/catseg-installed: requirements-lowest.txt pyproject.toml $(wildcard tools/*.py)
	rm -rf $(LOWEST) && $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check pip==$(PIP_VERSION)
	$(LOWEST)/bin/python -m pip install --quiet --requirement requirements-lowest.txt
	$(LOWEST)/bin/python tools/install_detectron2.py
	touch $@

lock: ## Renew requirements.lock and requirements-app.lock: the newest versions that pyproject.toml allows
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install pip==$(PIP_VERSION) ".[dev]"
	head -n 2 requirements.lock > build/requirements.lock
	build/lock/bin/python -m pip freeze --all --exclude catseg --exclude pip \
	    | sed -E '/^(cuda|nvidia|triton)/ s/$$/; platform_system == "Linux"/' >> build/requirements.lock
	mv build/requirements.lock requirements.lock
	build/lock/bin/python -m pip install ".[test-app]"
	echo "# What the tests of the web app need beside requirements.lock, or in another version. Written by make lock." \
	    > build/requirements-app.lock
	build/lock/bin/python -m pip freeze --all --exclude catseg --exclude pip \
	    | grep -vxFf <(sed 's/;.*//' requirements.lock) >> build/requirements-app.lock
	mv build/requirements-app.lock requirements-app.lock
	rm -rf build/lock

clean: ## Remove .venv, caches and build files; output/ stays
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): requirements.lock pyproject.toml catseg/__init__.py $(wildcard tools/*.py)
	@if [ ! -x $(BIN)/python ] || [ -e $(INCOMPLETE) ]; then \
	    $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, this is " + sys.version.split()[0] + ": name another one, as in make install PYTHON=python3.12")' \
	    && rm -rf $(VENV) && mkdir -p $(VENV) && touch $(INCOMPLETE) && $(PYTHON) -m venv $(VENV); \
	fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip==$(PIP_VERSION)
	$(BIN)/python -m pip install --no-deps --build-constraint requirements.lock --requirement requirements.lock
	rm -f $(INCOMPLETE)
	$(BIN)/python tools/install_detectron2.py
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@
