#!/usr/bin/env bash
# Deletes packages and files that training never loads from the virtual environment; each line gives the reason.
# Runs in the image's build stage. A pattern without a match is an error: a new version of a package has moved its
# files, and the list must be reviewed.
set -Eeuo pipefail
shopt -s nullglob

usage() {
    cat <<EOF
Usage: drop-unused.sh VENV

Environment:
  KEEP_TRITON  1 keeps triton, which torch.compile needs on a GPU (with a C compiler)
EOF
}

# drop REASON PATH...: the shell has already expanded the patterns; those without a match are gone (nullglob).
drop() {
    local reason="$1" size
    shift
    if (($# == 0)) || [[ ! -e "$1" ]]; then
        echo "drop-unused.sh: no file matches for: $reason" >&2
        exit 1
    fi
    size="$(du -cm "$@" | tail -n 1 | cut -f 1)"
    rm -rf "$@"
    printf '%4d MB dropped: %s\n' "$size" "$reason"
}

# The loader reads .dynsym, which stays; only the linker needs the symbol table.
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
    drop "multi-GPU cuSOLVER: no library of torch links it" nvidia/cu13/lib/libcusolverMg.so.*
    [[ "$(uname -m)" != x86_64 ]] ||
        drop "the alternative build of NVRTC: no library links it" nvidia/cu13/lib/libnvrtc*.alt.so.*
    drop "profiler counters: loaded on request by CUPTI's range profiler" nvidia/cu13/lib/libnvperf_*.so
    drop "NVSHMEM's network plug-ins: loaded when its symmetric memory is used across hosts" \
        nvidia/nvshmem/lib/nvshmem_*.so.*
    drop "RDMA for GPUDirect Storage: needs libraries that the base image does not have" nvidia/cu13/lib/libcufile_rdma.so.*
    drop "the protobuf compiler" torch/bin/protoc*
    drop "gevent and its dependencies: required by sagemaker-training, which never imports it" \
        gevent{,-*.dist-info} greenlet{,-*.dist-info} zope zope_*.dist-info
    drop "Arrow's network services and its headers: only Parquet files are read, from disk" \
        pyarrow/{libarrow_flight,libarrow_python_flight,libarrow_s3}.so* pyarrow/{_flight,_s3fs}.* pyarrow/{include,src}
    drop "what makes new sentencepiece models; a tokenizer only reads them" sentencepiece/package_data sentencepiece/*.cc
    drop "test cases for ONNX backends" onnx/backend/test
    mapfile -t tests < <(find numpy scipy sklearn sympy mpmath matplotlib networkx pyarrow -type d -name tests -prune)
    drop "the packages' own tests" "${tests[@]}"
    drop "setuptools: torch needs it to build extensions only, and there is no compiler" \
        setuptools setuptools-*.dist-info _distutils_hack distutils-precedence.pth

    # Libraries of torch and NCCL, where it saves 5 MB or more. Not all: some wheels' libraries break when stripped.
    strip_symbols torch/lib/libtorch_{cpu,cuda,cuda_linalg,python}.so nvidia/nccl/lib/libnccl.so.*
}

main "$@"
