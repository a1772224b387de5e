#!/usr/bin/env bash
# Creates the image standin-base:bookworm, a minimal Debian 12, from Debian's packages.
set -Eeuo pipefail

readonly IMAGE=standin-base:bookworm
readonly SUITE=bookworm

usage() {
    cat <<EOF
Usage: docker/standin-base.sh

Creates the Docker image $IMAGE with debootstrap and "docker import", for machines that
cannot pull the CUDA base image. Does nothing if the image already exists.

Environment:
  DEBOOTSTRAP_MIRROR  Debian mirror (default: that of debootstrap)
  TMPDIR              folder for the root file system (about 300 MB) during the build
EOF
}

fail() {
    echo "standin-base.sh: $*" >&2
    exit 1
}

install_debootstrap() {
    command -v apt-get >/dev/null ||
        fail "debootstrap is not installed: install it, or set BASE_IMAGE to a base image that this machine can pull."
    # An unreachable third-party package source must not keep the others from being updated.
    apt-get update -qq >&2 || true
    # On Ubuntu, debootstrap needs the keyring to verify Debian's signatures.
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        debootstrap debian-archive-keyring >&2 ||
        fail "debootstrap could not be installed (see above): install it, or set BASE_IMAGE to a base image that this machine can pull."
}

# debootstrap mounts /proc and /sys there, and an interrupt may leave them mounted.
remove_scratch() {
    umount "$scratch/root/proc" "$scratch/root/sys" 2>/dev/null || true
    rm -rf --one-file-system "$scratch"
}

main() {
    case "${1:-}" in
        "") ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac

    if docker image inspect "$IMAGE" >/dev/null 2>&1; then
        exit 0
    fi
    [[ "$(id -u)" == 0 ]] ||
        fail "creating $IMAGE needs root: run it as root (sudo docker/standin-base.sh), or set BASE_IMAGE to a base image that this machine can pull."
    command -v debootstrap >/dev/null || install_debootstrap

    scratch="$(mktemp -d)"
    trap remove_scratch EXIT
    trap 'exit 1' INT TERM

    echo "standin-base.sh: creating $IMAGE with debootstrap (about a minute)" >&2
    debootstrap --variant=minbase "$SUITE" "$scratch/root" ${DEBOOTSTRAP_MIRROR:+"$DEBOOTSTRAP_MIRROR"} \
        >"$scratch/log" 2>&1 || {
        tail -n 5 "$scratch/log" >&2
        fail "debootstrap failed (its last lines are above): check the network or set DEBOOTSTRAP_MIRROR, or set BASE_IMAGE to a base image that this machine can pull."
    }
    # Downloaded packages and package lists only take space in an image.
    rm -rf "$scratch"/root/var/cache/apt/* "$scratch"/root/var/lib/apt/lists/* "$scratch"/root/var/log/*
    tar --numeric-owner -C "$scratch/root" -c . |
        docker import --change 'CMD ["bash"]' - "$IMAGE" >/dev/null ||
        fail "docker import failed: check that the Docker engine is running (docker/ensure-engine.sh)."
    echo "standin-base.sh: $IMAGE is ready" >&2
}

main "$@"
