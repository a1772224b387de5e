// GELU(x + bias), by the normal distribution, of rows of WIDTH numbers, in one pass over memory.
//
// Sums over rows are left as one row for each block, in an order that does not depend on which block comes first.

#include "dtypes.cuh"

constexpr int THREADS = 128;  // of a block; as in cuda_kernels.py
constexpr int PACK = WIDTH % ELEMENTS_PER_CHUNK ? 1 : ELEMENTS_PER_CHUNK;

// The normal distribution at x: its density, and how much of it lies below.
struct Normal {
    float density, below;

    // Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: within 1e-7. erff() would take as long as the
    // memory.
    __device__ explicit Normal(float x) {
        const float bell = exp2_approx(-0.72134752f * x * x);
        const float t = rcp_approx(1.0f + 0.23164189f * fabsf(x));
        const float beyond =
            0.5f * bell * t *
            (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
        density = 0.39894228f * bell;
        below = x < 0.0f ? beyond : 1.0f - beyond;
    }
};

// A thread works on PACK columns, from the row blockIdx.y on, each gridDim.y-th.
extern "C" __global__ void __launch_bounds__(THREADS)
    gelu_forward(const scalar_t *__restrict__ x, const float *__restrict__ bias, scalar_t *__restrict__ output,
                 int rows) {
    const int column = (blockIdx.x * THREADS + threadIdx.x) * PACK;
    if (column >= WIDTH) return;
    float column_bias[PACK];
#pragma unroll
    for (int i = 0; i < PACK; i++) column_bias[i] = bias[column + i];
#pragma unroll 4
    for (int row = blockIdx.y; row < rows; row += gridDim.y) {
        const uint64 at = static_cast<uint64>(row) * WIDTH + column;
        float values[PACK];
        load(x + at, values);
#pragma unroll
        for (int i = 0; i < PACK; i++) {
            values[i] += column_bias[i];
            values[i] *= Normal(values[i]).below;
        }
        store(output + at, values);
    }
}

// sums: [gridDim.y, WIDTH], the gradient of the bias.
extern "C" __global__ void __launch_bounds__(THREADS)
    gelu_backward(const scalar_t *__restrict__ d_output, const scalar_t *__restrict__ x, const float *__restrict__ bias,
                  scalar_t *__restrict__ d_x, float *__restrict__ sums, int rows) {
    const int column = (blockIdx.x * THREADS + threadIdx.x) * PACK;
    if (column >= WIDTH) return;
    float column_bias[PACK], sum[PACK] = {};
#pragma unroll
    for (int i = 0; i < PACK; i++) column_bias[i] = bias[column + i];
#pragma unroll 4
    for (int row = blockIdx.y; row < rows; row += gridDim.y) {
        const uint64 at = static_cast<uint64>(row) * WIDTH + column;
        float values[PACK], gradients[PACK];
        load(x + at, values);
        load(d_output + at, gradients);
#pragma unroll
        for (int i = 0; i < PACK; i++) {
            const float value = values[i] + column_bias[i];
            const Normal normal(value);
            gradients[i] *= normal.below + value * normal.density;
            sum[i] += gradients[i];
        }
        store(d_x + at, gradients);
    }
#pragma unroll
    for (int i = 0; i < PACK; i++) sums[static_cast<uint64>(blockIdx.y) * WIDTH + column + i] = sum[i];
}
