// A packed batch on a GPU: LayerNorm and GELU with what stands around them, each in one pass over memory.
//
// cuda_kernels.py compiles this when a job starts: the part NORM or GELU, for rows of WIDTH numbers. FORMAT is what they
// are in memory; all is computed in fp32. Sums over rows are left as one row for each block, in an order that does not
// depend on which block comes first.

typedef unsigned int uint32;
typedef unsigned long long uint64;

constexpr int WARP = 32;
constexpr int WARPS = 4;  // of a block; as in cuda_kernels.py
constexpr int THREADS = WARP * WARPS;

// --- Numbers in memory ---

#define FP32 0
#define BF16 1
#define FP16 2

#if FORMAT == FP32
typedef float Number;
__device__ float widen(Number number) { return number; }
__device__ Number narrow(float x) { return x; }
#elif FORMAT == BF16  // the upper half of fp32
typedef unsigned short Number;
__device__ float widen(Number number) { return __uint_as_float(static_cast<uint32>(number) << 16); }
__device__ Number narrow(float x) {
#if __CUDA_ARCH__ >= 800
    Number number;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(number) : "f"(x));
    return number;
#else
    const uint32 bits = __float_as_uint(x);
    return x == x ? static_cast<Number>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) : 0x7fff;
#endif
}
#elif FORMAT == FP16
typedef unsigned short Number;
__device__ float widen(Number number) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(number));
    return x;
}
__device__ Number narrow(float x) {
    Number number;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(number) : "f"(x));
    return number;
}
#endif

// As many numbers as a thread reads at once: 16 bytes, if rows are multiples of that.
constexpr int WHOLE_PACK = 16 / static_cast<int>(sizeof(Number));
constexpr int PACK = WIDTH % WHOLE_PACK ? 1 : WHOLE_PACK;

struct alignas(PACK * sizeof(Number)) Pack {
    Number numbers[PACK];
};

__device__ void load(const Number *from, float (&to)[PACK]) {
    const Pack pack = *reinterpret_cast<const Pack *>(from);
#pragma unroll
    for (int i = 0; i < PACK; i++) to[i] = widen(pack.numbers[i]);
}

__device__ void store(Number *to, const float (&from)[PACK]) {
    Pack pack;
#pragma unroll
    for (int i = 0; i < PACK; i++) pack.numbers[i] = narrow(from[i]);
    *reinterpret_cast<Pack *>(to) = pack;
}

#ifdef NORM

// --- Dropout: the same mask again from the same seed, as in kernels.cpp ---

struct Dropout {
    uint32 first, second, threshold;
    float scale;

    __device__ Dropout(const uint64 *seed, uint32 threshold, float scale)
        : first(threshold ? static_cast<uint32>(*seed) : 0),
          second(threshold ? static_cast<uint32>(*seed >> 32) : 0),
          threshold(threshold),
          scale(scale) {}

    __device__ float operator()(float x, uint32 index) const {
        if (!threshold) return x;
        uint32 bits = index + first;  // Chris Wellons's "lowbias32"
        bits = (bits ^ (bits >> 16)) * 0x7feb352du;
        bits ^= second;
        bits = (bits ^ (bits >> 15)) * 0x846ca68bu;
        return (bits ^ (bits >> 16)) < threshold ? 0.0f : x * scale;
    }
};

// --- LayerNorm(residual + dropout(update + bias)): a warp for each row ---

constexpr int PARTS = (WIDTH + WARP * PACK - 1) / (WARP * PACK);  // of a row, for each thread of the warp

__device__ int column_of(int part) { return (part * WARP + static_cast<int>(threadIdx.x) % WARP) * PACK; }

__device__ float sum_of_warp(float x) {
#pragma unroll
    for (int distance = WARP / 2; distance; distance /= 2) x += __shfl_xor_sync(~0u, x, distance);
    return x;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    norm_forward(const Number *update, const float *bias, const Number *residual, const float *gain,
                 const float *shift, Number *total, Number *output, float *mean, float *inverse, int rows,
                 float epsilon, const uint64 *seed, uint32 threshold, float scale) {
    const int row = blockIdx.x * WARPS + threadIdx.x / WARP;
    if (row >= rows) return;
    const uint64 start = static_cast<uint64>(row) * WIDTH;
    const Dropout drop(seed, threshold, scale);
    float x[PARTS][PACK];
    float sum = 0;
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        const int column = column_of(part);
        if (column >= WIDTH) continue;
        float added[PACK];
        load(update + start + column, added);
        load(residual + start + column, x[part]);
#pragma unroll
        for (int i = 0; i < PACK; i++) {
            x[part][i] += drop(added[i] + bias[column + i], start + column + i);
            sum += x[part][i];
        }
        store(total + start + column, x[part]);
    }
    const float center = sum_of_warp(sum) / WIDTH;
    float squares = 0;
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        if (column_of(part) >= WIDTH) continue;
#pragma unroll
        for (int i = 0; i < PACK; i++) squares += (x[part][i] - center) * (x[part][i] - center);
    }
    const float factor = rsqrtf(sum_of_warp(squares) / WIDTH + epsilon);
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        const int column = column_of(part);
        if (column >= WIDTH) continue;
#pragma unroll
        for (int i = 0; i < PACK; i++) x[part][i] = (x[part][i] - center) * factor * gain[column + i] + shift[column + i];
        store(output + start + column, x[part]);
    }
    if (threadIdx.x % WARP == 0) {
        mean[row] = center;
        inverse[row] = factor;
    }
}

// Write the sum over the block's warps of what each thread has of each column.
__device__ void sum_of_block(const float (&own)[PARTS][PACK], float *to) {
    __shared__ float shared[WARPS][WIDTH];
    __syncthreads();
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        const int column = column_of(part);
        if (column >= WIDTH) continue;
#pragma unroll
        for (int i = 0; i < PACK; i++) shared[threadIdx.x / WARP][column + i] = own[part][i];
    }
    __syncthreads();
    for (int column = threadIdx.x; column < WIDTH; column += THREADS) {
        float sum = 0;
        for (int warp = 0; warp < WARPS; warp++) sum += shared[warp][column];
        to[column] = sum;
    }
}

// sums: [blocks, 3, WIDTH], the gradients of gain, shift and bias.
extern "C" __global__ void __launch_bounds__(THREADS)
    norm_backward(const Number *d_output, const Number *total, const float *mean, const float *inverse,
                  const float *gain, Number *d_update, Number *d_residual, float *sums, int rows, const uint64 *seed,
                  uint32 threshold, float scale) {
    const Dropout drop(seed, threshold, scale);
    float d_gain[PARTS][PACK] = {}, d_shift[PARTS][PACK] = {}, d_bias[PARTS][PACK] = {};
    for (int row = blockIdx.x * WARPS + threadIdx.x / WARP; row < rows; row += gridDim.x * WARPS) {
        const uint64 start = static_cast<uint64>(row) * WIDTH;
        const float center = mean[row], factor = inverse[row];
        float normed[PARTS][PACK], gradient[PARTS][PACK];
        float sum = 0, product = 0;
#pragma unroll
        for (int part = 0; part < PARTS; part++) {
            const int column = column_of(part);
            if (column >= WIDTH) continue;
            load(total + start + column, normed[part]);
            load(d_output + start + column, gradient[part]);
#pragma unroll
            for (int i = 0; i < PACK; i++) {
                normed[part][i] = (normed[part][i] - center) * factor;
                d_gain[part][i] += gradient[part][i] * normed[part][i];
                d_shift[part][i] += gradient[part][i];
                gradient[part][i] *= gain[column + i];
                sum += gradient[part][i];
                product += gradient[part][i] * normed[part][i];
            }
        }
        sum = sum_of_warp(sum) / WIDTH;
        product = sum_of_warp(product) / WIDTH;
#pragma unroll
        for (int part = 0; part < PARTS; part++) {
            const int column = column_of(part);
            if (column >= WIDTH) continue;
#pragma unroll
            for (int i = 0; i < PACK; i++)
                gradient[part][i] = (gradient[part][i] - sum - normed[part][i] * product) * factor;
            store(d_residual + start + column, gradient[part]);
#pragma unroll
            for (int i = 0; i < PACK; i++) {
                gradient[part][i] = drop(gradient[part][i], start + column + i);
                d_bias[part][i] += gradient[part][i];
            }
            store(d_update + start + column, gradient[part]);
        }
    }
    float *to = sums + static_cast<uint64>(blockIdx.x) * 3 * WIDTH;
    sum_of_block(d_gain, to);
    sum_of_block(d_shift, to + WIDTH);
    sum_of_block(d_bias, to + 2 * WIDTH);
}

#endif
#ifdef GELU

// --- GELU(x + bias), by the normal distribution ---

__device__ float share_below(float x) { return 0.5f * (1.0f + erff(0.70710678f * x)); }

// A thread works on PACK columns, from the row blockIdx.y on, each gridDim.y-th.
extern "C" __global__ void __launch_bounds__(THREADS)
    gelu_forward(const Number *__restrict__ x, const float *__restrict__ bias, Number *__restrict__ output, int rows) {
    const int column = (blockIdx.x * THREADS + threadIdx.x) * PACK;
    if (column >= WIDTH) return;
    float shift[PACK];
#pragma unroll
    for (int i = 0; i < PACK; i++) shift[i] = bias[column + i];
#pragma unroll 4
    for (int row = blockIdx.y; row < rows; row += gridDim.y) {
        const uint64 at = static_cast<uint64>(row) * WIDTH + column;
        float values[PACK];
        load(x + at, values);
#pragma unroll
        for (int i = 0; i < PACK; i++) {
            values[i] += shift[i];
            values[i] *= share_below(values[i]);
        }
        store(output + at, values);
    }
}

// sums: [gridDim.y, WIDTH], the gradient of the bias.
extern "C" __global__ void __launch_bounds__(THREADS)
    gelu_backward(const Number *__restrict__ d_output, const Number *__restrict__ x, const float *__restrict__ bias,
                  Number *__restrict__ d_x, float *__restrict__ sums, int rows) {
    const int column = (blockIdx.x * THREADS + threadIdx.x) * PACK;
    if (column >= WIDTH) return;
    float shift[PACK], sum[PACK] = {};
#pragma unroll
    for (int i = 0; i < PACK; i++) shift[i] = bias[column + i];
#pragma unroll 4
    for (int row = blockIdx.y; row < rows; row += gridDim.y) {
        const uint64 at = static_cast<uint64>(row) * WIDTH + column;
        float values[PACK], gradients[PACK];
        load(x + at, values);
        load(d_output + at, gradients);
#pragma unroll
        for (int i = 0; i < PACK; i++) {
            const float value = values[i] + shift[i];
            const float density = 0.39894228f * expf(-0.5f * value * value);
            gradients[i] *= share_below(value) + value * density;
            sum[i] += gradients[i];
        }
        store(d_x + at, gradients);
    }
#pragma unroll
    for (int i = 0; i < PACK; i++) sums[static_cast<uint64>(blockIdx.y) * WIDTH + column + i] = sum[i];
}

#endif
