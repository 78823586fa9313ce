# Everything a person or CI runs here. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.requirements $(VENV)/.project
N ?= 26
MINUTES ?= 10
RATE ?= 50
SEED ?=
EXAMPLES ?= 100
TESTS := tests/unit tests/contract tests/integration tests/fuzz
# Two runs of half the files each: with the workers of xdist each would import and collect all of them.
UNIT := $(PY) -m pytest -q -p no:xdist --hypothesis-profile=quick -m "not servers and not long" tests/unit tests/contract
export PYTHONUNBUFFERED := 1

.PHONY: help demo up unit test again fuzz lint format docs sbom browser bench soak chaos drill clean distclean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */\1|/' | \
		while IFS='|' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

demo: $(READY)  ## start everything, play a scenario, compare every decision (DEMO_PEOPLE, DEMO_SECONDS, DEMO_RATE)
	@$(VENV)/bin/consent-relay demo

up: $(READY)  ## start everything and keep it until Ctrl-C; in another shell: eval "$(.venv/bin/consent-relay env)"
	@$(VENV)/bin/consent-relay up

unit: $(READY)  ## the tests that need no server, in under 20 seconds
	@other="$$(mktemp)"; trap 'rm -f "$$other"' EXIT; failed=0; \
	$(UNIT) --half 2 >"$$other" 2>&1 & \
	$(UNIT) --half 1 || failed=1; \
	wait $$! || failed=1; cat "$$other"; exit $$failed

test: $(READY)  ## unit, contract, integration and short fuzz tests, then 8 faults on the whole running system; TEST=path::name: only that
ifdef TEST
	@$(PY) -m pytest $(TEST)
else
	@$(PY) -m pytest -n 4 $(TESTS) || { [ $$? = 1 ] && $(MAKE) --no-print-directory again; }
	@$(MAKE) --no-print-directory chaos N=8
endif

# What fails alone too fails the run (docs/decisions/0030-tests-that-failed-run-again-alone.md).
again:
	@echo "The tests that failed beside others run once more, with nothing beside them:"
	@$(PY) -m pytest --verbose --last-failed --last-failed-no-failures none $(TESTS)

fuzz: $(READY)  ## hostile input for both APIs and every reader of foreign bytes (EXAMPLES=..., SEED=... repeats a run)
	@seed="$(SEED)"; seed="$${seed:-$$((RANDOM * 32768 + RANDOM))}"; \
	echo "A few minutes; the same again: make fuzz EXAMPLES=$(EXAMPLES) SEED=$$seed"; \
	FUZZ_EXAMPLES=$(EXAMPLES) $(PY) -m pytest --verbose --durations=5 --hypothesis-seed="$$seed" tests/fuzz || \
		{ echo "Failed. The same again: make fuzz EXAMPLES=$(EXAMPLES) SEED=$$seed" >&2; exit 1; }

lint: $(READY)  ## ruff, the words of docs/glossary.md, strict mypy and the import contracts
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(PY) -m tests.plain_words
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

format: $(READY)  ## rewrite the code in the format that `make lint` requires
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

docs: $(READY)  ## build README.md and docs as a site in .local/site; a broken link fails
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build
	@echo "Open .local/site/index.html; with search: $(PY) -m http.server --directory .local/site --bind 127.0.0.1"

sbom: $(READY)  ## write the bill of materials of the image (CycloneDX) to .local/sbom.json, as the image holds it
	@mkdir -p .local
	@$(VENV)/bin/cyclonedx-py requirements deploy/images/requirements.txt --pyproject pyproject.toml \
		--output-reproducible --output-file .local/sbom.json
	@echo "written to .local/sbom.json"

browser:  ## install Chromium for the tests of the pages, where apt can (root on Debian); without one they are left out
	@command -v chromium >/dev/null || { apt-get update -q && apt-get install -y -q --no-install-recommends chromium; } || \
		echo "Chromium cannot be installed here: its tests are left out, and the end of make test names them" >&2

bench: $(READY)  ## measure; writes docs/benchmarks.md
	@$(PY) -m tests.bench

soak: $(READY)  ## the whole system under load for MINUTES (10): memory, handles, threads and latency have to stay flat (RATE=50 a second)
	@$(PY) -m tests.soak --minutes $(MINUTES) --rate $(RATE)

chaos: $(READY)  ## N faults (26: every kind once) at random moments under load, then compare every decision (SEED=... repeats a run)
	@CHAOS_FAULTS=$(N) CHAOS_SEED=$(SEED) $(PY) -m pytest tests/chaos

drill: $(READY)  ## cause the fault behind each alert, follow docs/runbooks.md until it is gone; writes docs/drill.md (ALERTS="...": only those)
	@$(PY) -m tests.drill $(ALERTS)

clean:  ## remove the local system's data and what the tools left behind
	@if [ -d .local ]; then find .local -name postgresql -type l -exec sh -c 'rm -rf "$$(readlink "$$1")"' _ {} \; ; fi
	@rm -rf .local .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist
	@find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean  ## also remove the virtual environment
	@rm -rf $(VENV)

# The project itself is installed in editable mode, so that only its metadata needs a new installation.
$(VENV)/.project: pyproject.toml $(VENV)/.requirements
	@$(PY) -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.requirements: requirements.txt
	@python=""; \
	for candidate in $(PYTHON) python3.11 python3.12 python3.13 python3 python; do \
		if "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then \
			python="$$candidate"; break; \
		fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "Python 3.11, 3.12 or 3.13 is needed and none was found; install one, or: make PYTHON=/path/to/python" >&2; \
		exit 1; \
	fi; \
	if [ ! -x $(PY) ]; then \
		"$$python" -m venv $(VENV) || { \
			rm -rf $(VENV); \
			echo "$$python cannot make virtual environments: install its venv module (Debian: python3-venv)" >&2; \
			exit 1; \
		}; \
	fi; \
	echo "installing the requirements into $(VENV) (once; about 250 MB)"; \
	$(PY) deploy/local/install_requirements.py requirements.txt
	@touch $@
