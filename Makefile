# Every target makes the checkout ready first (packaging/bootstrap: Debian packages, .venv); when it is, that costs nothing.
# `make` alone lists the targets. HOST=trixie runs the hosts of tests, demo and shell from a Debian 13 root (systemd 257);
# PYTHON=... makes .venv with another interpreter than python3.

BIN := .venv/bin
VENV_PYTHON := $(BIN)/python
PREFIX ?= /usr
DESTDIR ?= /
# How the demo's app takes connections: shared (one socket) or steered (one for each instance).
ROUTING ?= shared
# The kernel of `make kernel`: 6.1 or 6.12.
KERNEL ?= 6.1
# Files of tests that run side by side, each with hosts of its own: more than cores, because tests also wait.
WORKERS ?= $(shell echo $$(( $$(nproc) * 2 )))
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
export HOST
# Without bytecode each of the workers would compile all the tests again, and each program on a host its modules.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help bootstrap demo demo-fleet shell captures test thorough compat queues reloads kernel cockpit cockpit-screenshots test-unit test-tools torture attacks bench simulate simulate-fleet model-fleet lint format install wheel deb rpm fresh-machine clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

bootstrap:  ## install what is missing on this machine and make .venv (every target does)
	@packaging/bootstrap

demo: bootstrap  ## a real systemd, an application behind it, and releases rolled out under load (ROUTING=steered)
	@$(VENV_PYTHON) -m tests.demo --routing $(ROUTING)

demo-fleet: bootstrap  ## three hosts, etcd and HAProxy: a good release, a bad one, and a power cut, under load
	@$(VENV_PYTHON) -m tests.demo_fleet

shell: bootstrap  ## a shell on a disposable systemd host with deployd installed
	@$(VENV_PYTHON) -m tests.host.shell

# rich draws them from the screen of a terminal. They are committed: pages show them.
captures: bootstrap  ## take the pictures of docs/views.md: commands on a terminal, in a real run
	@$(VENV_PYTHON) -m tests.docs.captures docs/captures

test: bootstrap  ## the tests, on real systemd hosts too (TESTS=... takes pytest's arguments, and then none is left out)
	@$(VENV_PYTHON) -m pytest $(PARALLEL) $(if $(TESTS),$(TESTS),-m "not thorough")

thorough: bootstrap  ## the tests that `make test` has a sample of: more cases, more servers, installations from the README
	@$(VENV_PYTHON) -m pytest $(PARALLEL) -m thorough $(TESTS)

# JSON=FILE keeps the figures, MARKDOWN=docs/servers.md writes them down; `-m tests.servers --help` says more.
compat: bootstrap  ## real servers through 20 rollouts under load, and their bad releases (SERVERS="gunicorn puma" ROLLOUTS=3)
	@$(VENV_PYTHON) -m tests.servers $(SERVERS) \
		$(foreach option,ROLLOUTS MODE JOBS MINUTES JSON MARKDOWN,$(if $($(option)),--$(shell echo $(option) | tr A-Z a-z) $($(option))))

queues: bootstrap  ## real queue workers through 20 rollouts, bad releases and kills, every job counted (QUEUES="rq" ROLLOUTS=3)
	@$(VENV_PYTHON) -m tests.queues $(QUEUES) $(if $(ROLLOUTS),--rollouts $(ROLLOUTS))

reloads: bootstrap  ## the servers' own reloads under load, and deployd's rollouts (SERVERS="gunicorn-hup nginx-reload" RELEASES=5)
	@$(VENV_PYTHON) -m tests.servers.reloads $(SERVERS) \
		$(foreach option,RELEASES JSON MARKDOWN,$(if $($(option)),--$(shell echo $(option) | tr A-Z a-z) $($(option))))

kernel: bootstrap  ## the tests of reuseport on Debian 12's kernel with CAP_BPF alone, in qemu (KERNEL=6.12: Debian 13's)
	@$(VENV_PYTHON) -m tests.kernel $(KERNEL) $(TESTS)

# The browser is a download of 100 MB, so this is no part of `make test`, which has the page's decisions in Node.
cockpit: bootstrap  ## the Cockpit page in Chromium and Debian's Cockpit on a host; downloads 100 MB (HOST=trixie)
	@$(VENV_PYTHON) -m pytest tests/cockpit/page_host.py $(TESTS)

cockpit-screenshots: bootstrap  ## take the pictures of docs/cockpit.md (HOST=trixie)
	@$(VENV_PYTHON) -m tests.cockpit docs

test-tools: bootstrap  ## the tests of the tools alone: hosts, load, demo, bench, torture, attacks, the thorough ones too
	@$(VENV_PYTHON) -m pytest $(PARALLEL) tests/test_conftest.py \
		$(addprefix tests/,host kernel load sample_apps demo demo_fleet bench torture attacks) $(TESTS)

test-unit: bootstrap  ## the tests that need no systemd, linters among them
	@$(VENV_PYTHON) -m pytest -m "not host and not thorough" $(TESTS)

torture: bootstrap  ## a fault at every step of a rollout, again and again (SEED=... FAULTS=500 ROUTING=steered)
	@$(VENV_PYTHON) -m tests.torture $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults $(FAULTS)) \
		$(if $(filter command line environment,$(origin ROUTING)),--routing $(ROUTING))

attacks: bootstrap  ## what users without rights, apps and broken state can do to deployd: each for real (AREAS="bus files")
	@$(VENV_PYTHON) -m tests.attacks $(AREAS)

# ONLY=routing takes RUNS=5 TRAFFIC="mixed kept" LOAD=60 SERVER=sync METHOD="steered shared" PART="cells hung" JSON=FILE,
# or MERGE="FILE FILE" for the table and the picture of earlier runs; `-m tests.bench.routing --help` says more.
bench: bootstrap  ## measure rollouts under load (ONLY=steering, JSON=FILE), or who has to wait (ONLY=routing RUNS=5)
ifeq ($(ONLY),routing)
	@$(VENV_PYTHON) -m tests.bench.routing $(foreach option,RUNS FIRST PART TRAFFIC LOAD SERVER METHOD SCALE JSON MERGE PICTURE, \
		$(if $($(option)),--$(shell echo $(option) | tr A-Z a-z) $($(option))))
else
	@$(VENV_PYTHON) -m tests.bench $(ONLY) $(if $(JSON),--json $(JSON))
endif

simulate: bootstrap  ## the rollback of a bad release in 200 instances, compared with oldest-first (SCENARIO="--instances 50 --boot 30")
	@$(VENV_PYTHON) -m tests.bench.recovery $(SCENARIO)

simulate-fleet: bootstrap  ## a rollout of 10 to 10,000 hosts through one etcd, messages and times counted (HOSTS="50 500")
	@$(VENV_PYTHON) -m tests.bench.fleet $(HOSTS)

model-fleet: bootstrap  ## the protocol of fleets in random histories with all kinds of faults (COUNT=10000, or until ^C)
	@$(VENV_PYTHON) -m tests.fleet.walk $(COUNT)

lint: bootstrap  ## linters, types, import contracts, and the names of files and tests in the documentation
	@$(VENV_PYTHON) -m pytest -q tests/packaging/test_lint.py tests/docs/test_architecture.py tests/docs/test_traps.py $(TESTS)

format: bootstrap  ## reformat and sort imports
	@$(BIN)/ruff check --fix --select I .
	@$(BIN)/ruff format .

install:  ## install deployd's own files below DESTDIR with PREFIX; COMMAND=... makes PREFIX/bin/deployd, which runs it
	@packaging/install --root "$(DESTDIR)" --prefix "$(PREFIX)" $(if $(COMMAND),--command "$(COMMAND)")

wheel: bootstrap  ## build dist/deployd-VERSION-py3-none-any.whl, for pip and pipx, and dist/deployd-VERSION.tar.gz
	@$(VENV_PYTHON) -m build --no-isolation

deb:  ## build the packages deployd and cockpit-deployd in dist/ for Debian 12 and later, and check them with lintian
	@packaging/deb

rpm:  ## build dist/deployd-VERSION-1.noarch.rpm for Fedora and its relatives
	@packaging/rpm/build

fresh-machine: bootstrap  ## make test in a clone of this checkout on a minimal Debian (COMMAND=... runs something else)
	@packaging/fresh-machine $(COMMAND)

clean:  ## take away everything that make made
	rm -rf .venv .cache dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
