# Two commands matter: `make demo` and `make test`. Each needs only Python >= 3.11, make and a package index.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Compiled to bytecode when imported: most of what is installed never is.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
# Two workers: compilation dominates, and a file kept on one worker reuses its compiled functions.
PYTEST ?= -q -n 2 --dist loadfile
OUT ?= runs/demo

.PHONY: demo docs tables fuzz stress versions test bench format wheel clean

demo: $(VENV)/.installed
	$(BIN)/tfg-jax sample --output $(OUT)

# Longer than `make test`: the lowest and the newest versions of what is depended on, mutated files, kills and signals.
versions: $(VENV)/.installed-dev
	$(BIN)/python scripts/check_versions.py

fuzz: $(VENV)/.installed-dev
	$(BIN)/python scripts/fuzz.py --mutations 10000

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python & types=$$!; \
	$(BIN)/python -m pytest $(PYTEST) && { wait $$types || { echo "pyright found errors, see above"; exit 1; }; }

docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

bench: $(VENV)/.installed
	$(BIN)/python scripts/bench.py

# An hour: locks, signals and every command under kills, in fresh processes.
stress: $(VENV)/.installed
	$(BIN)/python scripts/stress/locks.py
	$(BIN)/python scripts/stress/locks.py --hosts 3
	$(BIN)/python scripts/stress/signals.py
	$(BIN)/python scripts/stress/workers.py
	$(BIN)/python scripts/stress/workers.py --kills 20 --url
	$(BIN)/python scripts/stress/commands.py

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What the docs tell of methods and settings, from their classes.
tables: $(VENV)/.installed
	$(BIN)/python -m tfg_jax.tables README.md docs/*.md

wheel: $(VENV)/.installed-dev
	$(BIN)/python -m build --wheel

clean:
	rm -rf $(VENV) build dist runs site .pytest_cache .ruff_cache
	find tfg_jax tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

# Editable, so that a change of the source needs no second installation; the stamps hold until pyproject.toml changes.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[dev]'
	touch $@ $(VENV)/.installed
