// What the kernels have in common: numbers in memory, sums of a warp, random bits. DTYPE is what numbers are in
// memory; all is computed in fp32.

#include <ptx.cuh>

constexpr int WARP = 32;

// As many numbers as 16 bytes hold.
constexpr int ELEMENTS_PER_CHUNK = 16 / static_cast<int>(sizeof(scalar_t));

__device__ float infinity() { return __uint_as_float(0x7f800000u); }

// PACK numbers of any format that a thread reads or writes at once.
template <class T, int PACK>
struct alignas(PACK * sizeof(T)) Pack {
    T numbers[PACK];
};

template <class T, int PACK>
__device__ void load(const T *from, float (&to)[PACK]) {
    const Pack<T, PACK> pack = *reinterpret_cast<const Pack<T, PACK> *>(from);
#pragma unroll
    for (int i = 0; i < PACK; i++) to[i] = to_float(pack.numbers[i]);
}

template <class T, int PACK>
__device__ void store(T *to, const float (&from)[PACK]) {
    Pack<T, PACK> pack;
#pragma unroll
    for (int i = 0; i < PACK; i++) from_float(from[i], pack.numbers[i]);
    *reinterpret_cast<Pack<T, PACK> *>(to) = pack;
}

// The sum of x over GROUP lanes that stand side by side, in each of them.
template <int GROUP>
__device__ float warp_reduce_sum(float x) {
#pragma unroll
    for (int distance = GROUP / 2; distance; distance /= 2) x += __shfl_xor_sync(~0u, x, distance);
    return x;
}

// --- Dropout: the same mask again from the same seed ---

struct Dropout {
    uint32 first, second, threshold;  // of `threshold` 0 nothing is dropped
    float scale;                      // of what is kept

    __device__ Dropout(const uint64 *seed, uint32 threshold, float scale)
        : first(threshold ? static_cast<uint32>(*seed) : 0),
          second(threshold ? static_cast<uint32>(*seed >> 32) : 0),
          threshold(threshold),
          scale(scale) {}

    // Random bits of a number: Chris Wellons's "lowbias32".
    __device__ uint32 bits(uint32 index) const {
        uint32 bits = index + first;
        bits = (bits ^ (bits >> 16)) * 0x7feb352du;
        bits ^= second;
        bits = (bits ^ (bits >> 15)) * 0x846ca68bu;
        return bits ^ (bits >> 16);
    }

    // Whether a number with such bits is dropped, as many as the threshold is of.
    __device__ bool drops(uint32 bits) const { return bits < threshold; }

    // What a number is multiplied by, whose bits are these or whose index is this.
    __device__ float factor(uint32 bits) const { return drops(bits) ? 0.0f : scale; }
    __device__ float factor_of(uint32 index) const { return threshold ? factor(bits(index)) : scale; }
};
