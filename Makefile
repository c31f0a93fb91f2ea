# Everything from a fresh clone: each target sets up what it needs in .venv, once, and again only when
# pyproject.toml has changed. Nothing but Python >= 3.11 has to be there (choose one with PYTHON=...).

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint types lowest docs bench parity lab build clean

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-input --quiet
WORKERS ?= 2

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-6s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.samples ## a backtest of thirteen years of AAPL, from set-up to report
	@$(BIN)/nbbacktest run session_configs/aapl_daily.json

test: lint types .venv/.chromium .venv/.kernels .venv/.pyright ## every check: style, types, floors, tests with coverage, browser, notebooks
	@if [ -d tests/performance ]; then $(BIN)/python -m pytest tests/performance -q; fi
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --cov --cov-report=term --ignore=tests/performance --ignore=tests/browser \
		--doctest-modules --nbval --nbval-current-env --nbval-sanitize-with=tests/nbval_sanitize.cfg \
		--nbval-cell-timeout=120 tests nbbacktest $(wildcard notebooks)
	@$(BIN)/python -m pytest tests/browser -q

lint: .venv/.dev ## style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: .venv/.dev ## types, and imports that point down
	@$(BIN)/mypy
	@$(BIN)/lint-imports

lowest: .venv/.dev ## unit tests with the lowest versions of the dependencies that pyproject.toml allows
	@mkdir -p build && $(BIN)/python tests/lowest.py > build/lowest.txt
	@$(BIN)/python -m venv --clear build/lowest
	@build/lowest/bin/python -m pip install --disable-pip-version-check --no-input --quiet -c build/lowest.txt \
		-e '.[lab,live,samples]' 'dask[distributed]' empyrical-reloaded hypothesis pexpect pillow psutil pyte pytest \
		pytest-timeout pytest-xdist
	@build/lowest/bin/python -m pytest -n $(WORKERS) --dist loadfile -p no:cacheprovider tests/unit

docs: .venv/.dev ## these pages as a site, into build/docs/html, warnings as errors
	@$(BIN)/python docs/build_site.py

bench: .venv/.dev ## measure speed, beside other engines (QUICK=1: minutes; ONLY="a g": some)
	@$(BIN)/python -m benchmarks.run $(ONLY) $(if $(QUICK),--quick)

parity: .venv/.dev ## compare fills and equity with zipline, bt, vectorbt and nautilus (ONLY="zipline bt": some)
	@$(BIN)/python -m benchmarks.parity $(ONLY)

lab: .venv/.lab ## open JupyterLab on the notebooks
	@$(BIN)/jupyter lab --notebook-dir=. $(wildcard notebooks)

build: .venv/.dev ## wheel and source distribution, into dist/
	@rm -rf dist
	@$(BIN)/python -m build

clean: ## remove .venv and all that was generated
	rm -rf .venv build dist htmlcov .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache \
		.hypothesis .bench
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name .ipynb_checkpoints -type d -prune -exec rm -rf {} +

# A stamp for each set of extras. `dev` holds the other two, so it stands in for them.
.venv/.samples: pyproject.toml .venv/pyvenv.cfg
	@echo "Installing nbbacktest with sample data into .venv (once) ..."
	@$(PIP) -e '.[samples]'
	@touch $@

.venv/.lab: pyproject.toml .venv/pyvenv.cfg
	@echo "Installing nbbacktest with JupyterLab into .venv (once) ..."
	@$(PIP) -e '.[lab,samples]'
	@touch $@ .venv/.samples

.venv/.dev: pyproject.toml .venv/pyvenv.cfg
	@echo "Installing nbbacktest and its development tools into .venv (once) ..."
	@$(PIP) -e '.[dev]'
	@touch $@ .venv/.lab .venv/.samples

.venv/.chromium: .venv/.dev
	@sh tests/browser/chromium.sh
	@touch $@

# Older kernels that the browser tests run beside the newest, each without the packages that it shares with that.
.venv/.kernels: .venv/.dev
	@for version in 6.31 7.1; do \
		$(PIP) --upgrade --no-deps --target .venv/kernels/$$version "ipykernel==$$version.*" || exit 1; \
	done
	@touch $@

# A pyright that brings its own node. Out of the way: JupyterLab would make it every notebook's language server.
.venv/.pyright: .venv/.dev
	@$(PIP) --upgrade --target .venv/pyright basedpyright && touch $@ \
		|| echo "basedpyright can't be installed: the test that needs it is skipped" >&2

.venv/pyvenv.cfg:
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11 python; do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
			echo "$$python has no venv module. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; \
		fi; \
		echo "Creating .venv with $$("$$python" --version) ..."; \
		"$$python" -m venv --clear .venv && touch $@ && exit 0; \
		rm -rf .venv; exit 1; \
	done; \
	echo "nbbacktest needs Python 3.11 or newer, and none was found. Install one, or name it: make PYTHON=/path/to/python" >&2; \
	exit 1
