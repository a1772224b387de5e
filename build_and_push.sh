#!/usr/bin/env bash
# Builds the training image and pushes it to Amazon ECR or another registry. See usage below.
set -Eeuo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"

readonly STANDIN=standin-base
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
account=
allow_dirty=
allow_standin=
wait_scan=
no_cache=
is_local=

# Set at run time
command=
platform=
python=
scratch=
image_id=
host=
reference=
digest=
has_renewed_login=

usage() {
    cat <<'TEXT'
usage: ./build_and_push.sh build|push [option ...]

build   Build the image sagemaker-text-classification:local. The base image is BASE_IMAGE if set; else the one in
        docker/Dockerfile; else, if that cannot be pulled, the stand-in base of docker/standin-base.sh.
        PIP_INDEX_URL, the proxy variables, and the CA file of PIP_CERT, SSL_CERT_FILE or REQUESTS_CA_BUNDLE
        are passed to the build. Only the options --image, --no-cache and --local apply.
push    Push the image to Amazon ECR and print its URI by digest on stdout; all other messages go to stderr.
        Renews the login when the token expires, and trusts the registry's state over docker's exit code.

options (default):
  --repository NAME      repository to push to, created in ECR if missing (sagemaker-text-classification)
  --region R             AWS region (AWS_REGION, AWS_DEFAULT_REGION, the region of the profile)
  --account A            AWS account of the ECR registry, whose repository must exist (that of the credentials)
  --tag T                tag (the git commit; without git, in a download, it must be given)
  --registry HOST:PORT   push to this registry instead of ECR, with docker's login for it
  --image NAME           local image (sagemaker-text-classification:local)
  --allow-dirty          push although the checkout has changes or is not the commit of the image
  --allow-standin-base   push to ECR although the image uses the stand-in base
  --wait-scan            wait for ECR's scan of the image and print its findings; exit code 1 for critical findings
                         that aws/allowed-findings.txt does not allow
  --no-cache             build without docker's cache
  --local                build for the engine's own platform, for local mode only; SageMaker needs linux/amd64
  -h, --help             print this help

environment (default):
  PLATFORM               platform to build for (linux/amd64; with --local the engine's own)
  PUSH_STALL_SECONDS     seconds without progress after which a push is retried (300)
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
            --local) is_local=yes ;;
            --repository | --region | --account | --tag | --registry | --image)
                [[ $# -ge 2 && -n $2 && $2 != -* ]] || misuse "$1 needs a value."
                case $1 in
                    --repository) repository=$2 ;;
                    --region) region=$2 region_flag=yes ;;
                    --account) account=$2 ;;
                    --tag) tag=$2 ;;
                    --registry) registry=$2 ;;
                    --image) image=$2 ;;
                esac
                shift
                ;;
            build | push)
                [[ -z $command ]] || misuse "Give one command, not both $command and $1."
                command=$1
                ;;
            *) misuse "Unknown argument: $1." ;;
        esac
        shift
    done
    [[ -n $command ]] || misuse "Give a command: build or push."
    check_names
}

check_names() {
    local part='[a-z0-9]+([._-]+[a-z0-9]+)*'
    [[ $repository =~ ^$part(/$part)*$ ]] ||
        misuse "--repository $repository: use lower-case letters and digits, separated by . _ - /"
    [[ -z $tag || $tag =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$ ]] ||
        misuse "--tag $tag: use letters, digits and . _ -, at most 128."
    [[ -z $registry || $registry =~ ^[A-Za-z0-9.-]+(:[0-9]+)?$ ]] ||
        misuse "--registry $registry: give HOST:PORT."
    [[ $registry != *.dkr[.-]ecr* ]] ||
        misuse "--registry is for registries other than ECR: remove it to push to ECR, or give --account ${registry%%.*}."
    [[ -z $account || $account =~ ^[0-9]{12}$ ]] || misuse "--account $account: give the 12 digits of an AWS account."
    [[ -z $registry || -z $account ]] || misuse "--account works with ECR only: remove it or --registry."
    [[ -z $registry || -z $wait_scan ]] || misuse "--wait-scan works with ECR only: remove it or --registry."
    [[ -z $registry || -z $region_flag ]] || misuse "Give either --region to push to ECR or --registry, not both."
}

require_docker() {
    command -v docker >/dev/null || fail "Docker is not installed: run 'make engine', or install Docker."
    local answer
    answer=$(docker version 2>&1) && return
    [[ $answer != *'permission denied'* ]] ||
        fail "The Docker engine denies access to this user: join the group docker" \
            "(sudo usermod -aG docker $(id -un)) and log in again."
    fail "The Docker engine does not respond: run 'make engine', or start Docker, and check 'docker version'."
}

# --- build ---

build_image() {
    local base commit lock arguments name
    choose_platform
    copy_ca_bundle
    base=$(choose_base)
    commit=$(revision)
    lock=$(sha256sum docker/requirements.lock)
    arguments=(--file docker/Dockerfile --target runtime --tag "$image" --platform "$platform"
        --build-arg "BASE_IMAGE=$base" --build-arg "REVISION=$commit"
        --build-arg "LOCK=sha256:${lock%% *}" --build-arg "VERSIONS=$(main_versions)"
        --build-arg "VERSION=$(version)" --build-arg "SOURCE=$(source_url)")
    # Without a value docker reads it from the environment, which keeps a password in a URL off the command line.
    for name in PIP_INDEX_URL http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
        if [[ -n ${!name:-} ]]; then
            arguments+=(--build-arg "$name")
        fi
    done
    if [[ -n $no_cache ]]; then
        arguments+=(--no-cache)
    fi
    # A builder in a container keeps what it builds to itself, unless it is told to load it into the engine.
    if docker buildx version >/dev/null 2>&1 && docker build --help 2>/dev/null | grep -q -- '--load'; then
        arguments+=(--load)
    fi
    # BuildKit would add a provenance attestation and thereby an OCI index, which SageMaker has rejected.
    scratch=$(mktemp -d)
    BUILDX_NO_DEFAULT_ATTESTATIONS=1 docker build --iidfile "$scratch/id" "${arguments[@]}" .
    if ! [[ -s $scratch/id ]] || ! docker image inspect "$(<"$scratch/id")" "$image" >/dev/null 2>&1; then
        fail "The build has ended, but the engine does not have $image: the builder keeps it to itself; use the" \
            "engine's own (docker buildx use default) and build again."
    fi
}

# On other machines than SageMaker's, local mode on the engine's own platform is several times faster than emulation.
choose_platform() {
    platform=${PLATFORM:-linux/amd64}
    if [[ -n $is_local && -z ${PLATFORM:-} ]]; then
        platform=$(docker version --format '{{.Server.Os}}/{{.Server.Arch}}')
    fi
    [[ $platform == linux/@(amd64|arm64) ]] || fail "PLATFORM=$platform: give linux/amd64 or linux/arm64."
    [[ $platform == linux/amd64 ]] ||
        say "building for $platform, for local mode only: run ./build_and_push.sh build before a push."
}

# Prints the base image to build on.
choose_base() {
    local default standin reason
    standin=$(docker/standin-base.sh --platform "$platform" --name)
    default=$(sed -n 's/^ARG BASE_IMAGE=//p' docker/Dockerfile | head -n 1)
    if [[ -n ${BASE_IMAGE:-} ]]; then
        printf '%s\n' "$BASE_IMAGE"
    elif has_image "$default"; then
        printf '%s\n' "$default"
    elif [[ -f $STAMP ]] && has_image "$standin"; then
        printf '%s\n' "$standin"
    elif reason=$(pull "$default" 2>&1); then
        printf '%s\n' "$default"
    else
        say "$default cannot be pulled (${reason##*$'\n'}): building on the stand-in base $standin."
        docker/standin-base.sh --platform "$platform" >&2 || exit 1
        mkdir -p "$(dirname "$STAMP")"
        printf '%s\n' "$standin" >"$STAMP"
        printf '%s\n' "$standin"
    fi
}

has_image() {
    [[ "$(docker image inspect --format '{{.Os}}/{{.Architecture}}' "$1" 2>/dev/null)" == "$platform" ]]
}

# Docker itself gives up on a registry that does not respond; the limit is for one that stalls.
pull() {
    local limit=()
    if command -v timeout >/dev/null; then
        limit=(timeout 600)
    fi
    ${limit[@]+"${limit[@]}"} docker pull --quiet --platform "$platform" "$1"
}

# Puts the host's CA bundle where the build stage reads certificates; it is not in later stages.
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

# Prints the commit for the image's label.
revision() {
    local commit
    if ! is_checkout || ! commit=$(git rev-parse --verify --quiet HEAD 2>/dev/null); then
        printf 'unknown\n'
    elif is_dirty; then
        printf '%s-dirty\n' "$commit"
    else
        printf '%s\n' "$commit"
    fi
}

# Whether this folder is a git checkout itself, and not a download inside of one.
is_checkout() {
    [[ "$(git rev-parse --show-toplevel 2>/dev/null)" == "$(pwd -P)" ]]
}

# Prints the project's version for the image's label.
version() {
    sed -nE 's/^version = "(.+)"$/\1/p' pyproject.toml
}

# Prints the address of the repository for the image's label, without a user name or token.
source_url() {
    local url=
    if is_checkout; then
        url=$(git remote get-url origin 2>/dev/null) || true
    fi
    if [[ $url =~ ^(https://|ssh://|git@)([^/@]*@)?([A-Za-z0-9.-]+)(:[0-9]+)?[:/](.+)$ ]]; then
        url=${BASH_REMATCH[5]%.git}
        printf 'https://%s/%s\n' "${BASH_REMATCH[3]}" "${url#/}"
    else
        printf 'unknown\n'
    fi
}

# Prints the versions of the main packages for the image's label.
main_versions() {
    sed -nE 's/^(sagemaker-training|torch|transformers)==([^ ]+).*/\1 \2/p' docker/requirements.lock | paste -sd , -
}

is_dirty() {
    local changes
    changes=$(git status --porcelain) || fail "git status failed: fix the problem that git reports above."
    [[ -n $changes ]]
}

# --- push ---

push_image() {
    exec 3>&1 1>&2 # stdout is reserved for the result
    scratch=$(mktemp -d)
    python=${PYTHON:-.venv/bin/python}
    command -v "$python" >/dev/null || fail "There is no $python: run 'make venv'."
    check_image
    choose_tag
    if [[ -n $registry ]]; then
        host=$registry
    else
        if [[ -z $region ]]; then
            region=$("$python" -m launcher.aws.ecr region)
        fi
        [[ -n $region ]] ||
            fail "No AWS region: give --region, set AWS_REGION, or set the region of the profile (aws configure)."
        check_base
        host=$("$python" -m launcher.aws.ecr prepare --region "$region" --repository "$repository" \
            ${account:+--account "$account"})
        make_docker_config
        log_in
    fi
    reference=$host/$repository:$tag
    find_digest
    if [[ -n $digest ]]; then
        say "$reference is already this image."
    else
        docker tag "$image" "$reference"
        push_with_retries
    fi
    if [[ -n $wait_scan ]]; then
        "$python" -m launcher.aws.ecr scan --region "$region" --repository "$repository" --digest "$digest" \
            ${account:+--account "$account"}
    fi
    printf '%s\n' "$host/$repository@$digest" >&3
}

# Pushes up to ATTEMPTS times. The registry's state decides, not docker's exit code: the response to a successful push
# can be lost, and an immutable tag must not be pushed again.
push_with_retries() {
    local attempt problem
    for ((attempt = 1; ; attempt++)); do
        problem='The registry does not have the image.'
        if ! with_watchdog --terminal "$STALL_SECONDS" docker push "$reference" 2>"$scratch/errors"; then
            problem=$(last_error)
        fi
        renew_login
        find_digest
        [[ -z $digest ]] || return 0
        if ((attempt == ATTEMPTS)) || is_final "$problem"; then
            fail "$reference was not pushed, fix this and try again: $problem"
        fi
        say "$problem Retrying ($attempt of $((ATTEMPTS - 1)))."
        pause "$attempt"
    done
}

# Whether a retry cannot help.
is_final() {
    grep -qE 'denied|no basic auth credentials|connection refused|no such host|immutable|manifest invalid' <<<"$1" &&
        [[ $1 != *'token has expired'* ]]
}

# A token is valid for twelve hours and may expire during a push: log in again, once.
renew_login() {
    if [[ -z $registry && -z $has_renewed_login ]] && grep -qE 'token has expired|unauthorized' "$scratch/errors"; then
        has_renewed_login=yes
        say "The login has expired: logging in again."
        log_in
    fi
}

# Docker waits forever for a registry that stalls.
with_watchdog() {
    "$python" -m launcher.push_watchdog "$@"
}

# Exponential backoff with jitter, so that concurrent pushes do not retry at the same moment.
pause() {
    local milliseconds=$((RANDOM % ((PAUSE_MILLISECONDS << $1) + 1)))
    sleep "$(printf '%d.%03d' $((milliseconds / 1000)) $((milliseconds % 1000)))"
}

check_image() {
    image_id=$(docker image inspect --format '{{.Id}}' "$image" 2>/dev/null) ||
        fail "There is no image $image: run ./build_and_push.sh build."
    platform=$(docker image inspect --format '{{.Os}}/{{.Architecture}}' "$image")
    [[ $platform == linux/amd64 ]] ||
        fail "$image is for $platform, but SageMaker needs linux/amd64: run ./build_and_push.sh build."
}

# The default tag is the commit, which must be checked out and must be the one that the image was built from.
choose_tag() {
    local commit built
    if ! is_checkout && [[ -n $tag ]]; then
        say "This folder is not a git checkout: $image is pushed as $tag, and its label has no commit."
        return
    fi
    is_checkout ||
        fail "The default tag is the git commit, but git reports none for this folder; give --tag, or see:" \
            "$(git rev-parse --show-toplevel 2>&1 | tail -n 1)"
    commit=$(git rev-parse --verify HEAD 2>&1) ||
        fail "The default tag is the git commit, but git reports none; commit first, or see: ${commit##*$'\n'}"
    built=$(label revision)
    if [[ $built != "$commit" ]] || is_dirty; then
        if [[ -z $allow_dirty ]]; then
            is_dirty &&
                fail "The checkout has uncommitted changes: commit and rebuild, or give --allow-dirty."
            fail "$image was built from ${built:-an unknown commit}, not from $commit:" \
                "run ./build_and_push.sh build, or give --allow-dirty."
        fi
        # ECR's tags are immutable: without the image's ID a second build of a commit could not be pushed.
        tag=${tag:-$commit-dirty-${image_id:7:12}}
    fi
    tag=${tag:-$commit}
}

check_base() {
    local base
    base=$(label base.name)
    [[ -n $base ]] || fail "$image has no label with its base image: run ./build_and_push.sh build."
    [[ $base != "$STANDIN"* || -n $allow_standin ]] ||
        fail "$image uses the stand-in base $base instead of the CUDA base: build it where the CUDA base can" \
            "be pulled (make clean build), or give --allow-standin-base."
}

label() {
    docker image inspect --format "{{with .Config.Labels}}{{index . \"$LABELS.$1\"}}{{end}}" "$image"
}

# A temporary docker configuration: the token never enters the user's configuration.
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
    # With this entry docker stores the token in this file, not in the user's key chain.
    printf '{"auths": {"%s": {}}}\n' "$host" >"$scratch/docker/config.json"
    export DOCKER_CONFIG=$scratch/docker DOCKER_CONTEXT
}

log_in() {
    local password
    password=$("$python" -m launcher.aws.ecr password --region "$region" --host "$host")
    printf '%s' "$password" |
        with_watchdog "$STALL_SECONDS" docker login --username AWS --password-stdin "$host" \
            >/dev/null 2>"$scratch/errors" ||
        fail "docker could not log in to $host, check the network and try again: $(last_error)"
}

# Sets `digest` to the digest of this image in the registry, or to nothing if the tag is free. Fails if the tag belongs
# to another image or to a manifest that SageMaker rejects, or if the registry does not respond.
find_digest() {
    local flags=(--verbose) answer attempt status=0 absent=0
    digest=
    if is_insecure; then
        flags+=(--insecure)
    fi
    for ((attempt = 1; ; attempt++)); do
        answer=$(with_watchdog "$STALL_SECONDS" docker manifest inspect "${flags[@]}" "$reference" \
            2>"$scratch/errors") && break
        # docker reports a free tag like this, but also a 401 on the way: require it twice.
        if grep -qE 'no such manifest|manifest unknown' "$scratch/errors"; then
            ((++absent < 2)) || return 0
            continue
        fi
        [[ "$(last_error)" != *'unsupported manifest media type'* ]] ||
            fail "$reference has a manifest of an old format, or a proxy removes the header Accept:" \
                "use another --tag or another way to the registry ($(last_error))."
        if ((attempt >= ATTEMPTS)) || is_final "$(last_error)"; then
            fail "The registry $host does not respond, check its name, the login and the network: $(last_error)"
        fi
        absent=0
        renew_login
        pause "$attempt"
    done
    digest=$("$python" -m launcher.aws.manifest "$image_id" <<<"$answer") || status=$?
    case $status in
        0) ;;
        3) fail "$reference is already another image: commit and rebuild, or use another --tag." ;;
        *) exit 1 ;;
    esac
}

# Whether the engine uses plain HTTP for this registry: loopback, or configured as insecure.
is_insecure() {
    [[ $host =~ ^(127\.[0-9.]+|localhost)(:[0-9]+)?$ ]] && return
    docker info --format '{{range $name, $is := .RegistryConfig.IndexConfigs}}{{if not $is.Secure}}{{$name}}
{{end}}{{end}}' | grep -qxF "$host"
}

last_error() {
    tail -n 1 "$scratch/errors"
}

main "$@"
