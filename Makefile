# `make help` is the whole workflow. Variables become Ansible's:
#   INVENTORY  hosts to work on (default: this machine)   MODEL         imagenet | lite0 … | keras | path of a bundle
#   MODEL_MIRROR  folder or URL tried before the network  POLICY        random | round_robin | least_conn | random_two
#   WORKERS    workers of a slice (default 4)             DESIGN        experiment to run, or its file
#   BALANCERS  balancers of a slice, 1 (default) or 2
#   SLICE      name of the slice here (default local)     RSPEC         request RSpec to write, or to boot
#   CPU_SCALE  share of a core that a worker's core is    HOST          machine to log in to, worker to drain
#   PEERS      other ways to serve, for `make bench`: gunicorn,mosec,fastapi,litserve,keras
#   DATA       photographs to learn: one folder a class   NAME          of the learnt model (default: DATA's), or of a key
#   GENI_MANIFEST, GENI_USER  a granted slice, and who logs in there (inventory/README.md)
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
INVENTORY ?= inventory/local/hosts.yml
# make takes any NAME=value. One that nothing here reads is refused.
GIVEN := $(if $(filter 0,$(MAKELEVEL)),$(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name))))
# Read is what stands here as $(NAME) or NAME ?=, but for what is set here. The inventory reads two from the environment.
ASKED_FOR := [$$]\([A-Z][A-Z0-9_]+[),]|^(export )?[A-Z][A-Z0-9_]+ \?=
SET_HERE := ^(export )?[A-Z][A-Z0-9_]+ [:+]?=
names = $(shell grep -oE '$($(1))' $(MAKEFILE_LIST) | grep -oE '[A-Z][A-Z0-9_]+' | sort -u)
READ := $(if $(GIVEN),GENI_MANIFEST GENI_USER $(filter-out $(call names,SET_HERE) CURDIR MAKE%,$(call names,ASKED_FOR)))
UNREAD := $(firstword $(filter-out $(READ),$(GIVEN)))
NEAREST = $(shell $(PYTHON) -c 'import difflib, sys; print(*difflib.get_close_matches(sys.argv[1].upper(), sys.argv[2:], 1))' $(UNREAD) $(READ))
MEANT = $(if $(1),did you mean $(1)?,a variable of the environment stands before the command: $(UNREAD)=… make)
$(if $(UNREAD),$(error nothing reads $(UNREAD); $(call MEANT,$(NEAREST))))
# What measures takes the deployment as it is.
MEASURED := $(if $(filter up deploy,$(MAKECMDGOALS)),,$(filter experiment capacity slo chaos,$(MAKECMDGOALS)))
$(if $(and $(MEASURED),$(filter MODEL POLICY,$(GIVEN))),$(error make $(firstword $(MEASURED)) measures what is deployed; \
	$(filter MODEL POLICY,$(GIVEN)) is for make up or make deploy, before it))

VENV := .venv
BIN := $(VENV)/bin
SUDO := $(shell test "$$(id -u)" = 0 || echo sudo)
# What makes models, for environments in which it is not installed.
OURS := services/worker/src:services/model/src
# A path stays right wherever a playbook runs; a URL or a name is left alone.
path = $(if $(findstring ://,$(1)),$(1),$(if $(1),$(shell realpath -ms -- '$(1)')))
named = $(if $(or $(findstring /,$(1)),$(filter %.yml %.yaml,$(1))),$(call path,$(1)),$(1))
# One variable for Ansible, quoted for the shell and for Ansible: there may be spaces in a path.
extra = $(if $(2),-e '$(1)="$(2)"')
# `make up` keeps MODEL and POLICY for the next run; with the value "default" it forgets them.
chosen = $(if $(filter-out default,$(2)),$(call extra,$(1),$(2)))
BACK := $(strip $(if $(filter default,$(MODEL)),model) $(if $(filter default,$(POLICY)),balancer_policy))
EXTRA := $(call chosen,model,$(call named,$(MODEL))) $(call extra,model_mirror,$(call path,$(MODEL_MIRROR))) \
	$(call chosen,balancer_policy,$(POLICY)) $(call extra,back_to_default,$(BACK)) $(ARGS)
PLAY = $(BIN)/ansible-playbook -i '$(INVENTORY)'
# Of several slices on this machine, inventory/slice means the one that SLICE names.
$(if $(SLICE),$(eval export GENI_MANIFEST ?= $(CURDIR)/rspec/manifests/$(SLICE).xml))
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Ansible needs UTF-8. What the user has, or SSH has brought along, may be another locale or one that is not there.
export LC_ALL := C.UTF-8
# Progress in a few lines and one summary; Ansible's usual output for who asks to see more than that.
export ANSIBLE_STDOUT_CALLBACK ?= $(if $(filter -v% --verbose --check -C --diff -D --step --list-%,$(ARGS)),default,brief)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Images of Python for containers set it. Each start of a program would then compile all that it imports once more.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: # what most people need has two hash signs, the rest a hash sign and a colon
	@awk '/^# --- /{group = $$3} match($$0, "^[a-z-]+:.*$(if $(ALL),#[#:],##) "){text = substr($$0, RLENGTH + 1); sub(/:.*/, "")
		if (group) print group; group = ""; printf "  %-16s%s\n", $$0, text}' $(MAKEFILE_LIST)
	$(if $(ALL),,echo 'make help ALL=1 lists the rest as well.')

# --- environments ---------------------------------------------------------------------------------------------------
UP_PACKAGES := python3-venv nginx logrotate
TEST_PACKAGES := chromium e2fsprogs fonts-dejavu-core imagemagick keepalived libnginx-mod-http-js
SLICE_PACKAGES := debootstrap systemd-container iproute2 iptables openssh-client
MONITOR_PACKAGES := prometheus prometheus-alertmanager prometheus-blackbox-exporter prometheus-nginx-exporter prometheus-node-exporter

.PHONY: setup setup-measure setup-test setup-keras setup-slice setup-monitor
setup: #: install nginx and the controller's environment
	@tools/install_packages $(UP_PACKAGES)
	@$(MAKE) -s $(VENV)/.controller

setup-measure: #: install what measuring, drawing and `make lint` need besides
	@tools/install_packages $(UP_PACKAGES)
	@$(MAKE) -s $(VENV)/.dev

setup-test: setup-measure #: install what `make test` needs besides
	@tools/install_packages $(TEST_PACKAGES) $(MONITOR_PACKAGES)

setup-slice: #: install what a slice on this machine needs (root)
	@tools/install_packages $(SLICE_PACKAGES)
	@$(MAKE) setup

setup-monitor: setup #: install what watches the service on this machine
	@tools/install_packages $(MONITOR_PACKAGES)

setup-keras: #: install TensorFlow, for MODEL=keras
	@$(MAKE) setup .venv-keras/.keras

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else "Python 3.11 to 3.13 is needed,"
		" this is %d.%d%s; name another: make setup PYTHON=python3.13" % (*v, " (numpy has no locked wheel for it)" * (v > (3, 13))))'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.controller: requirements/controller.txt | $(VENV)/.python
	@echo "Installing the controller's environment into $(VENV) …"
	$(BIN)/python -m pip install --quiet --no-compile --require-hashes --requirement requirements/controller.txt
	touch $@

$(VENV)/.dev: requirements/dev.txt requirements/protocol.txt $(wildcard services/*/pyproject.toml) loadtest/pyproject.toml $(VENV)/.controller
	@echo "Installing what tests need into $(VENV) …"
	$(BIN)/python -m pip install --quiet --no-compile --require-hashes --requirement requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --require-hashes --requirement requirements/protocol.txt
	$(BIN)/python -m pip install --quiet --no-index --no-deps --no-build-isolation \
		$(addprefix --editable ./,services/worker services/model services/pool services/autoscaler loadtest .)
	touch $@

$(VENV)/.learn: requirements/learn.txt $(VENV)/.controller
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/learn.txt
	touch $@

$(VENV)/.fuzz: requirements/fuzz.txt $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/fuzz.txt
	touch $@

.venv-keras/.keras: requirements/keras.txt | $(VENV)/.python
	$(BIN)/python -m venv .venv-keras
	.venv-keras/bin/python -m pip install --quiet --no-compile --require-hashes --requirement requirements/keras.txt
	touch $@

# A peer of `make bench`, in an environment of its own.
.venv-peers/%/.peer: requirements/peers/%.txt | $(VENV)/.python
	@echo "Installing the peer $* into .venv-peers/$* …"
	$(BIN)/python -m venv .venv-peers/$*
	.venv-peers/$*/bin/python -m pip install --quiet --require-hashes --requirement $<
	touch $@

# Triton's perf_analyzer, which a long test runs against the service.
.cache/perf_analyzer/.installed: requirements/perf_analyzer.txt | $(VENV)/.dev
	@tools/install_packages libb64-0d
	rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --require-hashes --target $(@D) --requirement $<
	touch $@

.PHONY: lock
lock: $(VENV)/.dev #: renew every hashed requirements file
	compile() { $(BIN)/uv pip compile --quiet --no-header --no-annotate --generate-hashes \
		--no-emit-package imagerec-worker -c requirements/constraints.in "$$@"; }
	hosts() { compile --python-version 3.11 $$1/pyproject.toml requirements/wheelhouse.in -o $$1/requirements.txt; }
	hosts services/worker
	hosts loadtest
	compile --python-version 3.11 -c loadtest/requirements.txt services/pool/pyproject.toml requirements/wheelhouse.in \
		-o services/pool/requirements.txt
	compile --python-version 3.11 -c services/pool/requirements.txt services/autoscaler/pyproject.toml requirements/wheelhouse.in \
		-o services/autoscaler/requirements.txt
	pins="-c services/worker/requirements.txt -c loadtest/requirements.txt"
	compile --python-version 3.11 $$pins --group controller -o requirements/controller.txt
	compile --python-version 3.11 $$pins -c requirements/controller.txt --group dev --extra figures \
		services/worker/pyproject.toml services/model/pyproject.toml loadtest/pyproject.toml -o requirements/dev.txt
	compile --python-version 3.11 $$pins --extra keras services/worker/pyproject.toml services/model/pyproject.toml \
		requirements/keras.in -o requirements/keras.txt
	compile --python-version 3.11 --no-deps -c requirements/dev.txt requirements/examples.in -o requirements/examples.txt
	compile --python-version 3.11 --no-deps -c requirements/dev.txt requirements/protocol.in -o requirements/protocol.txt
	compile --python-version 3.11 --no-deps requirements/perf_analyzer.in -o requirements/perf_analyzer.txt
	compile --python-version 3.11 -c requirements/dev.txt requirements/fuzz.in -o requirements/fuzz.txt
	compile --python-version 3.11 $$pins -c requirements/dev.txt --extra learn services/worker/pyproject.toml \
		services/model/pyproject.toml -o requirements/learn.txt
	for peer in requirements/peers/*.in; do
		compile --python-version 3.11 -c services/worker/requirements.txt services/worker/pyproject.toml "$$peer" -o "$${peer%.in}.txt"
	done

# --- run ---------------------------------------------------------------------------------------------------------------
.PHONY: up deploy rollback drain undrain down verify bundle learn
# Prerequisites, not calls of make in a recipe: `make -n` would run such a recipe.
KERAS_FIRST := $(if $(filter keras,$(MODEL)),setup-keras)
up: setup $(KERAS_FIRST) ## deploy on this machine and serve; the last lines say where
	@$(PLAY) site.yml $(EXTRA)

deploy: setup $(KERAS_FIRST) ## deploy onto INVENTORY, e.g. make deploy INVENTORY=inventory/slice
	@$(PLAY) site.yml $(EXTRA)

rollback: setup ## take the workers of INVENTORY back to the last good deployment, or to the one before it
	@$(PLAY) playbooks/rollback.yml $(EXTRA)

drain: setup ## take worker HOST out of service, with nothing lost; it stays out until `make undrain`
	@$(PLAY) playbooks/drain.yml $(call extra,worker_named,$(HOST)) $(EXTRA)

undrain: setup ## take worker HOST back into service
	@$(PLAY) playbooks/undrain.yml $(call extra,worker_named,$(HOST)) $(EXTRA)

down: setup ## stop and remove what `make up` started
	@$(PLAY) playbooks/down.yml $(EXTRA)

verify: setup ## prove the deployment, read-only
	@$(PLAY) playbooks/verify.yml $(EXTRA)

.PHONY: monitor
monitor: setup $(if $(findstring inventory/local,$(INVENTORY)),setup-monitor) #: watch what is deployed at INVENTORY with Prometheus, until `make down`; see docs/operate.md
	@$(PLAY) playbooks/monitoring.yml -e monitoring_enabled=true $(EXTRA)

.PHONY: key
key: #: make a key of the API for NAME, e.g. make key NAME=alice; see docs/operate.md
	@$(PYTHON) tools/make_key.py '$(NAME)'

bundle: setup $(KERAS_FIRST) #: make the model bundle alone, with a progress bar
	@PYTHONPATH=$(OURS) $(if $(filter keras,$(MODEL)),.venv-keras,$(VENV))/bin/python \
		-m imagerec_model get '$(or $(filter-out default,$(MODEL)),imagenet)' --out dist/bundles $(if $(MODEL_MIRROR),--mirror '$(call path,$(MODEL_MIRROR))')

learn: ## learn the classes of DATA, a folder with one folder of photographs a class, into learnt/NAME; goes on if interrupted
	@test -n '$(DATA)' || { echo "Name the photographs, one folder for each class: make learn DATA=FOLDER" >&2; exit 1; }
	$(MAKE) setup $(VENV)/.learn
	PYTHONPATH=$(OURS) $(BIN)/python -m imagerec_model learn --data '$(DATA)' \
		$(if $(NAME),--name '$(NAME)') $(if $(MODEL_MIRROR),--mirror '$(call path,$(MODEL_MIRROR))') $(ARGS)

# --- slice -------------------------------------------------------------------------------------------------------------
SLICE_VARS := -e slice_name=$(or $(SLICE),local) $(if $(WORKERS),-e slice_workers=$(WORKERS)) $(if $(BALANCERS),-e slice_balancers=$(BALANCERS)) \
	$(if $(CPU_SCALE),-e local_slice_cpu_scale=$(CPU_SCALE)) $(ARGS)
# A user who is not root is asked for the password of sudo, unless sudo wants none.
ASK = $(if $(SUDO),$(shell sudo -n true 2>/dev/null || echo --ask-become-pass))
SLICE_TOOL = $(SUDO) env PYTHONPATH='$(CURDIR)' '$(CURDIR)/$(BIN)/python' -m rspec.local_slice

.PHONY: rspec slice-up slice-down slice-status slice-ssh
rspec: setup #: write the request RSpec for WORKERS and BALANCERS to RSPEC (default rspec/requests/local.xml)
	@$(BIN)/python -m rspec.request --workers $(or $(WORKERS),4) --balancers $(or $(BALANCERS),1) $(ARGS) --out $(or $(RSPEC),rspec/requests/local.xml)

slice-up: setup-slice ## boot the slice on this machine (root): one machine for each node, or for each of RSPEC's
	@$(BIN)/ansible-playbook $(ASK) playbooks/slice_up.yml $(SLICE_VARS) $(call extra,slice_rspec,$(call path,$(RSPEC)))

slice-down: setup ## remove the slice and all it left on this machine
	@$(BIN)/ansible-playbook $(ASK) playbooks/slice_down.yml $(SLICE_VARS)

slice-status: setup ## show the slice's machines
	@$(SLICE_TOOL) status --slice $(or $(SLICE),local)

slice-ssh: setup ## log in to a machine, e.g. make slice-ssh HOST=worker1
	@$(SLICE_TOOL) ssh --slice $(or $(SLICE),local) $(or $(HOST),balancer)

# --- develop -----------------------------------------------------------------------------------------------------------
# Each run that passes notes how long its tier took. Neighbours stay in one process, for they share fixtures; where a
# fixture takes half a minute, the whole module does.
PYTEST = $(BIN)/python -m pytest -p tests.durations --tier $(@:test-%=%) $(if $(LONG),,-m "not long$(if $(ALL),, and not slow)")
BESIDE := --dist worksteal -n
MODULES_BESIDE := --dist loadfile --no-loadscope-reorder -n

.PHONY: test test-all test-unit test-ansible test-keras test-local test-slice test-manuals test-durations lint docs
test: setup-test ## the quick tests of every tier that this machine can run: what to try before each commit
	@$(MAKE) test-unit test-ansible test-keras test-local test-slice test-manuals

test-all: #: the slow tests too, as continuous integration does; LONG=1 adds the long ones
	@$(MAKE) test ALL=1

test-unit: setup-test ## pure parts and real processes on free ports, no deployment
	@$(PYTEST) tests/unit $(BESIDE) 4

test-ansible: setup-test #: roles, templates, playbooks
	@$(PYTEST) tests/ansible $(MODULES_BESIDE) 2

test-keras: setup-keras #: exports Keras' network with random weights (installs TensorFlow)
	@PYTHONPATH=$(OURS) .venv-keras/bin/python -m pytest -p tests.durations --tier keras tests/keras --confcutdir tests/keras

test-local: setup-test #: deploys this machine on free ports, asks it by HTTP and in a browser, removes it
	@$(PYTEST) tests/local tests/browser $(MODULES_BESIDE) 2

test-slice: setup-test setup-slice #: boots six machines, deploys onto them, breaks things, removes them (root)
	@$(PYTEST) tests/slice

test-manuals: setup-test #: holds the commands that the manuals print; LONG=1 runs them all in a clone, half an hour (root)
	@$(PYTEST) tests/manuals

test-durations: setup-test #: write into tests/README.md how long the last run of each tier took
	@$(BIN)/python -m tests.durations

FUZZ_MINUTES ?= 10
.PHONY: fuzz
fuzz: $(VENV)/.fuzz #: fuzz what strangers' bytes meet in a worker for FUZZ_MINUTES (default 10); new inputs join tests/fuzz/corpus
	@for target in preprocessing metadata multipart inference; do
		new=$$(mktemp -d); cp tests/fuzz/corpus/$$target/* "$$new"
		nice -n 10 $(BIN)/python -m tests.fuzz $$target --seconds $$(( $(FUZZ_MINUTES) * 15 )) --found "$$new"
		$(BIN)/python -m tests.fuzz $$target --found tests/fuzz/corpus/$$target --merge "$$new"
		rm -r "$$new"
	done

lint: setup-measure ## ruff, mypy --strict, ansible-lint (production), yamllint
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/yamllint --strict .
	$(BIN)/ansible-lint --offline -q

docs: setup #: write the roles' tables of variables
	@$(BIN)/python roles/write_readmes.py

# --- measure -----------------------------------------------------------------------------------------------------------
LOADTEST := PYTHONPATH=loadtest/src $(BIN)/python -m loadtest

.PHONY: experiment figures scale plan capacity slo
experiment: setup-measure ## run DESIGN (rtt …, or a file) on what is deployed at INVENTORY; IMAGES=folder SCALE=5 RUN=name; goes on if interrupted
	@$(PLAY) playbooks/experiment.yml $(call extra,design,$(call named,$(or $(DESIGN),rtt))) \
		$(call extra,images,$(call path,$(IMAGES))) $(call extra,scale,$(SCALE)) $(call extra,run,$(RUN)) \
		$(call extra,model_mirror,$(call path,$(MODEL_MIRROR))) $(call extra,slice_name,$(SLICE)) $(ARGS)

figures: setup-measure ## rebuild every summary, figure and report, and the README's figures, from the raw samples
	@runs=$$(find results -path '*/trials/*' -name '*.jsonl.gz' ! -name '*.incomplete*' -printf '%h\n' \
		| sed 's|/trials/[^/]*$$||' | sort -u)
	test -n "$$runs" || { echo "There is no run below results/ that has a trial; make experiment makes one." >&2; exit 1; }
	failed=0 # a run that cannot be summarised or drawn is named, and keeps no other back
	$(LOADTEST) summarize $$runs || failed=1
	$(LOADTEST) plot $$runs || failed=1
	$(LOADTEST) table results/reference/models --into README.md
	PYTHONPATH=loadtest/src $(BIN)/python -m loadtest.draw.overview results
	PYTHONPATH=loadtest/src $(BIN)/python -m loadtest.draw.results_page results
	$(BIN)/python -m chaos --redraw --out results/chaos/reference
	test ! -e results/throughput.csv.gz || $(BIN)/python -m bench --redraw results --into README.md
	test ! -e results/hotpath.csv || $(BIN)/python -m bench.hotpath --redraw results > /dev/null
	test ! -e results/batching || $(BIN)/python -m bench.batching --redraw results/batching > /dev/null
	exit $$failed

scale: setup-measure #: write the tables of docs/scale.md by its commands, minutes
	@PYTHONPATH=loadtest/src $(BIN)/python -m loadtest.draw.scale_page docs/scale.md results/reference/scaling results

plan: setup-measure ## workers needed, from measured service times: ARGS='--rate 50 --slo-p99 0.3'; RUN=folder
	@$(if $(ARGS),,echo "Say what is wanted: make plan ARGS='--rate 50 --slo-p99 0.3'" >&2; exit 1)
	$(LOADTEST) plan --from $(or $(RUN),results/reference/scaling) $(ARGS)

# A new folder each time.
FOUND = results/runs/$@-$$(date -u +%Y%m%d-%H%M%S)
capacity: setup-measure #: answers a second that the service at TARGET (default http://127.0.0.1:8080) can give; ARGS='--minutes 20'
	@$(LOADTEST) capacity --target '$(or $(TARGET),http://127.0.0.1:8080)' --out $(FOUND) $(ARGS)

slo: setup-measure #: highest rate at TARGET whose p99 is within P99 seconds (default 0.3); ARGS='--minutes 60'
	@$(LOADTEST) slo --p99 $(or $(P99),0.3) --target '$(or $(TARGET),http://127.0.0.1:8080)' --out $(FOUND) $(ARGS)

.PHONY: bench hotpath durations chaos
bench: setup-measure ## images/s and latency against the limit and PEERS=gunicorn,mosec,fastapi,litserve,keras; RECORD=results keeps it
	@$(BIN)/python -m bench --peers '$(PEERS)' --model '$(filter-out default,$(MODEL))' \
		$(if $(MODEL_MIRROR),--mirror '$(call path,$(MODEL_MIRROR))') $(if $(RECORD),--record '$(RECORD)') $(ARGS)

# TensorFlow has an environment of its own. It finds a GPU if the packages for one are there.
ENGINE ?= litert
BATCHES_IN = $(or $(RECORD),results/runs/batching)
.PHONY: batching
batching: setup-measure $(if $(filter-out litert,$(ENGINE)),setup-keras) #: ms a photograph when 1 to 16 share a run of the network; ENGINE=tensorflow or jax where a GPU is; RECORD=results/batching keeps it
	@PYTHONPATH=$(OURS):loadtest/src $(if $(filter-out litert,$(ENGINE)),.venv-keras/bin,$(BIN))/python -m bench.batching --engine '$(ENGINE)' \
		$(if $(MODEL_MIRROR),--mirror '$(call path,$(MODEL_MIRROR))') --record '$(BATCHES_IN)' $(ARGS)
	$(BIN)/python -m bench.batching --redraw '$(BATCHES_IN)'

hotpath: setup-measure #: CPU ms of a worker and nginx beyond inference, and what parts of them buy, 2 minutes; RECORD=results keeps it
	@$(BIN)/python -m bench.hotpath --model '$(or $(filter-out default,$(MODEL)),imagenet)' \
		$(if $(MODEL_MIRROR),--mirror '$(call path,$(MODEL_MIRROR))') $(if $(RECORD),--record '$(RECORD)') $(ARGS)

durations: setup-measure #: how long up, slice-up and deploy take in a clean clone, 10 minutes (root); RECORD=results keeps it
	@$(BIN)/python -m bench.durations $(if $(RECORD),--record $(RECORD)) $(ARGS)

chaos: setup-measure setup-slice ## break a deployed slice under load, an hour (root); SLICE=name RECORD=folder ARGS='--faults power-off --requests 500'
	@$(BIN)/python -m chaos --slice $(or $(SLICE),local) $(if $(RECORD),--out '$(RECORD)') $(ARGS)
