// gelu(x + bias) for rows of WIDTH elements, in one pass over memory.
//
// Each block leaves its partial sums over rows as one row of `sums`, so the result does not depend on the order in
// which blocks run.

#include "dtypes.cuh"

constexpr int PACK = WIDTH % ELEMENTS_PER_CHUNK ? 1 : ELEMENTS_PER_CHUNK;

// The density and the cdf of the normal distribution at x.
struct Normal {
    float density, cdf;

    // Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26, with an error below 1e-7. erff() would take as
    // long as the memory traffic.
    __device__ explicit Normal(float x) {
        const float bell = exp2_approx(-0.72134752f * x * x);
        const float t = rcp_approx(1.0f + 0.23164189f * fabsf(x));
        const float tail =
            0.5f * bell * t *
            (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
        density = 0.39894228f * bell;
        cdf = x < 0.0f ? tail : 1.0f - tail;
    }
};

// A thread computes PACK columns of every gridDim.y-th row, starting at row blockIdx.y.
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
        const uint64 offset = static_cast<uint64>(row) * WIDTH + column;
        float values[PACK];
        load(x + offset, values);
#pragma unroll
        for (int i = 0; i < PACK; i++) {
            values[i] += column_bias[i];
            values[i] *= Normal(values[i]).cdf;
        }
        store(output + offset, values);
    }
}

// sums: float32 [gridDim.y, WIDTH], partial gradients of the bias.
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
        const uint64 offset = static_cast<uint64>(row) * WIDTH + column;
        float values[PACK], gradients[PACK];
        load(x + offset, values);
        load(d_output + offset, gradients);
#pragma unroll
        for (int i = 0; i < PACK; i++) {
            const float value = values[i] + column_bias[i];
            const Normal normal(value);
            gradients[i] *= normal.cdf + value * normal.density;
            sum[i] += gradients[i];
        }
        store(d_x + offset, gradients);
    }
#pragma unroll
    for (int i = 0; i < PACK; i++) sums[static_cast<uint64>(blockIdx.y) * WIDTH + column + i] = sum[i];
}
