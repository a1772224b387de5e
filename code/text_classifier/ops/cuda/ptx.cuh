// The instructions of a GPU for which CUDA C++ has no words, as functions of one thread. DTYPE is what numbers are in
// memory: FP32, BF16 or FP16. https://docs.nvidia.com/cuda/parallel-thread-execution/

#define FP32 0
#define BF16 1
#define FP16 2

typedef unsigned int uint32;
typedef unsigned long long uint64;

// --- Numbers ---

__device__ float to_float(float number) { return number; }
__device__ void from_float(float x, float &number) { number = x; }

#if DTYPE == FP32
typedef float scalar_t;
#elif DTYPE == BF16  // the upper half of fp32
typedef unsigned short scalar_t;
__device__ float to_float(scalar_t number) { return __uint_as_float(static_cast<uint32>(number) << 16); }
__device__ void from_float(float x, scalar_t &number) {
#if __CUDA_ARCH__ >= 800
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(number) : "f"(x));
#else
    const uint32 bits = __float_as_uint(x);
    number = x == x ? static_cast<scalar_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) : 0x7fff;
#endif
}
#elif DTYPE == FP16
typedef unsigned short scalar_t;
__device__ float to_float(scalar_t number) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(number));
    return x;
}
__device__ void from_float(float x, scalar_t &number) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(number) : "f"(x)); }
#endif

// 2 to the power of x, the log2_approx of x to base 2, and 1 / x; relative errors below 1e-6.
__device__ float exp2_approx(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
__device__ float log2_approx(float x) {
    float y;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
__device__ float rcp_approx(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// --- Shared memory, and matrices of 16-bit numbers in it: Ampere and later ---

// The block's, as much as it was launched with.
__device__ uint4 *shared_memory() {
    extern __shared__ uint4 memory[];
    return memory;
}

__device__ uint32 shared_address(const uint4 *at) { return static_cast<uint32>(__cvta_generic_to_shared(at)); }

#if DTYPE != FP32 && __CUDA_ARCH__ >= 800

// Begin to copy 16 bytes to shared memory, or zeros in their place.
__device__ void cp_async(uint4 *to, const void *from, bool is_there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(is_there ? 16 : 0)
                 : "memory");
}

// The copies that this thread began since it last said so are a group.
__device__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Wait for all groups of copies but the last ones.
template <int LAST>
__device__ void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(LAST) : "memory");
}

// Four matrices of 8 rows of 16 bytes; each lane names one row, lanes 0 to 7 those of the first. A lane gets of each
// matrix the two numbers 2 * (lane % 4) and the next of row lane / 4.
__device__ void ldmatrix_x4(uint32 (&to)[4], const uint4 *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// The same of the transposed matrices.
__device__ void ldmatrix_x4_trans(uint32 (&to)[4], const uint4 *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// sum += left * right of 16 x 16 and 16 x 8 numbers. Of the sum a lane has columns 2 * (lane % 4) and the next, of row
// lane / 4 and of the eighth row below.
__device__ void mma_m16n8k16(float (&sum)[4], const uint32 (&left)[4], uint32 right_top, uint32 right_bottom) {
#if DTYPE == BF16
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
#else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
#endif
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right_top), "r"(right_bottom));
}

#endif
