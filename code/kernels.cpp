// What torch lacks for a packed batch on a CPU: attention within each sequence, and LayerNorm and GELU in one pass with
// what stands around them. kernels.py calls these functions and says what they compute.
//
// Numbers are fp32, bf16 or fp16 in memory, "T", and fp32 in registers. Loops are written so that the compiler
// vectorises them for the instruction set that it is told; only products of matrices are written out, for AMX and for
// vectors, and how numbers are laid out for AMX.
// Every sum is made in an order that does not depend on the number of threads, so that results repeat to the bit.
//
// Built without -fassociative-math and -ffinite-math-only: a NaN must stay one on its way to the loss.

#include <malloc.h>
#include <omp.h>
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

// The upper half is the nearest bf16, of two equally near ones the even.
inline uint32_t rounded(float x) {
    const uint32_t bits = __builtin_bit_cast(uint32_t, x);
    return bits + 0x7fff + ((bits >> 16) & 1);
}
inline void store(bf16 *to, float x) { to->bits = static_cast<uint16_t>(rounded(x) >> 16); }

// 2 to the power of x, for an x of 127 at most, within 3e-7 of it. NaN for NaN.
inline float power_of_two(float x) {
    x = x < -126.0f ? -126.0f : x;
    const float n = __builtin_rintf(x), r = x - n;
    float p = 1.33908674e-3f;
    p = p * r + 9.66637369e-3f;
    p = p * r + 5.5503571e-2f;
    p = p * r + 0.240223489f;
    p = p * r + 0.693147188f;
    return (p * r + 1.0f) * bits_to_float(static_cast<uint32_t>(static_cast<int32_t>(n) + 127) << 23);
}

constexpr float LOG2_OF_E = 1.44269504f;

// The normal distribution's probability below x, and the slope of GELU(x) = x * below(x). Fine for fp32, and coarse, at
// a third of the work, for numbers of 16 bits.
struct Fine {
    static float below(float x) { return probability(x, tail(x)); }
    static float slope(float x) { return probability(x, tail(x)) + 0.39894228f * x * tail(x); }

  private:
    static float tail(float x) { return power_of_two(-0.5f * LOG2_OF_E * x * x); }

    // Within 1e-7; Abramowitz and Stegun 7.1.26.
    static float probability(float x, float tail) {
        const float t = 1.0f / (1.0f + 0.3275911f * 0.70710678f * __builtin_fabsf(x));
        float p = 1.061405429f;
        p = p * t - 1.453152027f;
        p = p * t + 1.421413741f;
        p = p * t - 0.284496736f;
        p = p * t + 0.254829592f;
        const float above = 0.5f * p * t * tail;
        return x > 0 ? 1.0f - above : above;
    }
};

// Both less 0.5 are odd: x times a polynomial of x * x, fitted at Chebyshev's points and constant beyond a limit.
// Within 4e-6 and 3e-5, where neighbouring numbers of bf16 near 1 are 4e-3 apart.
struct Coarse {
    static float below(float x) {
        constexpr float COEFFICIENTS[] = {0.15690493f,    -0.077193861f, 0.0547011907f,   -0.0401092116f,
                                          0.0282839308f,  -0.0190209406f, 0.0114392265f,  -0.00525154812f,
                                          0.0027162774f,  -0.00234001594f, 0.000980692601f};
        return 0.5f + odd(x, 4.5f, COEFFICIENTS);
    }
    static float slope(float x) {
        constexpr float COEFFICIENTS[] = {0.142128071f,  -0.0750928609f, 0.0669767861f, -0.0722408206f,
                                          0.0756834651f, -0.0808788258f, 0.0996194986f, -0.0799669075f,
                                          0.0154423904f, -0.0149160238f, 0.0490863146f, -0.0258446653f};
        return 0.5f + odd(x, 5.0f, COEFFICIENTS);
    }

  private:
    template <int TERMS> static float odd(float x, float limit, const float (&coefficients)[TERMS]) {
        x = x > limit ? limit : x;
        x = x < -limit ? -limit : x;
        const float s = x * x * (2.0f / (limit * limit)) - 1.0f;
        float sum = coefficients[TERMS - 1];
#pragma GCC unroll 16
        for (int term = TERMS - 2; term >= 0; term--) sum = sum * s + coefficients[term];
        return x * sum;
    }
};

template <class T> struct NormalOf {
    using type = Coarse;
};
template <> struct NormalOf<float> {
    using type = Fine;
};

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

// Elements whose 16 random bits are under `threshold` are zeroed, the others multiplied by `scale`.
struct Dropout {
    Key key;
    uint32_t threshold;
    float scale;

    Dropout(uint64_t seed, float probability)
        : key{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)},
          threshold(static_cast<uint32_t>(probability * 65536.0f + 0.5f)),
          scale(65536.0f / static_cast<float>(65536 - threshold)) {}

    Dropout of(uint32_t task) const {
        Dropout own = *this;
        own.key = {random_bits(key, 2 * task), random_bits(key, 2 * task + 1)};
        return own;
    }
    float operator()(float x, uint32_t index) const {
        return random_bits(key, index) >> 16 < threshold ? 0.0f : x * scale;
    }
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
            multiply_tile(result + static_cast<int64_t>(row) * columns + column,
                          left + static_cast<int64_t>(row) * inner, right + column, columns, inner, adds);
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

// Fetch what is used soon: rows of a part of a larger matrix are too far apart for the processor to guess the next.
enum class For { reading, writing };

template <For USE, class T> inline void prefetch(Matrix<T> matrix) {
    for (int64_t row = 0; row < matrix.rows; row++)
        for (int64_t column = 0; column < matrix.columns; column += 64 / sizeof(T))
            __builtin_prefetch(matrix.data + row * matrix.stride + column, USE == For::writing);
}

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

// Rows 2 * pair and 2 * pair + 1 of a right operand, at one column.
inline void set_pair(float *right, int64_t pair, int64_t width, int64_t column, float upper, float lower) {
    right[2 * pair * width + column] = upper;
    right[(2 * pair + 1) * width + column] = lower;
}

// A product [padded rows, padded columns], to a matrix in memory.
template <class T> void unpack(Matrix<T> to, const float *from) {
    const int64_t width = padded(to.columns);
    for (int64_t row = 0; row < to.rows; row++)
#pragma omp simd
        for (int64_t column = 0; column < to.columns; column++)
            store(to.data + row * to.stride + column, from[row * width + column]);
}

// The transposed of a product [padded columns, padded rows], to a matrix in memory.
template <class T> void unpack_transposed(Matrix<T> to, const float *from) {
    const int64_t width = padded(to.rows);
    for (int64_t row = 0; row < to.rows; row++)
        for (int64_t column = 0; column < to.columns; column++)
            store(to.data + row * to.stride + column, from[column * width + row]);
}

#ifdef __AMX_BF16__

// As AMX wants a right operand: in pairs of rows, row 0 and row 1 of column 0, the same of column 1, and so on.
inline void set_pair(bf16 *right, int64_t pair, int64_t width, int64_t column, float upper, float lower) {
    reinterpret_cast<uint32_t *>(right)[pair * width + column] = rounded(upper) >> 16 | (rounded(lower) & 0xffff0000);
}

void pack_right(bf16 *to, Matrix<const bf16> from) {
    uint32_t *pairs = reinterpret_cast<uint32_t *>(to);
    const int64_t width = padded(from.columns);
    for (int64_t row = 0; row < from.rows; row += 2, pairs += width) {
        const bf16 *upper = from.data + row * from.stride, *lower = upper + from.stride;
        prefetch<For::reading>(Matrix<const bf16>{upper + 8 * from.stride, 2, from.columns, from.stride});
        const uint32_t has_lower = row + 1 < from.rows ? 0xffff0000 : 0;
        lower = has_lower ? lower : upper;
#pragma omp simd
        for (int64_t column = 0; column < from.columns; column++)
            pairs[column] = upper[column].bits | (static_cast<uint32_t>(lower[column].bits) << 16 & has_lower);
        clear(pairs + from.columns, width - from.columns);
    }
    clear(pairs, (padded(from.rows) - from.rows) / 2 * width);
}

// 16 vectors of 16 numbers of 32 bits, transposed.
inline void transpose(__m512i numbers[16]) {
    __m512i other[16];
    for (int i = 0; i < 16; i += 2) {
        other[i] = _mm512_unpacklo_epi32(numbers[i], numbers[i + 1]);
        other[i + 1] = _mm512_unpackhi_epi32(numbers[i], numbers[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; j++) {
            numbers[i + 2 * j] = _mm512_unpacklo_epi64(other[i + j], other[i + j + 2]);
            numbers[i + 2 * j + 1] = _mm512_unpackhi_epi64(other[i + j], other[i + j + 2]);
        }
    for (int i = 0; i < 16; i += 8)
        for (int j = 0; j < 4; j++) {
            other[i + j] = _mm512_shuffle_i32x4(numbers[i + j], numbers[i + j + 4], 0x88);
            other[i + j + 4] = _mm512_shuffle_i32x4(numbers[i + j], numbers[i + j + 4], 0xdd);
        }
    for (int j = 0; j < 8; j++) {
        numbers[j] = _mm512_shuffle_i32x4(other[j], other[j + 8], 0x88);
        numbers[j + 8] = _mm512_shuffle_i32x4(other[j], other[j + 8], 0xdd);
    }
}

// The mask of the first `count` of up to 32 lanes.
inline uint32_t first_lanes(int64_t count) { return count < 32 ? (1u << count) - 1 : 0xffffffff; }

void pack_right_transposed(bf16 *to, Matrix<const bf16> from) {
    const int64_t width = padded(from.rows), height = padded(from.columns);
    for (int64_t row = 0; row < width; row += 16)
        for (int64_t column = 0; column < height; column += 32) {
            const __mmask32 mask = first_lanes(from.columns - column);
            __m512i block[16];
            for (int64_t i = 0; i < 16; i++)
                block[i] = _mm512_maskz_loadu_epi16(row + i < from.rows ? mask : 0,
                                                    from.data + (row + i) * from.stride + column);
            transpose(block);
            for (int64_t i = 0; i < 16; i++) _mm512_storeu_si512(to + (column + 2 * i) * width + 2 * row, block[i]);
        }
}

void pack_left_transposed(bf16 *to, Matrix<const bf16> from) {
    const int64_t width = padded(from.rows), height = padded(from.columns);
    for (int64_t row = 0; row < width; row += 32) {
        prefetch<For::reading>(Matrix<const bf16>{from.data + (row + 32) * from.stride, 32, from.columns, from.stride});
        for (int64_t column = 0; column < height; column += 16) {
            const __mmask16 mask = column < from.columns ? first_lanes(from.columns - column) : 0;
            __m512i block[16];
            for (int64_t i = 0; i < 16; i++) {
                const int64_t first = row + 2 * i;
                const bf16 *upper = from.data + first * from.stride + column, *lower = upper + from.stride;
                block[i] = _mm512_or_si512(
                    _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first < from.rows ? mask : 0, upper)),
                    _mm512_slli_epi32(
                        _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first + 1 < from.rows ? mask : 0, lower)), 16));
            }
            transpose(block);
            for (int64_t i = 0; i < 16; i++) _mm512_storeu_si512(to + (column + i) * width + row, block[i]);
        }
    }
}

void unpack_transposed(Matrix<bf16> to, const float *from) {
    const int64_t width = padded(to.rows);
    for (int64_t row = 0; row < to.rows; row += 16)
        for (int64_t column = 0; column < to.columns; column += 16) {
            const __mmask16 mask = first_lanes(to.columns - column);
            const int64_t count = to.rows - row < 16 ? to.rows - row : 16;
            __m512i block[16];
            for (int64_t i = 0; i < 16; i++) block[i] = _mm512_loadu_si512(from + (column + i) * width + row);
            transpose(block);
            for (int64_t i = 0; i < count; i++) {
                // As `rounded`.
                const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(block[i], 16), _mm512_set1_epi32(1));
                const __m512i sum = _mm512_add_epi32(_mm512_add_epi32(block[i], odd), _mm512_set1_epi32(0x7fff));
                _mm256_mask_storeu_epi16(to.data + (row + i) * to.stride + column, mask,
                                         _mm512_cvtepi32_epi16(_mm512_srli_epi32(sum, 16)));
            }
        }
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

        // Of the random bits that belong to this pair of keys and the queries from `begin`.
        uint32_t first_index(int64_t pair, int64_t begin) const {
            return static_cast<uint32_t>(pair * padded(query.rows) + begin);
        }
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

    // attended [queries, heads * width], and of each query and head the base-2 logarithm of the sum of its weights.
    //
    // Scores and weights stand transposed, [keys, queries], here and in `backward`: a query's numbers are one for each
    // column, so that no sum along a row is needed, and two keys share the random bits of their dropout.
    void forward(T *attended, float *log_sums) const {
        using Operand = typename OperandOf<T>::type;
        const int64_t keys = padded(longest), inner = padded(width);
#pragma omp parallel
        {
            Tiles tiles;
            Scratch scratch(64 * 6 + sizeof(float) * (2 * keys * inner + 2 * keys * QUERIES + 2 * QUERIES * inner));
#pragma omp for schedule(dynamic, 4)
            for (int64_t task = 0; task < sequences * heads; task++) {
                scratch.reset();
                forward_head<Operand>(head(task), attended, log_sums + task % heads, scratch);
            }
        }
    }

    template <class Operand>
    void forward_head(const Head &own, T *attended, float *log_sums, Scratch &scratch) const {
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
            multiply(scores, key_rows, query_columns, keys, count, inner, false);
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
            multiply(means, value_columns, weights, inner, count, keys, false);
            for (int64_t i = 0; i < block.rows; i++)
                log_sums[(own.first_query + begin + i) * heads] = largest[i] + __builtin_log2f(sums[i]);
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
                const uint32_t bits = random_bits(drop.key, index + i);
                upper = bits >> 16 < drop.threshold ? 0.0f : upper * drop.scale;
                lower = (bits & 0xffff) < drop.threshold ? 0.0f : lower * drop.scale;
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
    void backward(const T *d_attended, const T *attended, const float *log_sums, T *d_query, T *d_key,
                  T *d_value) const {
        using Operand = typename OperandOf<T>::type;
        const int64_t keys = padded(longest), inner = padded(width);
#pragma omp parallel
        {
            Tiles tiles;
            Scratch scratch(64 * 16 + sizeof(float) * (5 * keys * inner + 5 * keys * QUERIES + 5 * QUERIES * inner));
#pragma omp for schedule(dynamic, 4)
            for (int64_t task = 0; task < sequences * heads; task++) {
                scratch.reset();
                backward_head<Operand>(head(task), d_attended, attended, log_sums + task % heads, d_query, d_key,
                                       d_value, scratch);
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
            multiply(scores, key_rows, query_columns, keys, count, inner, false);
            multiply(d_weights, value_rows, out_columns, keys, count, inner, false);
            exclude_last_of_odd(scores, length, count);
            // Behind the last query: its gradient is 0, so any weight will do that is finite.
            float log_sum[QUERIES] = {}, mean[QUERIES] = {};
            for (int64_t i = 0; i < block.rows; i++) {
                log_sum[i] = log_sums[(first + i) * heads];
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
            multiply(value_sums, weights, out_rows, keys, inner, count, begin > 0);
            multiply(key_sums, d_scores, query_rows, keys, inner, count, begin > 0);
            multiply(query_sums, key_columns, d_scores_right, inner, count, keys, false);
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
            float upper_factor = 1.0f, lower_factor = 1.0f;
            if (DROPS) {
                const uint32_t bits = random_bits(drop.key, index + i);
                upper_factor = bits >> 16 < drop.threshold ? 0.0f : drop.scale;
                lower_factor = (bits & 0xffff) < drop.threshold ? 0.0f : drop.scale;
            }
            store(weights + i, upper * upper_factor);
            store(weights + count + i, lower * lower_factor);
            const float upper_gradient = upper * (d_weights[i] * upper_factor - mean[i]) * scale;
            const float lower_gradient = lower * (d_weights[count + i] * lower_factor - mean[i]) * scale;
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
void norm_forward(const T *update, const float *bias, const T *residual, const float *gain, const float *shift, T *sum,
                  T *output, float *mean, float *inverse, int64_t rows, uint32_t width, float epsilon,
                  Dropout dropout) {
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
        for (uint32_t c = 0; c < width; c++) store(o + c, (load(s[c]) - center) * factor * gain[c] + shift[c]);
        mean[row] = center;
        inverse[row] = factor;
    }
}

template <class T>
void norm_backward(const T *d_output, const T *sum, const float *mean, const float *inverse, const float *gain,
                   T *d_update, T *d_residual, float *d_gain, float *d_shift, float *d_bias, int64_t rows,
                   uint32_t width, Dropout dropout) {
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
            for (uint32_t c = 0; c < width; c++) {
                const float normed = (load(s[c]) - center) * factor, d = load(g[c]);
                gains[c] += d * normed;
                shifts[c] += d;
                first += d * gain[c];
                second += d * gain[c] * normed;
            }
            first /= width;
            second /= width;
#pragma omp simd
            for (uint32_t c = 0; c < width; c++) {
                const float normed = (load(s[c]) - center) * factor;
                const float d = (load(g[c]) * gain[c] - first - normed * second) * factor;
                const float kept = own(d, index + c);
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
void weight_gradient(const bf16 *d_output, const bf16 *input, float *gradient, int64_t rows, int64_t outputs,
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
                    multiply(sums + begin * padded(width), left, right, padded(slice), padded(width), padded(count),
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
template <class T> void drop(const T *input, T *output, int64_t count, Dropout dropout) {
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
