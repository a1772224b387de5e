// LayerNorm(residual + dropout(update + bias)) of rows of WIDTH numbers, in one pass over memory: a warp for each row.
//
// Sums over rows are left as one row for each block, in an order that does not depend on which block comes first.

#include "dtypes.cuh"

constexpr int WARPS = 4;  // of a block; as in cuda_kernels.py
constexpr int THREADS = WARP * WARPS;
constexpr int PACK = WIDTH % ELEMENTS_PER_CHUNK ? 1 : ELEMENTS_PER_CHUNK;
constexpr int PARTS = (WIDTH + WARP * PACK - 1) / (WARP * PACK);  // of a row, for each thread of the warp

__device__ int column_of(int part) { return (part * WARP + static_cast<int>(threadIdx.x) % WARP) * PACK; }

extern "C" __global__ void __launch_bounds__(THREADS)
    norm_forward(const scalar_t *update, const float *bias, const scalar_t *residual, const float *norm_weight,
                 const float *norm_bias, scalar_t *total, scalar_t *output, float *mean, float *rstd, int rows,
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
    const float center = warp_reduce_sum<WARP>(sum) / WIDTH;
    float squares = 0;
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        if (column_of(part) >= WIDTH) continue;
#pragma unroll
        for (int i = 0; i < PACK; i++) squares += (x[part][i] - center) * (x[part][i] - center);
    }
    const float factor = rsqrtf(warp_reduce_sum<WARP>(squares) / WIDTH + epsilon);
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        const int column = column_of(part);
        if (column >= WIDTH) continue;
#pragma unroll
        for (int i = 0; i < PACK; i++)
            x[part][i] = (x[part][i] - center) * factor * norm_weight[column + i] + norm_bias[column + i];
        store(output + start + column, x[part]);
    }
    if (threadIdx.x % WARP == 0) {
        mean[row] = center;
        rstd[row] = factor;
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

// sums: [blocks, 3, WIDTH], the gradients of norm_weight, norm_bias and bias.
extern "C" __global__ void __launch_bounds__(THREADS)
    norm_backward(const scalar_t *d_output, const scalar_t *total, const float *mean, const float *rstd,
                  const float *norm_weight, scalar_t *d_update, scalar_t *d_residual, float *sums, int rows,
                  const uint64 *seed, uint32 threshold, float scale) {
    const Dropout drop(seed, threshold, scale);
    float d_norm_weight[PARTS][PACK] = {}, d_norm_bias[PARTS][PACK] = {}, d_bias[PARTS][PACK] = {};
    for (int row = blockIdx.x * WARPS + threadIdx.x / WARP; row < rows; row += gridDim.x * WARPS) {
        const uint64 start = static_cast<uint64>(row) * WIDTH;
        const float center = mean[row], factor = rstd[row];
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
                d_norm_weight[part][i] += gradient[part][i] * normed[part][i];
                d_norm_bias[part][i] += gradient[part][i];
                gradient[part][i] *= norm_weight[column + i];
                sum += gradient[part][i];
                product += gradient[part][i] * normed[part][i];
            }
        }
        sum = warp_reduce_sum<WARP>(sum) / WIDTH;
        product = warp_reduce_sum<WARP>(product) / WIDTH;
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
                gradient[part][i] *= drop.factor_of(start + column + i);
                d_bias[part][i] += gradient[part][i];
            }
            store(d_update + start + column, gradient[part]);
        }
    }
    float *to = sums + static_cast<uint64>(blockIdx.x) * 3 * WIDTH;
    sum_of_block(d_norm_weight, to);
    sum_of_block(d_norm_bias, to + WIDTH);
    sum_of_block(d_bias, to + 2 * WIDTH);
}
