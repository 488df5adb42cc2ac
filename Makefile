# make demo   the whole pipeline on 24 synthetic heads, on this machine
# make test   the tests
# make lint   formatter, linter and type checker
# make bench  every benchmark this machine can run, one table each
# make slurm  start a real SLURM on this machine; make slurm-stop ends it

PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
# A process a core, each with whole files, as their fixtures are dear; PYTEST='-x tests/study' runs others
PYTEST ?= --numprocesses auto --maxprocesses 4 --dist loadfile
# Where the tests find real scans (see CONTRIBUTING.md, "Real scans in tests")
export STFMRI_TEST_DATA ?= ../shared/data

# One table each, in benchmarks/; what was measured is kept in benchmarks/RESULTS.md
ROWS := input step preprocess resume verify startup collect baselines

.PHONY: demo test lint bench slurm slurm-stop setup
.DEFAULT_GOAL := demo

# A stamp: set-up runs again when the project's requirements change.
$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed, found " + sys.version.split()[0] + "; name another with make PYTHON=…")'
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

setup: $(VENV)/ready

demo: setup
	$(RUN) -m preprocessing.phantom --out data/demo --lgg 8 --hgg 8 --healthy 8 --spacing 4
	$(RUN) -m preprocessing --sweep demo
	$(RUN) launch/submit.py --sweep demo cluster=local
	@echo "Now open results/demo/report.html"

test: setup
	$(RUN) -m pytest $(PYTEST)

lint: setup
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy stfmri preprocessing slurm launch

bench: $(VENV)/ready-bench
	status=0; for row in $(ROWS); do $(RUN) benchmarks/$$row.py || status=1; done; exit $$status

$(VENV)/ready-bench: $(VENV)/ready
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	touch $@

slurm: setup
	$(RUN) -m slurm.devcluster start

slurm-stop: setup
	$(RUN) -m slurm.devcluster stop
