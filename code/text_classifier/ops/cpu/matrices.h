// Matmul with AMX or with vectors, and the packing of its operands.

#pragma once

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "dtypes.h"

#ifdef __AMX_BF16__
#include <immintrin.h>
#endif

namespace {

// --- Matmul ---

// As wide as a register: g++ keeps wider vectors in memory. The sums of a tile, and what is added to them, fill the
// registers: 32 with AVX-512, 16 with AVX2.
#ifdef __AVX512F__
constexpr int VECTOR_BYTES = 64, TILE_ROWS = 8, TILE_VECTORS = 2;
#else
constexpr int VECTOR_BYTES = 32, TILE_ROWS = 4, TILE_VECTORS = 2;
#endif

typedef float Vector __attribute__((vector_size(VECTOR_BYTES)));
// In memory, where a row starts anywhere.
typedef float Unaligned __attribute__((vector_size(VECTOR_BYTES), aligned(4)));

// All dimensions are padded with zeros to multiples of BLOCK, the columns of a tile: 32 or 16.
constexpr int BLOCK = TILE_VECTORS * VECTOR_BYTES / sizeof(float);

inline int64_t round_up(int64_t size) { return (size + BLOCK - 1) / BLOCK * BLOCK; }

// The dtype in which a T is multiplied.
template <class T>
struct OperandOf {
    using type = float;
};

// One tile of the result, kept in registers: all loops over it are unrolled.
inline void matmul_tile(float *result, const float *left, const float *right, int columns, int inner, bool accumulate) {
    constexpr int WIDTH = sizeof(Vector) / sizeof(float);
    Vector sums[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; r++)
#pragma GCC unroll 2
        for (int v = 0; v < TILE_VECTORS; v++)
            sums[r][v] = accumulate ? *reinterpret_cast<Unaligned *>(result + r * columns + v * WIDTH) : Vector{};
    for (int k = 0; k < inner; k++) {
        const Unaligned *b = reinterpret_cast<const Unaligned *>(right + static_cast<int64_t>(k) * columns);
#pragma GCC unroll 8
        for (int r = 0; r < TILE_ROWS; r++)
#pragma GCC unroll 2
            for (int v = 0; v < TILE_VECTORS; v++) sums[r][v] += left[r * inner + k] * b[v];
    }
#pragma GCC unroll 8
    for (int r = 0; r < TILE_ROWS; r++)
#pragma GCC unroll 2
        for (int v = 0; v < TILE_VECTORS; v++)
            *reinterpret_cast<Unaligned *>(result + r * columns + v * WIDTH) = sums[r][v];
}

// result [rows, columns] = left [rows, inner] @ right [inner, columns], or += with `accumulate`.
void matmul(float *result, const float *left, const float *right, int rows, int columns, int inner, bool accumulate) {
    for (int row = 0; row < rows; row += TILE_ROWS)
        for (int column = 0; column < columns; column += BLOCK)
            matmul_tile(result + static_cast<int64_t>(row) * columns + column, left + static_cast<int64_t>(row) * inner,
                        right + column, columns, inner, accumulate);
}

#ifdef __AMX_BF16__

template <>
struct OperandOf<bf16> {
    using type = bf16;
};

// Configures the calling thread's eight tiles: 16 rows of 64 bytes each.
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

void matmul(float *result, const bf16 *left, const bf16 *right, int rows, int columns, int inner, bool accumulate) {
    const int64_t result_bytes = columns * sizeof(float), left_bytes = inner * sizeof(bf16);
    const int64_t right_bytes = 2 * columns * sizeof(bf16);
    for (int row = 0; row < rows; row += 32) {
        for (int column = 0; column < columns; column += 32) {
            float *upper = result + static_cast<int64_t>(row) * columns + column;
            float *lower = upper + 16 * columns;
            if (accumulate) {
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

// --- Packing of operands ---

// A matrix in memory: rows of `columns` elements, `stride` elements apart.
template <class T>
struct Matrix {
    T *data;
    int64_t rows, columns, stride;
};

inline void convert(float *to, float x) { *to = x; }
inline void convert(float *to, bf16 x) { *to = load(x); }
inline void convert(float *to, fp16 x) { *to = load(x); }
inline void convert(bf16 *to, bf16 x) { *to = x; }

// The rows of a slice of a larger matrix are too far apart for the hardware prefetcher.
enum class Access { read, write };

template <Access ACCESS, class T>
inline void prefetch(Matrix<T> matrix) {
    for (int64_t row = 0; row < matrix.rows; row++)
        for (int64_t column = 0; column < matrix.columns; column += 64 / sizeof(T))
            __builtin_prefetch(matrix.data + row * matrix.stride + column, ACCESS == Access::write);
}

template <class Operand>
inline void fill_zero(Operand *to, int64_t count) {
    memset(static_cast<void *>(to), 0, count * sizeof(Operand));
}

// A left operand [padded rows, padded columns], row-major.
template <class Operand, class T>
void pack_left(Operand *to, Matrix<const T> from) {
    const int64_t width = round_up(from.columns);
    for (int64_t row = 0; row < from.rows; row++, to += width) {
        for (int64_t column = 0; column < from.columns; column++)
            convert(to + column, from.data[row * from.stride + column]);
        fill_zero(to + from.columns, width - from.columns);
    }
    fill_zero(to, (round_up(from.rows) - from.rows) * width);
}

// The transposed matrix as a left operand [padded columns, padded rows].
template <class Operand, class T>
void pack_left_transposed(Operand *to, Matrix<const T> from) {
    const int64_t width = round_up(from.rows);
    for (int64_t column = 0; column < from.columns; column++, to += width) {
        for (int64_t row = 0; row < from.rows; row++) convert(to + row, from.data[row * from.stride + column]);
        fill_zero(to + from.rows, width - from.rows);
    }
    fill_zero(to, (round_up(from.columns) - from.columns) * width);
}

// A right operand [padded rows, padded columns]: row-major for fp32.
template <class T>
void pack_right(float *to, Matrix<const T> from) {
    pack_left(to, from);
}

// The transposed matrix as a right operand [padded columns, padded rows].
template <class T>
void pack_right_transposed(float *to, Matrix<const T> from) {
    pack_left_transposed(to, from);
}

// Set rows 2 * pair and 2 * pair + 1 of a right operand at one column.
inline void set_pair(float *right, int64_t pair, int64_t width, int64_t column, float upper, float lower) {
    right[2 * pair * width + column] = upper;
    right[(2 * pair + 1) * width + column] = lower;
}

// Store a result [padded rows, padded columns] to a matrix in memory.
template <class T>
void unpack(Matrix<T> to, const float *from) {
    const int64_t width = round_up(to.columns);
    for (int64_t row = 0; row < to.rows; row++)
#pragma omp simd
        for (int64_t column = 0; column < to.columns; column++)
            store(to.data + row * to.stride + column, from[row * width + column]);
}

// Store the transpose of a result [padded columns, padded rows] to a matrix in memory.
template <class T>
void unpack_transposed(Matrix<T> to, const float *from) {
    const int64_t width = round_up(to.rows);
    for (int64_t row = 0; row < to.rows; row++)
        for (int64_t column = 0; column < to.columns; column++)
            store(to.data + row * to.stride + column, from[column * width + row]);
}

#ifdef __AMX_BF16__

// AMX takes a right operand in pairs of rows: rows 0 and 1 of column 0, rows 0 and 1 of column 1, and so on.
inline void set_pair(bf16 *right, int64_t pair, int64_t width, int64_t column, float upper, float lower) {
    reinterpret_cast<uint32_t *>(right)[pair * width + column] =
        round_to_bf16(upper) >> 16 | (round_to_bf16(lower) & 0xffff0000);
}

void pack_right(bf16 *to, Matrix<const bf16> from) {
    uint32_t *pairs = reinterpret_cast<uint32_t *>(to);
    const int64_t width = round_up(from.columns);
    for (int64_t row = 0; row < from.rows; row += 2, pairs += width) {
        const bf16 *upper = from.data + row * from.stride, *lower = upper + from.stride;
        prefetch<Access::read>(Matrix<const bf16>{upper + 8 * from.stride, 2, from.columns, from.stride});
        const uint32_t has_lower = row + 1 < from.rows ? 0xffff0000 : 0;
        lower = has_lower ? lower : upper;
#pragma omp simd
        for (int64_t column = 0; column < from.columns; column++)
            pairs[column] = upper[column].bits | (static_cast<uint32_t>(lower[column].bits) << 16 & has_lower);
        fill_zero(pairs + from.columns, width - from.columns);
    }
    fill_zero(pairs, (round_up(from.rows) - from.rows) / 2 * width);
}

// Transpose 16 x 16 elements of 32 bits.
inline void transpose(__m512i rows[16]) {
    __m512i buffer[16];
    for (int i = 0; i < 16; i += 2) {
        buffer[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        buffer[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; j++) {
            rows[i + 2 * j] = _mm512_unpacklo_epi64(buffer[i + j], buffer[i + j + 2]);
            rows[i + 2 * j + 1] = _mm512_unpackhi_epi64(buffer[i + j], buffer[i + j + 2]);
        }
    for (int i = 0; i < 16; i += 8)
        for (int j = 0; j < 4; j++) {
            buffer[i + j] = _mm512_shuffle_i32x4(rows[i + j], rows[i + j + 4], 0x88);
            buffer[i + j + 4] = _mm512_shuffle_i32x4(rows[i + j], rows[i + j + 4], 0xdd);
        }
    for (int j = 0; j < 8; j++) {
        rows[j] = _mm512_shuffle_i32x4(buffer[j], buffer[j + 8], 0x88);
        rows[j + 8] = _mm512_shuffle_i32x4(buffer[j], buffer[j + 8], 0xdd);
    }
}

// The mask of the first `count` of up to 32 lanes.
inline uint32_t first_lanes(int64_t count) { return count < 32 ? (1u << count) - 1 : 0xffffffff; }

void pack_right_transposed(bf16 *to, Matrix<const bf16> from) {
    const int64_t width = round_up(from.rows), height = round_up(from.columns);
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
    const int64_t width = round_up(from.rows), height = round_up(from.columns);
    for (int64_t row = 0; row < width; row += 32) {
        prefetch<Access::read>(Matrix<const bf16>{from.data + (row + 32) * from.stride, 32, from.columns, from.stride});
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
    const int64_t width = round_up(to.rows);
    for (int64_t row = 0; row < to.rows; row += 16)
        for (int64_t column = 0; column < to.columns; column += 16) {
            const __mmask16 mask = first_lanes(to.columns - column);
            const int64_t count = to.rows - row < 16 ? to.rows - row : 16;
            __m512i block[16];
            for (int64_t i = 0; i < 16; i++) block[i] = _mm512_loadu_si512(from + (column + i) * width + row);
            transpose(block);
            for (int64_t i = 0; i < count; i++) {
                // As round_to_bf16().
                const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(block[i], 16), _mm512_set1_epi32(1));
                const __m512i sum = _mm512_add_epi32(_mm512_add_epi32(block[i], odd), _mm512_set1_epi32(0x7fff));
                _mm256_mask_storeu_epi16(to.data + (row + i) * to.stride + column, mask,
                                         _mm512_cvtepi32_epi16(_mm512_srli_epi32(sum, 16)));
            }
        }
}

#endif

// A thread's scratch memory: a bump allocator.
class Scratch {
public:
    explicit Scratch(int64_t bytes) : begin_(static_cast<char *>(aligned_alloc(64, bytes))), next_(begin_) {}
    ~Scratch() { free(begin_); }
    Scratch(const Scratch &) = delete;

    template <class U>
    U *take(int64_t count) {
        U *result = reinterpret_cast<U *>(next_);
        next_ += (count * sizeof(U) + 63) / 64 * 64;
        return result;
    }
    void reset() { next_ = begin_; }

private:
    char *begin_, *next_;
};

}  // namespace
