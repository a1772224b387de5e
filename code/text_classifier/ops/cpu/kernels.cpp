// What torch lacks for a packed batch on a CPU: attention within each sequence, and LayerNorm and GELU in one pass with
// what stands around them. kernels.py calls these functions and says what they compute.
//
// Numbers are fp32, bf16 or fp16 in memory, "T", and fp32 in registers. Loops are written so that the compiler
// vectorises them for the instruction set that it is told; only products of matrices are written out, for AMX and for
// vectors, and how numbers are laid out for AMX (matrices.h). Every sum is made in an order that does not depend on the
// number of threads, so that results repeat to the bit.
//
// Built without -fassociative-math and -ffinite-math-only: a NaN must stay one on its way to the loss.

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

// Queries that are worked on at once, so that their scores stay in the second-level cache.
constexpr int QUERIES = 64;

template <class T>
struct Attention {
    const T *query, *key, *value;
    int64_t query_stride, key_stride;  // of a row, in elements; values lie as keys do
    const int32_t *cu_seqlens;
    int64_t sequences, max_seqlen, heads, width;  // width: of a head
    bool first_only;
    float scale;
    Dropout dropout;

    struct Head {
        Matrix<const T> query, key, value;
        int64_t first_query, column;
        Dropout dropout;

        // Of the random bits that belong to this pair of keys and the queries from `begin`.
        uint32_t first_index(int64_t pair, int64_t begin) const {
            return static_cast<uint32_t>(pair * padded(query.rows) + begin);
        }
    };

    Head head(int64_t task) const {
        const int64_t sequence = task / heads, column = task % heads * width;
        const int64_t start = cu_seqlens[sequence], length = cu_seqlens[sequence + 1] - start;
        const int64_t first = first_only ? sequence : start, count = first_only ? 1 : length;
        return {
            {query + first * query_stride + column, count, width, query_stride},
            {key + start * key_stride + column, length, width, key_stride},
            {value + start * key_stride + column, length, width, key_stride},
            first,
            column,
            dropout.of(static_cast<uint32_t>(task)),
        };
    }

    // attended [queries, heads * width], and of each query and head the base-2 logarithm of the sum of its weights.
    //
    // Scores and weights stand transposed, [keys, queries], here and in `backward`: a query's numbers are one for each
    // column, so that no sum along a row is needed, and two keys share the random bits of their dropout.
    void forward(T *attended, float *lse) const {
        using Operand = typename OperandOf<T>::type;
        const int64_t keys = padded(max_seqlen), inner = padded(width);
#pragma omp parallel
        {
            Tiles tiles;
            Scratch scratch(64 * 6 + sizeof(float) * (2 * keys * inner + 2 * keys * QUERIES + 2 * QUERIES * inner));
#pragma omp for schedule(dynamic, 4)
            for (int64_t task = 0; task < sequences * heads; task++) {
                scratch.reset();
                forward_head<Operand>(head(task), attended, lse + task % heads, scratch);
            }
        }
    }

    template <class Operand>
    void forward_head(const Head &own, T *attended, float *lse, Scratch &scratch) const {
        const int64_t length = own.key.rows, keys = padded(length), inner = padded(width);
        Operand *key_rows = scratch.take<Operand>(keys * inner), *value_columns = scratch.take<Operand>(inner * keys);
        Operand *query_columns = scratch.take<Operand>(inner * QUERIES);
        Operand *weights = scratch.take<Operand>(keys * QUERIES);
        float *scores = scratch.take<float>(keys * QUERIES), *means = scratch.take<float>(inner * QUERIES);
        const float exponent = scale * LOG2_OF_E;
        pack_left(key_rows, own.key);
        pack_left_transposed(value_columns, own.value);
        for (int64_t begin = 0; begin < own.query.rows; begin += QUERIES) {
            const Matrix<const T> block = rows(own.query, begin);
            const int64_t count = padded(block.rows);
            const int64_t offset = (own.first_query + begin) * heads * width + own.column;
            const Matrix<T> out{attended + offset, block.rows, width, heads * width};
            prefetch<For::writing>(out);
            pack_right_transposed(query_columns, block);
            matmul(scores, key_rows, query_columns, keys, count, inner, false);
            exclude_last_of_odd(scores, length, count);
            float largest[QUERIES], sums[QUERIES] = {};
            for (int64_t i = 0; i < count; i++) largest[i] = scores[i];
            for (int64_t j = 1; j < length; j++)
#pragma omp simd
                for (int64_t i = 0; i < count; i++)
                    largest[i] = scores[j * count + i] > largest[i] ? scores[j * count + i] : largest[i];
            for (int64_t i = 0; i < count; i++) largest[i] *= exponent;
            for (int64_t j = 0; j < keys / 2; j++) {
                const float *row = scores + 2 * j * count;
                if (2 * j >= length)
                    for (int64_t i = 0; i < count; i++) set_pair(weights, j, count, i, 0, 0);
                else if (dropout.threshold)
                    weigh<true>(own, row, exponent, largest, sums, weights, j, begin, count);
                else
                    weigh<false>(own, row, exponent, largest, sums, weights, j, begin, count);
            }
            matmul(means, value_columns, weights, inner, count, keys, false);
            for (int64_t i = 0; i < block.rows; i++)
                lse[(own.first_query + begin + i) * heads] = largest[i] + __builtin_log2f(sums[i]);
            for (int64_t i = 0; i < count; i++) sums[i] = 1.0f / sums[i];
            for (int64_t c = 0; c < width; c++)
#pragma omp simd
                for (int64_t i = 0; i < count; i++) means[c * count + i] *= sums[i];
            unpack_transposed(out, means);
        }
    }

    // The weights of keys 2 * pair and 2 * pair + 1 for `count` queries: in `sums` as they are, in `weights` as dropout
    // leaves them.
    template <bool DROPS, class Operand>
    void weigh(const Head &own, const float *scores, float exponent, const float *largest, float *sums,
               Operand *weights, int64_t pair, int64_t begin, uint32_t count) const {
        const Dropout drop = own.dropout;
        const uint32_t index = own.first_index(pair, begin);
#pragma omp simd
        for (uint32_t i = 0; i < count; i++) {
            float upper = power_of_two(scores[i] * exponent - largest[i]);
            float lower = power_of_two(scores[count + i] * exponent - largest[i]);
            sums[i] += upper + lower;
            if (DROPS) {
                const Dropout::Factors factors = drop.factors(index + i);
                upper *= factors.upper;
                lower *= factors.lower;
            }
            set_pair(weights, pair, count, i, upper, lower);
        }
    }

    // Behind an odd number of keys: a weight of next to nothing, for a value of 0.
    static void exclude_last_of_odd(float *scores, int64_t length, int64_t count) {
        if (length % 2)
            for (int64_t i = 0; i < count; i++) scores[length * count + i] = -1e30f;
    }

    // The gradients of query, key and value, which lie as those do, from that of `attended`.
    void backward(const T *d_attended, const T *attended, const float *lse, T *d_query, T *d_key, T *d_value) const {
        using Operand = typename OperandOf<T>::type;
        const int64_t keys = padded(max_seqlen), inner = padded(width);
#pragma omp parallel
        {
            Tiles tiles;
            Scratch scratch(64 * 16 + sizeof(float) * (5 * keys * inner + 5 * keys * QUERIES + 5 * QUERIES * inner));
#pragma omp for schedule(dynamic, 4)
            for (int64_t task = 0; task < sequences * heads; task++) {
                scratch.reset();
                backward_head<Operand>(head(task), d_attended, attended, lse + task % heads, d_query, d_key, d_value,
                                       scratch);
            }
        }
    }

    template <class Operand>
    void backward_head(const Head &own, const T *d_attended, const T *attended, const float *lse, T *d_query, T *d_key,
                       T *d_value, Scratch &scratch) const {
        const int64_t length = own.key.rows, keys = padded(length), inner = padded(width);
        Operand *key_rows = scratch.take<Operand>(keys * inner), *key_columns = scratch.take<Operand>(inner * keys);
        Operand *value_rows = scratch.take<Operand>(keys * inner);
        float *key_sums = scratch.take<float>(keys * inner), *value_sums = scratch.take<float>(keys * inner);
        Operand *query_columns = scratch.take<Operand>(inner * QUERIES);
        Operand *query_rows = scratch.take<Operand>(QUERIES * inner);
        Operand *out_columns = scratch.take<Operand>(inner * QUERIES);
        Operand *out_rows = scratch.take<Operand>(QUERIES * inner);
        float *scores = scratch.take<float>(keys * QUERIES), *d_weights = scratch.take<float>(keys * QUERIES);
        Operand *weights = scratch.take<Operand>(keys * QUERIES);
        Operand *d_scores = scratch.take<Operand>(keys * QUERIES);
        Operand *d_scores_right = scratch.take<Operand>(keys * QUERIES);
        float *query_sums = scratch.take<float>(inner * QUERIES);
        const Matrix<T> own_d_key{d_key + (own.key.data - key), length, width, key_stride};
        const Matrix<T> own_d_value{d_value + (own.value.data - value), length, width, key_stride};
        prefetch<For::writing>(own_d_key);
        prefetch<For::writing>(own_d_value);
        pack_left(key_rows, own.key);
        pack_left_transposed(key_columns, own.key);
        pack_left(value_rows, own.value);
        const int64_t row_width = heads * width;
        for (int64_t begin = 0; begin < own.query.rows; begin += QUERIES) {
            const Matrix<const T> block = rows(own.query, begin);
            const int64_t first = own.first_query + begin, offset = first * row_width + own.column;
            const Matrix<const T> d_out{d_attended + offset, block.rows, width, row_width};
            const Matrix<const T> out{attended + offset, block.rows, width, row_width};
            const Matrix<T> d_block{d_query + first * query_stride + own.column, block.rows, width, query_stride};
            const int64_t count = padded(block.rows);
            prefetch<For::reading>(out);
            prefetch<For::writing>(d_block);
            pack_right_transposed(query_columns, block);
            pack_right(query_rows, block);
            pack_right_transposed(out_columns, d_out);
            pack_right(out_rows, d_out);
            matmul(scores, key_rows, query_columns, keys, count, inner, false);
            matmul(d_weights, value_rows, out_columns, keys, count, inner, false);
            exclude_last_of_odd(scores, length, count);
            // Behind the last query: its gradient is 0, so any weight will do that is finite.
            float log_sum[QUERIES] = {}, mean[QUERIES] = {};
            for (int64_t i = 0; i < block.rows; i++) {
                log_sum[i] = lse[(first + i) * heads];
                const T *a = d_out.data + i * row_width, *b = out.data + i * row_width;
                float sum = 0;
#pragma omp simd reduction(+ : sum)
                for (int64_t c = 0; c < width; c++) sum += load(a[c]) * load(b[c]);
                mean[i] = sum;
            }
            for (int64_t i = block.rows; i < count; i++) log_sum[i] = 1e30f;
            for (int64_t j = 0; j < keys / 2; j++) {
                const int64_t at = 2 * j * count;
                if (2 * j >= length) {
                    clear(weights + at, 2 * count);
                    clear(d_scores + at, 2 * count);
                    clear(d_scores_right + at, 2 * count);
                } else if (dropout.threshold) {
                    differentiate<true>(own, scores + at, d_weights + at, log_sum, mean, weights + at, d_scores + at,
                                        d_scores_right, j, begin, count);
                } else {
                    differentiate<false>(own, scores + at, d_weights + at, log_sum, mean, weights + at, d_scores + at,
                                         d_scores_right, j, begin, count);
                }
            }
            matmul(value_sums, weights, out_rows, keys, inner, count, begin > 0);
            matmul(key_sums, d_scores, query_rows, keys, inner, count, begin > 0);
            matmul(query_sums, key_columns, d_scores_right, inner, count, keys, false);
            unpack_transposed(d_block, query_sums);
        }
        unpack(own_d_key, key_sums);
        unpack(own_d_value, value_sums);
    }

    // The weights of keys 2 * pair and 2 * pair + 1 for `count` queries, as dropout leaves them, and the gradients of
    // their scores, as a left and as a right operand.
    template <bool DROPS, class Operand>
    void differentiate(const Head &own, const float *scores, const float *d_weights, const float *log_sum,
                       const float *mean, Operand *weights, Operand *d_scores, Operand *d_scores_right, int64_t pair,
                       int64_t begin, uint32_t count) const {
        const Dropout drop = own.dropout;
        const uint32_t index = own.first_index(pair, begin);
        const float exponent = scale * LOG2_OF_E;
#pragma omp simd
        for (uint32_t i = 0; i < count; i++) {
            const float upper = power_of_two(scores[i] * exponent - log_sum[i]);
            const float lower = power_of_two(scores[count + i] * exponent - log_sum[i]);
            const Dropout::Factors factors = DROPS ? drop.factors(index + i) : Dropout::Factors{1.0f, 1.0f};
            store(weights + i, upper * factors.upper);
            store(weights + count + i, lower * factors.lower);
            const float upper_gradient = upper * (d_weights[i] * factors.upper - mean[i]) * scale;
            const float lower_gradient = lower * (d_weights[count + i] * factors.lower - mean[i]) * scale;
            store(d_scores + i, upper_gradient);
            store(d_scores + count + i, lower_gradient);
            set_pair(d_scores_right, pair, count, i, upper_gradient, lower_gradient);
        }
    }

    static Matrix<const T> rows(Matrix<const T> all, int64_t begin) {
        const int64_t left = all.rows - begin;
        return {all.data + begin * all.stride, left < QUERIES ? left : QUERIES, all.columns, all.stride};
    }
};

// --- Rows: LayerNorm, GELU ---

// Sums over rows are made for this many shares of them, and then over the shares.
constexpr int64_t SHARES = 32;

inline int64_t share_begin(int64_t share, int64_t rows) { return share * rows / SHARES; }

// Add up the shares: sums [SHARES, width] to total [width].
void add_shares(const float *sums, float *total, int64_t width) {
    memset(total, 0, width * sizeof(float));
    for (int64_t share = 0; share < SHARES; share++)
#pragma omp simd
        for (int64_t c = 0; c < width; c++) total[c] += sums[share * width + c];
}

template <class T>
void norm_forward(const T *update, const float *bias, const T *residual, const float *norm_weight,
                  const float *norm_bias, T *sum, T *output, float *mean, float *rstd, int64_t rows, uint32_t width,
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
        const float center = total / width;
        float squares = 0;
#pragma omp simd reduction(+ : squares)
        for (uint32_t c = 0; c < width; c++) {
            const float x = load(s[c]) - center;
            squares += x * x;
        }
        const float factor = 1.0f / __builtin_sqrtf(squares / width + epsilon);
#pragma omp simd
        for (uint32_t c = 0; c < width; c++)
            store(o + c, (load(s[c]) - center) * factor * norm_weight[c] + norm_bias[c]);
        mean[row] = center;
        rstd[row] = factor;
    }
}

template <class T>
void norm_backward(const T *d_output, const T *sum, const float *mean, const float *rstd, const float *norm_weight,
                   T *d_update, T *d_residual, float *d_norm_weight, float *d_norm_bias, float *d_bias, int64_t rows,
                   uint32_t width, Dropout dropout) {
    float *shares = static_cast<float *>(calloc(SHARES * 3 * width, sizeof(float)));
#pragma omp parallel for schedule(static)
    for (int64_t share = 0; share < SHARES; share++) {
        float *gains = shares + share * width, *shifts = gains + SHARES * width, *biases = shifts + SHARES * width;
        for (int64_t row = share_begin(share, rows); row < share_begin(share + 1, rows); row++) {
            const T *g = d_output + row * width, *s = sum + row * width;
            T *u = d_update + row * width, *r = d_residual + row * width;
            const uint32_t index = static_cast<uint32_t>(row * width);
            const float center = mean[row], factor = rstd[row];
            const Dropout own = dropout;
            float first = 0, second = 0;
#pragma omp simd reduction(+ : first, second)
            for (uint32_t c = 0; c < width; c++) {
                const float normed = (load(s[c]) - center) * factor, d = load(g[c]);
                gains[c] += d * normed;
                shifts[c] += d;
                first += d * norm_weight[c];
                second += d * norm_weight[c] * normed;
            }
            first /= width;
            second /= width;
#pragma omp simd
            for (uint32_t c = 0; c < width; c++) {
                const float normed = (load(s[c]) - center) * factor;
                const float d = (load(g[c]) * norm_weight[c] - first - normed * second) * factor;
                const float kept = own(d, index + c);
                store(r + c, d);
                store(u + c, kept);
                biases[c] += kept;
            }
        }
    }
    add_shares(shares, d_norm_weight, width);
    add_shares(shares + SHARES * width, d_norm_bias, width);
    add_shares(shares + 2 * SHARES * width, d_bias, width);
    free(shares);
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
            store(out + c, x * NormalOf<T>::type::below(x));
        }
    }
}

template <class T>
void gelu_backward(const T *d_output, const T *input, const float *bias, T *d_input, float *d_bias, int64_t rows,
                   int64_t width) {
    float *shares = static_cast<float *>(calloc(SHARES * width, sizeof(float)));
#pragma omp parallel for schedule(static)
    for (int64_t share = 0; share < SHARES; share++) {
        float *biases = shares + share * width;
        for (int64_t row = share_begin(share, rows); row < share_begin(share + 1, rows); row++) {
            const T *g = d_output + row * width, *in = input + row * width;
            T *d_in = d_input + row * width;
#pragma omp simd
            for (int64_t c = 0; c < width; c++) {
                const float x = load(in[c]) + bias[c];
                const float d = load(g[c]) * NormalOf<T>::type::slope(x);
                store(d_in + c, d);
                biases[c] += d;
            }
        }
    }
    add_shares(shares, d_bias, width);
    free(shares);
}

// --- Gradients of weights ---

#ifdef __AMX_BF16__

// A task makes so many rows and columns of the gradient at most, from so many inner rows at once, of which it packs so
// many columns of the left operand at a time: 1.7 MB, of the 2 MB of second-level cache that a core with AMX has.
// The larger a task's block, the fewer times the operands are read, from a cache that all cores share.
constexpr int64_t GRADIENT_HEIGHT = 768, GRADIENT_WIDTH = 384, GRADIENT_ROWS = 384, GRADIENT_SLICE = 128;

// gradient [outputs, inputs] = d_output [rows, outputs], transposed, x input [rows, inputs].
void weight_grad(const bf16 *d_output, const bf16 *input, float *gradient, int64_t rows, int64_t outputs,
                 int64_t inputs) {
    const int64_t across = (inputs + GRADIENT_WIDTH - 1) / GRADIENT_WIDTH;
    // A task for each thread, where that is not too large; how it is cut changes no sum.
    int64_t block = padded((outputs * across + omp_get_max_threads() - 1) / omp_get_max_threads());
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
                    matmul(sums + begin * padded(width), left, right, padded(slice), padded(width), padded(count),
                           row > 0);
                }
            }
            for (int64_t i = 0; i < height; i++)
                memcpy(gradient + (top + i) * inputs + start, sums + i * padded(width), width * sizeof(float));
        }
    }
}

#endif

// What dropout leaves of numbers, and of their gradients.
template <class T>
void drop(const T *input, T *output, int64_t count, Dropout dropout) {
    constexpr int64_t PIECE = 4096;
#pragma omp parallel for schedule(static)
    for (int64_t begin = 0; begin < count; begin += PIECE) {
        const uint32_t size = count - begin < PIECE ? count - begin : PIECE, index = static_cast<uint32_t>(begin);
        const Dropout own = dropout;
        const T *in = input + begin;
        T *out = output + begin;
#pragma omp simd
        for (uint32_t i = 0; i < size; i++) store(out + i, own(load(in[i]), index + i));
    }
}

template <class T>
void sum_rows(const T *input, float *sum, int64_t rows, int64_t width) {
    float *shares = static_cast<float *>(calloc(SHARES * width, sizeof(float)));
#pragma omp parallel for schedule(static)
    for (int64_t share = 0; share < SHARES; share++) {
        float *own = shares + share * width;
        for (int64_t row = share_begin(share, rows); row < share_begin(share + 1, rows); row++) {
            const T *in = input + row * width;
#pragma omp simd
            for (int64_t c = 0; c < width; c++) own[c] += load(in[c]);
        }
    }
    add_shares(shares, sum, width);
    free(shares);
}

}  // namespace

// --- What kernels.py calls ---

extern "C" {

// Once a process. Returns whether this library may be used: whether the system lets the process use AMX's tiles.
int prepare() {
    // Keep what is freed: else each step gives some 100 MB back to the system and has them zeroed, page by page, anew.
    mallopt(M_MMAP_MAX, 0);
    mallopt(M_TRIM_THRESHOLD, INT32_MAX);
#ifdef __AMX_BF16__
    constexpr int REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return 1;
#endif
}

#define FOR_EACH_NUMBER(DEFINE) DEFINE(float, fp32) DEFINE(bf16, bf16) DEFINE(fp16, fp16)

#define DEFINE_FUNCTIONS(T, NAME)                                                                                   \
    void attention_forward_##NAME(const T *query, const T *key, const T *value, int64_t query_stride,               \
                                  int64_t key_stride, const int32_t *cu_seqlens, int64_t sequences,                 \
                                  int64_t max_seqlen, int64_t heads, int64_t width, int first_only, float scale,    \
                                  uint64_t seed, float probability, T *attended, float *lse) {                      \
        Attention<T>{query,                                                                                         \
                     key,                                                                                           \
                     value,                                                                                         \
                     query_stride,                                                                                  \
                     key_stride,                                                                                    \
                     cu_seqlens,                                                                                    \
                     sequences,                                                                                     \
                     max_seqlen,                                                                                    \
                     heads,                                                                                         \
                     width,                                                                                         \
                     first_only != 0,                                                                               \
                     scale,                                                                                         \
                     Dropout(seed, probability)}                                                                    \
            .forward(attended, lse);                                                                                \
    }                                                                                                               \
    void attention_backward_##NAME(const T *query, const T *key, const T *value, int64_t query_stride,              \
                                   int64_t key_stride, const int32_t *cu_seqlens, int64_t sequences,                \
                                   int64_t max_seqlen, int64_t heads, int64_t width, int first_only, float scale,   \
                                   uint64_t seed, float probability, const T *attended, const float *lse,           \
                                   const T *d_attended, T *d_query, T *d_key, T *d_value) {                         \
        Attention<T>{query,                                                                                         \
                     key,                                                                                           \
                     value,                                                                                         \
                     query_stride,                                                                                  \
                     key_stride,                                                                                    \
                     cu_seqlens,                                                                                    \
                     sequences,                                                                                     \
                     max_seqlen,                                                                                    \
                     heads,                                                                                         \
                     width,                                                                                         \
                     first_only != 0,                                                                               \
                     scale,                                                                                         \
                     Dropout(seed, probability)}                                                                    \
            .backward(d_attended, attended, lse, d_query, d_key, d_value);                                          \
    }                                                                                                               \
    void norm_forward_##NAME(const T *update, const float *bias, const T *residual, const float *norm_weight,       \
                             const float *norm_bias, T *sum, T *output, float *mean, float *rstd, int64_t rows,     \
                             int64_t width, float epsilon, uint64_t seed, float probability) {                      \
        norm_forward(update, bias, residual, norm_weight, norm_bias, sum, output, mean, rstd, rows, width, epsilon, \
                     Dropout(seed, probability));                                                                   \
    }                                                                                                               \
    void norm_backward_##NAME(const T *d_output, const T *sum, const float *mean, const float *rstd,                \
                              const float *norm_weight, T *d_update, T *d_residual, float *d_norm_weight,           \
                              float *d_norm_bias, float *d_bias, int64_t rows, int64_t width, uint64_t seed,        \
                              float probability) {                                                                  \
        norm_backward(d_output, sum, mean, rstd, norm_weight, d_update, d_residual, d_norm_weight, d_norm_bias,     \
                      d_bias, rows, width, Dropout(seed, probability));                                             \
    }                                                                                                               \
    void gelu_forward_##NAME(const T *input, const float *bias, T *output, int64_t rows, int64_t width) {           \
        gelu_forward(input, bias, output, rows, width);                                                             \
    }                                                                                                               \
    void gelu_backward_##NAME(const T *d_output, const T *input, const float *bias, T *d_input, float *d_bias,      \
                              int64_t rows, int64_t width) {                                                        \
        gelu_backward(d_output, input, bias, d_input, d_bias, rows, width);                                         \
    }                                                                                                               \
    void drop_##NAME(const T *input, T *output, int64_t count, uint64_t seed, float probability) {                  \
        drop(input, output, count, Dropout(seed, probability));                                                     \
    }                                                                                                               \
    void sum_rows_##NAME(const T *input, float *sum, int64_t rows, int64_t width) { sum_rows(input, sum, rows, width); }

FOR_EACH_NUMBER(DEFINE_FUNCTIONS)

#ifdef __AMX_BF16__
void weight_grad_bf16(const bf16 *d_output, const bf16 *input, float *gradient, int64_t rows, int64_t outputs,
                      int64_t inputs) {
    weight_grad(d_output, input, gradient, rows, outputs, inputs);
}
#endif
}
