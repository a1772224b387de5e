# "make help" lists the targets. Recipes only call the scripts and tools that do the work.

IMAGE := sagemaker-text-classification
IN_VENV := .venv/bin/
IN_CODE_VENV := .venv-code/bin/
export HOST_PYTHON ?= python3

# For local-test and train: DATA (file or folder), HP (hyperparameters), INSTANCE_COUNT.
# The quotes keep the shell away from "label_map=1,2=bad;4,5=good".
hyperparameters = $(patsubst %,'%',$(HP))

# The value of one of the image's labels: $(call label,base.name).
label = "$$(docker image inspect --format '{{index .Config.Labels "org.opencontainers.image.$(1)"}}' $(IMAGE):local)"

# A name without a value is taken from the environment, and left out where it is not set there.
BUILD_ARGS := $(patsubst %,--build-arg %,PIP_INDEX_URL http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY)

SCRIPTS := $(wildcard *.sh docker/*.sh launcher/*.sh) .ci/run
KERNELS := $(wildcard code/text_classifier/ops/cpu/*.cpp code/text_classifier/ops/cpu/*.h code/text_classifier/tokenization/*.cpp)
NATIVE = $(shell find code tests/support -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh')

# mypy sees the types of the libraries that are installed beside it: code/ and benchmarks/ where torch is, the rest in .venv.
TYPED_WITH_TORCH := code benchmarks

LOCK := env -u PIP_FIND_LINKS -u UV_FIND_LINKS $(IN_VENV)uv pip compile --quiet --universal \
    --fork-strategy fewest --python-version 3.11 --generate-hashes --no-emit-index-url \
    --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help engine venv venv-code build demo-data local-test resume-demo push train aws-up aws-down \
    quick check fix docs pictures test test-types test-image test-unit test-code test-bases test-platforms test-container test-push test-local-mode test-docker \
    fuzz test-sdk3 test-faults test-gpu bench bench-parity bench-learning bench-ops bench-steps bench-serve bench-data bench-reading bench-launcher \
    lock base clean packages sbom scan-image test-reproducible bench-image

help: ## List the targets
	@sed -nE 's/^([a-z0-9-]+):[^#]*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F '\t' '{printf "%-16s %s\n", $$1, $$2}'


# --- Train ---

local-test: engine venv build demo-data ## Train on this machine, in SageMaker local mode; DATA=reviews.tsv HP="epochs=2" INSTANCE_COUNT=2
	$(IN_VENV)python launch.py local $(if $(DATA),--data '$(DATA)') \
	    $(if $(INSTANCE_COUNT),--instance-count '$(INSTANCE_COUNT)') $(hyperparameters)

# SageMaker needs linux/amd64. What stays on this machine is built for its own platform, such as Apple silicon's.
build: engine ## Build the image for SageMaker; PLATFORM=linux/arm64 for local use
	./build_and_push.sh build --image $(IMAGE):local $(if $(filter build push,$(MAKECMDGOALS)),,--local)

resume-demo: engine venv build demo-data ## Train once without a break and once with three kills, and compare the weights
	$(IN_VENV)python -m launcher.local.resume_demo

push: engine venv ## Push the image to Amazon ECR; REGION=eu-west-1 PUSH_OPTIONS="--tag v1"
	@mkdir -p build
	uri="$$(./build_and_push.sh push $(if $(REGION),--region '$(REGION)') $(PUSH_OPTIONS))" \
	    && echo "$$uri" >build/image-uri && cat build/image-uri

train: venv ## Train the pushed image on SageMaker; ROLE= DATA= [BUCKET= REGION= INSTANCE_TYPE= INSTANCE_COUNT= HP=]
	@test -s build/image-uri || { echo 'make train: no image has been pushed: run "make build push" first.' >&2; exit 1; }
	@test -n '$(ROLE)' || { echo 'make train: give the role that SageMaker assumes: ROLE=arn:aws:iam::...' >&2; exit 1; }
	@test -n '$(DATA)' || { echo 'make train: give the training data: DATA=reviews.tsv' >&2; exit 1; }
	$(IN_VENV)python launch.py train --image "$$(cat build/image-uri)" --role '$(ROLE)' --data '$(DATA)' \
	    $(if $(BUCKET),--bucket '$(BUCKET)') $(if $(REGION),--region '$(REGION)') \
	    $(if $(INSTANCE_TYPE),--instance-type '$(INSTANCE_TYPE)') \
	    $(if $(INSTANCE_COUNT),--instance-count '$(INSTANCE_COUNT)') $(hyperparameters)

aws-up: venv ## Create bucket, repository and role in AWS; REGION=eu-west-1 [PARAMETERS="UseVpc=true KmsKeyArn=arn:..."]
	@test -n '$(REGION)' || { echo 'make aws-up: give the region: REGION=eu-west-1' >&2; exit 1; }
	$(IN_VENV)python -m launcher.aws.stack up --region '$(REGION)' $(patsubst %,--parameter '%',$(PARAMETERS))

aws-down: venv ## Delete them; REGION=eu-west-1 [CONTENTS=delete: and all data, models and images in them]
	@test -n '$(REGION)' || { echo 'make aws-down: give the region: REGION=eu-west-1' >&2; exit 1; }
	$(IN_VENV)python -m launcher.aws.stack down --region '$(REGION)' $(if $(filter delete,$(CONTENTS)),--with-contents)


# --- Set-up ---

engine: ## Make sure that a Docker engine answers; as root on Debian or Ubuntu, install one
	@docker/ensure-engine.sh

venv: .venv/.installed ## Make .venv, for the launcher and the checks

.venv/.installed: requirements.lock
	launcher/make-venv.sh .venv
	@touch $@

venv-code: .venv-code/.kernels ## Make .venv-code, the image's libraries, to test code/ without Docker; 5.3 GB

.venv-code/.installed: docker/build-tools.lock docker/requirements.lock docker/requirements-test.lock
	launcher/make-venv.sh --code .venv-code
	@touch $@

# As in the image: without them each process of a test would compile its own.
.venv-code/.kernels: .venv-code/.installed code/text_classifier/ops/compile.py $(KERNELS)
	$(IN_CODE_VENV)python code/text_classifier/ops/compile.py .venv-code/lib
	@touch $@

demo-data: venv ## Download the demo's reviews and weights to build/demo
	$(IN_VENV)python -m launcher.demo_data --directory build/demo


# --- Checks and tests ---

quick: venv venv-code check demo-data build/bench/packages/.installed ## The checks and the unit tests of what changed since main, without Docker; BASE=HEAD~1
	$(IN_VENV)python -m tools.changed_tests $(if $(BASE),--base '$(BASE)')

# code/ is type-checked here where .venv-code has been made, and otherwise by test-types.
check: venv ## Lint, format, imports between packages, types, docs up to date; changes nothing
	$(IN_VENV)ruff check .
	$(IN_VENV)ruff format --check .
	PYTHONPATH=code:. $(IN_VENV)lint-imports --no-cache --no-logo
	$(IN_VENV)mypy launch.py launcher tools
	@if [ -e .venv-code/.installed ]; then set -x; $(IN_CODE_VENV)mypy --cache-dir .mypy_cache/code $(TYPED_WITH_TORCH); \
	    else echo 'make check: $(TYPED_WITH_TORCH) not type-checked: run "make venv-code" first, or "make test-types".' >&2; fi
	$(IN_VENV)shellcheck $(SCRIPTS)
	$(IN_VENV)clang-format --dry-run --Werror $(NATIVE)
	$(IN_VENV)cfn-lint aws/template.yaml
	$(IN_VENV)python -m tools.docs --check

fix: venv ## Apply the corrections that the checks' tools can make
	$(IN_VENV)ruff check --fix .
	$(IN_VENV)ruff format .
	$(IN_VENV)clang-format -i $(NATIVE)

test: check test-types test-unit test-code test-docker ## Everything: the checks and all tests

test-types: test-image ## Type-check code/ and benchmarks/ inside the image, with the types of its libraries
	docker run --rm --network none --workdir /project --volume '$(CURDIR):/project:ro' \
	    $(IMAGE):test python -m mypy --cache-dir /tmp/mypy $(TYPED_WITH_TORCH)

test-unit: demo-data ## Tests of the launcher and the scripts
	$(IN_VENV)pytest --numprocesses 2 tests/unit --ignore tests/unit/code

# Tests the copy of code/ that is in the image.
test-code: test-image demo-data build/bench/packages/.installed ## Tests of code/, inside the image
	docker run --rm --network none --hostname tests --add-host tests:127.0.0.1 --shm-size 512m --workdir /project \
	    --volume '$(CURDIR)/tests:/project/tests:ro' \
	    --volume '$(CURDIR)/pyproject.toml:/project/pyproject.toml:ro' \
	    --volume '$(CURDIR)/benchmarks:/project/benchmarks:ro' \
	    --volume '$(CURDIR)/build/demo:/project/build/demo:ro' \
	    --volume '$(CURDIR)/build/bench/packages:/project/build/bench/packages:ro' \
	    $(IMAGE):test python -m pytest -p no:cacheprovider --numprocesses 2 tests/unit/code

fuzz: test-image ## The C++ of code/ with random input, under sanitizers, for longer than in the tests; SECONDS=600
	docker run --rm --network none --workdir /project --env FUZZ_SECONDS=$(or $(SECONDS),60) \
	    --volume '$(CURDIR)/tests:/project/tests:ro' --volume '$(CURDIR)/pyproject.toml:/project/pyproject.toml:ro' \
	    $(IMAGE):test python -m pytest -p no:cacheprovider tests/unit/code/ops/test_sanitizers.py

test-gpu: test-image ## Tests that need a GPU, inside the image; needs one, and NVIDIA's container toolkit
	docker run --rm --gpus all --network none --shm-size 512m --workdir /project \
	    --volume '$(CURDIR)/tests:/project/tests:ro' \
	    --volume '$(CURDIR)/pyproject.toml:/project/pyproject.toml:ro' \
	    --volume '$(CURDIR)/code:/project/code:ro' \
	    $(IMAGE):test python -m pytest -p no:cacheprovider tests/gpu tests/unit/code/ops/cuda

test-container: test-image demo-data build/serving/packages/.installed build/bench/packages/.installed ## Black-box tests of the image
	$(IN_VENV)pytest --numprocesses 2 tests/container

# From the same locks as on the CUDA base, whose Python is 3.12. About 15 GB.
test-bases: engine venv demo-data ## Build and test the image on Debian 12 and 13, and test code/ on Python 3.12; half an hour
	for suite in bookworm trixie; do \
	    docker/standin-base.sh --suite $$suite || exit; \
	    BASE_IMAGE=$$(docker/standin-base.sh --suite $$suite --name) \
	        TEST_IMAGE=$(IMAGE)-$$suite:local TEST_IMAGE_WITH_TOOLS=$(IMAGE)-$$suite:test \
	        $(MAKE) IMAGE=$(IMAGE)-$$suite test-code test-container || exit; \
	done
	[ -e build/python3.12/bin/pytest ] || HOST_PYTHON=$${PYTHON_3_12:-python3.12} launcher/make-venv.sh --code build/python3.12
	build/python3.12/bin/python code/text_classifier/ops/compile.py build/python3.12/lib
	PYTHONPATH=code build/python3.12/bin/python -m pytest -p no:cacheprovider --numprocesses 2 tests/unit/code

# Without own kernels, and many times slower than a real machine of this kind: minutes for a few rows.
test-platforms: build demo-data ## Build for arm64, check and train by emulation; train on an x86 CPU without AVX2; an hour
	docker/ensure-emulation.sh linux/arm64
	PLATFORM=linux/arm64 ./build_and_push.sh build --image $(IMAGE)-arm64:local
	TEST_ARM64_IMAGE=$(IMAGE)-arm64:local $(IN_VENV)pytest tests/platforms

# What Hugging Face's serving containers have besides torch, which comes from the image. One package has no wheel.
build/serving/packages/.installed: tests/container/serving-requirements.lock | venv
	rm -rf $(@D)
	$(IN_VENV)pip --disable-pip-version-check install --quiet --require-hashes --no-deps --no-build-isolation \
	    --only-binary :all: --no-binary sagemaker-inference --target $(@D) --requirement $<
	@touch $@

test-faults: build demo-data ## Jobs with random stops, kills and lost hosts; N=200
	$(IN_VENV)python tests/faults/run.py --runs $(or $(N),200) $(if $(SEED),--seed '$(SEED)')

bench-reading: build demo-data ## Read and tokenize made-up reviews: rows/s, memory; ROWS=3100000 AGAINST=OTHER/code
	docker run --rm --network none --workdir /project --volume '$(CURDIR)/code:/project/code:ro' \
	    --volume '$(CURDIR)/benchmarks:/project/benchmarks:ro' --volume '$(CURDIR)/tests:/project/tests:ro' \
	    --volume '$(CURDIR)/build/demo:/project/build/demo:ro' \
	    $(if $(AGAINST),--volume '$(abspath $(AGAINST)):/against:ro') \
	    $(IMAGE):local python benchmarks/reading.py --rows $(or $(ROWS),300000) $(if $(AGAINST),--against /against)

test-push: engine venv ## Tests of the push, against a real registry and a simulated AWS
	$(IN_VENV)pytest --numprocesses 2 tests/push

test-local-mode: build demo-data ## Tests of local mode, in one container and in two
	$(IN_VENV)pytest tests/local_mode

# One of the two processes has local mode's tests, which run one after another (tests/local_mode/conftest.py).
test-docker: test-image demo-data build/serving/packages/.installed build/bench/packages/.installed ## test-container, test-push and test-local-mode at once
	$(IN_VENV)pytest --numprocesses 2 tests/container tests/push tests/local_mode

# 0.8 GB; it shares no environment with version 2 of the SDK.
build/sdk3/.installed: tests/sdk3/requirements.lock | venv
	rm -rf $(@D)
	$(IN_VENV)python -m venv $(@D)
	$(@D)/bin/pip --disable-pip-version-check install --quiet --no-compile --require-hashes --requirement $<
	@touch $@

test-sdk3: build/sdk3/.installed ## The launcher's request, submitted by version 3 of the SageMaker SDK
	build/sdk3/bin/python -m pytest -p no:cacheprovider tests/sdk3

test-image: build ## Build the image with pytest and mypy added, for the tests inside it
	docker build --file docker/Dockerfile --target test --tag $(IMAGE):test \
	    --platform "$$(docker image inspect --format '{{.Os}}/{{.Architecture}}' $(IMAGE):local)" \
	    --build-arg BASE_IMAGE=$(call label,base.name) --build-arg REVISION=$(call label,revision) $(BUILD_ARGS) .


# --- Benchmark ---

# Inside the image, with this folder's code/ and without a network.
BENCH = docker run --rm --network none --shm-size 1g $(if $(filter cuda,$(DEVICE)),--gpus all) --workdir /project \
    --user "$$(id -u):$$(id -g)" --env HOME=/tmp --env PYTHONPATH=/project/build/bench/packages \
    --volume '$(CURDIR):/project:ro' --volume '$(CURDIR)/build/bench:/project/build/bench' \
    --env PYTHONDONTWRITEBYTECODE=1 $(IMAGE):local python
COMMIT = --commit "$$(git describe --always --dirty --abbrev=12)"

bench: build bench-data ## Time ours, the tutorial's script and transformers' Trainer in turn; DEVICE=cuda OPTIONS="--tokens 128"
	$(BENCH) benchmarks/run.py --device $(or $(DEVICE),cpu) $(COMMIT) $(OPTIONS)

bench-parity: build bench-data ## Compare the accuracy of ours and of Trainer, five pairs of runs; DEVICE=cuda OPTIONS="--seeds 3"
	$(BENCH) benchmarks/parity.py --device $(or $(DEVICE),cpu) $(COMMIT) $(OPTIONS)

bench-learning: build bench-data ## What each learning setting brings, on the demo's rows and IMDB; OPTIONS="--seeds 3 --settings freeze_layers"
	$(BENCH) benchmarks/learning.py --device $(or $(DEVICE),cpu) $(COMMIT) $(OPTIONS)

bench-ops: build ## Time each native operation against torch's own on this CPU; OPTIONS=--only-avx2
	mkdir -p build/bench
	$(BENCH) benchmarks/ops.py $(COMMIT) $(OPTIONS)

bench-steps: build ## Time whole training steps without each native operation; DEVICE=cuda
	mkdir -p build/bench
	$(BENCH) benchmarks/steps.py --device $(or $(DEVICE),cpu) $(COMMIT) $(OPTIONS)

bench-serve: build demo-data build/serving/packages/.installed build/bench/infinity/.installed ## Time serve and other servers of the same model; OPTIONS="--clients 64 --load 0.8"
	@mkdir -p build/bench
	$(BENCH) benchmarks/serve.py $(COMMIT) $(OPTIONS)

bench-data: demo-data build/bench/packages/.installed ## Download what the benchmark needs to build/bench
	$(IN_VENV)python -m benchmarks.imdb --file build/bench/imdb.csv

bench-launcher: venv ## Time plan, status and --help, with an AWS that takes a tenth of a second to answer
	$(IN_VENV)pytest --capture=no tests/timing

# The server "infinity" with what it needs besides torch, which comes from the image.
build/bench/infinity/.installed: benchmarks/infinity-requirements.lock | venv
	rm -rf $(@D)
	$(IN_VENV)pip --disable-pip-version-check install --quiet --require-hashes --no-deps --only-binary :all: \
	    --target $(@D) --requirement $<
	@touch $@

# What the image lacks.
build/bench/packages/.installed: benchmarks/requirements.lock | venv
	rm -rf $(@D)
	$(IN_VENV)pip --disable-pip-version-check install --quiet --require-hashes --no-deps --only-binary :all: \
	    --target $(@D) --requirement $<
	@touch $@


# --- Documentation ---

docs: venv ## Write the generated tables of docs/ and benchmarks/README.md
	$(IN_VENV)python -m tools.docs

pictures: venv ## Draw the README's pictures, after "make local-test"; needs Chromium and pngquant
	$(IN_VENV)python -m tools.pictures


# --- Upkeep ---

lock: venv ## Bring the locks up to date with the *.in files; UPGRADE=1 takes new versions
	$(LOCK) docker/requirements.in --output-file docker/requirements.lock
	$(LOCK) docker/build-tools.in --constraint docker/requirements.lock --output-file docker/build-tools.lock
	$(LOCK) docker/requirements-test.in --constraint docker/requirements.lock --output-file docker/requirements-test.lock
	$(LOCK) requirements.in --output-file requirements.lock
	$(LOCK) --no-deps benchmarks/requirements.in --output-file benchmarks/requirements.lock
	$(LOCK) --no-deps benchmarks/infinity-requirements.in --output-file benchmarks/infinity-requirements.lock
	$(LOCK) --no-deps tests/container/serving-requirements.in --output-file tests/container/serving-requirements.lock
	$(LOCK) tests/sdk3/requirements.in --output-file tests/sdk3/requirements.lock

base: engine ## Pin the newest digest of the base image's tag in docker/Dockerfile; TAG=nvidia/cuda:13.0.4-base-ubuntu24.04
	docker/pin-base.sh $(TAG)

packages: build ## Write docker/packages.txt, what is installed in the image; run it after a change of the locks
	docker run --rm --interactive --network none $(IMAGE):local python - <docker/packages.py >docker/packages.txt

sbom: test-image ## Write the image's bill of materials (CycloneDX) to build/sbom.json
	@mkdir -p build
	docker run --rm --interactive --network none $(IMAGE):test python - <docker/sbom.py >build/sbom.json

scan-image: build venv ## Look for secrets in every layer of the image; minutes
	$(IN_VENV)python tools/scan_secrets.py $(IMAGE):local

test-reproducible: engine venv ## Build the image twice from scratch, and compare the contents; ten minutes
	$(IN_VENV)python tools/compare_builds.py

bench-image: build bench-data ## Size of each layer; seconds from the container's start to the first step, 4,000 rows
	$(IN_VENV)python tools/bench_image.py

clean: ## Delete build/, with the results of local runs, and caches; the virtual environments and the images stay
	rm -rf build .mypy_cache .pytest_cache .ruff_cache .hypothesis
