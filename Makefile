# Two commands do everything on a fresh machine: `make report` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
OUT ?= interp-report
PEER ?=
PYNAMICALSYS ?=
HYPEROPT ?=
PARALLEL ?=

.PHONY: report test lint slow bench clean

report: $(READY)
	@$(BIN)/interp reproduce flip_flop_memory --scale quick --out $(OUT)/flip_flop_memory

test: $(READY)
	$(BIN)/python -m pytest -q

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

slow: $(READY)
	$(BIN)/python -m pytest -q -m slow

bench: $(READY)
	$(BIN)/python -m benchmarks.exact_fixed_points
	$(BIN)/python -m benchmarks.almost_linear_fit
	$(BIN)/python -m benchmarks.ordinal
	$(BIN)/python -m benchmarks.multifractal
	$(BIN)/python -m benchmarks.wavelet_leaders
	$(BIN)/python -m benchmarks.capture
	$(BIN)/python -m benchmarks.fixed_points $(if $(PEER),--peer $(PEER))
	$(BIN)/python -m benchmarks.lyapunov $(if $(PYNAMICALSYS),--peer-python $(PYNAMICALSYS)) \
		$(if $(HYPEROPT),--peer-hyperopt $(HYPEROPT)) $(if $(PARALLEL),--peer-parallel $(PARALLEL))

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
