// LayerNorm(residual + dropout(update + bias)) for rows of WIDTH elements, in one pass over memory: a warp per row.
//
// Each block leaves its partial sums over rows as one row of `sums`, so the result does not depend on the order in
// which blocks run.

#include "dtypes.cuh"

constexpr int WARPS = THREADS / WARP;
constexpr int PACK = WIDTH % ELEMENTS_PER_CHUNK ? 1 : ELEMENTS_PER_CHUNK;
constexpr int PARTS = (WIDTH + WARP * PACK - 1) / (WARP * PACK);  // of a row, per lane

__device__ int column_of(int part) { return (part * WARP + static_cast<int>(threadIdx.x) % WARP) * PACK; }

extern "C" __global__ void __launch_bounds__(THREADS)
    norm_forward(const scalar_t *update, const float *bias, const scalar_t *residual, const float *norm_weight,
                 const float *norm_bias, scalar_t *total, scalar_t *output, float *means, float *rstds, int rows,
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
            x[part][i] += (added[i] + bias[column + i]) * drop.factor_of(start + column + i);
            sum += x[part][i];
        }
        store(total + start + column, x[part]);
    }
    const float mean = warp_reduce_sum<WARP>(sum) / WIDTH;
    float squares = 0;
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        if (column_of(part) >= WIDTH) continue;
#pragma unroll
        for (int i = 0; i < PACK; i++) squares += (x[part][i] - mean) * (x[part][i] - mean);
    }
    const float rstd = rsqrtf(warp_reduce_sum<WARP>(squares) / WIDTH + epsilon);
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        const int column = column_of(part);
        if (column >= WIDTH) continue;
#pragma unroll
        for (int i = 0; i < PACK; i++)
            x[part][i] = (x[part][i] - mean) * rstd * norm_weight[column + i] + norm_bias[column + i];
        store(output + start + column, x[part]);
    }
    if (threadIdx.x % WARP == 0) {
        means[row] = mean;
        rstds[row] = rstd;
    }
}

// Sum each thread's `partial` over the block's warps, to WIDTH columns.
__device__ void block_reduce_sum(const float (&partial)[PARTS][PACK], float *to) {
    __shared__ float shared[WARPS][WIDTH];
    __syncthreads();
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        const int column = column_of(part);
        if (column >= WIDTH) continue;
#pragma unroll
        for (int i = 0; i < PACK; i++) shared[threadIdx.x / WARP][column + i] = partial[part][i];
    }
    __syncthreads();
    for (int column = threadIdx.x; column < WIDTH; column += THREADS) {
        float sum = 0;
        for (int warp = 0; warp < WARPS; warp++) sum += shared[warp][column];
        to[column] = sum;
    }
}

// sums: float32 [blocks, 3, WIDTH], partial gradients of norm_weight, norm_bias and bias.
extern "C" __global__ void __launch_bounds__(THREADS)
    norm_backward(const scalar_t *d_output, const scalar_t *total, const float *means, const float *rstds,
                  const float *norm_weight, scalar_t *d_update, scalar_t *d_residual, float *sums, int rows,
                  const uint64 *seed, uint32 threshold, float scale) {
    const Dropout drop(seed, threshold, scale);
    float d_norm_weight[PARTS][PACK] = {}, d_norm_bias[PARTS][PACK] = {}, d_bias[PARTS][PACK] = {};
    for (int row = blockIdx.x * WARPS + threadIdx.x / WARP; row < rows; row += gridDim.x * WARPS) {
        const uint64 start = static_cast<uint64>(row) * WIDTH;
        const float mean = means[row], rstd = rstds[row];
        float normed[PARTS][PACK], gradient[PARTS][PACK];
        float mean_d = 0, mean_d_normed = 0;
#pragma unroll
        for (int part = 0; part < PARTS; part++) {
            const int column = column_of(part);
            if (column >= WIDTH) continue;
            load(total + start + column, normed[part]);
            load(d_output + start + column, gradient[part]);
#pragma unroll
            for (int i = 0; i < PACK; i++) {
                normed[part][i] = (normed[part][i] - mean) * rstd;
                d_norm_weight[part][i] += gradient[part][i] * normed[part][i];
                d_norm_bias[part][i] += gradient[part][i];
                gradient[part][i] *= norm_weight[column + i];
                mean_d += gradient[part][i];
                mean_d_normed += gradient[part][i] * normed[part][i];
            }
        }
        mean_d = warp_reduce_sum<WARP>(mean_d) / WIDTH;
        mean_d_normed = warp_reduce_sum<WARP>(mean_d_normed) / WIDTH;
#pragma unroll
        for (int part = 0; part < PARTS; part++) {
            const int column = column_of(part);
            if (column >= WIDTH) continue;
#pragma unroll
            for (int i = 0; i < PACK; i++)
                gradient[part][i] = (gradient[part][i] - mean_d - normed[part][i] * mean_d_normed) * rstd;
            store(d_residual + start + column, gradient[part]);
#pragma unroll
            for (int i = 0; i < PACK; i++) {
                gradient[part][i] *= drop.factor_of(start + column + i);
                d_bias[part][i] += gradient[part][i];
            }
            store(d_update + start + column, gradient[part]);
        }
    }
    float *to = sums + static_cast<uint64>(blockIdx.x) * 3 * WIDTH;
    block_reduce_sum(d_norm_weight, to);
    block_reduce_sum(d_norm_bias, to + WIDTH);
    block_reduce_sum(d_bias, to + 2 * WIDTH);
}
