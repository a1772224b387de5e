#!/usr/bin/env bash
# Makes the launcher's virtual environment from requirements.lock.
set -Eeuo pipefail

usage() {
    cat <<EOF
Usage: launcher/make-venv.sh VENV

Makes the virtual environment VENV anew with what requirements.lock names. On Debian or Ubuntu as root, where
Python comes without its venv module, that is installed first.

Environment:
  HOST_PYTHON  the Python (3.11 or newer) to make it with; python3 unless given
EOF
}

fail() {
    echo "make-venv.sh: $*" >&2
    exit 1
}

main() {
    case "${1:-}" in
        -h | --help) usage; exit 0 ;;
        "") usage >&2; exit 2 ;;
    esac
    local venv="$1" python="${HOST_PYTHON:-python3}"

    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$python is not Python 3.11 or newer: install one and name it (make HOST_PYTHON=python3.12 ...)."
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        if [[ "$(id -u)" != 0 ]] || ! command -v apt-get >/dev/null; then
            fail "$python has no venv module: install it (on Debian or Ubuntu the package python3-venv)."
        fi
        apt-get update -qq >&2 || true
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >&2 ||
            fail "python3-venv could not be installed (apt-get says why above): install it by hand."
    fi
    "$python" -m venv --clear "$venv"
    # Bytecode is written at the first import of what is used, which is little: compiling all takes as long again.
    "$venv/bin/pip" --disable-pip-version-check install --quiet --no-compile --require-hashes \
        --requirement "$(dirname "$0")/../requirements.lock" ||
        fail "the packages of requirements.lock could not be installed (pip says why above): correct that and try again."
}

main "$@"
