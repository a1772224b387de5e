// Attention within sequences of at most TOKENS tokens, for heads of WIDTH columns: a block per sequence and head, with
// all its queries, keys and values in shared memory, and a warp per tile of 16 rows.
//
// TOKENS is 16, 32, 64 or 128, WIDTH 16, 32 or 64. The math is FlashAttention's (Dao et al., 2022,
// https://arxiv.org/abs/2205.14135): fp32 softmax, probabilities and their gradients rounded to scalar_t for matmuls.
// Because a block sees the whole sequence, a pass computes each score once and no two blocks add to the same gradient.

#include "dtypes.cuh"

constexpr int TILE = 16;  // rows per warp
constexpr int TILES = TOKENS / TILE;
constexpr int THREADS = TILES * WARP;
constexpr int CHUNKS = WIDTH / ELEMENTS_PER_CHUNK;  // 16-byte chunks per row
constexpr int CHUNKS_PER_LANE = TILE * CHUNKS / WARP;
constexpr int STEPS = WIDTH / TILE;  // mma steps over a head's width
constexpr float LOG2_E = 1.44269504f;

// TOKENS rows in shared memory, swizzled: the order of the chunks changes from row to row, so reading the same chunk of
// 8 rows, or all chunks of a row, is free of bank conflicts.
template <int CHUNKS_PER_ROW>
struct Matrix {
    static constexpr int PATTERNS = CHUNKS_PER_ROW < 8 ? CHUNKS_PER_ROW : 8;
    static constexpr int SIZE = TOKENS * CHUNKS_PER_ROW;

    uint4 *memory;

    __device__ uint4 *at(int row, int chunk) const {
        return memory + row * CHUNKS_PER_ROW + (chunk ^ (row / (8 / PATTERNS) % PATTERNS));
    }

    // Fragments for mma_m16n8k16() of the 16 x 16 elements at this row and chunk: as operand a, as they are or
    // transposed; as operand b (two of 8 columns), transposed or as they are.
    __device__ void load_a(uint32 (&to)[4], int row, int chunk) const { ldmatrix_x4(to, column_major(row, chunk)); }
    __device__ void load_a_transposed(uint32 (&to)[4], int row, int chunk) const {
        ldmatrix_x4_trans(to, row_major(row, chunk));
    }
    __device__ void load_b_transposed(uint32 (&to)[4], int row, int chunk) const {
        ldmatrix_x4(to, row_major(row, chunk));
    }
    __device__ void load_b(uint32 (&to)[4], int row, int chunk) const {
        ldmatrix_x4_trans(to, column_major(row, chunk));
    }

private:
    // The row whose address this lane passes to ldmatrix: the second of the four 8x8 matrices is below the first
    // (column_major) or beside it (row_major).
    __device__ const uint4 *column_major(int row, int chunk) const {
        const int lane = threadIdx.x % WARP;
        return at(row + lane % 16, chunk + lane / 16);
    }
    __device__ const uint4 *row_major(int row, int chunk) const {
        const int lane = threadIdx.x % WARP;
        return at(row + lane % 8 + lane / 16 * 8, chunk + lane / 8 % 2);
    }
};

using Rows = Matrix<CHUNKS>;                         // [TOKENS, WIDTH]
using Square = Matrix<TOKENS / ELEMENTS_PER_CHUNK>;  // [TOKENS, TOKENS]

__device__ uint32 from_float_pair(float low, float high) {
    scalar_t lower, upper;
    from_float(low, lower);
    from_float(high, upper);
    return lower | static_cast<uint32>(upper) << 16;
}

// Two accumulators of mma_m16n8k16(), side by side, as an operand a of 16 x 16.
__device__ void accumulators_to_a(uint32 (&to)[4], const float (&sums)[2][4]) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        to[2 * half] = from_float_pair(sums[half][0], sums[half][1]);
        to[2 * half + 1] = from_float_pair(sums[half][2], sums[half][3]);
    }
}

// The block's sequence and head. With `has_one_query` each sequence has a single query, and the queries have a row per
// sequence; otherwise they have a row per token.
struct Place {
    int head, first_key, keys, first_query, queries;

    __device__ Place(const int *cu_seqlens, int heads, int has_one_query) {
        const int sequence = blockIdx.x / heads;
        head = blockIdx.x % heads;
        first_key = cu_seqlens[sequence];
        keys = cu_seqlens[sequence + 1] - first_key;
        first_query = has_one_query ? sequence : first_key;
        queries = has_one_query ? 1 : keys;
    }

    __device__ uint64 query_offset(uint32 stride) const {
        return static_cast<uint64>(first_query) * stride + head * WIDTH;
    }
    __device__ uint64 key_offset(uint32 stride) const { return static_cast<uint64>(first_key) * stride + head * WIDTH; }

    // Random bits for a key and two queries: the lower half for `query`, the upper half for `query + 8`.
    __device__ uint32 bits(const Dropout &drop, int heads, int query, int key) const {
        return drop.bits((static_cast<uint32>(first_query + query) * heads + head) * TOKENS + key);
    }
};

// Start to copy this warp's rows to shared memory; rows of its tile after the last are filled with zeros.
__device__ void load_tile_async(const Rows &to, const scalar_t *from, uint32 stride, int rows) {
    const int tile = threadIdx.x / WARP * TILE, lane = threadIdx.x % WARP;
    if (tile >= rows) return;
#pragma unroll
    for (int i = 0; i < CHUNKS_PER_LANE; i++) {
        const int row = tile + (i * WARP + lane) / CHUNKS, chunk = lane % CHUNKS;
        const uint64 start = row < rows ? row * static_cast<uint64>(stride) : 0;
        cp_async(to.at(row, chunk), from + start + chunk * ELEMENTS_PER_CHUNK, row < rows);
    }
}

// sums += a @ rows[row : row + 16].
__device__ void add_matmul(float (&sums)[CHUNKS][4], const uint32 (&a)[4], const Rows &rows, int row) {
    uint32 b[4];
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
        rows.load_b(b, row, 2 * step);
        mma_m16n8k16(sums[2 * step], a, b[0], b[1]);
        mma_m16n8k16(sums[2 * step + 1], a, b[2], b[3]);
    }
}

// Store this warp's sums as its rows of a matrix in global memory, the upper and the lower eight rows multiplied by
// their factors. Goes through the warp's rows of `staging`, so that global stores are coalesced.
__device__ void store_tile(scalar_t *to, uint32 stride, int rows, const Rows &staging, const float (&sums)[CHUNKS][4],
                           const float (&factors)[2]) {
    const int tile = threadIdx.x / WARP * TILE, lane = threadIdx.x % WARP;
#pragma unroll
    for (int chunk = 0; chunk < CHUNKS; chunk++) {
#pragma unroll
        for (int half = 0; half < 2; half++)
            reinterpret_cast<uint32 *>(staging.at(tile + lane / 4 + 8 * half, chunk))[lane % 4] =
                from_float_pair(sums[chunk][2 * half] * factors[half], sums[chunk][2 * half + 1] * factors[half]);
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < CHUNKS_PER_LANE; i++) {
        const int row = tile + (i * WARP + lane) / CHUNKS, chunk = lane % CHUNKS;
        if (row < rows)
            *reinterpret_cast<uint4 *>(to + row * static_cast<uint64>(stride) + chunk * ELEMENTS_PER_CHUNK) =
                *staging.at(row, chunk);
    }
    __syncwarp();
}

// output [queries, heads * WIDTH]; lse, float32 [queries, heads], to base 2. Strides are between rows, in elements;
// values have the stride of the keys. Dynamic shared memory: q, k and v, allocated by bindings.py.
extern "C" __global__ void __launch_bounds__(THREADS)
    attention_forward(const scalar_t *query, const scalar_t *key, const scalar_t *value, uint32 query_stride,
                      uint32 key_stride, const int *cu_seqlens, int heads, int has_one_query, float scale,
                      const uint64 *seed, uint32 threshold, float dropout_scale, scalar_t *output, float *lse) {
    const Place place(cu_seqlens, heads, has_one_query);
    const Dropout drop(seed, threshold, dropout_scale);
    const Rows q{shared_memory()}, k{q.memory + Rows::SIZE}, v{k.memory + Rows::SIZE};
    load_tile_async(q, query + place.query_offset(query_stride), query_stride, place.queries);
    load_tile_async(k, key + place.key_offset(key_stride), key_stride, place.keys);
    cp_async_commit();
    load_tile_async(v, value + place.key_offset(key_stride), key_stride, place.keys);
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    const int tile = threadIdx.x / WARP * TILE, lane = threadIdx.x % WARP;
    const int keys = tile < place.queries ? place.keys : 0;  // that this warp's queries see

    uint32 a[STEPS][4], b[4];
#pragma unroll
    for (int step = 0; step < STEPS; step++) q.load_a(a[step], tile, 2 * step);
    float scores[TILES][2][4];
    float row_max[2] = {-infinity(), -infinity()};
#pragma unroll
    for (int i = 0; i < TILES; i++) {
        if (i * TILE >= keys) break;
#pragma unroll
        for (int half = 0; half < 2; half++)
#pragma unroll
            for (int j = 0; j < 4; j++) scores[i][half][j] = 0;
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
            k.load_b_transposed(b, i * TILE, 2 * step);
            mma_m16n8k16(scores[i][0], a[step], b[0], b[1]);
            mma_m16n8k16(scores[i][1], a[step], b[2], b[3]);
        }
        const bool is_last = (i + 1) * TILE > keys;
#pragma unroll
        for (int half = 0; half < 2; half++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                if (is_last && i * TILE + half * 8 + lane % 4 * 2 + j % 2 >= keys) scores[i][half][j] = -infinity();
                row_max[j / 2] = fmaxf(row_max[j / 2], scores[i][half][j]);
            }
    }
    const float log2_scale = scale * LOG2_E;
#pragma unroll
    for (int j = 0; j < 2; j++) {
        row_max[j] = fmaxf(row_max[j], __shfl_xor_sync(~0u, row_max[j], 1));
        row_max[j] = fmaxf(row_max[j], __shfl_xor_sync(~0u, row_max[j], 2)) * log2_scale;
    }

    cp_async_wait<0>();
    __syncthreads();
    if (tile >= place.queries) return;
    float row_sum[2] = {}, result[CHUNKS][4] = {};
#pragma unroll
    for (int i = 0; i < TILES; i++) {
        if (i * TILE >= place.keys) break;
#pragma unroll
        for (int half = 0; half < 2; half++)
#pragma unroll
            for (int j = 0; j < 2; j++) {
                float &upper = scores[i][half][j], &lower = scores[i][half][j + 2];
                upper = exp2_approx(upper * log2_scale - row_max[0]);
                lower = exp2_approx(lower * log2_scale - row_max[1]);
                row_sum[0] += upper;
                row_sum[1] += lower;
                if (!threshold) continue;
                const int column = i * TILE + half * 8 + lane % 4 * 2 + j;
                const uint32 bits = place.bits(drop, heads, tile + lane / 4, column);
                upper = drop.drops(bits & 0xffff) ? 0.0f : upper;
                lower = drop.drops(bits >> 16) ? 0.0f : lower;
            }
        uint32 probs[4];
        accumulators_to_a(probs, scores[i]);
        add_matmul(result, probs, v, i * TILE);
    }
#pragma unroll
    for (int j = 0; j < 2; j++) {
        row_sum[j] = warp_reduce_sum<4>(row_sum[j]);
        const int row = tile + lane / 4 + 8 * j;
        if (lane % 4 == 0 && row < place.queries)
            lse[static_cast<uint64>(place.first_query + row) * heads + place.head] =
                row_max[j] + log2_approx(row_sum[j]);
    }
    const uint32 stride = heads * WIDTH;
    const float factors[2] = {drop.scale / row_sum[0], drop.scale / row_sum[1]};
    store_tile(output + place.query_offset(stride), stride, place.queries, q, result, factors);
}

// d_query, d_key and d_value have the layout of query, key and value. Dynamic shared memory: q, k, v, d_o, d_scores,
// row_lse and delta, allocated by bindings.py.
extern "C" __global__ void __launch_bounds__(THREADS, 256 / TOKENS)
    attention_backward(const scalar_t *query, const scalar_t *key, const scalar_t *value, uint32 query_stride,
                       uint32 key_stride, const int *cu_seqlens, int heads, int has_one_query, float scale,
                       const uint64 *seed, uint32 threshold, float dropout_scale, const scalar_t *output,
                       const float *lse, const scalar_t *d_output, scalar_t *d_query, scalar_t *d_key,
                       scalar_t *d_value) {
    const Place place(cu_seqlens, heads, has_one_query);
    const Dropout drop(seed, threshold, dropout_scale);
    const Rows q{shared_memory()}, k{q.memory + Rows::SIZE}, v{k.memory + Rows::SIZE}, d_o{v.memory + Rows::SIZE};
    const Square d_scores{d_o.memory + Rows::SIZE};  // [keys, queries]
    float *const row_lse = reinterpret_cast<float *>(d_scores.memory + Square::SIZE), *const delta = row_lse + TOKENS;
    const uint32 stride = heads * WIDTH;
    load_tile_async(q, query + place.query_offset(query_stride), query_stride, place.queries);
    load_tile_async(d_o, d_output + place.query_offset(stride), stride, place.queries);
    load_tile_async(k, key + place.key_offset(key_stride), key_stride, place.keys);
    load_tile_async(v, value + place.key_offset(key_stride), key_stride, place.keys);
    const int tile = threadIdx.x / WARP * TILE, lane = threadIdx.x % WARP;
    if (threadIdx.x < TOKENS) {
        const int row = threadIdx.x;
        row_lse[row] = row < place.queries ? lse[static_cast<uint64>(place.first_query + row) * heads + place.head]
                                           : infinity();  // makes the probability 0
    }
    // delta, the term that softmax's gradient subtracts: the dot product of an output row with its gradient.
    float o[CHUNKS_PER_LANE][ELEMENTS_PER_CHUNK] = {};
#pragma unroll
    for (int i = 0; i < CHUNKS_PER_LANE; i++) {
        const int row = tile + (i * WARP + lane) / CHUNKS, column = lane % CHUNKS * ELEMENTS_PER_CHUNK;
        if (row < place.queries)
            load(output + place.query_offset(stride) + row * static_cast<uint64>(stride) + column, o[i]);
    }
    cp_async_commit();
    cp_async_wait<0>();
    __syncwarp();
    if (tile < place.queries) {
#pragma unroll
        for (int i = 0; i < CHUNKS_PER_LANE; i++) {
            const int row = tile + (i * WARP + lane) / CHUNKS;
            float d_o_chunk[ELEMENTS_PER_CHUNK], sum = 0;
            load(reinterpret_cast<const scalar_t *>(d_o.at(row, lane % CHUNKS)), d_o_chunk);
#pragma unroll
            for (int j = 0; j < ELEMENTS_PER_CHUNK; j++) sum += o[i][j] * d_o_chunk[j];
            sum = warp_reduce_sum<CHUNKS>(sum);
            if (lane % CHUNKS == 0) delta[row] = sum;
        }
    }
    __syncthreads();

    const float log2_scale = scale * LOG2_E;
    if (tile < place.keys) {
        float d_keys[CHUNKS][4] = {}, d_values[CHUNKS][4] = {};
        for (int other_tile = 0; other_tile < place.queries; other_tile += TILE) {
            uint32 a[4], b[4];
            float probs[2][4] = {}, d_probs[2][4] = {};  // [keys, queries]
#pragma unroll
            for (int step = 0; step < STEPS; step++) {
                k.load_a(a, tile, 2 * step);
                q.load_b_transposed(b, other_tile, 2 * step);
                mma_m16n8k16(probs[0], a, b[0], b[1]);
                mma_m16n8k16(probs[1], a, b[2], b[3]);
                v.load_a(a, tile, 2 * step);
                d_o.load_b_transposed(b, other_tile, 2 * step);
                mma_m16n8k16(d_probs[0], a, b[0], b[1]);
                mma_m16n8k16(d_probs[1], a, b[2], b[3]);
            }
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const int key_row = tile + lane / 4 + j / 2 * 8, column = lane % 4 * 2 + j % 2;
                const uint32 bits = threshold ? place.bits(drop, heads, other_tile + column, key_row) : 0;
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const int query_row = other_tile + column + half * 8;
                    float &prob = probs[half][j], &d_prob = d_probs[half][j];
                    prob = key_row < place.keys ? exp2_approx(prob * log2_scale - row_lse[query_row]) : 0.0f;
                    const float dropout_factor = drop.factor(half ? bits >> 16 : bits & 0xffff);
                    d_prob = prob * (d_prob * dropout_factor - delta[query_row]);
                    prob *= dropout_factor;
                }
            }
            accumulators_to_a(a, probs);
            add_matmul(d_values, a, d_o, other_tile);
            accumulators_to_a(a, d_probs);
            add_matmul(d_keys, a, q, other_tile);
#pragma unroll
            for (int j = 0; j < 4; j++)
                reinterpret_cast<uint32 *>(
                    d_scores.at(tile + lane / 4 + j % 2 * 8, other_tile / ELEMENTS_PER_CHUNK + j / 2))[lane % 4] = a[j];
        }
        const float one[2] = {1.0f, 1.0f}, scales[2] = {scale, scale};
        store_tile(d_value + place.key_offset(key_stride), key_stride, place.keys, v, d_values, one);
        store_tile(d_key + place.key_offset(key_stride), key_stride, place.keys, v, d_keys, scales);
    }
    __syncthreads();
    if (tile >= place.queries) return;
    float d_queries[CHUNKS][4] = {};
    for (int other_tile = 0; other_tile < place.keys; other_tile += TILE) {
        uint32 a[4];
        d_scores.load_a_transposed(a, other_tile, tile / ELEMENTS_PER_CHUNK);
        add_matmul(d_queries, a, k, other_tile);
    }
    const float scales[2] = {scale, scale};
    store_tile(d_query + place.query_offset(query_stride), query_stride, place.queries, q, d_queries, scales);
}
