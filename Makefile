# Everything that a person or CI calls. `make help` lists it.
NEWEST := 3.3.2
OLDER := 3.1.8 2.11.2 lowest
AIRFLOW ?= $(NEWEST)
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv$(if $(filter-out $(NEWEST),$(AIRFLOW)),-$(AIRFLOW))
BIN := $(VENV)/bin
LOCK := requirements/airflow-$(AIRFLOW).txt
STATE := .demo
JOBS ?= 2
LOCATION := locations/europe-west1
ENVIRONMENTS := dev staging prod
CALLER := management@acme-data.iam.gserviceaccount.com

# The world of the demo: one project for packages, one with three environments, and who may do what.
WORLD = --project acme-packages --project acme-data \
	$(foreach name,$(ENVIRONMENTS),--environment projects/acme-data/$(LOCATION)/environments/$(name)) \
	--bucket acme-packages/acme-packages-builds \
	--caller $(CALLER) \
	--grant serviceAccount:$(CALLER)=roles/artifactregistry.admin@projects/acme-packages \
	--grant serviceAccount:$(CALLER)=roles/storage.objectAdmin@projects/acme-packages \
	--grant serviceAccount:$(CALLER)=roles/composer.admin@projects/acme-data \
	--grant serviceAccount:$(CALLER)=roles/composer.environmentAndStorageObjectAdmin@projects/acme-data \
	--grant serviceAccount:$(CALLER)=roles/iam.serviceAccountUser@projects/acme-data \
	--grant serviceAccount:$(CALLER)=roles/logging.viewer@projects/acme-data
SANDBOX = $(BIN)/python -m airflow_gar_provider.sandbox run --data-dir $(1)/sandbox $(WORLD) -- $(BIN)/python -m
space := $(subst ,, )
comma := ,
NAMES = $(subst $(space),$(comma),$(ENVIRONMENTS))

.PHONY: help setup docs demo up pictures test test-all suite test-distributed test-proof lint unit bench bench-publish bench-triggerer bench-fleet proof soak fuzz lock clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready  ## make .venv with the pinned dependencies

$(VENV)/.ready: $(LOCK) pyproject.toml
	@echo "setting up $(VENV) with Airflow $(AIRFLOW): some minutes the first time"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(LOCK)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup  ## the whole road once, on the sandbox (STORY=1: with what goes wrong in life)
ifdef STORY
	@rm -rf $(STATE)/story
	@$(call SANDBOX,$(STATE)/story) demo.road --home $(STATE)/story/airflow --environments $(NAMES) --story
else
	@$(call SANDBOX,$(STATE)) demo.road --home $(STATE)/airflow --environments $(NAMES)
endif

up: setup  ## the sandbox and Airflow's own web UI, until Ctrl-C
	@$(call SANDBOX,$(STATE)) demo.up --home $(STATE)/airflow

pictures: setup  ## take the guides' pictures anew: a real run, in a real browser (Debian's package chromium)
	@rm -rf $(STATE)/pictures
	@$(call SANDBOX,$(STATE)/pictures) screenshots.take --home $(STATE)/pictures/home

test: setup lint  ## lint, types, and the whole test suite (JOBS=1: one test at a time)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not distributed and not proof"

suite: setup  ## the tests of one Airflow: make suite AIRFLOW=2.11.2 (3.1.8, or lowest: the lowest versions of everything)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not distributed and not proof"

test-all:  ## make test, and the suite of every older Airflow, one after the other; a line for each at the end
	@mkdir -p $(STATE); rm -f $(STATE)/test-all.txt; failed=; \
	for version in $(NEWEST) $(OLDER); do \
		$(MAKE) --no-print-directory AIRFLOW=$$version $$([ $$version = $(NEWEST) ] && echo test || echo suite) \
			>$(STATE)/test-$$version.log 2>&1 && verdict=passed || { verdict=FAILED; failed=1; }; \
		line="$$version $$verdict: $$(grep '^Airflow .* need another Airflow$$' $(STATE)/test-$$version.log | tail -1)"; \
		echo "$$line (all of it: $(STATE)/test-$$version.log)" | tee -a $(STATE)/test-all.txt; \
		[ $$verdict = passed ] || tail -40 $(STATE)/test-$$version.log; \
	done; \
	echo; cat $(STATE)/test-all.txt; [ -z "$$failed" ]

test-distributed: setup  ## rollouts on CeleryExecutor, Redis, PostgreSQL, whose workers are killed: some minutes
	$(BIN)/python -m pytest tests/distributed

test-proof: setup  ## a share of `make proof`, a short soak, the search for secrets in a whole Airflow
	$(BIN)/python -m pytest -m proof

lint: setup  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy example_dags

unit: setup  ## the tests that take seconds
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not slow and not registry"

bench: setup  ## every benchmark on a quiet machine, some ten minutes; writes docs/benchmarks.md and README's table
	$(BIN)/python -m bench

bench-publish: setup  ## what publishing costs, beside twine and uv
	$(BIN)/python -m bench.publish

bench-triggerer: setup  ## what a thousand waits cost a triggerer, beside the google provider
	$(BIN)/python -m bench.triggerer

bench-fleet: setup  ## what a plan and the updates of a large fleet cost, then a staged rollout in a real Airflow
	$(BIN)/python -m bench.fleet
	$(BIN)/python -m bench.staged

proof: setup  ## crash at every call, fault at every call: the whole table (SHARE=10: every tenth call)
	$(BIN)/python -W ignore -m proof.points --share $(or $(SHARE),1) --jobs $(JOBS) --json proof.json

soak: setup  ## runs, other people, faults and kills at once, and an independent checker (SEED=1 EVENTS=10000)
	$(BIN)/python -W ignore -m proof.soak --seed $(or $(SEED),1) --events $(or $(EVENTS),10000)

fuzz: setup  ## properties of all that is read, with new inputs each time (MINUTES=60)
	$(BIN)/python -m proof.fuzz --minutes $(or $(MINUTES),60)

lock: setup  ## pin the dependencies anew, for every supported Airflow
	@for version in $(patsubst requirements/airflow-%.in,%,$(wildcard requirements/*.in)); do \
		echo "locking Airflow $$version"; \
		$(BIN)/uv pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
			--generate-hashes --no-emit-index-url --no-header --no-annotate \
			--extra build --extra sandbox --group dev \
			$$([ $$version = $(NEWEST) ] && echo --group newest) \
			$$([ $$version = lowest ] && echo --resolution lowest-direct) \
			pyproject.toml requirements/airflow-$$version.in -o requirements/airflow-$$version.txt || exit 1; \
	done

docs: setup  ## the guides and the API reference as pages, in docs/_build/html; a warning is an error
	$(BIN)/python -m sphinx --builder html --nitpicky --fail-on-warning --keep-going --quiet \
		--doctree-dir docs/_build/doctrees docs docs/_build/html

clean:  ## delete the demo's state
	rm -rf $(STATE)
