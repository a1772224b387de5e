// AdamW (Loshchilov and Hutter, 2019, https://arxiv.org/abs/1711.05101) for many tensors at once, in one pass over
// memory, and what the products read of the new weights: copies in DTYPE.

#include "dtypes.cuh"

constexpr int THREADS = 256;  // of a block; as in adamw.py
constexpr int PACK = 4;
constexpr int PACKS = 2;  // of a thread
constexpr int TENSORS = 64;

struct Tensor {
    float *weights;
    const float *gradients;
    float *means, *squares;  // running ones, of the gradients
    scalar_t *copies;        // or null
    uint32 size, first_block;
    float decay;
};

struct Tensors {
    Tensor of[TENSORS];
};

struct Rule {
    float rate, scale, first_share, second_share, first_correction, second_correction, epsilon;

    __device__ void operator()(float &weight, float gradient, float &mean, float &square, float decay) const {
        gradient *= scale;
        weight -= rate * decay * weight;
        mean += first_share * (gradient - mean);
        square += second_share * (gradient * gradient - square);
        weight -= rate / first_correction * mean / (sqrtf(square) / second_correction + epsilon);
    }
};

// powers: of the betas, with the number of the step; the shares are 1 less a beta. The gradients are divided by
// *divisor; where *overflowed is not 0, nothing changes.
extern "C" __global__ void __launch_bounds__(THREADS)
    adamw_step(const __grid_constant__ Tensors tensors, int count, const double *powers, const float *rate,
               const float *divisor, const float *overflowed, float first_share, float second_share, float epsilon) {
    if (overflowed && *overflowed != 0.0f) return;
    int number = 0;
    for (int end = count; end - number > 1;) {
        const int middle = (number + end) / 2;
        (tensors.of[middle].first_block <= blockIdx.x ? number : end) = middle;
    }
    const Tensor &tensor = tensors.of[number];
    const Rule rule{*rate,        divisor ? 1.0f / *divisor : 1.0f,    first_share,
                    second_share, static_cast<float>(1.0 - powers[0]), sqrtf(static_cast<float>(1.0 - powers[1])),
                    epsilon};
    const uint32 start = (blockIdx.x - tensor.first_block) * THREADS * PACK * PACKS + threadIdx.x * PACK;
    // Parts of a tensor may begin anywhere.
    const bool is_aligned = (reinterpret_cast<uint64>(tensor.weights) | reinterpret_cast<uint64>(tensor.gradients) |
                             reinterpret_cast<uint64>(tensor.means) | reinterpret_cast<uint64>(tensor.squares) |
                             reinterpret_cast<uint64>(tensor.copies) * 2) %
                                16 ==
                            0;
    if (is_aligned && start + (PACKS - 1) * THREADS * PACK + PACK <= tensor.size) {
        float weights[PACKS][PACK], gradients[PACKS][PACK], means[PACKS][PACK], squares[PACKS][PACK];
#pragma unroll
        for (int i = 0; i < PACKS; i++) {
            const uint32 at = start + i * THREADS * PACK;
            load(tensor.weights + at, weights[i]);
            load(tensor.gradients + at, gradients[i]);
            load(tensor.means + at, means[i]);
            load(tensor.squares + at, squares[i]);
        }
#pragma unroll
        for (int i = 0; i < PACKS; i++) {
            const uint32 at = start + i * THREADS * PACK;
#pragma unroll
            for (int j = 0; j < PACK; j++)
                rule(weights[i][j], gradients[i][j], means[i][j], squares[i][j], tensor.decay);
            store(tensor.weights + at, weights[i]);
            store(tensor.means + at, means[i]);
            store(tensor.squares + at, squares[i]);
            if (tensor.copies) store(tensor.copies + at, weights[i]);
        }
        return;
    }
    for (int i = 0; i < PACKS; i++) {
        const uint32 at = start + i * THREADS * PACK;
        for (uint32 j = at; j < at + PACK && j < tensor.size; j++) {
            rule(tensor.weights[j], tensor.gradients[j], tensor.means[j], tensor.squares[j], tensor.decay);
            if (tensor.copies) from_float(tensor.weights[j], tensor.copies[j]);
        }
    }
}
