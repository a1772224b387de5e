#!/usr/bin/env bash
# Makes sure that containers of this platform run on the Docker engine of this machine: linux/arm64 or linux/amd64.
set -Eeuo pipefail

fail() {
    echo "ensure-emulation.sh: $*" >&2
    exit 1
}

[[ "${1:-}" == linux/@(amd64|arm64) ]] || fail "give the platform: linux/amd64 or linux/arm64."
readonly PLATFORM=$1
[[ "$(docker version --format '{{.Server.Os}}/{{.Server.Arch}}')" != "$PLATFORM" ]] || exit 0

case $PLATFORM in
    linux/arm64) machine=aarch64 ;;
    linux/amd64) machine=x86_64 ;;
esac
readonly HANDLER=/proc/sys/fs/binfmt_misc/qemu-$machine

[[ ! -e $HANDLER ]] || exit 0
[[ "$(id -u)" == 0 && -n "$(command -v apt-get)" ]] ||
    fail "no emulation of $machine: install qemu-user-static, or use an engine that emulates $PLATFORM."
# PyTorch for arm64 crashes in the emulator of Debian 12, QEMU 7.2. Its backports have QEMU 10.
suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
apt=(apt-get)
if [[ $suite == bookworm ]]; then
    sources=$(mktemp)
    trap 'rm -f "$sources"' EXIT
    echo "deb http://deb.debian.org/debian bookworm main
deb http://deb.debian.org/debian bookworm-backports main" >"$sources"
    apt+=(-o "Dir::Etc::SourceList=$sources" -o Dir::Etc::SourceParts=/dev/null -o APT::Get::List-Cleanup=0)
fi
{
    "${apt[@]}" update -qq
    DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y -qq --no-install-recommends \
        ${sources:+--target-release bookworm-backports} qemu-user-static
} >&2 || fail "qemu-user-static could not be installed (see above)."
[[ -e /proc/sys/fs/binfmt_misc/status ]] || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc ||
    fail "binfmt_misc cannot be mounted: enable emulation on the host of this container."
# Where systemd runs, the installation has registered the emulator already.
[[ -e $HANDLER ]] || cat "/usr/lib/binfmt.d/qemu-$machine.conf" >/proc/sys/fs/binfmt_misc/register ||
    fail "the emulation of $machine cannot be enabled (see above)."
echo "ensure-emulation.sh: this machine runs containers for $PLATFORM by emulation" >&2
