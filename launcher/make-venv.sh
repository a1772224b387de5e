#!/usr/bin/env bash
# Creates a virtual environment from the project's locks: the launcher's, or the image's for the tests of code/.
set -Eeuo pipefail

usage() {
    cat <<EOF
Usage: launcher/make-venv.sh [--code] VENV

Recreates the virtual environment VENV with the packages of requirements.lock. On Debian or Ubuntu as root, where
Python comes without its venv module, installs that module first.

Options:
  --code  install the image's libraries and test tools instead (docker/*.lock), like docker/Dockerfile

Environment:
  HOST_PYTHON  Python 3.11 or newer for the environment (default: python3)
EOF
}

fail() {
    echo "make-venv.sh: $*" >&2
    exit 1
}

cannot_install() {
    fail "the packages of $1 could not be installed (see the messages of pip above): fix the problem and try again."
}

# docker/Dockerfile installs these with apt-get: sagemaker-training has a C extension, and the kernels are C++.
require_compilers() {
    local python="$1" missing=()
    command -v gcc >/dev/null || missing+=(gcc)
    command -v g++ >/dev/null || missing+=(g++)
    "$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
        missing+=("the headers of $python")
    ((${#missing[@]} == 0)) || fail "missing: $(printf '%s, ' "${missing[@]}" | sed 's/, $//'); install what is missing" \
        "(on Debian or Ubuntu: apt-get install gcc g++ python3-dev, on macOS: xcode-select --install)."
}

main() {
    local code=""
    case "${1:-}" in
        -h | --help) usage; exit 0 ;;
        --code) code=1; shift ;;
    esac
    [[ $# == 1 && "$1" != -* ]] || { usage >&2; exit 2; }
    local venv="$1" python="${HOST_PYTHON:-python3}" locks
    locks="$(dirname "$0")/.."

    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$python is not Python 3.11 or newer: install one and set it (make HOST_PYTHON=python3.12 ...)."
    [[ -z "$code" ]] || require_compilers "$python"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        if [[ "$(id -u)" != 0 ]] || ! command -v apt-get >/dev/null; then
            fail "$python has no venv module: install it (on Debian or Ubuntu the package python3-venv)."
        fi
        apt-get update -qq >&2 || true
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >&2 ||
            fail "python3-venv could not be installed (see the messages of apt-get above): install it by hand."
    fi
    [[ ! -L $venv ]] || fail "$venv is a link, and what it points to would be emptied: remove the link."
    "$python" -m venv --clear "$venv"
    # No bytecode: few modules are ever imported, and compiling all would double the time.
    local pip=("$venv/bin/pip" --disable-pip-version-check install --quiet --no-compile --require-hashes)
    if [[ -z "$code" ]]; then
        "${pip[@]}" --requirement "$locks/requirements.lock" || cannot_install requirements.lock
    else
        # Ignore folders of local wheels: a CPU build of torch has the version of the lock, but not its hash.
        unset PIP_FIND_LINKS
        "${pip[@]}" --requirement "$locks/docker/build-tools.lock" || cannot_install docker/build-tools.lock
        "${pip[@]}" --no-build-isolation --only-binary :all: --no-binary sagemaker-training,inotify-simple \
            --requirement "$locks/docker/requirements.lock" --requirement "$locks/docker/requirements-test.lock" ||
            cannot_install "docker/requirements.lock and docker/requirements-test.lock"
    fi
}

main "$@"
