#!/usr/bin/env bash
# Sees to it that a Docker engine answers and that Docker Compose is there.
set -Eeuo pipefail

readonly LOG="${DOCKERD_LOG:-/var/log/dockerd.log}"
readonly WAIT_SECONDS=60

usage() {
    cat <<EOF
Usage: docker/ensure-engine.sh

Does nothing when a Docker engine answers and Docker Compose is installed. Otherwise, on Debian or Ubuntu
as root: installs the distribution's docker.io and docker-compose where they are missing, starts the
daemon and waits until it answers. Anywhere else it says what to install.

Environment:
  DOCKERD_LOG  the log of a daemon that is started here; /var/log/dockerd.log unless given
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
    # An unreachable third-party package source must not stop the update of the others.
    apt-get update -qq >&2 || true
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        -o DPkg::Lock::Timeout=120 "$@" >&2 ||
        fail "the packages $* could not be installed (apt-get says why above): install them by hand."
}

install_engine() {
    local packages=(docker.io docker-compose ca-certificates)
    # From Debian 13 on the client is a package of its own.
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
    fail "dockerd does not answer: correct what its last log lines above say, and try again."
}

explain_no_engine() {
    local answer
    if [[ -n "${DOCKER_HOST:-}" ]]; then
        fail "no Docker engine answers at DOCKER_HOST=$DOCKER_HOST: start that one, or unset DOCKER_HOST."
    fi
    answer="$(docker version 2>&1)" || true
    if [[ "$answer" == *"permission denied"* ]]; then
        fail "the Docker engine refuses this user: join the group docker (sudo usermod -aG docker $(id -un)) and log in again."
    fi
    fail "no Docker engine answers: install Docker Engine and Docker Compose and start them (on Debian or Ubuntu: sudo docker/ensure-engine.sh)."
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
        # The package's installation may have started it already.
        engine_answers || start_engine
        say "the Docker engine answers"
    fi

    if ! compose_installed; then
        can_install ||
            fail "Docker Compose is missing, which SageMaker local mode needs: install the package docker-compose (or docker-compose-plugin from Docker's own repository)."
        install_packages docker-compose
    fi
}

main "$@"
