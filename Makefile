# `make demo` and `make test` need Python 3.10 or newer and nothing else: they make an environment of their own.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo check coverage test test-long test-tools test-torch test-adapters test-browser test-others conformance site lint types bench clean

demo: $(VENV)/installed
	mkdir -p build/demo
	$(BIN)/python -m models digits_se -o build/demo/digits.onnx --data build/demo/digits.npz
	$(BIN)/tse-onnx convert build/demo/digits.onnx build/demo/tiled.onnx --rows 7 --data build/demo/digits.npz --quiet
	$(BIN)/tse-onnx evaluate build/demo/digits.onnx build/demo/tiled.onnx --data build/demo/digits.npz

# Before each commit: all but what takes long.
check: $(VENV)/developed lint types
	$(BIN)/python -m pytest -n auto -m "not slow and not long"

# A figure to look at, not to pass.
coverage: $(VENV)/developed
	$(BIN)/python -m pytest -n auto -m "not long" --cov=tse_onnx --cov=passes --cov-report=term

test: $(VENV)/developed lint types
	$(BIN)/python -m pytest -n auto -m "not long"

# What takes minutes more: every bundled network certified, as exported and converted.
test-long: $(VENV)/developed
	$(BIN)/python -m pytest -n auto -m long

# Every case of onnx's backend suite through every command, held to the list of what is known; a minute or two.
conformance: $(VENV)/developed
	$(BIN)/python -m tests.conformance

TOOLS_TESTS = tests/conversion/test_other_tools.py tests/conversion/test_folded.py tests/conversion/test_quant_pre_process.py
TORCH = torch==2.13.0 onnxscript safetensors huggingface_hub
TORCH_ONLY = timm==1.0.31 torchvision==0.29.1
TORCH_TESTS = tests/distillation tests/finetuning tests/torch
ADAPTERS_TESTS = tests/adapters
BROWSER_TESTS = tests/report/test_browser.py

# The four below and the site in one: what they need is installed once, and their tests share all cores.
test-others: $(VENV)/developed
	$(BIN)/pip install --quiet $(TORCH) --editable '.[tools,distil,finetune,torch,olive,onnx-ir,browser,docs]'
	$(BIN)/pip install --quiet --no-deps $(TORCH_ONLY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	$(BIN)/python -m pytest -n auto $(TOOLS_TESTS) $(TORCH_TESTS) $(ADAPTERS_TESTS) $(BROWSER_TESTS) tests/house/test_site.py

# What other people's tools leave of a converted model, and the way back from there.
test-tools: $(VENV)/developed
	$(BIN)/pip install --quiet --editable '.[tools]'
	$(BIN)/python -m pytest -n auto $(TOOLS_TESTS)

# Distillation, fine-tuning and training with tiles, whose tests are skipped where there is no torch; timm and torchvision take any
# build of it.
test-torch: $(VENV)/developed
	$(BIN)/pip install --quiet $(TORCH) --editable '.[distil,finetune,torch]'
	$(BIN)/pip install --quiet --no-deps $(TORCH_ONLY)
	$(BIN)/python -m pytest -n auto $(TORCH_TESTS)

# The conversion as a pass of Olive and of onnx-ir.
test-adapters: $(VENV)/developed
	$(BIN)/pip install --quiet --editable '.[olive,onnx-ir]' onnxscript
	$(BIN)/python -m pytest $(ADAPTERS_TESTS)

# Reports in a real browser without a screen; Debian has it as chromium and chromium-driver.
test-browser: $(VENV)/developed
	$(BIN)/pip install --quiet --editable '.[browser]'
	$(BIN)/python -m pytest $(BROWSER_TESTS)

# The documentation as a site, in build/site; a link that leads nowhere fails.
site: $(VENV)/developed
	$(BIN)/pip install --quiet --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	$(BIN)/python -m pytest tests/house/test_site.py

lint: $(VENV)/developed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The package is checked as it is installed, because its passes lie in a folder beside it.
types: $(VENV)/developed
	rm -rf build/types build/lib
	$(BIN)/pip install --quiet --no-deps --target build/types .
	$(BIN)/mypy --config-file setup.cfg --python-executable $(BIN)/python build/types/tse_onnx models benchmarks

bench: $(VENV)/developed
	$(BIN)/pip install --quiet --editable '.[bench]'
	$(BIN)/python -m benchmarks

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "On Debian and Ubuntu, python3-venv has to be installed."; exit 1; }

$(VENV)/installed: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/developed: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
