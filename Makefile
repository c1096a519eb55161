# Everything here works on a fresh machine with Python 3.11 to 3.13 and pip. Another interpreter: make demo PYTHON=python3.12
PYTHON ?= python3
BIN := .venv/bin
EXTRAS := datasets,gguf,language,loggers,ray,series,trajectories,vision,wiki,test
export HF_HUB_OFFLINE ?= 1

.PHONY: setup demo test reproduce bench docs wheel changelog clean

setup: .venv/.installed

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else \
	"windtunnel needs Python 3.11 to 3.13, this is %s: make PYTHON=python3.12 ..." % sys.version.split()[0])'
	$(PYTHON) -m venv .venv

# The stamp is newer than what it depends on exactly when the installation is up to date, so a second make installs nothing.
.venv/.installed: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

demo: setup
	$(BIN)/windtunnel study studies/first-flight.yaml

# Tests ask more than the demo does: lm_eval, with what it needs.
.venv/.installed-for-tests: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS),harness]'
	@touch $@

# Two tests run at a time, so each keeps to one core.
test: export OMP_NUM_THREADS ?= 1
test: .venv/.installed-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist worksteal

# The cpu scale of every paper. Hours rather than minutes; interrupted, it goes on where it was. With TABLES=FOLDER (see docs/laws.md) also
# the laws of other people's tables.
reproduce: setup
	for paper in papers/*/*/paper.yaml; do $(BIN)/windtunnel reproduce "$$paper" --scale cpu || exit $$?; done
	$(if $(TABLES),$(BIN)/python benchmarks/outside_laws.py $(TABLES),)

bench: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS),bench]'
	$(BIN)/python benchmarks/run.py

# Pages of parts and papers go to windtunnel/library/pages, which git ignores. Numbers from results are filled into docs/*.md.in.
docs: setup
	$(BIN)/python -m windtunnel.report.catalogue docs

# At a release: make changelog VERSION=0.2.0
changelog: setup
	$(BIN)/python changes/join.py $(VERSION)

wheel: docs
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
