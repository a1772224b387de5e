#!/usr/bin/env bash
# Deletes from the virtual environment what training never loads; each line gives the reason.
# Runs in the image's build stage. A pattern that matches nothing is an error: then a new version of a package has
# moved things, and the list wants another look.
set -Eeuo pipefail
shopt -s nullglob

usage() {
    cat <<EOF
Usage: drop-unused.sh VENV

Environment:
  KEEP_TRITON  1 keeps triton, which torch.compile needs on a GPU (and a C compiler)
EOF
}

# drop REASON PATH...: the shell has expanded the patterns already, to nothing where they match nothing.
drop() {
    local reason="$1" size
    shift
    if (($# == 0)) || [[ ! -e "$1" ]]; then
        echo "drop-unused.sh: nothing found to drop for: $reason" >&2
        exit 1
    fi
    size="$(du -cm "$@" | tail -n 1 | cut -f 1)"
    rm -rf "$@"
    printf '%4d MB dropped: %s\n' "$size" "$reason"
}

# The linker's symbol table is not what the loader reads (that is .dynsym, which stays).
strip_symbols() {
    local before after
    before="$(du -cm "$@" | tail -n 1 | cut -f 1)"
    strip --strip-unneeded "$@"
    after="$(du -cm "$@" | tail -n 1 | cut -f 1)"
    printf '%4d MB dropped: symbol tables of %s\n' "$((before - after))" "${*##*/}"
}

main() {
    case "${1:-}" in
        -h | --help) usage; exit 0 ;;
        "") usage >&2; exit 2 ;;
    esac
    local site tests
    site="$(echo "$1"/lib/python3*/site-packages)"
    cd "$site"

    [[ "${KEEP_TRITON:-0}" == 1 ]] ||
        drop "triton: torch imports it for torch.compile only" triton{,-*.dist-info}
    drop "headers: only a compiler reads them" torch/include nvidia/*/include
    drop "static libraries and device code: only a linker reads them" nvidia/*/lib/*.a nvidia/*/lib/*.bc
    drop "cuSOLVER over several GPUs: no library of torch names it" nvidia/cu13/lib/libcusolverMg.so.*
    drop "the second build of NVRTC: only itself names it" nvidia/cu13/lib/libnvrtc*.alt.so.*
    drop "profiler counters: loaded on request by CUPTI's range profiler" nvidia/cu13/lib/libnvperf_*.so
    drop "NVSHMEM's network plug-ins: loaded when its symmetric memory is used across hosts" \
        nvidia/nvshmem/lib/nvshmem_*.so.*
    drop "RDMA for GPUDirect Storage: needs libraries that no base here has" nvidia/cu13/lib/libcufile_rdma.so.*
    drop "the protobuf compiler" torch/bin/protoc*
    drop "gevent and what it needs: sagemaker-training requires it and imports it nowhere" \
        gevent{,-*.dist-info} greenlet{,-*.dist-info} zope zope_*.dist-info
    drop "Arrow's network services and its headers: only Parquet files are read, from disk" \
        pyarrow/{libarrow_flight,libarrow_python_flight,libarrow_s3}.so* pyarrow/{_flight,_s3fs}.* pyarrow/{include,src}
    drop "the cases that a backend of ONNX is tested with" onnx/backend/test
    mapfile -t tests < <(find numpy scipy sklearn sympy mpmath matplotlib networkx pyarrow -type d -name tests -prune)
    drop "the packages' own tests" "${tests[@]}"
    drop "setuptools: torch names it for building extensions, and there is no compiler" \
        setuptools setuptools-*.dist-info _distutils_hack distutils-precedence.pth

    # torch's and NCCL's own, where it saves 5 MB or more. Not all: some wheels' libraries do not survive it.
    strip_symbols torch/lib/libtorch_{cpu,cuda,cuda_linalg,python}.so nvidia/nccl/lib/libnccl.so.*
}

main "$@"
