# Every target that needs Python depends on the environment in .venv/, made by `make setup`.
PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python
PORT   ?= 8000
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test setup check lock image-check fix parity kills kills-index fuzz swaps browser experiments \
	benchmarks load scenes-report serve figures openapi docs clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */  \1\t/' | expand -t 18

demo: $(READY)  ## train on generated scenes, index, serve the search page (PORT=8000)
	@$(RUN) -m deploy.demo --port $(PORT)

# Tests of whole programs, loads and browsers want the machine to themselves; the others share it.
WHOLE := tests/browser tests/end_to_end tests/hostile tests/load
test: $(READY)  ## every test that needs no extra hardware, browser included
	@$(RUN) -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile tests $(addprefix --ignore=,$(WHOLE))
	@$(RUN) -m pytest $(WHOLE)

setup: $(READY)  ## the environment alone, in .venv/

# torch comes first, alone, and from TORCH_INDEX_URL where it is set: on Linux the default index has the CUDA
# build, which works without a GPU too but takes some 5 GB.
$(READY): pyproject.toml constraints.txt
	@echo "environment  $(VENV)/ [1/2] torch$(if $(TORCH_INDEX_URL),, (on Linux with CUDA; TORCH_INDEX_URL= says from where))"
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	@$(RUN) -m pip install -q --disable-pip-version-check -c constraints.txt --no-deps \
		$(if $(TORCH_INDEX_URL),--index-url $(TORCH_INDEX_URL)) torch
	@echo "environment  $(VENV)/ [2/2] $$(grep -c == constraints.txt) other packages: minutes, with nothing to see"
	@$(RUN) -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[cpu,train,service,parquet,docs,dev]"
	@touch $@

check: $(READY)  ## lint, format, types, import contracts
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

lock: $(READY)  ## pin every package that the extras need in constraints.txt (a pin that is there stays)
	@$(RUN) -m deploy.lock

image-check:  ## build the image without a container engine and try it (Debian, root; BASE_IMAGE=)
	@sh deploy/image_check.sh "$(BASE_IMAGE)"

fix: $(READY)  ## format and mend what the linter can mend
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

parity: $(READY)  ## compare with the recorded outputs of the released code
	@for folder in full ragged scan; do \
		$(RUN) -m tests.parity.compare tests/parity/fixtures/$$folder || exit 1; done

kills: $(READY)  ## kill a training run 50 times at random moments; it must end with the same bits
	@HREM_KILL_COUNT=50 $(RUN) -m pytest -s tests/end_to_end/test_kills.py

kills-index: $(READY)  ## kill an index build 50 times at random moments; it must end with the same bytes
	@HREM_KILL_COUNT=50 $(RUN) -m pytest -s tests/end_to_end/test_index_kills.py

swaps: $(READY)  ## swap two indexes 100 times under load; no query may fail, no answer may be mixed
	@HREM_SWAP_COUNT=100 $(RUN) -m pytest -s tests/load/test_swaps.py

fuzz: $(READY)  ## 10,000 requests made of the OpenAPI document against the real service (HREM_FUZZ_COUNT=)
	@HREM_FUZZ_COUNT=$${HREM_FUZZ_COUNT:-10000} $(RUN) -m pytest -s tests/hostile/test_fuzz.py

browser: $(READY)  ## the search page in a real Chromium
	@$(RUN) -m pytest tests/browser

# In order of worth: the rows that carry the paper's claims on three seeds, then the others.
ABLATE := -m model.training ablate --recipe flickr8k-cpu --split val --results docs/experiments.jsonl
experiments: $(READY)  ## run what is left of the real-photo experiments (HREM_DATA=, HREM_BACKBONE=)
	@$(RUN) $(ABLATE) --rows fusion,no-instance-level,standalone,full,without-cross
	@$(RUN) $(ABLATE)

benchmarks: $(READY)  ## speed and memory, as ratios in one run; wants a quiet machine
	@missed=0; for name in relation_graph training_step query evaluation index_build index_kinds index_changes \
		filters encoding_precision; do \
		$(RUN) -m benchmarks.$$name || missed=1; done; exit $$missed

load: $(READY)  ## the service under load, and its start from a large index; wants a quiet machine
	@missed=0; for name in service_load service_start; do \
		$(RUN) -m benchmarks.$$name || missed=1; done; exit $$missed

scenes-report: $(READY)  ## model, oracle, precision and baseline on the scenes' test split
	@$(RUN) -m benchmarks.scenes --checkpoint checkpoints/scenes --data data/scenes

serve: $(READY)  ## serve INDEX=path
	@$(RUN) -m service --index $(INDEX) --port $(PORT)

docs: $(READY)  ## build the documentation as a site, in site/
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m properdocs build --strict -q -f mkdocs.yml
	@echo "look at it with: $(RUN) -m http.server -d site 8001"

# SVG, because neither the site nor a reader without the forge's pages draws Mermaid.
MERMAID := PUPPETEER_SKIP_DOWNLOAD=1 PUPPETEER_EXECUTABLE_PATH=$$(command -v chromium) npx --yes @mermaid-js/mermaid-cli@11
figures:  ## draw docs/figures/*.mmd as SVG again (wants Node and Chromium)
	@for source in docs/figures/*.mmd; do \
		$(MERMAID) -q -p docs/figures/browser.json -c docs/figures/mermaid.json -b white \
			-i $$source -o $${source%.mmd}.svg || exit 1; done

openapi: $(READY)  ## write docs/openapi.json again
	@$(RUN) -m service.openapi docs/openapi.json

clean:  ## remove the environment and what the demo made; your own runs and indexes stay
	rm -rf $(VENV) cache data/scenes* checkpoints/scenes* indexes/scenes*
