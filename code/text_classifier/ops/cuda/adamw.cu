// AdamW (Loshchilov and Hutter, 2019, https://arxiv.org/abs/1711.05101) for many tensors at once, in one pass over
// memory. It also refreshes the shadow weights: the copies in scalar_t that matmuls read.

#include "dtypes.cuh"

constexpr int PACK = 4;  // elements of one load or store
constexpr int PACKS = ELEMENTS_PER_THREAD / PACK;

// The layout of adamw.py's _Tensor and _Tensors.
struct Tensor {
    float *weights;
    const float *gradients;
    float *exp_avg, *exp_avg_sq;
    scalar_t *shadow;  // or null
    uint32 size, first_block;
    uint32 group;  // index of the learning rate
    float weight_decay;
};

struct Tensors {
    Tensor tensors[TENSORS];
};

struct Update {
    float lr, gradient_scale, one_minus_beta1, one_minus_beta2, bias_correction1, sqrt_bias_correction2, epsilon;

    __device__ void operator()(float &weight, float gradient, float &exp_avg, float &exp_avg_sq,
                               float weight_decay) const {
        gradient *= gradient_scale;
        weight -= lr * weight_decay * weight;
        exp_avg += one_minus_beta1 * (gradient - exp_avg);
        exp_avg_sq += one_minus_beta2 * (gradient * gradient - exp_avg_sq);
        weight -= lr / bias_correction1 * exp_avg / (sqrtf(exp_avg_sq) / sqrt_bias_correction2 + epsilon);
    }
};

// beta_powers: both betas to the power of the step's number. lr: of each group. Gradients are divided by *grad_scale;
// nothing changes when *found_inf is not 0. Both pointers may be null.
extern "C" __global__ void __launch_bounds__(THREADS)
    adamw_step(const __grid_constant__ Tensors table, int count, const double *beta_powers, const float *lr,
               const float *grad_scale, const float *found_inf, float one_minus_beta1, float one_minus_beta2,
               float epsilon) {
    if (found_inf && *found_inf != 0.0f) return;
    // Binary search for the last tensor whose first block is not after this one.
    int index = 0;
    for (int end = count; end - index > 1;) {
        const int middle = (index + end) / 2;
        if (table.tensors[middle].first_block <= blockIdx.x)
            index = middle;
        else
            end = middle;
    }
    const Tensor &tensor = table.tensors[index];
    const Update update{
        lr[tensor.group], grad_scale ? 1.0f / *grad_scale : 1.0f,   one_minus_beta1,
        one_minus_beta2,  static_cast<float>(1.0 - beta_powers[0]), sqrtf(static_cast<float>(1.0 - beta_powers[1])),
        epsilon};
    const uint32 start = (blockIdx.x - tensor.first_block) * THREADS * PACK * PACKS + threadIdx.x * PACK;
    // A parameter may be a view that starts anywhere; shadow elements have half the size.
    const bool is_aligned = (reinterpret_cast<uint64>(tensor.weights) | reinterpret_cast<uint64>(tensor.gradients) |
                             reinterpret_cast<uint64>(tensor.exp_avg) | reinterpret_cast<uint64>(tensor.exp_avg_sq) |
                             reinterpret_cast<uint64>(tensor.shadow) * 2) %
                                16 ==
                            0;
    if (is_aligned && start + (PACKS - 1) * THREADS * PACK + PACK <= tensor.size) {
        float weights[PACKS][PACK], gradients[PACKS][PACK], exp_avg[PACKS][PACK], exp_avg_sq[PACKS][PACK];
#pragma unroll
        for (int i = 0; i < PACKS; i++) {
            const uint32 offset = start + i * THREADS * PACK;
            load(tensor.weights + offset, weights[i]);
            load(tensor.gradients + offset, gradients[i]);
            load(tensor.exp_avg + offset, exp_avg[i]);
            load(tensor.exp_avg_sq + offset, exp_avg_sq[i]);
        }
#pragma unroll
        for (int i = 0; i < PACKS; i++) {
            const uint32 offset = start + i * THREADS * PACK;
#pragma unroll
            for (int j = 0; j < PACK; j++)
                update(weights[i][j], gradients[i][j], exp_avg[i][j], exp_avg_sq[i][j], tensor.weight_decay);
            store(tensor.weights + offset, weights[i]);
            store(tensor.exp_avg + offset, exp_avg[i]);
            store(tensor.exp_avg_sq + offset, exp_avg_sq[i]);
            if (tensor.shadow) store(tensor.shadow + offset, weights[i]);
        }
        return;
    }
    for (int i = 0; i < PACKS; i++) {
        const uint32 offset = start + i * THREADS * PACK;
        for (uint32 j = offset; j < offset + PACK && j < tensor.size; j++) {
            update(tensor.weights[j], tensor.gradients[j], tensor.exp_avg[j], tensor.exp_avg_sq[j],
                   tensor.weight_decay);
            if (tensor.shadow) from_float(tensor.weights[j], tensor.shadow[j]);
        }
    }
}
