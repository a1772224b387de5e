// In the place of code/ptx.cuh: a GPU's instructions on a CPU, so that the kernels can be tested where no GPU is.
//
// A block's threads are fibers that take turns, and wait where threads of a GPU wait for each other. What a thread
// reads before it was written is not a number: shared memory is full of NaN at first, and copies arrive when they are
// waited for.

#include <immintrin.h>
#include <ucontext.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#define FP32 0
#define BF16 1
#define FP16 2

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
    uint4 what;
};

struct Thread {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[STACK_BYTES]};
    std::vector<std::vector<Copy>> copies;  // begun, by group
    bool is_done;
};

// What a warp's lanes show each other, once and once more: a lane may be ahead by one.
struct Warp {
    char shown[2][LANES][64];
    int arrived = 0;
    uint64 times = 0;
};

inline ucontext_t scheduler;
inline std::vector<Thread> threads;
inline std::vector<Warp> warps;
inline std::vector<uint4> shared;
inline int running, arrived;
inline uint64 barriers;

inline Thread &self() { return threads[threadIdx.x]; }

inline void yield() { swapcontext(&self().context, &scheduler); }

// Show `mine` to the other lanes of the warp, and see what each of them shows.
template <class T>
std::vector<T> exchange(const T &mine) {
    static_assert(sizeof(T) <= sizeof(Warp::shown[0][0]));
    Warp &warp = warps[threadIdx.x / LANES];
    const uint64 time = warp.times;
    std::memcpy(warp.shown[time % 2][threadIdx.x % LANES], &mine, sizeof(T));
    if (++warp.arrived == LANES) {
        warp.arrived = 0;
        warp.times++;
    }
    while (warp.times == time) yield();
    std::vector<T> all(LANES);
    for (int lane = 0; lane < LANES; lane++) std::memcpy(&all[lane], warp.shown[time % 2][lane], sizeof(T));
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

// Run a kernel as cuLaunchKernel() does: `arguments` points to each argument.
template <class... Arguments>
void launch(void (*kernel)(Arguments...), uint32 across, uint32 down, uint32 size, uint32 shared_bytes,
            void **arguments) {
    static void (*the_kernel)(Arguments...);
    static void **the_arguments;
    the_kernel = kernel;
    the_arguments = arguments;
    const auto entry = +[] {
        call(the_kernel, the_arguments, std::index_sequence_for<Arguments...>());
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

#if DTYPE == FP32
typedef float scalar_t;
#elif DTYPE == BF16
typedef unsigned short scalar_t;
inline float to_float(scalar_t number) { return __uint_as_float(static_cast<uint32>(number) << 16); }
inline void from_float(float x, scalar_t &number) {
    const uint32 bits = __float_as_uint(x);
    number = x == x ? static_cast<scalar_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) : 0x7fff;
}
#elif DTYPE == FP16
typedef unsigned short scalar_t;
inline float to_float(scalar_t number) { return _cvtsh_ss(number); }
inline void from_float(float x, scalar_t &number) { number = _cvtss_sh(x, 0); }
#endif

inline float exp2_approx(float x) { return std::exp2(x); }
inline float log2_approx(float x) { return std::log2(x); }
inline float rcp_approx(float x) { return 1 / x; }

inline uint4 *shared_memory() { return emulator::shared.data(); }

inline void cp_async(uint4 *to, const void *from, bool is_there) {
    emulator::Copy copy{to, {0, 0, 0, 0}};
    if (is_there) std::memcpy(&copy.what, from, sizeof copy.what);
    emulator::self().copies.back().push_back(copy);
}

inline void cp_async_commit() { emulator::self().copies.emplace_back(); }

template <int LAST>
void cp_async_wait() {
    auto &groups = emulator::self().copies;
    while (groups.size() > LAST + 1) {
        for (const emulator::Copy &copy : groups.front()) *copy.to = copy.what;
        groups.erase(groups.begin());
    }
}

inline void ldmatrix_x4(uint32 (&to)[4], const uint4 *row) {
    const auto rows = emulator::exchange(row);
    const int lane = threadIdx.x % emulator::LANES;
    for (int i = 0; i < 4; i++) to[i] = reinterpret_cast<const uint32 *>(rows[8 * i + lane / 4])[lane % 4];
    emulator::exchange(0);  // all have read
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

#if DTYPE != FP32
inline void mma_m16n8k16(float (&sum)[4], const uint32 (&left)[4], uint32 right_top, uint32 right_bottom) {
    struct Operands {
        uint32 left[4], right[2];
    };
    const auto of = emulator::exchange(Operands{{left[0], left[1], left[2], left[3]}, {right_top, right_bottom}});
    const auto half = [](uint32 pair, int upper) { return to_float(static_cast<scalar_t>(upper ? pair >> 16 : pair)); };
    const int lane = threadIdx.x % emulator::LANES;
    for (int i = 0; i < 4; i++) {
        const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        for (int k = 0; k < 16; k++)
            sum[i] += half(of[row % 8 * 4 + k % 8 / 2].left[row / 8 + k / 8 * 2], k % 2) *
                      half(of[column * 4 + k % 8 / 2].right[k / 8], k % 2);
    }
}
#endif
