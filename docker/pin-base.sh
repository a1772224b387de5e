#!/usr/bin/env bash
# Writes the present digest of the base image's tag into docker/Dockerfile. See usage below.
set -Eeuo pipefail

usage() {
    cat <<EOF
Usage: docker/pin-base.sh [TAG]

Pulls the tag of the base image in docker/Dockerfile, or TAG (as in nvidia/cuda:13.0.3-base-ubuntu24.04), and writes it
into docker/Dockerfile with its digest. Run it to take a renewed base; then build, test, and commit the difference.

Environment:
  DOCKERFILE  the file to change (docker/Dockerfile)
EOF
}

fail() {
    echo "pin-base.sh: $*" >&2
    exit 1
}

main() {
    local file current tag digest
    case "${1:-}" in
        -h | --help) usage; exit 0 ;;
        -*) usage >&2; exit 2 ;;
    esac
    file=${DOCKERFILE:-$(dirname "${BASH_SOURCE[0]}")/Dockerfile}
    current=$(sed -n 's/^ARG BASE_IMAGE=\(..*\)/\1/p' "$file" | head -n 1)
    tag=${1:-${current%@*}}
    [[ ${tag##*/} == *:* && $tag != *@* ]] || fail "$tag: give NAME:TAG, without a digest."
    docker pull --quiet --platform linux/amd64 "$tag" >&2 || fail "$tag cannot be pulled (see above): check the name and the network."
    # What the registry answered for the tag: the list of all platforms, where there is one.
    digest=$(docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$tag" |
        grep -oE "(^|/)${tag%:*}@sha256:[0-9a-f]{64}$" | head -n 1) || true
    digest=${digest##*@}
    [[ -n $digest ]] || fail "the engine knows no digest of $tag: it was built here, or comes from no registry."
    sed -i "s|^ARG BASE_IMAGE=..*|ARG BASE_IMAGE=$tag@$digest|" "$file"
    if [[ $current == "$tag@$digest" ]]; then
        echo "pin-base.sh: $tag is still $digest"
    else
        echo "pin-base.sh: $tag@$digest (was $current)"
    fi
}

main "$@"
