#!/usr/bin/env bash
# Ensures that a Docker engine responds and that Docker Compose is installed.
set -Eeuo pipefail

readonly LOG="${DOCKERD_LOG:-/var/log/dockerd.log}"
readonly WAIT_SECONDS=60

usage() {
    cat <<EOF
Usage: docker/ensure-engine.sh

Does nothing if a Docker engine responds and Docker Compose is installed. Otherwise, on Debian or Ubuntu as
root: installs the distribution's docker.io and docker-compose if they are missing, starts the daemon and
waits until it responds. On other systems it prints what to install.

Environment:
  DOCKERD_LOG  log file of a daemon started by this script (default: /var/log/dockerd.log)
EOF
}

say() {
    echo "ensure-engine.sh: $*" >&2
}

fail() {
    say "$@"
    exit 1
}

has() {
    command -v "$1" >/dev/null
}

engine_answers() {
    has docker && docker version >/dev/null 2>&1
}

compose_installed() {
    has docker-compose || docker compose version >/dev/null 2>&1
}

can_install() {
    [[ "$(id -u)" == 0 ]] && has apt-get
}

install_packages() {
    say "installing $*"
    # An unreachable third-party package source must not keep the others from being updated.
    apt-get update -qq >&2 || true
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        -o DPkg::Lock::Timeout=120 "$@" >&2 ||
        fail "the packages $* could not be installed (see the messages of apt-get above): install them by hand."
}

install_engine() {
    local packages=(docker.io docker-compose ca-certificates)
    # Since Debian 13 the client is a separate package.
    if apt-cache show docker-cli >/dev/null 2>&1; then
        packages+=(docker-cli)
    fi
    install_packages "${packages[@]}"
}

start_engine() {
    if [[ -d /run/systemd/system ]] && has systemctl; then
        say "starting the Docker service"
        systemctl start docker >&2 || fail "the Docker service does not start: see journalctl --unit docker."
        return
    fi
    say "starting dockerd (log: $LOG)"
    # A session of its own, so that it outlives this script, make and the terminal.
    setsid dockerd >>"$LOG" 2>&1 </dev/null &
    for ((second = 0; second < WAIT_SECONDS; second++)); do
        if engine_answers; then
            return
        fi
        kill -0 $! 2>/dev/null || break
        sleep 1
    done
    tail -n 5 "$LOG" >&2
    fail "dockerd does not respond: fix the problem in its last log lines above and try again."
}

explain_no_engine() {
    local answer
    if [[ -n "${DOCKER_HOST:-}" ]]; then
        fail "the Docker engine at DOCKER_HOST=$DOCKER_HOST does not respond: start it, or unset DOCKER_HOST."
    fi
    answer="$(docker version 2>&1)" || true
    if [[ "$answer" == *"permission denied"* ]]; then
        fail "the Docker engine denies access to this user: join the group docker (sudo usermod -aG docker $(id -un)) and log in again."
    fi
    fail "no Docker engine responds: install Docker Engine and Docker Compose and start them (on Debian or Ubuntu: sudo docker/ensure-engine.sh)."
}

main() {
    case "${1:-}" in
        "") ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac

    if ! engine_answers; then
        if [[ -n "${DOCKER_HOST:-}" ]] || ! can_install; then
            explain_no_engine
        fi
        if ! has docker || ! has dockerd; then
            install_engine
        fi
        # Installing the package may have started it.
        engine_answers || start_engine
        say "the Docker engine responds"
    fi

    if ! compose_installed; then
        can_install ||
            fail "Docker Compose is missing, which SageMaker local mode needs: install the package docker-compose (or docker-compose-plugin from Docker's own repository)."
        install_packages docker-compose
    fi
}

main "$@"
