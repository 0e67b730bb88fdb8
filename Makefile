# The environment lives in .venv; every target makes it first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test test-slow check bench docs constraints clean

run: $(VENV)/.installed
	$(BIN)/labelwise run --out runs/digits

test: $(VENV)/.installed
	$(BIN)/python -m pytest

test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest --slow

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/audit.py --preset imagenet wide long --out docs/results/bench-audit.json
	$(BIN)/python benchmarks/audit.py --preset scaling --out docs/results/bench-audit-scaling.json
	$(BIN)/python benchmarks/audit_tasks.py multilabel --preset coco wide long --rounds 3 --out docs/results/bench-audit-multilabel.json
	GOMP_SPINCOUNT=10000 $(BIN)/python benchmarks/training.py --out docs/results/bench-training.json
	$(BIN)/python benchmarks/graphs.py --edges 1e4 1e5 1e6 1e7 --out docs/results/bench-graphs.json
	$(BIN)/python benchmarks/forests.py --preset full --out docs/results/bench-forests.json
	$(BIN)/python benchmarks/label_sets.py --out docs/results/bench-label-sets.json
	$(BIN)/python benchmarks/partners.py --out docs/results/bench-partners.json
	$(BIN)/python benchmarks/bags.py --out docs/results/bench-bags.json
	$(BIN)/python benchmarks/plans.py --out docs/results/bench-plans.json

docs: $(VENV)/.installed
	$(BIN)/python docs/generate.py

# The editable install makes the command follow the sources; the stamp is renewed when the requirements change.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch torchvision
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

constraints:
	$(BIN)/python -m pip install --quiet --upgrade --editable '.[dev,text,logs,review,critic]' torch==2.14.1 torchvision==0.29.1
	(echo '# Exact versions that both README commands install; renewed by: make constraints'; \
	 $(BIN)/python -m pip freeze --exclude-editable | grep -v '^labelwise') > constraints.txt

clean:
	rm -rf $(VENV) build dist runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
