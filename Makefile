# make demo    convert the model in the package to every format, run each on the sample photo, leave drawings in demo/
# make test    ruff, mypy and pytest
# make bench   the measurements of benchmarks/README.md
# make lint    ruff and mypy alone
# make fuzz    changed files of every kind for MINUTES=10, see SECURITY.md; what fails is kept in fuzz-results
# Each sets up what it needs in .venv with Python 3.11 or later (PYTHON=python3.12 chooses another).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
MINUTES ?= 10


.PHONY: demo test bench lint fuzz clean

demo: $(VENV)/convert.done
	$(BIN)/edgepose convert --to openvino,onnx,litert,coreml --precision fp32,fp16 --out $(DEMO)/models
	$(BIN)/python examples/demo.py $(DEMO)

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadgroup --max-worker-restart=0

lint: $(VENV)/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fuzz: $(VENV)/dev.done
	PYTHONPATH=tests $(BIN)/python -m fuzz --minutes $(MINUTES) --workers 2

bench: $(VENV)/bench.done
	$(BIN)/python -m edgepose_benchmarks --write benchmarks/README.md

$(VENV)/bin/pip:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"edgepose needs Python 3.11 or later, this is {sys.version.split()[0]}; try: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip

$(VENV)/convert.done: $(VENV)/bin/pip pyproject.toml
	$(BIN)/pip install --quiet --editable '.[convert]'
	touch $@

# trackers asks for another build of OpenCV, too; what else it needs is in dev.
$(VENV)/dev.done: $(VENV)/bin/pip pyproject.toml
	$(BIN)/pip install --quiet --editable '.[dev]'
	$(BIN)/pip install --quiet --no-deps 'trackers>=2.6' 'supervision>=0.26.1' 'pydeprecate>=0.9,<0.14' 'defusedxml>=0.7.1'
	touch $@

# rtmlib asks for another build of OpenCV, which would overwrite ours: it is installed without what it asks for.
$(VENV)/bench.done: $(VENV)/dev.done
	$(BIN)/pip install --quiet --no-deps rtmlib tqdm
	touch $@

clean:
	rm -rf $(VENV) $(DEMO)
