#!/usr/bin/env bash
# Build the training image, and push it to Amazon ECR or to another registry. See usage below.
set -Eeuo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"

readonly STANDIN=standin-base
readonly STANDIN_IMAGE=$STANDIN:bookworm
readonly STAMP=build/base-image
readonly HOST_CA=docker/certs/host-ca-bundle.crt
readonly LABELS=org.opencontainers.image
readonly ATTEMPTS=5
readonly PAUSE_MILLISECONDS=${PUSH_PAUSE_MILLISECONDS:-2000}
readonly STALL_SECONDS=${PUSH_STALL_SECONDS:-300}

image=sagemaker-text-classification:local
repository=sagemaker-text-classification
region=${AWS_REGION:-${AWS_DEFAULT_REGION:-}}
region_flag=
tag=
registry=
allow_dirty=
allow_standin=
wait_scan=
no_cache=

# Found out on the way
command=
python=
scratch=
image_id=
host=
reference=
digest=
has_logged_in_anew=

usage() {
    cat <<'TEXT'
usage: ./build_and_push.sh build|push [option ...]

build   Build the image sagemaker-text-classification:local. The base is BASE_IMAGE if set, else the one that
        docker/Dockerfile names, else, if that cannot be pulled, the one that docker/standin-base.sh makes.
        PIP_INDEX_URL, the proxy variables, and the CA file of PIP_CERT, SSL_CERT_FILE or REQUESTS_CA_BUNDLE
        are passed to the build. Of the options below only --image and --no-cache matter to it.
push    Push that image to Amazon ECR, and print its URI by digest, the only line on stdout.

  --repository NAME      repository to push to, created in ECR if missing (sagemaker-text-classification)
  --region R             AWS region (AWS_REGION, AWS_DEFAULT_REGION)
  --tag T                tag (the git commit)
  --registry HOST:PORT   push to this registry instead of ECR, with the login that docker has for it
  --image NAME           the local image (sagemaker-text-classification:local)
  --allow-dirty          push although the checkout has changes, or is not what the image was built from
  --allow-standin-base   push to ECR although the image is built on the stand-in base
  --wait-scan            wait for ECR's scan of the image and print what it found; exit code 1 if something critical
                         is not in aws/allowed-findings.txt
                         PUSH_STALL_SECONDS: a push that makes no progress for so long is tried again (300)
  --no-cache             build from nothing, whatever has been built before
  -h, --help             print this
TEXT
}

main() {
    parse_arguments "$@"
    trap clean_up EXIT
    require_docker
    case $command in
        build) build_image ;;
        push) push_image ;;
    esac
}

fail() {
    printf 'build_and_push.sh: %s\n' "$*" >&2
    exit 1
}

say() {
    printf 'build_and_push.sh: %s\n' "$*" >&2
}

misuse() {
    printf 'build_and_push.sh: %s\n' "$*" >&2
    usage >&2
    exit 2
}

clean_up() {
    if [[ -n $scratch ]]; then
        rm -rf "$scratch"
    fi
}

parse_arguments() {
    while (($#)); do
        case $1 in
            -h | --help)
                usage
                exit 0
                ;;
            --allow-dirty) allow_dirty=yes ;;
            --allow-standin-base) allow_standin=yes ;;
            --wait-scan) wait_scan=yes ;;
            --no-cache) no_cache=yes ;;
            --repository | --region | --tag | --registry | --image)
                [[ $# -ge 2 && -n $2 && $2 != -* ]] || misuse "$1 needs a value."
                case $1 in
                    --repository) repository=$2 ;;
                    --region) region=$2 region_flag=yes ;;
                    --tag) tag=$2 ;;
                    --registry) registry=$2 ;;
                    --image) image=$2 ;;
                esac
                shift
                ;;
            build | push)
                [[ -z $command ]] || misuse "Give one command, not $command and $1."
                command=$1
                ;;
            *) misuse "Unknown argument: $1." ;;
        esac
        shift
    done
    [[ -n $command ]] || misuse "Say what to do: build or push."
    check_names
}

check_names() {
    local part='[a-z0-9]+([._-]+[a-z0-9]+)*'
    [[ $repository =~ ^$part(/$part)*$ ]] ||
        misuse "--repository $repository: use lower-case letters, digits and . _ - / between them."
    [[ -z $tag || $tag =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$ ]] ||
        misuse "--tag $tag: use letters, digits and . _ -, at most 128."
    [[ -z $registry || $registry =~ ^[A-Za-z0-9.-]+(:[0-9]+)?$ ]] ||
        misuse "--registry $registry: give HOST:PORT."
    [[ $registry != *.dkr.ecr.* ]] || misuse "--registry is for others than ECR: leave it out to push to ECR."
    [[ -z $registry || -z $wait_scan ]] || misuse "--wait-scan is for ECR, and --registry for others: leave one out."
    [[ -z $registry || -z $region_flag ]] || misuse "Give --region to push to ECR, or --registry, not both."
}

require_docker() {
    command -v docker >/dev/null || fail "Docker is not installed: run 'make engine', or install Docker."
    docker version >/dev/null 2>&1 ||
        fail "No Docker engine answers: run 'make engine', or start Docker, and check 'docker version'."
}

# --- build ---

build_image() {
    local base commit lock arguments name
    copy_ca_bundle
    base=$(choose_base)
    commit=$(revision)
    lock=$(sha256sum docker/requirements.lock)
    arguments=(--file docker/Dockerfile --target runtime --tag "$image" --platform linux/amd64
        --build-arg "BASE_IMAGE=$base" --build-arg "REVISION=$commit"
        --build-arg "LOCK=sha256:${lock%% *}" --build-arg "VERSIONS=$(main_versions)")
    # Without a value docker takes it from the environment, so that a password in a URL is in no argument.
    for name in PIP_INDEX_URL http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
        if [[ -n ${!name:-} ]]; then
            arguments+=(--build-arg "$name")
        fi
    done
    if [[ -n $no_cache ]]; then
        arguments+=(--no-cache)
    fi
    # BuildKit would add a provenance attestation, and with it an OCI index, which SageMaker has rejected.
    BUILDX_NO_DEFAULT_ATTESTATIONS=1 docker build "${arguments[@]}" .
}

# The base to build on, on stdout.
choose_base() {
    local default reason
    default=$(sed -n 's/^ARG BASE_IMAGE=//p' docker/Dockerfile | head -n 1)
    if [[ -n ${BASE_IMAGE:-} ]]; then
        printf '%s\n' "$BASE_IMAGE"
    elif has_image "$default"; then
        printf '%s\n' "$default"
    elif [[ -f $STAMP ]] && has_image "$STANDIN_IMAGE"; then
        printf '%s\n' "$STANDIN_IMAGE"
    elif reason=$(pull "$default" 2>&1); then
        printf '%s\n' "$default"
    else
        say "$default cannot be pulled (${reason##*$'\n'}): building on the stand-in base $STANDIN_IMAGE."
        docker/standin-base.sh >&2 || exit 1
        mkdir -p "$(dirname "$STAMP")"
        printf '%s\n' "$STANDIN_IMAGE" >"$STAMP"
        printf '%s\n' "$STANDIN_IMAGE"
    fi
}

has_image() {
    docker image inspect "$1" >/dev/null 2>&1
}

# Docker gives up by itself where no registry answers; the limit is for one that stalls.
pull() {
    local limit=()
    if command -v timeout >/dev/null; then
        limit=(timeout 600)
    fi
    ${limit[@]+"${limit[@]}"} docker pull --quiet --platform linux/amd64 "$1"
}

# The host's CA bundle goes where the build stage looks for certificates; no later stage has it.
copy_ca_bundle() {
    local name
    rm -f "$HOST_CA"
    for name in PIP_CERT SSL_CERT_FILE REQUESTS_CA_BUNDLE; do
        if [[ -n ${!name:-} ]]; then
            [[ -f ${!name} && -r ${!name} ]] ||
                fail "$name=${!name} is not a readable file: correct or unset it."
            mkdir -p "$(dirname "$HOST_CA")"
            install -m 644 "${!name}" "$HOST_CA"
            return
        fi
    done
}

# The commit that the image is built from, as its label says it.
revision() {
    local commit
    if ! commit=$(git rev-parse --verify --quiet HEAD 2>/dev/null); then
        printf 'unknown\n'
    elif is_dirty; then
        printf '%s-dirty\n' "$commit"
    else
        printf '%s\n' "$commit"
    fi
}

# The versions of what matters most in the lock, as the image's label says them.
main_versions() {
    sed -nE 's/^(sagemaker-training|torch|transformers)==([^ ]+).*/\1 \2/p' docker/requirements.lock | paste -sd , -
}

is_dirty() {
    local changes
    changes=$(git status --porcelain) || fail "git cannot tell what has changed: correct what it names above."
    [[ -n $changes ]]
}

# --- push ---

push_image() {
    exec 3>&1 1>&2 # stdout is for the result alone
    scratch=$(mktemp -d)
    python=${PYTHON:-.venv/bin/python}
    command -v "$python" >/dev/null || fail "There is no $python: run 'make venv'."
    check_image
    choose_tag
    if [[ -n $registry ]]; then
        host=$registry
    else
        [[ -n $region ]] || fail "No AWS region: give --region, or set AWS_REGION."
        check_base
        host=$("$python" -m launcher.aws.ecr prepare --region "$region" --repository "$repository")
        make_docker_config
        log_in
    fi
    reference=$host/$repository:$tag
    look_up
    if [[ -n $digest ]]; then
        say "$reference is this image already."
    else
        docker tag "$image" "$reference"
        push_until_it_is_there
    fi
    if [[ -n $wait_scan ]]; then
        "$python" -m launcher.aws.ecr scan --region "$region" --repository "$repository" --digest "$digest"
    fi
    printf '%s\n' "$host/$repository@$digest" >&3
}

# Push up to ATTEMPTS times. What the registry holds decides, not what docker says: the answer to a push that
# went through can be lost, and a tag that is there must not be pushed again.
push_until_it_is_there() {
    local attempt problem
    for ((attempt = 1; ; attempt++)); do
        problem='The registry does not show it.'
        if ! patiently --terminal "$STALL_SECONDS" docker push "$reference" 2>"$scratch/errors"; then
            problem=$(last_error)
        fi
        mend_login
        look_up
        [[ -z $digest ]] || return 0
        if ((attempt == ATTEMPTS)) || is_final "$problem"; then
            fail "$reference was not pushed, correct this and try again: $problem"
        fi
        say "$problem Trying again ($attempt of $((ATTEMPTS - 1)))."
        pause "$attempt"
    done
}

# Whether trying again cannot help.
is_final() {
    grep -qE 'denied|no basic auth credentials|connection refused|no such host|immutable|manifest invalid' <<<"$1" &&
        [[ $1 != *'token has expired'* ]]
}

# A token lives for twelve hours, and may end in the middle of a push: one new login.
mend_login() {
    if [[ -z $registry && -z $has_logged_in_anew ]] && grep -qE 'token has expired|unauthorized' "$scratch/errors"; then
        has_logged_in_anew=yes
        say "The registry does not take the login any more: logging in anew."
        log_in
    fi
}

# Docker waits for ever for a registry that says nothing.
patiently() {
    "$python" -m launcher.push_watchdog "$@"
}

# Longer from one try to the next, and random, so that many pushes do not come back at the same moment.
pause() {
    local milliseconds=$((RANDOM % ((PAUSE_MILLISECONDS << $1) + 1)))
    sleep "$(printf '%d.%03d' $((milliseconds / 1000)) $((milliseconds % 1000)))"
}

check_image() {
    local platform
    image_id=$(docker image inspect --format '{{.Id}}' "$image" 2>/dev/null) ||
        fail "There is no image $image: run ./build_and_push.sh build."
    platform=$(docker image inspect --format '{{.Os}}/{{.Architecture}}' "$image")
    [[ $platform == linux/amd64 ]] ||
        fail "$image is for $platform, and SageMaker wants linux/amd64: run ./build_and_push.sh build."
}

# The tag is the commit, which must be what is checked out and what the image was built from.
choose_tag() {
    local commit built
    commit=$(git rev-parse --verify HEAD 2>&1) ||
        fail "The tag is the commit, and git names none, commit first: ${commit##*$'\n'}"
    built=$(label revision)
    if [[ $built != "$commit" ]] || is_dirty; then
        if [[ -z $allow_dirty ]]; then
            is_dirty &&
                fail "The checkout has uncommitted changes: commit and build again, or give --allow-dirty."
            fail "$image was built from ${built:-an unknown commit}, not from $commit:" \
                "run ./build_and_push.sh build, or give --allow-dirty."
        fi
        # ECR's tags are immutable: without the image's ID a second try from one commit could not be pushed.
        tag=${tag:-$commit-dirty-${image_id:7:12}}
    fi
    tag=${tag:-$commit}
}

check_base() {
    local base
    base=$(label base.name)
    [[ -n $base ]] || fail "$image does not say what base it is built on: run ./build_and_push.sh build."
    [[ $base != "$STANDIN"* || -n $allow_standin ]] ||
        fail "$image is built on the stand-in base $base, not on the CUDA base: build it where that can be" \
            "pulled (make clean build), or give --allow-standin-base."
}

label() {
    docker image inspect --format "{{with .Config.Labels}}{{index . \"$LABELS.$1\"}}{{end}}" "$image"
}

# A docker configuration of this run alone: the token is not in the user's, and goes with the run.
make_docker_config() {
    local config=${DOCKER_CONFIG:-${HOME:-}/.docker} kept
    if [[ -z ${DOCKER_CONTEXT:-} ]]; then
        DOCKER_CONTEXT=$(docker context ls --format '{{if .Current}}{{.Name}}{{end}}' | tr -d '\n')
    fi
    mkdir "$scratch/docker"
    for kept in cli-plugins contexts; do
        if [[ -d $config/$kept ]]; then
            ln -s "$(cd "$config/$kept" && pwd)" "$scratch/docker/$kept"
        fi
    done
    # With an entry in it docker keeps the token in this file, not in the user's key chain.
    printf '{"auths": {"%s": {}}}\n' "$host" >"$scratch/docker/config.json"
    export DOCKER_CONFIG=$scratch/docker DOCKER_CONTEXT
}

log_in() {
    local password
    password=$("$python" -m launcher.aws.ecr password --region "$region" --host "$host")
    printf '%s' "$password" |
        patiently "$STALL_SECONDS" docker login --username AWS --password-stdin "$host" \
            >/dev/null 2>"$scratch/errors" ||
        fail "docker could not log in to $host, check the network and try again: $(last_error)"
}

# Set digest to that under which the registry holds this image, to nothing if the tag is free; fail if the tag
# names another image or a manifest that SageMaker does not take, or if the registry does not answer.
look_up() {
    local flags=(--verbose) answer attempt status=0 absent=0
    digest=
    if is_insecure; then
        flags+=(--insecure)
    fi
    for ((attempt = 1; ; attempt++)); do
        answer=$(patiently "$STALL_SECONDS" docker manifest inspect "${flags[@]}" "$reference" \
            2>"$scratch/errors") && break
        # docker says so of a tag that is free, and also of a 401 on the way: the registry has to say it twice.
        if grep -qE 'no such manifest|manifest unknown' "$scratch/errors"; then
            ((++absent < 2)) || return 0
            continue
        fi
        if ((attempt >= ATTEMPTS)) || is_final "$(last_error)"; then
            fail "The registry $host does not answer, check its name, the login and the network: $(last_error)"
        fi
        absent=0
        mend_login
        pause "$attempt"
    done
    digest=$("$python" -m launcher.aws.manifest "$image_id" <<<"$answer") || status=$?
    case $status in
        0) ;;
        3) fail "$reference is another image already: commit and build again, or choose another --tag." ;;
        *) exit 1 ;;
    esac
}

# Whether the engine speaks plain HTTP with this registry: loopback, or named so in its configuration.
is_insecure() {
    [[ $host =~ ^(127\.[0-9.]+|localhost)(:[0-9]+)?$ ]] && return
    docker info --format '{{range $name, $is := .RegistryConfig.IndexConfigs}}{{if not $is.Secure}}{{$name}}
{{end}}{{end}}' | grep -qxF "$host"
}

last_error() {
    tail -n 1 "$scratch/errors"
}

main "$@"
