// The sums of the columns of a matrix of few rows, always in the same order. A block sums a column per lane of a warp.

#include "dtypes.cuh"

constexpr int WARPS = THREADS / WARP;

extern "C" __global__ void __launch_bounds__(THREADS)
    sums_columns(const float *__restrict__ from, float *__restrict__ to, int rows, int columns) {
    __shared__ float shared[WARPS][WARP];
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, column = blockIdx.x * WARP + lane;
    float sum = 0;
    if (column < columns) {
#pragma unroll 8
        for (int row = warp; row < rows; row += WARPS) sum += from[static_cast<uint64>(row) * columns + column];
    }
    shared[warp][lane] = sum;
    __syncthreads();
    if (warp || column >= columns) return;
    for (int i = 1; i < WARPS; i++) sum += shared[i][lane];
    to[column] = sum;
}
