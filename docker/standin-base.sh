#!/usr/bin/env bash
# Creates a stand-in for the CUDA base image, a minimal Debian from Debian's packages. See usage below.
set -Eeuo pipefail

suite=bookworm
platform=linux/amd64

usage() {
    cat <<EOF
Usage: docker/standin-base.sh [--suite bookworm|trixie] [--platform linux/amd64|linux/arm64] [--name]

Creates the Docker image standin-base:SUITE (or standin-base:SUITE-arm64) with debootstrap, for
machines that cannot pull the CUDA base image. Does nothing if the image already exists. A platform other than the
engine's own needs emulation (docker/ensure-emulation.sh).

  --name   only print the name of the image

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
    local image name_only=
    while (($#)); do
        case "$1 ${2:-}" in
            "--suite bookworm" | "--suite trixie") suite=$2; shift 2 ;;
            "--platform linux/amd64" | "--platform linux/arm64") platform=$2; shift 2 ;;
            "--name "*) name_only=yes; shift ;;
            "-h "* | "--help "*) usage; exit 0 ;;
            *) usage >&2; exit 2 ;;
        esac
    done
    image=standin-base:$suite
    [[ $platform == linux/amd64 ]] || image+=-${platform#linux/}
    if [[ -n $name_only ]]; then
        echo "$image"
        exit 0
    fi

    if docker image inspect "$image" >/dev/null 2>&1; then
        exit 0
    fi
    [[ "$(id -u)" == 0 ]] ||
        fail "creating $image needs root: run it as root (sudo docker/standin-base.sh), or set BASE_IMAGE to a base image that this machine can pull."
    command -v debootstrap >/dev/null || install_debootstrap

    scratch="$(mktemp -d)"
    trap remove_scratch EXIT
    trap 'exit 1' INT TERM

    echo "standin-base.sh: creating $image with debootstrap (about a minute)" >&2
    debootstrap --variant=minbase --arch="${platform#linux/}" "$suite" "$scratch/root" ${DEBOOTSTRAP_MIRROR:+"$DEBOOTSTRAP_MIRROR"} \
        >"$scratch/log" 2>&1 || {
        tail -n 5 "$scratch/log" >&2
        fail "debootstrap failed (its last lines are above): check the network or set DEBOOTSTRAP_MIRROR, or set BASE_IMAGE to a base image that this machine can pull."
    }
    # Downloaded packages and package lists only take space in an image.
    rm -rf "$scratch"/root/var/cache/apt/* "$scratch"/root/var/lib/apt/lists/* "$scratch"/root/var/log/*
    # "docker import" of older engines takes an image for one of the engine's own platform.
    mkdir "$scratch/context"
    tar --numeric-owner -C "$scratch/root" -cf "$scratch/context/root.tar" .
    printf 'FROM scratch\nADD root.tar /\nCMD ["bash"]\n' >"$scratch/context/Dockerfile"
    docker build --quiet --platform "$platform" --tag "$image" "$scratch/context" >/dev/null ||
        fail "docker build failed: check that the Docker engine is running (docker/ensure-engine.sh)."
    echo "standin-base.sh: $image is ready" >&2
}

main "$@"
