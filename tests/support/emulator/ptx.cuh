// Replaces ops/cuda/ptx.cuh: a GPU's instructions on a CPU, so that the kernels can be tested without a GPU.
//
// A block's threads are fibers that take turns and yield where threads of a GPU wait for each other. Reading shared
// memory before it was written gives NaN: it is filled with NaN at first, and asynchronous copies arrive only when they
// are waited for.

#include <immintrin.h>
#include <ucontext.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#define __device__ inline
#define __global__
#define __shared__ static
#define __launch_bounds__(...)
#define __grid_constant__

typedef unsigned int uint32;
typedef unsigned long long uint64;

struct alignas(16) uint4 {
    uint32 x, y, z, w;
};
struct Index {
    uint32 x, y;
};
inline Index threadIdx, blockIdx, gridDim;

namespace emulator {

constexpr int LANES = 32;
constexpr int STACK_BYTES = 1 << 17;

struct Copy {
    uint4 *to;
    uint4 value;
};

struct Thread {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[STACK_BYTES]};
    std::vector<std::vector<Copy>> copies;  // in flight, by group
    bool is_done;
};

// A warp's lanes exchange values through two slots in turn: a lane may be one exchange ahead of another.
struct Warp {
    char slots[2][LANES][64];
    int arrived = 0;
    uint64 exchanges = 0;
};

inline ucontext_t scheduler;
inline std::vector<Thread> threads;
inline std::vector<Warp> warps;
inline std::vector<uint4> shared;
inline int running, arrived;
inline uint64 barriers;

inline Thread &self() { return threads[threadIdx.x]; }

inline void yield() { swapcontext(&self().context, &scheduler); }

// The values of all lanes of the warp; every lane must call this.
template <class T>
std::vector<T> exchange(const T &value) {
    static_assert(sizeof(T) <= sizeof(Warp::slots[0][0]));
    Warp &warp = warps[threadIdx.x / LANES];
    const uint64 number = warp.exchanges;
    std::memcpy(warp.slots[number % 2][threadIdx.x % LANES], &value, sizeof(T));
    if (++warp.arrived == LANES) {
        warp.arrived = 0;
        warp.exchanges++;
    }
    while (warp.exchanges == number) yield();
    std::vector<T> all(LANES);
    for (int lane = 0; lane < LANES; lane++) std::memcpy(&all[lane], warp.slots[number % 2][lane], sizeof(T));
    return all;
}

inline void barrier() {
    const uint64 before = barriers;
    arrived++;
    while (barriers == before) {
        if (arrived == running) {
            arrived = 0;
            barriers++;
        } else {
            yield();
        }
    }
}

template <class... Arguments, size_t... I>
void call(void (*kernel)(Arguments...), void **arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_reference_t<Arguments> *>(arguments[I])...);
}

// Run a kernel as cuLaunchKernel() does: `arguments` are pointers to the arguments.
template <class... Arguments>
void launch(void (*kernel)(Arguments...), uint32 across, uint32 down, uint32 size, uint32 shared_bytes,
            void **arguments) {
    static void (*launched_kernel)(Arguments...);
    static void **launched_arguments;
    launched_kernel = kernel;
    launched_arguments = arguments;
    const auto entry = +[] {
        call(launched_kernel, launched_arguments, std::index_sequence_for<Arguments...>());
        self().is_done = true;
        running--;
        yield();
    };
    gridDim = {across, down};
    threads.resize(size);
    for (uint32 block = 0; block < across * down; block++) {
        blockIdx = {block % across, block / across};
        warps.assign(size / LANES, Warp());
        shared.assign((shared_bytes + 15) / 16, uint4{~0u, ~0u, ~0u, ~0u});
        running = size;
        arrived = 0;
        for (Thread &thread : threads) {
            thread.is_done = false;
            thread.copies.assign(1, {});
            getcontext(&thread.context);
            thread.context.uc_stack.ss_sp = thread.stack.get();
            thread.context.uc_stack.ss_size = STACK_BYTES;
            thread.context.uc_link = &scheduler;
            makecontext(&thread.context, entry, 0);
        }
        while (running > 0)
            for (uint32 i = 0; i < size; i++) {
                threadIdx = {i, 0};
                if (!threads[i].is_done) swapcontext(&scheduler, &threads[i].context);
            }
    }
}

}  // namespace emulator

inline float __uint_as_float(uint32 bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}
inline uint32 __float_as_uint(float x) {
    uint32 bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
inline float __shfl_xor_sync(uint32, float x, int distance) {
    return emulator::exchange(x)[(threadIdx.x ^ distance) % emulator::LANES];
}
inline void __syncwarp() { emulator::exchange(0); }
inline void __syncthreads() { emulator::barrier(); }

inline float to_float(float number) { return number; }
inline void from_float(float x, float &number) { number = x; }

#if defined(DTYPE_FLOAT32)
typedef float scalar_t;
#elif defined(DTYPE_BFLOAT16)
typedef unsigned short scalar_t;
inline float to_float(scalar_t number) { return __uint_as_float(static_cast<uint32>(number) << 16); }
inline void from_float(float x, scalar_t &number) {
    const uint32 bits = __float_as_uint(x);
    number = x == x ? static_cast<scalar_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) : 0x7fff;
}
#elif defined(DTYPE_FLOAT16)
typedef unsigned short scalar_t;
inline float to_float(scalar_t number) { return _cvtsh_ss(number); }
inline void from_float(float x, scalar_t &number) { number = _cvtss_sh(x, 0); }
#endif

inline float exp2_approx(float x) { return std::exp2(x); }
inline float log2_approx(float x) { return std::log2(x); }
inline float rcp_approx(float x) { return 1 / x; }

inline uint4 *shared_memory() { return emulator::shared.data(); }

inline void cp_async(uint4 *to, const void *from, bool is_valid) {
    emulator::Copy copy{to, {0, 0, 0, 0}};
    if (is_valid) std::memcpy(&copy.value, from, sizeof copy.value);
    emulator::self().copies.back().push_back(copy);
}

inline void cp_async_commit() { emulator::self().copies.emplace_back(); }

template <int PENDING>
void cp_async_wait() {
    auto &groups = emulator::self().copies;
    while (groups.size() > PENDING + 1) {
        for (const emulator::Copy &copy : groups.front()) *copy.to = copy.value;
        groups.erase(groups.begin());
    }
}

inline void ldmatrix_x4(uint32 (&to)[4], const uint4 *row) {
    const auto rows = emulator::exchange(row);
    const int lane = threadIdx.x % emulator::LANES;
    for (int i = 0; i < 4; i++) to[i] = reinterpret_cast<const uint32 *>(rows[8 * i + lane / 4])[lane % 4];
    emulator::exchange(0);  // all lanes have read
}

inline void ldmatrix_x4_trans(uint32 (&to)[4], const uint4 *row) {
    const auto rows = emulator::exchange(row);
    const int lane = threadIdx.x % emulator::LANES;
    for (int i = 0; i < 4; i++) {
        const auto number = [&](int j) { return reinterpret_cast<const unsigned short *>(rows[8 * i + j])[lane / 4]; };
        to[i] = number(lane % 4 * 2) | static_cast<uint32>(number(lane % 4 * 2 + 1)) << 16;
    }
    emulator::exchange(0);
}

#ifndef DTYPE_FLOAT32
inline void mma_m16n8k16(float (&c)[4], const uint32 (&a)[4], uint32 b_top, uint32 b_bottom) {
    struct Operands {
        uint32 a[4], b[2];
    };
    const auto lanes = emulator::exchange(Operands{{a[0], a[1], a[2], a[3]}, {b_top, b_bottom}});
    const auto half = [](uint32 pair, int upper) { return to_float(static_cast<scalar_t>(upper ? pair >> 16 : pair)); };
    const int lane = threadIdx.x % emulator::LANES;
    for (int i = 0; i < 4; i++) {
        const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        for (int k = 0; k < 16; k++)
            c[i] += half(lanes[row % 8 * 4 + k % 8 / 2].a[row / 8 + k / 8 * 2], k % 2) *
                    half(lanes[column * 4 + k % 8 / 2].b[k / 8], k % 2);
    }
}
#endif
