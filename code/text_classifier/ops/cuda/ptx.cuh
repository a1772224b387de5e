// PTX instructions that CUDA C++ has no functions for, and scalar_t, the dtype in memory: driver.py defines one of
// DTYPE_FLOAT32, DTYPE_BFLOAT16 and DTYPE_FLOAT16. https://docs.nvidia.com/cuda/parallel-thread-execution/

typedef unsigned int uint32;
typedef unsigned long long uint64;

// --- Dtypes: converted to and from fp32 ---

__device__ float to_float(float number) { return number; }
__device__ void from_float(float x, float &number) { number = x; }

#if defined(DTYPE_FLOAT32)
typedef float scalar_t;
#elif defined(DTYPE_BFLOAT16)  // the upper half of fp32
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
#elif defined(DTYPE_FLOAT16)
typedef unsigned short scalar_t;
__device__ float to_float(scalar_t number) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(number));
    return x;
}
__device__ void from_float(float x, scalar_t &number) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(number) : "f"(x)); }
#endif

// 2^x, log2(x) and 1 / x, with relative errors below 1e-6.
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

// --- Shared memory and tensor cores, for 16 bits: Ampere and later ---

// The block's dynamic shared memory.
__device__ uint4 *shared_memory() {
    extern __shared__ uint4 memory[];
    return memory;
}

__device__ uint32 shared_address(const uint4 *pointer) {
    return static_cast<uint32>(__cvta_generic_to_shared(pointer));
}

#if !defined(DTYPE_FLOAT32) && __CUDA_ARCH__ >= 800

// Start an asynchronous copy of 16 bytes from global to shared memory; writes zeros if not `is_valid`.
__device__ void cp_async(uint4 *to, const void *from, bool is_valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(is_valid ? 16 : 0)
                 : "memory");
}

// Close the group of the copies that this thread has started since the last commit.
__device__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Wait until at most PENDING groups of this thread's copies are in flight.
template <int PENDING>
__device__ void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// Load four 8x8 matrices. Each lane passes the address of one row of 16 bytes, lanes 0 to 7 those of the first matrix,
// and receives from each matrix columns 2 * (lane % 4) and 2 * (lane % 4) + 1 of row lane / 4.
__device__ void ldmatrix_x4(uint32 (&to)[4], const uint4 *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// As ldmatrix_x4, with each matrix transposed.
__device__ void ldmatrix_x4_trans(uint32 (&to)[4], const uint4 *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// c += a @ b for a [16, 16] and b [16, 8]. A lane holds columns 2 * (lane % 4) and 2 * (lane % 4) + 1 of c, in row
// lane / 4 (c[0], c[1]) and row lane / 4 + 8 (c[2], c[3]).
__device__ void mma_m16n8k16(float (&c)[4], const uint32 (&a)[4], uint32 b_top, uint32 b_bottom) {
#ifdef DTYPE_BFLOAT16
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
#else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
#endif
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b_top), "r"(b_bottom));
}

#endif
