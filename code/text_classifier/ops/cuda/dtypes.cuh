// Shared by the kernels: vectorized loads and stores of scalar_t, warp reductions, dropout. All is computed in fp32.

#include <ptx.cuh>

constexpr int WARP = 32;

// Elements in 16 bytes, the widest load or store of a thread.
constexpr int ELEMENTS_PER_CHUNK = 16 / static_cast<int>(sizeof(scalar_t));

__device__ float infinity() { return __uint_as_float(0x7f800000u); }

// N elements that a thread loads or stores with one instruction.
template <class T, int N>
struct alignas(N * sizeof(T)) Pack {
    T elements[N];
};

template <class T, int N>
__device__ void load(const T *from, float (&to)[N]) {
    const Pack<T, N> pack = *reinterpret_cast<const Pack<T, N> *>(from);
#pragma unroll
    for (int i = 0; i < N; i++) to[i] = to_float(pack.elements[i]);
}

template <class T, int N>
__device__ void store(T *to, const float (&from)[N]) {
    Pack<T, N> pack;
#pragma unroll
    for (int i = 0; i < N; i++) from_float(from[i], pack.elements[i]);
    *reinterpret_cast<Pack<T, N> *>(to) = pack;
}

// The sum of x over each group of GROUP neighboring lanes, in all of its lanes.
template <int GROUP>
__device__ float warp_reduce_sum(float x) {
#pragma unroll
    for (int distance = GROUP / 2; distance; distance /= 2) x += __shfl_xor_sync(~0u, x, distance);
    return x;
}

// --- Dropout: counter-based, so the backward pass recomputes the mask from the seed ---

struct Dropout {
    uint32 first, second, threshold;  // threshold 0: no dropout
    float scale;                      // of the elements that are kept

    __device__ Dropout(const uint64 *seed, uint32 threshold, float scale)
        : first(threshold ? static_cast<uint32>(*seed) : 0),
          second(threshold ? static_cast<uint32>(*seed >> 32) : 0),
          threshold(threshold),
          scale(scale) {}

    // Random bits for an element's index: Chris Wellons's "lowbias32".
    __device__ uint32 bits(uint32 index) const {
        uint32 bits = index + first;
        bits = (bits ^ (bits >> 16)) * 0x7feb352du;
        bits ^= second;
        bits = (bits ^ (bits >> 15)) * 0x846ca68bu;
        return bits ^ (bits >> 16);
    }

    // `bits`: 16 of them.
    __device__ bool drops(uint32 bits) const { return bits < threshold; }

    // The dropout factor for these random bits, or for the element with this index.
    __device__ float factor(uint32 bits) const { return drops(bits) ? 0.0f : scale; }
    __device__ float factor_of(uint32 index) const { return threshold ? factor(bits(index) >> 16) : scale; }
};
