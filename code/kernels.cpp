// What torch lacks for a packed batch on a CPU: attention within each sequence, and LayerNorm and GELU in one pass with
// what stands around them. kernels.py calls these functions and says what they compute.
//
// Numbers are fp32, bf16 or fp16 in memory, "T", and fp32 in registers. Loops are written so that the compiler vectorises
// them for the instruction set that it is told; only the product of matrices is written out, for AMX and for vectors.
// Every sum is made in an order that does not depend on the number of threads, so that results repeat to the bit.
//
// Built without -fassociative-math and -ffinite-math-only: a NaN must stay one on its way to the loss.

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __AMX_BF16__
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

// --- Numbers ---

struct bf16 {
    uint16_t bits;
};

inline float bits_to_float(uint32_t bits) { return __builtin_bit_cast(float, bits); }

using fp16 = _Float16;

inline float load(float x) { return x; }
inline float load(fp16 x) { return static_cast<float>(x); }
inline float load(bf16 x) { return bits_to_float(static_cast<uint32_t>(x.bits) << 16); }

inline void store(float *to, float x) { *to = x; }
inline void store(fp16 *to, float x) { *to = static_cast<fp16>(x); }
inline void store(bf16 *to, float x) {  // to the nearest, of two equally near ones to the even
    const uint32_t bits = __builtin_bit_cast(uint32_t, x);
    to->bits = static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// e to the power of x, within 2 units in the last place; coefficients of Cephes' expf. NaN for NaN.
inline float exponential(float x) {
    x = x > 88.0f ? 88.0f : x;
    x = x < -87.0f ? -87.0f : x;
    const float n = __builtin_rintf(x * 1.44269504f);
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    return (p * r * r + r + 1.0f) * bits_to_float(static_cast<uint32_t>(static_cast<int32_t>(n) + 127) << 23);
}

// The normal distribution at x: its density, and the probability below x (within 1e-7; Abramowitz and Stegun 7.1.26).
struct Normal {
    float density, below;
};

inline Normal normal(float x) {
    const float tail = exponential(-0.5f * x * x);
    const float t = 1.0f / (1.0f + 0.3275911f * 0.70710678f * __builtin_fabsf(x));
    float p = 1.061405429f;
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    const float above = 0.5f * p * t * tail;
    return {0.39894228f * tail, x > 0 ? 1.0f - above : above};
}

// --- Dropout ---

// Random bits by counter: the same for the same key and index, so that a mask is computed again instead of kept.
// The mixing is Chris Wellons's "lowbias32", with the second half of the key between its rounds.
struct Key {
    uint32_t first, second;
};

inline uint32_t random_bits(Key key, uint32_t index) {
    uint32_t x = index + key.first;
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x ^= key.second;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    return x ^ (x >> 16);
}

// Elements whose bits are under `threshold` are zeroed, the others multiplied by `scale`.
struct Dropout {
    Key key;
    uint32_t threshold;
    float scale;

    Dropout(uint64_t seed, float probability)
        : key{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)},
          threshold(static_cast<uint32_t>(static_cast<double>(probability) * 4294967296.0)),
          scale(static_cast<float>(1.0 / (1.0 - threshold / 4294967296.0))) {}

    Dropout of(uint32_t task) const {
        Dropout own = *this;
        own.key = {random_bits(key, 2 * task), random_bits(key, 2 * task + 1)};
        return own;
    }
    float operator()(float x, uint32_t index) const { return random_bits(key, index) < threshold ? 0.0f : x * scale; }
};

// --- Products of matrices ---

// All dimensions are multiples of BLOCK; what is behind the real rows and columns is 0.
constexpr int BLOCK = 32;

inline int64_t padded(int64_t size) { return (size + BLOCK - 1) / BLOCK * BLOCK; }

// What a T is multiplied as.
template <class T> struct OperandOf {
    using type = float;
};

// result [rows, columns] = or += left [rows, inner] x right [inner, columns].
typedef float Vector __attribute__((vector_size(64), aligned(4)));

#ifdef __AVX512F__
constexpr int TILE_ROWS = 8, TILE_VECTORS = 2;
#else
constexpr int TILE_ROWS = 4, TILE_VECTORS = 1;
#endif

// One tile of the result, which stays in registers: all loops over it are unrolled.
inline void multiply_tile(float *result, const float *left, const float *right, int columns, int inner, bool adds) {
    constexpr int WIDTH = sizeof(Vector) / sizeof(float);
    Vector sums[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; r++)
#pragma GCC unroll 2
        for (int v = 0; v < TILE_VECTORS; v++)
            sums[r][v] = adds ? *reinterpret_cast<Vector *>(result + r * columns + v * WIDTH) : Vector{};
    for (int k = 0; k < inner; k++) {
        const Vector *b = reinterpret_cast<const Vector *>(right + static_cast<int64_t>(k) * columns);
#pragma GCC unroll 8
        for (int r = 0; r < TILE_ROWS; r++)
#pragma GCC unroll 2
            for (int v = 0; v < TILE_VECTORS; v++) sums[r][v] += left[r * inner + k] * b[v];
    }
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; r++)
#pragma GCC unroll 2
        for (int v = 0; v < TILE_VECTORS; v++)
            *reinterpret_cast<Vector *>(result + r * columns + v * WIDTH) = sums[r][v];
}

void multiply(float *result, const float *left, const float *right, int rows, int columns, int inner, bool adds) {
    constexpr int WIDTH = TILE_VECTORS * sizeof(Vector) / sizeof(float);
    for (int row = 0; row < rows; row += TILE_ROWS)
        for (int column = 0; column < columns; column += WIDTH)
            multiply_tile(result + static_cast<int64_t>(row) * columns + column, left + static_cast<int64_t>(row) * inner,
                          right + column, columns, inner, adds);
}

#ifdef __AMX_BF16__

template <> struct OperandOf<bf16> {
    using type = bf16;
};

// Each thread's tiles: eight of 16 rows by 64 bytes.
struct Tiles {
    Tiles() {
        struct {
            uint8_t palette = 1, start_row = 0, reserved[14] = {};
            uint16_t row_bytes[16] = {};
            uint8_t rows[16] = {};
        } __attribute__((packed)) config;
        for (int tile = 0; tile < 8; tile++) {
            config.row_bytes[tile] = 64;
            config.rows[tile] = 16;
        }
        _tile_loadconfig(&config);
    }
    ~Tiles() { _tile_release(); }
};

void multiply(float *result, const bf16 *left, const bf16 *right, int rows, int columns, int inner, bool adds) {
    const int64_t result_bytes = columns * sizeof(float), left_bytes = inner * sizeof(bf16);
    const int64_t right_bytes = 2 * columns * sizeof(bf16);
    for (int row = 0; row < rows; row += 32) {
        for (int column = 0; column < columns; column += 32) {
            float *upper = result + static_cast<int64_t>(row) * columns + column;
            float *lower = upper + 16 * columns;
            if (adds) {
                _tile_loadd(0, upper, result_bytes);
                _tile_loadd(1, upper + 16, result_bytes);
                _tile_loadd(2, lower, result_bytes);
                _tile_loadd(3, lower + 16, result_bytes);
            } else {
                _tile_zero(0);
                _tile_zero(1);
                _tile_zero(2);
                _tile_zero(3);
            }
            for (int k = 0; k < inner; k += 32) {
                const bf16 *a = left + static_cast<int64_t>(row) * inner + k;
                const bf16 *b = right + static_cast<int64_t>(k) * columns + 2 * column;
                _tile_loadd(4, a, left_bytes);
                _tile_loadd(5, a + 16 * static_cast<int64_t>(inner), left_bytes);
                _tile_loadd(6, b, right_bytes);
                _tile_loadd(7, b + 32, right_bytes);
                _tile_dpbf16ps(0, 4, 6);
                _tile_dpbf16ps(1, 4, 7);
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(3, 5, 7);
            }
            _tile_stored(0, upper, result_bytes);
            _tile_stored(1, upper + 16, result_bytes);
            _tile_stored(2, lower, result_bytes);
            _tile_stored(3, lower + 16, result_bytes);
        }
    }
}

#else

struct Tiles {
    Tiles() {}
};

#endif

// --- Operands ---

// A matrix in memory: rows of `columns` numbers, `stride` apart.
template <class T> struct Matrix {
    T *data;
    int64_t rows, columns, stride;
};

inline void convert(float *to, float x) { *to = x; }
inline void convert(float *to, bf16 x) { *to = load(x); }
inline void convert(float *to, fp16 x) { *to = load(x); }
inline void convert(bf16 *to, bf16 x) { *to = x; }

template <class Operand> inline void clear(Operand *from, int64_t count) {
    memset(static_cast<void *>(from), 0, count * sizeof(Operand));
}

// A left operand [padded rows, padded columns].
template <class Operand, class T> void pack_left(Operand *to, Matrix<const T> from) {
    const int64_t width = padded(from.columns);
    for (int64_t row = 0; row < from.rows; row++, to += width) {
        for (int64_t column = 0; column < from.columns; column++)
            convert(to + column, from.data[row * from.stride + column]);
        clear(to + from.columns, width - from.columns);
    }
    clear(to, (padded(from.rows) - from.rows) * width);
}

// The left operand of the transposed matrix: [padded columns, padded rows].
template <class Operand, class T> void pack_left_transposed(Operand *to, Matrix<const T> from) {
    const int64_t width = padded(from.rows);
    for (int64_t column = 0; column < from.columns; column++, to += width) {
        for (int64_t row = 0; row < from.rows; row++) convert(to + row, from.data[row * from.stride + column]);
        clear(to + from.rows, width - from.rows);
    }
    clear(to, (padded(from.columns) - from.columns) * width);
}

// A right operand [padded rows, padded columns]: row by row.
template <class T> void pack_right(float *to, Matrix<const T> from) { pack_left(to, from); }

// The right operand of the transposed matrix: [padded columns, padded rows].
template <class T> void pack_right_transposed(float *to, Matrix<const T> from) { pack_left_transposed(to, from); }

#ifdef __AMX_BF16__

// As AMX wants it: in pairs of rows, row 0 and row 1 of column 0, the same of column 1, and so on.
inline uint32_t pair(bf16 upper, bf16 lower) { return upper.bits | static_cast<uint32_t>(lower.bits) << 16; }

void pack_right(bf16 *to, Matrix<const bf16> from) {
    uint32_t *pairs = reinterpret_cast<uint32_t *>(to);
    const int64_t width = padded(from.columns);
    for (int64_t row = 0; row < from.rows; row += 2, pairs += width) {
        const bf16 *upper = from.data + row * from.stride, *lower = upper + from.stride;
        if (row + 1 < from.rows) {
#pragma omp simd
            for (int64_t column = 0; column < from.columns; column++) pairs[column] = pair(upper[column], lower[column]);
        } else {
            for (int64_t column = 0; column < from.columns; column++) pairs[column] = pair(upper[column], {0});
        }
        clear(pairs + from.columns, width - from.columns);
    }
    clear(pairs, (padded(from.rows) - from.rows) / 2 * width);
}

void pack_right_transposed(bf16 *to, Matrix<const bf16> from) {
    uint32_t *pairs = reinterpret_cast<uint32_t *>(to);
    const int64_t width = padded(from.rows);
    for (int64_t column = 0; column < from.columns; column += 2, pairs += width) {
        for (int64_t row = 0; row < from.rows; row++) {
            const bf16 *at = from.data + row * from.stride + column;
            pairs[row] = pair(at[0], column + 1 < from.columns ? at[1] : bf16{0});
        }
        clear(pairs + from.rows, width - from.rows);
    }
    clear(pairs, (padded(from.columns) - from.columns) / 2 * width);
}

#endif

// A thread's memory, handed out piece by piece.
class Scratch {
  public:
    explicit Scratch(int64_t bytes) : begin_(static_cast<char *>(aligned_alloc(64, bytes))), next_(begin_) {}
    ~Scratch() { free(begin_); }
    Scratch(const Scratch &) = delete;

    template <class U> U *take(int64_t count) {
        U *taken = reinterpret_cast<U *>(next_);
        next_ += (count * sizeof(U) + 63) / 64 * 64;
        return taken;
    }
    void reset() { next_ = begin_; }

  private:
    char *begin_, *next_;
};

// --- Attention ---

// Queries that are worked on at once, so that their scores stay in the second-level cache.
constexpr int QUERIES = 64;

template <class T> struct Attention {
    const T *query, *key, *value;
    int64_t query_stride, key_stride;  // of a row, in elements; values lie as keys do
    const int32_t *boundaries;
    int64_t sequences, longest, heads, width;  // width: of a head
    bool first_only;
    float scale;
    Dropout dropout;

    struct Head {
        Matrix<const T> query, key, value;
        int64_t first_query, column;
        Dropout dropout;
    };

    Head head(int64_t task) const {
        const int64_t sequence = task / heads, column = task % heads * width;
        const int64_t start = boundaries[sequence], length = boundaries[sequence + 1] - start;
        const int64_t first = first_only ? sequence : start, count = first_only ? 1 : length;
        return {
            {query + first * query_stride + column, count, width, query_stride},
            {key + start * key_stride + column, length, width, key_stride},
            {value + start * key_stride + column, length, width, key_stride},
            first, column, dropout.of(static_cast<uint32_t>(task)),
        };
    }

    // attended [queries, heads * width], and of each query and head the logarithm of the sum of its weights.
    void forward(T *attended, float *log_sums) const {
        using Operand = typename OperandOf<T>::type;
        const int64_t keys = padded(longest), inner = padded(width);
#pragma omp parallel
        {
            Tiles tiles;
            Scratch scratch(64 * 8 + sizeof(float) * (QUERIES * (2 * inner + 2 * keys) + 2 * keys * inner));
#pragma omp for schedule(dynamic)
            for (int64_t task = 0; task < sequences * heads; task++) {
                scratch.reset();
                forward_head<Operand>(head(task), attended, log_sums + task % heads, scratch);
            }
        }
    }

    template <class Operand>
    void forward_head(const Head &own, T *attended, float *log_sums, Scratch &scratch) const {
        const int64_t length = own.key.rows, keys = padded(length), inner = padded(width);
        Operand *key_operand = scratch.take<Operand>(inner * keys), *value_operand = scratch.take<Operand>(keys * inner);
        Operand *query_operand = scratch.take<Operand>(QUERIES * inner), *weights = scratch.take<Operand>(QUERIES * keys);
        float *scores = scratch.take<float>(QUERIES * keys), *sums = scratch.take<float>(QUERIES * inner);
        pack_right_transposed(key_operand, own.key);
        pack_right(value_operand, own.value);
        for (int64_t begin = 0; begin < own.query.rows; begin += QUERIES) {
            const Matrix<const T> block = rows(own.query, begin);
            const int64_t count = padded(block.rows);
            pack_left(query_operand, block);
            multiply(scores, query_operand, key_operand, count, keys, inner, false);
            clear(weights + block.rows * keys, (count - block.rows) * keys);
            float factors[QUERIES];
            for (int64_t i = 0; i < block.rows; i++) {
                float *row = scores + i * keys;
                // Behind the last key: weights of next to nothing, for values of 0.
                for (int64_t j = length; j < keys; j++) row[j] = -1e30f;
                float largest = row[0];
#pragma omp simd reduction(max : largest)
                for (int64_t j = 0; j < keys; j++) largest = row[j] > largest ? row[j] : largest;
                float sum = 0;
#pragma omp simd reduction(+ : sum)
                for (int64_t j = 0; j < keys; j++) {
                    row[j] = exponential((row[j] - largest) * scale);
                    sum += row[j];
                }
                const uint32_t index = static_cast<uint32_t>((begin + i) * keys);
                if (dropout.threshold) {
#pragma omp simd
                    for (int64_t j = 0; j < keys; j++)
                        store(weights + i * keys + j, own.dropout(row[j], index + static_cast<uint32_t>(j)));
                } else {
#pragma omp simd
                    for (int64_t j = 0; j < keys; j++) store(weights + i * keys + j, row[j]);
                }
                factors[i] = 1.0f / sum;
                log_sums[(own.first_query + begin + i) * heads] = largest * scale + __builtin_logf(sum);
            }
            multiply(sums, weights, value_operand, count, inner, keys, false);
            for (int64_t i = 0; i < block.rows; i++) {
                T *to = attended + (own.first_query + begin + i) * heads * width + own.column;
#pragma omp simd
                for (int64_t c = 0; c < width; c++) store(to + c, sums[i * inner + c] * factors[i]);
            }
        }
    }

    // The gradients of query, key and value, which lie as those do, from that of `attended`. Scores and weights stand
    // transposed, [keys, queries], so that a query's numbers are one for each column and no sum along a row is needed.
    void backward(const T *d_attended, const T *attended, const float *log_sums, T *d_query, T *d_key, T *d_value) const {
        using Operand = typename OperandOf<T>::type;
        const int64_t keys = padded(longest), inner = padded(width);
#pragma omp parallel
        {
            Tiles tiles;
            Scratch scratch(64 * 16 + sizeof(float) * (5 * keys * inner + 5 * keys * QUERIES + 5 * QUERIES * inner));
#pragma omp for schedule(dynamic)
            for (int64_t task = 0; task < sequences * heads; task++) {
                scratch.reset();
                backward_head<Operand>(head(task), d_attended, attended, log_sums + task % heads, d_query, d_key, d_value,
                                       scratch);
            }
        }
    }

    template <class Operand>
    void backward_head(const Head &own, const T *d_attended, const T *attended, const float *log_sums, T *d_query,
                       T *d_key, T *d_value, Scratch &scratch) const {
        const int64_t length = own.key.rows, keys = padded(length), inner = padded(width);
        Operand *key_rows = scratch.take<Operand>(keys * inner), *key_columns = scratch.take<Operand>(inner * keys);
        Operand *value_rows = scratch.take<Operand>(keys * inner);
        float *key_sums = scratch.take<float>(keys * inner), *value_sums = scratch.take<float>(keys * inner);
        Operand *query_columns = scratch.take<Operand>(inner * QUERIES), *query_rows = scratch.take<Operand>(QUERIES * inner);
        Operand *out_columns = scratch.take<Operand>(inner * QUERIES), *out_rows = scratch.take<Operand>(QUERIES * inner);
        float *scores = scratch.take<float>(keys * QUERIES), *d_weights = scratch.take<float>(keys * QUERIES);
        Operand *weights = scratch.take<Operand>(keys * QUERIES);
        Operand *d_scores = scratch.take<Operand>(keys * QUERIES), *d_scores_right = scratch.take<Operand>(keys * QUERIES);
        float *query_sums = scratch.take<float>(inner * QUERIES);
        pack_left(key_rows, own.key);
        pack_left_transposed(key_columns, own.key);
        pack_left(value_rows, own.value);
        const int64_t row_width = heads * width;
        for (int64_t begin = 0; begin < own.query.rows; begin += QUERIES) {
            const Matrix<const T> block = rows(own.query, begin);
            const int64_t first = own.first_query + begin, offset = first * row_width + own.column;
            const Matrix<const T> d_out{d_attended + offset, block.rows, width, row_width};
            const int64_t count = padded(block.rows);
            pack_right_transposed(query_columns, block);
            pack_right(query_rows, block);
            pack_right_transposed(out_columns, d_out);
            pack_right(out_rows, d_out);
            multiply(scores, key_rows, query_columns, keys, count, inner, false);
            multiply(d_weights, value_rows, out_columns, keys, count, inner, false);
            // Behind the last query: its gradient is 0, so any weight will do that is finite.
            float log_sum[QUERIES] = {}, mean[QUERIES] = {};
            for (int64_t i = 0; i < block.rows; i++) {
                log_sum[i] = log_sums[(first + i) * heads];
                float sum = 0;
                const T *a = d_out.data + i * row_width, *b = attended + offset + i * row_width;
#pragma omp simd reduction(+ : sum)
                for (int64_t c = 0; c < width; c++) sum += load(a[c]) * load(b[c]);
                mean[i] = sum;
            }
            for (int64_t i = block.rows; i < count; i++) log_sum[i] = 1e30f;
            const uint32_t index = static_cast<uint32_t>(begin * keys);
            for (int64_t j = 0; j < keys; j++) {
                Operand *weight_row = weights + j * count, *d_row = d_scores + j * count;
                if (j >= length) {
                    clear(weight_row, count);
                    clear(d_row, count);
                } else if (dropout.threshold) {
                    gradient_row<true>(own, scores + j * count, d_weights + j * count, log_sum, mean, weight_row, d_row,
                                       count, index + static_cast<uint32_t>(j), static_cast<uint32_t>(keys));
                } else {
                    gradient_row<false>(own, scores + j * count, d_weights + j * count, log_sum, mean, weight_row, d_row,
                                        count, 0, 0);
                }
            }
            pack_right(d_scores_right, Matrix<const Operand>{d_scores, keys, count, count});
            multiply(value_sums, weights, out_rows, keys, inner, count, begin > 0);
            multiply(key_sums, d_scores, query_rows, keys, inner, count, begin > 0);
            multiply(query_sums, key_columns, d_scores_right, inner, count, keys, false);
            for (int64_t i = 0; i < block.rows; i++)
                for (int64_t c = 0; c < width; c++)
                    store(d_query + (first + i) * query_stride + own.column + c, query_sums[c * count + i]);
        }
        write(d_key + (own.key.data - key), key_sums, length, inner);
        write(d_value + (own.value.data - value), value_sums, length, inner);
    }

    // One key's weights, as dropout leaves them, and the gradients of its scores, for `count` queries.
    template <bool DROPS, class Operand>
    void gradient_row(const Head &own, const float *scores, const float *d_weights, const float *log_sum,
                      const float *mean, Operand *weights, Operand *d_scores, int64_t count, uint32_t index,
                      uint32_t step) const {
#pragma omp simd
        for (int64_t i = 0; i < count; i++) {
            const float weight = exponential(scores[i] * scale - log_sum[i]);
            float kept = weight, d_weight = d_weights[i];
            if (DROPS) {
                const float factor = own.dropout(1.0f, index + static_cast<uint32_t>(i) * step);
                kept *= factor;
                d_weight *= factor;
            }
            store(weights + i, kept);
            store(d_scores + i, weight * (d_weight - mean[i]) * scale);
        }
    }

    void write(T *to, const float *sums, int64_t length, int64_t inner) const {
        for (int64_t j = 0; j < length; j++)
#pragma omp simd
            for (int64_t c = 0; c < width; c++) store(to + j * key_stride + c, sums[j * inner + c]);
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
void norm_forward(const T *update, const float *bias, const T *residual, const float *gain, const float *shift, T *sum,
                  T *output, float *mean, float *inverse, int64_t rows, int64_t width, float epsilon, Dropout dropout) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const T *u = update + row * width, *r = residual + row * width;
        T *s = sum + row * width, *o = output + row * width;
        const uint32_t index = static_cast<uint32_t>(row * width);
        float total = 0;
#pragma omp simd reduction(+ : total)
        for (int64_t c = 0; c < width; c++) {
            float x = load(u[c]) + bias[c];
            x = dropout(x, index + static_cast<uint32_t>(c));
            store(s + c, x + load(r[c]));
            total += load(s[c]);
        }
        const float center = total / width;
        float squares = 0;
#pragma omp simd reduction(+ : squares)
        for (int64_t c = 0; c < width; c++) {
            const float x = load(s[c]) - center;
            squares += x * x;
        }
        const float factor = 1.0f / __builtin_sqrtf(squares / width + epsilon);
#pragma omp simd
        for (int64_t c = 0; c < width; c++) store(o + c, (load(s[c]) - center) * factor * gain[c] + shift[c]);
        mean[row] = center;
        inverse[row] = factor;
    }
}

template <class T>
void norm_backward(const T *d_output, const T *sum, const float *mean, const float *inverse, const float *gain, T *d_update,
                   T *d_residual, float *d_gain, float *d_shift, float *d_bias, int64_t rows, int64_t width,
                   Dropout dropout) {
    float *shares = static_cast<float *>(calloc(SHARES * 3 * width, sizeof(float)));
#pragma omp parallel for schedule(static)
    for (int64_t share = 0; share < SHARES; share++) {
        float *gains = shares + share * width, *shifts = gains + SHARES * width, *biases = shifts + SHARES * width;
        for (int64_t row = share_begin(share, rows); row < share_begin(share + 1, rows); row++) {
            const T *g = d_output + row * width, *s = sum + row * width;
            T *u = d_update + row * width, *r = d_residual + row * width;
            const uint32_t index = static_cast<uint32_t>(row * width);
            const float center = mean[row], factor = inverse[row];
            const Dropout own = dropout;
            float first = 0, second = 0;
#pragma omp simd reduction(+ : first, second)
            for (int64_t c = 0; c < width; c++) {
                const float normed = (load(s[c]) - center) * factor, d = load(g[c]);
                gains[c] += d * normed;
                shifts[c] += d;
                first += d * gain[c];
                second += d * gain[c] * normed;
            }
            first /= width;
            second /= width;
#pragma omp simd
            for (int64_t c = 0; c < width; c++) {
                const float normed = (load(s[c]) - center) * factor;
                const float d = (load(g[c]) * gain[c] - first - normed * second) * factor;
                const float kept = own(d, index + static_cast<uint32_t>(c));
                store(r + c, d);
                store(u + c, kept);
                biases[c] += kept;
            }
        }
    }
    add_shares(shares, d_gain, width);
    add_shares(shares + SHARES * width, d_shift, width);
    add_shares(shares + 2 * SHARES * width, d_bias, width);
    free(shares);
}

template <class T> void gelu_forward(const T *input, const float *bias, T *output, int64_t rows, int64_t width) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        const T *in = input + row * width;
        T *out = output + row * width;
#pragma omp simd
        for (int64_t c = 0; c < width; c++) {
            const float x = load(in[c]) + bias[c];
            store(out + c, x * normal(x).below);
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
                const Normal at = normal(x);
                const float d = load(g[c]) * (at.below + x * at.density);
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

// Rows and columns of the gradient that one task makes, and inner rows that it packs at once: 1.2 MB, of the 2 MB that
// the second-level cache of a core with AMX has.
constexpr int64_t GRADIENT_BLOCK = 384, GRADIENT_ROWS = 256;

// 16 vectors of 16 pairs, transposed.
inline void transpose(__m512i pairs[16]) {
    __m512i other[16];
    for (int i = 0; i < 16; i += 2) {
        other[i] = _mm512_unpacklo_epi32(pairs[i], pairs[i + 1]);
        other[i + 1] = _mm512_unpackhi_epi32(pairs[i], pairs[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; j++) {
            pairs[i + 2 * j] = _mm512_unpacklo_epi64(other[i + j], other[i + j + 2]);
            pairs[i + 2 * j + 1] = _mm512_unpackhi_epi64(other[i + j], other[i + j + 2]);
        }
    for (int i = 0; i < 16; i += 8)
        for (int j = 0; j < 4; j++) {
            other[i + j] = _mm512_shuffle_i32x4(pairs[i + j], pairs[i + j + 4], 0x88);
            other[i + j + 4] = _mm512_shuffle_i32x4(pairs[i + j], pairs[i + j + 4], 0xdd);
        }
    for (int j = 0; j < 8; j++) {
        pairs[j] = _mm512_shuffle_i32x4(other[j], other[j + 8], 0x88);
        pairs[j + 8] = _mm512_shuffle_i32x4(other[j], other[j + 8], 0xdd);
    }
}

// As pack_left_transposed, by way of pairs of rows, which `pairs` has room for.
void pack_left_transposed(bf16 *to, Matrix<const bf16> from, bf16 *pairs) {
    const int64_t width = padded(from.rows), height = padded(from.columns);
    pack_right(pairs, from);
    for (int64_t row = 0; row < width / 2; row += 16)
        for (int64_t column = 0; column < height; column += 16) {
            __m512i block[16];
            for (int64_t i = 0; i < 16; i++) block[i] = _mm512_loadu_si512(pairs + 2 * ((row + i) * height + column));
            transpose(block);
            for (int64_t i = 0; i < 16; i++) _mm512_storeu_si512(to + (column + i) * width + 2 * row, block[i]);
        }
}

// gradient [outputs, inputs] = d_output [rows, outputs], transposed, x input [rows, inputs].
void weight_gradient(const bf16 *d_output, const bf16 *input, float *gradient, int64_t rows, int64_t outputs,
                     int64_t inputs) {
    const int64_t down = (outputs + GRADIENT_BLOCK - 1) / GRADIENT_BLOCK;
    const int64_t across = (inputs + GRADIENT_BLOCK - 1) / GRADIENT_BLOCK;
#pragma omp parallel
    {
        Tiles tiles;
        constexpr int64_t PANEL = GRADIENT_BLOCK * GRADIENT_ROWS;
        Scratch scratch(64 * 4 + PANEL * 3 * sizeof(bf16) + GRADIENT_BLOCK * GRADIENT_BLOCK * sizeof(float));
        bf16 *left = scratch.take<bf16>(PANEL), *right = scratch.take<bf16>(PANEL), *pairs = scratch.take<bf16>(PANEL);
        float *sums = scratch.take<float>(GRADIENT_BLOCK * GRADIENT_BLOCK);
#pragma omp for schedule(dynamic)
        for (int64_t task = 0; task < down * across; task++) {
            const int64_t top = task / across * GRADIENT_BLOCK, start = task % across * GRADIENT_BLOCK;
            const int64_t height = outputs - top < GRADIENT_BLOCK ? outputs - top : GRADIENT_BLOCK;
            const int64_t width = inputs - start < GRADIENT_BLOCK ? inputs - start : GRADIENT_BLOCK;
            for (int64_t row = 0; row < rows; row += GRADIENT_ROWS) {
                const int64_t count = rows - row < GRADIENT_ROWS ? rows - row : GRADIENT_ROWS;
                pack_left_transposed(left, {d_output + row * outputs + top, count, height, outputs}, pairs);
                pack_right(right, {input + row * inputs + start, count, width, inputs});
                multiply(sums, left, right, padded(height), padded(width), padded(count), row > 0);
            }
            for (int64_t i = 0; i < height; i++)
                memcpy(gradient + (top + i) * inputs + start, sums + i * padded(width), width * sizeof(float));
        }
    }
}

#endif

// What dropout leaves of numbers, and of their gradients.
template <class T> void drop(const T *input, T *output, int64_t count, Dropout dropout) {
#pragma omp parallel for simd schedule(static)
    for (int64_t i = 0; i < count; i++) store(output + i, dropout(load(input[i]), static_cast<uint32_t>(i)));
}

template <class T> void sum_rows(const T *input, float *sum, int64_t rows, int64_t width) {
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

#define DEFINE_FUNCTIONS(T, NAME)                                                                                       \
    void attention_forward_##NAME(const T *query, const T *key, const T *value, int64_t query_stride,                   \
                                  int64_t key_stride, const int32_t *boundaries, int64_t sequences, int64_t longest,    \
                                  int64_t heads, int64_t width, int first_only, float scale, uint64_t seed,             \
                                  float probability, T *attended, float *log_sums) {                                    \
        Attention<T>{query,   key,   value, query_stride,    key_stride, boundaries,                                    \
                     sequences, longest, heads, width, first_only != 0, scale, Dropout(seed, probability)}                 \
            .forward(attended, log_sums);                                                                               \
    }                                                                                                                   \
    void attention_backward_##NAME(const T *query, const T *key, const T *value, int64_t query_stride,                  \
                                   int64_t key_stride, const int32_t *boundaries, int64_t sequences, int64_t longest,   \
                                   int64_t heads, int64_t width, int first_only, float scale, uint64_t seed,            \
                                   float probability, const T *attended, const float *log_sums, const T *d_attended,    \
                                   T *d_query, T *d_key, T *d_value) {                                                  \
        Attention<T>{query,   key,   value, query_stride,    key_stride, boundaries,                                    \
                     sequences, longest, heads, width, first_only != 0, scale, Dropout(seed, probability)}                 \
            .backward(d_attended, attended, log_sums, d_query, d_key, d_value);                                         \
    }                                                                                                                   \
    void norm_forward_##NAME(const T *update, const float *bias, const T *residual, const float *gain,                  \
                             const float *shift, T *sum, T *output, float *mean, float *inverse, int64_t rows,          \
                             int64_t width, float epsilon, uint64_t seed, float probability) {                          \
        norm_forward(update, bias, residual, gain, shift, sum, output, mean, inverse, rows, width, epsilon,             \
                     Dropout(seed, probability));                                                                       \
    }                                                                                                                   \
    void norm_backward_##NAME(const T *d_output, const T *sum, const float *mean, const float *inverse,                 \
                              const float *gain, T *d_update, T *d_residual, float *d_gain, float *d_shift,             \
                              float *d_bias, int64_t rows, int64_t width, uint64_t seed, float probability) {           \
        norm_backward(d_output, sum, mean, inverse, gain, d_update, d_residual, d_gain, d_shift, d_bias, rows, width,   \
                      Dropout(seed, probability));                                                                      \
    }                                                                                                                   \
    void gelu_forward_##NAME(const T *input, const float *bias, T *output, int64_t rows, int64_t width) {               \
        gelu_forward(input, bias, output, rows, width);                                                                 \
    }                                                                                                                   \
    void gelu_backward_##NAME(const T *d_output, const T *input, const float *bias, T *d_input, float *d_bias,          \
                              int64_t rows, int64_t width) {                                                            \
        gelu_backward(d_output, input, bias, d_input, d_bias, rows, width);                                             \
    }                                                                                                                   \
    void drop_##NAME(const T *input, T *output, int64_t count, uint64_t seed, float probability) {                       \
        drop(input, output, count, Dropout(seed, probability));                                                         \
    }                                                                                                                   \
    void sum_rows_##NAME(const T *input, float *sum, int64_t rows, int64_t width) { sum_rows(input, sum, rows, width); }

FOR_EACH_NUMBER(DEFINE_FUNCTIONS)

#ifdef __AMX_BF16__
void weight_gradient_bf16(const bf16 *d_output, const bf16 *input, float *gradient, int64_t rows, int64_t outputs,
                          int64_t inputs) {
    weight_gradient(d_output, input, gradient, rows, outputs, inputs);
}
#endif
}
