// What torch lacks for a packed batch on a CPU: attention within each sequence, and LayerNorm and GELU fused with the
// elementwise operations next to them. Called by bindings.py, which documents each operation.
//
// Numbers are fp32, bf16 or fp16 in memory (T) and fp32 in registers. Loops are written for the compiler to vectorize;
// only matmul and the packing for AMX are written by hand (matrices.h). Every sum is added up in an order that does not
// depend on the number of threads, so results are reproducible bit by bit.
//
// Compiled without -fassociative-math and -ffinite-math-only: a NaN must reach the loss.

#include <malloc.h>
#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "dtypes.h"
#include "matrices.h"

#ifdef __AMX_BF16__
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

// --- Attention ---

// Queries per block: their scores stay in the L2 cache.
constexpr int QUERIES = 64;

template <class T>
struct Attention {
    const T *query, *key, *value;
    int64_t query_stride, key_stride;  // between rows, in elements; values have the stride of the keys
    const int32_t *cu_seqlens;
    int64_t sequences, max_seqlen, heads, width;  // width: of one head
    bool has_one_query;
    float scale;
    Dropout dropout;

    struct Head {
        Matrix<const T> query, key, value;
        int64_t first_query, column;
        Dropout dropout;

        // Index of the random bits for this pair of keys and the first of the queries from `begin`.
        uint32_t first_index(int64_t pair, int64_t begin) const {
            return static_cast<uint32_t>(pair * ((query.rows + 31) / 32 * 32) + begin);
        }
    };

    Head head(int64_t task) const {
        const int64_t sequence = task / heads, column = task % heads * width;
        const int64_t start = cu_seqlens[sequence], length = cu_seqlens[sequence + 1] - start;
        const int64_t first = has_one_query ? sequence : start, count = has_one_query ? 1 : length;
        return {
            {query + first * query_stride + column, count, width, query_stride},
            {key + start * key_stride + column, length, width, key_stride},
            {value + start * key_stride + column, length, width, key_stride},
            first,
            column,
            dropout.for_task(static_cast<uint32_t>(task)),
        };
    }

    // output [queries, heads * width]; lse [queries, heads], the logsumexp of the scores to base 2.
    //
    // Scores and probabilities are transposed, [keys, queries], here and in backward(): softmax then reduces over rows,
    // which vectorizes without horizontal sums, and two keys share 32 random bits for their dropout.
    void forward(T *output, float *lse) const {
        using Operand = typename OperandOf<T>::type;
        const int64_t keys = round_up(max_seqlen), inner = round_up(width);
#pragma omp parallel
        {
            Tiles tiles;
            Scratch scratch(64 * 6 + sizeof(float) * (2 * keys * inner + 2 * keys * QUERIES + 2 * QUERIES * inner));
#pragma omp for schedule(dynamic, 4)
            for (int64_t task = 0; task < sequences * heads; task++) {
                scratch.reset();
                forward_head<Operand>(head(task), output, lse + task % heads, scratch);
            }
        }
    }

    template <class Operand>
    void forward_head(const Head &head, T *output, float *lse, Scratch &scratch) const {
        const int64_t length = head.key.rows, keys = round_up(length), inner = round_up(width);
        Operand *key_rows = scratch.take<Operand>(keys * inner), *value_columns = scratch.take<Operand>(inner * keys);
        Operand *query_columns = scratch.take<Operand>(inner * QUERIES);
        Operand *probs = scratch.take<Operand>(keys * QUERIES);
        float *scores = scratch.take<float>(keys * QUERIES), *out_columns = scratch.take<float>(inner * QUERIES);
        const float log2_scale = scale * LOG2_OF_E;
        pack_left(key_rows, head.key);
        pack_left_transposed(value_columns, head.value);
        for (int64_t begin = 0; begin < head.query.rows; begin += QUERIES) {
            const Matrix<const T> block = rows(head.query, begin);
            const int64_t count = round_up(block.rows);
            const int64_t offset = (head.first_query + begin) * heads * width + head.column;
            const Matrix<T> out{output + offset, block.rows, width, heads * width};
            prefetch<Access::write>(out);
            pack_right_transposed(query_columns, block);
            matmul(scores, key_rows, query_columns, keys, count, inner, false);
            mask_odd_key(scores, length, count);
            float max_score[QUERIES], prob_sum[QUERIES] = {};
            for (int64_t i = 0; i < count; i++) max_score[i] = scores[i];
            for (int64_t j = 1; j < length; j++)
#pragma omp simd
                for (int64_t i = 0; i < count; i++)
                    max_score[i] = scores[j * count + i] > max_score[i] ? scores[j * count + i] : max_score[i];
            for (int64_t i = 0; i < count; i++) max_score[i] *= log2_scale;
            for (int64_t j = 0; j < keys / 2; j++) {
                const float *row = scores + 2 * j * count;
                if (2 * j >= length)
                    for (int64_t i = 0; i < count; i++) set_pair(probs, j, count, i, 0, 0);
                else if (dropout.threshold)
                    softmax_pair<true>(head, row, log2_scale, max_score, prob_sum, probs, j, begin, count);
                else
                    softmax_pair<false>(head, row, log2_scale, max_score, prob_sum, probs, j, begin, count);
            }
            matmul(out_columns, value_columns, probs, inner, count, keys, false);
            for (int64_t i = 0; i < block.rows; i++)
                lse[(head.first_query + begin + i) * heads] = max_score[i] + __builtin_log2f(prob_sum[i]);
            for (int64_t i = 0; i < count; i++) prob_sum[i] = 1.0f / prob_sum[i];
            for (int64_t c = 0; c < width; c++)
#pragma omp simd
                for (int64_t i = 0; i < count; i++) out_columns[c * count + i] *= prob_sum[i];
            unpack_transposed(out, out_columns);
        }
    }

    // Unnormalized probabilities of keys 2 * pair and 2 * pair + 1 for `count` queries: added to `prob_sum` before
    // dropout, stored in `probs` after it.
    template <bool DROPS, class Operand>
    void softmax_pair(const Head &head, const float *scores, float log2_scale, const float *max_score, float *prob_sum,
                      Operand *probs, int64_t pair, int64_t begin, uint32_t count) const {
        const Dropout drop = head.dropout;
        const uint32_t index = head.first_index(pair, begin);
#pragma omp simd
        for (uint32_t i = 0; i < count; i++) {
            float upper = exp2_approx(scores[i] * log2_scale - max_score[i]);
            float lower = exp2_approx(scores[count + i] * log2_scale - max_score[i]);
            prob_sum[i] += upper + lower;
            if (DROPS) {
                const Dropout::Factors factors = drop.factors(index + i);
                upper *= factors.upper;
                lower *= factors.lower;
            }
            set_pair(probs, pair, count, i, upper, lower);
        }
    }

    // With an odd number of keys the last pair holds a padding row: its probability becomes 0.
    static void mask_odd_key(float *scores, int64_t length, int64_t count) {
        if (length % 2)
            for (int64_t i = 0; i < count; i++) scores[length * count + i] = -1e30f;
    }

    // d_query, d_key and d_value have the layout of query, key and value.
    void backward(const T *d_output, const T *output, const float *lse, T *d_query, T *d_key, T *d_value) const {
        using Operand = typename OperandOf<T>::type;
        const int64_t keys = round_up(max_seqlen), inner = round_up(width);
#pragma omp parallel
        {
            Tiles tiles;
            Scratch scratch(64 * 16 + sizeof(float) * (5 * keys * inner + 5 * keys * QUERIES + 5 * QUERIES * inner));
#pragma omp for schedule(dynamic, 4)
            for (int64_t task = 0; task < sequences * heads; task++) {
                scratch.reset();
                backward_head<Operand>(head(task), d_output, output, lse + task % heads, d_query, d_key, d_value,
                                       scratch);
            }
        }
    }

    template <class Operand>
    void backward_head(const Head &head, const T *d_output, const T *output, const float *lse, T *d_query, T *d_key,
                       T *d_value, Scratch &scratch) const {
        const int64_t length = head.key.rows, keys = round_up(length), inner = round_up(width);
        Operand *key_rows = scratch.take<Operand>(keys * inner), *key_columns = scratch.take<Operand>(inner * keys);
        Operand *value_rows = scratch.take<Operand>(keys * inner);
        float *d_key_sums = scratch.take<float>(keys * inner), *d_value_sums = scratch.take<float>(keys * inner);
        Operand *query_columns = scratch.take<Operand>(inner * QUERIES);
        Operand *query_rows = scratch.take<Operand>(QUERIES * inner);
        Operand *d_out_columns = scratch.take<Operand>(inner * QUERIES);
        Operand *d_out_rows = scratch.take<Operand>(QUERIES * inner);
        float *scores = scratch.take<float>(keys * QUERIES), *d_probs = scratch.take<float>(keys * QUERIES);
        Operand *probs = scratch.take<Operand>(keys * QUERIES);
        Operand *d_scores = scratch.take<Operand>(keys * QUERIES);
        Operand *d_scores_right = scratch.take<Operand>(keys * QUERIES);
        float *d_query_sums = scratch.take<float>(inner * QUERIES);
        const Matrix<T> d_key_rows{d_key + (head.key.data - key), length, width, key_stride};
        const Matrix<T> d_value_rows{d_value + (head.value.data - value), length, width, key_stride};
        prefetch<Access::write>(d_key_rows);
        prefetch<Access::write>(d_value_rows);
        pack_left(key_rows, head.key);
        pack_left_transposed(key_columns, head.key);
        pack_left(value_rows, head.value);
        const int64_t row_width = heads * width;
        for (int64_t begin = 0; begin < head.query.rows; begin += QUERIES) {
            const Matrix<const T> block = rows(head.query, begin);
            const int64_t first = head.first_query + begin, offset = first * row_width + head.column;
            const Matrix<const T> d_out{d_output + offset, block.rows, width, row_width};
            const Matrix<const T> out{output + offset, block.rows, width, row_width};
            const Matrix<T> d_block{d_query + first * query_stride + head.column, block.rows, width, query_stride};
            const int64_t count = round_up(block.rows);
            prefetch<Access::read>(out);
            prefetch<Access::write>(d_block);
            pack_right_transposed(query_columns, block);
            pack_right(query_rows, block);
            pack_right_transposed(d_out_columns, d_out);
            pack_right(d_out_rows, d_out);
            matmul(scores, key_rows, query_columns, keys, count, inner, false);
            matmul(d_probs, value_rows, d_out_columns, keys, count, inner, false);
            mask_odd_key(scores, length, count);
            // Padding queries have a gradient of 0, so any finite probability will do: lse 1e30 gives 0.
            float query_lse[QUERIES] = {}, delta[QUERIES] = {};
            for (int64_t i = 0; i < block.rows; i++) {
                query_lse[i] = lse[(first + i) * heads];
                const T *a = d_out.data + i * row_width, *b = out.data + i * row_width;
                float sum = 0;
#pragma omp simd reduction(+ : sum)
                for (int64_t c = 0; c < width; c++) sum += load(a[c]) * load(b[c]);
                delta[i] = sum;
            }
            for (int64_t i = block.rows; i < count; i++) query_lse[i] = 1e30f;
            for (int64_t j = 0; j < keys / 2; j++) {
                const int64_t at = 2 * j * count;
                if (2 * j >= length) {
                    fill_zero(probs + at, 2 * count);
                    fill_zero(d_scores + at, 2 * count);
                    fill_zero(d_scores_right + at, 2 * count);
                } else if (dropout.threshold) {
                    softmax_pair_backward<true>(head, scores + at, d_probs + at, query_lse, delta, probs + at,
                                                d_scores + at, d_scores_right, j, begin, count);
                } else {
                    softmax_pair_backward<false>(head, scores + at, d_probs + at, query_lse, delta, probs + at,
                                                 d_scores + at, d_scores_right, j, begin, count);
                }
            }
            matmul(d_value_sums, probs, d_out_rows, keys, inner, count, begin > 0);
            matmul(d_key_sums, d_scores, query_rows, keys, inner, count, begin > 0);
            matmul(d_query_sums, key_columns, d_scores_right, inner, count, keys, false);
            unpack_transposed(d_block, d_query_sums);
        }
        unpack(d_key_rows, d_key_sums);
        unpack(d_value_rows, d_value_sums);
    }

    // Probabilities of keys 2 * pair and 2 * pair + 1 for `count` queries after dropout, and the gradients of their
    // scores, as a left and as a right operand. delta: the dot product of an output row with its gradient.
    template <bool DROPS, class Operand>
    void softmax_pair_backward(const Head &head, const float *scores, const float *d_probs, const float *query_lse,
                               const float *delta, Operand *probs, Operand *d_scores, Operand *d_scores_right,
                               int64_t pair, int64_t begin, uint32_t count) const {
        const Dropout drop = head.dropout;
        const uint32_t index = head.first_index(pair, begin);
        const float log2_scale = scale * LOG2_OF_E;
#pragma omp simd
        for (uint32_t i = 0; i < count; i++) {
            const float upper = exp2_approx(scores[i] * log2_scale - query_lse[i]);
            const float lower = exp2_approx(scores[count + i] * log2_scale - query_lse[i]);
            const Dropout::Factors factors = DROPS ? drop.factors(index + i) : Dropout::Factors{1.0f, 1.0f};
            store(probs + i, upper * factors.upper);
            store(probs + count + i, lower * factors.lower);
            const float upper_gradient = upper * (d_probs[i] * factors.upper - delta[i]) * scale;
            const float lower_gradient = lower * (d_probs[count + i] * factors.lower - delta[i]) * scale;
            store(d_scores + i, upper_gradient);
            store(d_scores + count + i, lower_gradient);
            set_pair(d_scores_right, pair, count, i, upper_gradient, lower_gradient);
        }
    }

    // The block of at most QUERIES rows from `begin`.
    static Matrix<const T> rows(Matrix<const T> matrix, int64_t begin) {
        const int64_t remaining = matrix.rows - begin;
        return {matrix.data + begin * matrix.stride, remaining < QUERIES ? remaining : QUERIES, matrix.columns,
                matrix.stride};
    }
};

// --- Row-wise operations: LayerNorm, GELU, dropout ---

// Sums over rows are partial sums of this many chunks, added up in order: independent of the number of threads.
constexpr int64_t CHUNKS = 32;

inline int64_t chunk_begin(int64_t chunk, int64_t rows) { return chunk * rows / CHUNKS; }

// partials [CHUNKS, width] to total [width].
void sum_partials(const float *partials, float *total, int64_t width) {
    memset(total, 0, width * sizeof(float));
    for (int64_t chunk = 0; chunk < CHUNKS; chunk++)
#pragma omp simd
        for (int64_t c = 0; c < width; c++) total[c] += partials[chunk * width + c];
}

template <class T>
void norm_forward(const T *update, const float *bias, const T *residual, const float *norm_weight,
                  const float *norm_bias, T *sum, T *output, float *means, float *rstds, int64_t rows, uint32_t width,
                  float epsilon, Dropout dropout) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const T *u = update + row * width, *r = residual + row * width;
        T *s = sum + row * width, *o = output + row * width;
        const uint32_t index = static_cast<uint32_t>(row * width);
        float total = 0;
#pragma omp simd reduction(+ : total)
        for (uint32_t c = 0; c < width; c++) {
            float x = load(u[c]) + bias[c];
            x = dropout(x, index + c);
            store(s + c, x + load(r[c]));
            total += load(s[c]);
        }
        const float mean = total / width;
        float squares = 0;
#pragma omp simd reduction(+ : squares)
        for (uint32_t c = 0; c < width; c++) {
            const float x = load(s[c]) - mean;
            squares += x * x;
        }
        const float rstd = 1.0f / __builtin_sqrtf(squares / width + epsilon);
#pragma omp simd
        for (uint32_t c = 0; c < width; c++) store(o + c, (load(s[c]) - mean) * rstd * norm_weight[c] + norm_bias[c]);
        means[row] = mean;
        rstds[row] = rstd;
    }
}

template <class T>
void norm_backward(const T *d_output, const T *sum, const float *means, const float *rstds, const float *norm_weight,
                   T *d_update, T *d_residual, float *d_norm_weight, float *d_norm_bias, float *d_bias, int64_t rows,
                   uint32_t width, Dropout dropout) {
    float *partials = static_cast<float *>(calloc(CHUNKS * 3 * width, sizeof(float)));
#pragma omp parallel for schedule(static)
    for (int64_t chunk = 0; chunk < CHUNKS; chunk++) {
        float *weight_grads = partials + chunk * width, *norm_bias_grads = weight_grads + CHUNKS * width,
              *bias_grads = norm_bias_grads + CHUNKS * width;
        for (int64_t row = chunk_begin(chunk, rows); row < chunk_begin(chunk + 1, rows); row++) {
            const T *g = d_output + row * width, *s = sum + row * width;
            T *u = d_update + row * width, *r = d_residual + row * width;
            const uint32_t index = static_cast<uint32_t>(row * width);
            const float mean = means[row], rstd = rstds[row];
            const Dropout drop = dropout;
            float mean_d = 0, mean_d_normed = 0;
#pragma omp simd reduction(+ : mean_d, mean_d_normed)
            for (uint32_t c = 0; c < width; c++) {
                const float normed = (load(s[c]) - mean) * rstd, d = load(g[c]);
                weight_grads[c] += d * normed;
                norm_bias_grads[c] += d;
                mean_d += d * norm_weight[c];
                mean_d_normed += d * norm_weight[c] * normed;
            }
            mean_d /= width;
            mean_d_normed /= width;
#pragma omp simd
            for (uint32_t c = 0; c < width; c++) {
                const float normed = (load(s[c]) - mean) * rstd;
                const float d = (load(g[c]) * norm_weight[c] - mean_d - normed * mean_d_normed) * rstd;
                const float d_dropped = drop(d, index + c);
                store(r + c, d);
                store(u + c, d_dropped);
                bias_grads[c] += d_dropped;
            }
        }
    }
    sum_partials(partials, d_norm_weight, width);
    sum_partials(partials + CHUNKS * width, d_norm_bias, width);
    sum_partials(partials + 2 * CHUNKS * width, d_bias, width);
    free(partials);
}

template <class T>
void gelu_forward(const T *input, const float *bias, T *output, int64_t rows, int64_t width) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const T *in = input + row * width;
        T *out = output + row * width;
#pragma omp simd
        for (int64_t c = 0; c < width; c++) {
            const float x = load(in[c]) + bias[c];
            store(out + c, x * NormalOf<T>::type::cdf(x));
        }
    }
}

template <class T>
void gelu_backward(const T *d_output, const T *input, const float *bias, T *d_input, float *d_bias, int64_t rows,
                   int64_t width) {
    float *partials = static_cast<float *>(calloc(CHUNKS * width, sizeof(float)));
#pragma omp parallel for schedule(static)
    for (int64_t chunk = 0; chunk < CHUNKS; chunk++) {
        float *biases = partials + chunk * width;
        for (int64_t row = chunk_begin(chunk, rows); row < chunk_begin(chunk + 1, rows); row++) {
            const T *g = d_output + row * width, *in = input + row * width;
            T *d_in = d_input + row * width;
#pragma omp simd
            for (int64_t c = 0; c < width; c++) {
                const float x = load(in[c]) + bias[c];
                const float d = load(g[c]) * NormalOf<T>::type::gelu_derivative(x);
                store(d_in + c, d);
                biases[c] += d;
            }
        }
    }
    sum_partials(partials, d_bias, width);
    free(partials);
}

// --- Weight gradients ---

#ifdef __AMX_BF16__

// Blocking: a task computes at most HEIGHT x WIDTH of the gradient, ROWS of the inner dimension at a time, and packs
// SLICE columns of the left operand at a time. That is 1.7 MB, of the 2 MB of L2 cache of a core with AMX. Larger
// blocks read the operands less often from the L3 cache.
constexpr int64_t GRADIENT_HEIGHT = 768, GRADIENT_WIDTH = 384, GRADIENT_ROWS = 384, GRADIENT_SLICE = 128;

// gradient [outputs, inputs] = d_output [rows, outputs]^T @ input [rows, inputs].
void weight_grad(const bf16 *d_output, const bf16 *input, float *gradient, int64_t rows, int64_t outputs,
                 int64_t inputs) {
    const int64_t across = (inputs + GRADIENT_WIDTH - 1) / GRADIENT_WIDTH;
    // One task per thread if its block fits; the blocking changes no sum.
    int64_t block = round_up((outputs * across + omp_get_max_threads() - 1) / omp_get_max_threads());
    block = block < GRADIENT_HEIGHT ? block : GRADIENT_HEIGHT;
    const int64_t down = (outputs + block - 1) / block;
#pragma omp parallel
    {
        Tiles tiles;
        constexpr int64_t LEFT = GRADIENT_SLICE * GRADIENT_ROWS, RIGHT = GRADIENT_WIDTH * GRADIENT_ROWS;
        Scratch scratch(64 * 3 + (LEFT + RIGHT) * sizeof(bf16) + GRADIENT_HEIGHT * GRADIENT_WIDTH * sizeof(float));
        bf16 *left = scratch.take<bf16>(LEFT), *right = scratch.take<bf16>(RIGHT);
        float *sums = scratch.take<float>(GRADIENT_HEIGHT * GRADIENT_WIDTH);
#pragma omp for schedule(dynamic)
        for (int64_t task = 0; task < down * across; task++) {
            const int64_t top = task / across * block, start = task % across * GRADIENT_WIDTH;
            const int64_t height = outputs - top < block ? outputs - top : block;
            const int64_t width = inputs - start < GRADIENT_WIDTH ? inputs - start : GRADIENT_WIDTH;
            for (int64_t row = 0; row < rows; row += GRADIENT_ROWS) {
                const int64_t count = rows - row < GRADIENT_ROWS ? rows - row : GRADIENT_ROWS;
                pack_right(right, {input + row * inputs + start, count, width, inputs});
                for (int64_t begin = 0; begin < height; begin += GRADIENT_SLICE) {
                    const int64_t slice = height - begin < GRADIENT_SLICE ? height - begin : GRADIENT_SLICE;
                    pack_left_transposed(left, {d_output + row * outputs + top + begin, count, slice, outputs});
                    matmul(sums + begin * round_up(width), left, right, round_up(slice), round_up(width),
                           round_up(count), row > 0);
                }
            }
            for (int64_t i = 0; i < height; i++)
                memcpy(gradient + (top + i) * inputs + start, sums + i * round_up(width), width * sizeof(float));
        }
    }
}

#endif

// Dropout, forward and backward.
template <class T>
void dropout(const T *input, T *output, int64_t count, Dropout mask) {
    constexpr int64_t PIECE = 4096;
#pragma omp parallel for schedule(static)
    for (int64_t begin = 0; begin < count; begin += PIECE) {
        const uint32_t size = count - begin < PIECE ? count - begin : PIECE, index = static_cast<uint32_t>(begin);
        const Dropout drop = mask;
        const T *in = input + begin;
        T *out = output + begin;
#pragma omp simd
        for (uint32_t i = 0; i < size; i++) store(out + i, drop(load(in[i]), index + i));
    }
}

template <class T>
void sum_rows(const T *input, float *sum, int64_t rows, int64_t width) {
    float *partials = static_cast<float *>(calloc(CHUNKS * width, sizeof(float)));
#pragma omp parallel for schedule(static)
    for (int64_t chunk = 0; chunk < CHUNKS; chunk++) {
        float *sums = partials + chunk * width;
        for (int64_t row = chunk_begin(chunk, rows); row < chunk_begin(chunk + 1, rows); row++) {
            const T *in = input + row * width;
#pragma omp simd
            for (int64_t c = 0; c < width; c++) sums[c] += load(in[c]);
        }
    }
    sum_partials(partials, sum, width);
    free(partials);
}

}  // namespace

// --- The functions that bindings.py calls ---

extern "C" {

// Call once per process. Returns whether this library can be used: whether the system grants AMX tiles to the process.
int prepare() {
    // Keep freed memory: otherwise each step returns some 100 MB to the system and gets them back zeroed, page by page.
    mallopt(M_MMAP_MAX, 0);
    mallopt(M_TRIM_THRESHOLD, INT32_MAX);
#ifdef __AMX_BF16__
    constexpr int REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return 1;
#endif
}

#define DEFINE_FUNCTIONS(T, NAME)                                                                                    \
    void attention_forward_##NAME(const T *query, const T *key, const T *value, int64_t query_stride,                \
                                  int64_t key_stride, const int32_t *cu_seqlens, int64_t sequences,                  \
                                  int64_t max_seqlen, int64_t heads, int64_t width, int has_one_query, float scale,  \
                                  uint64_t seed, float probability, T *output, float *lse) {                         \
        Attention<T>{query,                                                                                          \
                     key,                                                                                            \
                     value,                                                                                          \
                     query_stride,                                                                                   \
                     key_stride,                                                                                     \
                     cu_seqlens,                                                                                     \
                     sequences,                                                                                      \
                     max_seqlen,                                                                                     \
                     heads,                                                                                          \
                     width,                                                                                          \
                     has_one_query != 0,                                                                             \
                     scale,                                                                                          \
                     Dropout(seed, probability)}                                                                     \
            .forward(output, lse);                                                                                   \
    }                                                                                                                \
    void attention_backward_##NAME(const T *query, const T *key, const T *value, int64_t query_stride,               \
                                   int64_t key_stride, const int32_t *cu_seqlens, int64_t sequences,                 \
                                   int64_t max_seqlen, int64_t heads, int64_t width, int has_one_query, float scale, \
                                   uint64_t seed, float probability, const T *output, const float *lse,              \
                                   const T *d_output, T *d_query, T *d_key, T *d_value) {                            \
        Attention<T>{query,                                                                                          \
                     key,                                                                                            \
                     value,                                                                                          \
                     query_stride,                                                                                   \
                     key_stride,                                                                                     \
                     cu_seqlens,                                                                                     \
                     sequences,                                                                                      \
                     max_seqlen,                                                                                     \
                     heads,                                                                                          \
                     width,                                                                                          \
                     has_one_query != 0,                                                                             \
                     scale,                                                                                          \
                     Dropout(seed, probability)}                                                                     \
            .backward(d_output, output, lse, d_query, d_key, d_value);                                               \
    }                                                                                                                \
    void norm_forward_##NAME(const T *update, const float *bias, const T *residual, const float *norm_weight,        \
                             const float *norm_bias, T *sum, T *output, float *mean, float *rstd, int64_t rows,      \
                             int64_t width, float epsilon, uint64_t seed, float probability) {                       \
        norm_forward(update, bias, residual, norm_weight, norm_bias, sum, output, mean, rstd, rows, width, epsilon,  \
                     Dropout(seed, probability));                                                                    \
    }                                                                                                                \
    void norm_backward_##NAME(const T *d_output, const T *sum, const float *mean, const float *rstd,                 \
                              const float *norm_weight, T *d_update, T *d_residual, float *d_norm_weight,            \
                              float *d_norm_bias, float *d_bias, int64_t rows, int64_t width, uint64_t seed,         \
                              float probability) {                                                                   \
        norm_backward(d_output, sum, mean, rstd, norm_weight, d_update, d_residual, d_norm_weight, d_norm_bias,      \
                      d_bias, rows, width, Dropout(seed, probability));                                              \
    }                                                                                                                \
    void gelu_forward_##NAME(const T *input, const float *bias, T *output, int64_t rows, int64_t width) {            \
        gelu_forward(input, bias, output, rows, width);                                                              \
    }                                                                                                                \
    void gelu_backward_##NAME(const T *d_output, const T *input, const float *bias, T *d_input, float *d_bias,       \
                              int64_t rows, int64_t width) {                                                         \
        gelu_backward(d_output, input, bias, d_input, d_bias, rows, width);                                          \
    }                                                                                                                \
    void dropout_##NAME(const T *input, T *output, int64_t count, uint64_t seed, float probability) {                \
        dropout(input, output, count, Dropout(seed, probability));                                                   \
    }                                                                                                                \
    void sum_rows_##NAME(const T *input, float *sum, int64_t rows, int64_t width) { sum_rows(input, sum, rows, width); }

DEFINE_FUNCTIONS(float, fp32)
DEFINE_FUNCTIONS(bf16, bf16)
DEFINE_FUNCTIONS(fp16, fp16)

#ifdef __AMX_BF16__
void weight_grad_bf16(const bf16 *d_output, const bf16 *input, float *gradient, int64_t rows, int64_t outputs,
                      int64_t inputs) {
    weight_grad(d_output, input, gradient, rows, outputs, inputs);
}
#endif
}
