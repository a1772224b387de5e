// Attention within sequences of at most TOKENS tokens, by heads of WIDTH numbers: a block for each head of a sequence,
// whose queries, keys and values all lie in shared memory, and a warp for each 16 of them.
//
// TOKENS is 16, 32, 64 or 128, WIDTH 16, 32 or 64. The probabilities and their gradients are narrowed where they are
// multiplied, as in FlashAttention (Dao et al., 2022, https://arxiv.org/abs/2205.14135), whose sums these are; but with
// a whole sequence at hand nothing is done twice, and no two blocks add to the same gradient.

#include "dtypes.cuh"

constexpr int TILE = 16;  // rows of a warp
constexpr int TILES = TOKENS / TILE;
constexpr int THREADS = TILES * WARP;
constexpr int CHUNKS = WIDTH / ELEMENTS_PER_CHUNK;  // of a row, each of 16 bytes
constexpr int CHUNKS_OF_LANE = TILE * CHUNKS / WARP;
constexpr int STEPS = WIDTH / TILE;  // of a product over a head's width
constexpr float LOG2_E = 1.44269504f;

// Rows of so many chunks in shared memory. Their chunks stand in another order in each of 8 rows, so that a chunk of 8
// rows, as one of a row, is read from all banks.
template <int CHUNKS_OF_ROW>
struct Matrix {
    static constexpr int ORDERS = CHUNKS_OF_ROW < 8 ? CHUNKS_OF_ROW : 8;
    static constexpr int SIZE = TOKENS * CHUNKS_OF_ROW;

    uint4 *memory;

    __device__ uint4 *at(int row, int chunk) const {
        return memory + row * CHUNKS_OF_ROW + (chunk ^ (row / (8 / ORDERS) % ORDERS));
    }

    // 16 x 16 numbers from this row and chunk on as mma_m16n8k16() wants them: on its left, as they stand and
    // transposed; on its right, transposed (two times 8 rows become columns) and as they stand.
    __device__ void left(uint32 (&to)[4], int row, int chunk) const { ldmatrix_x4(to, lane_of_columns(row, chunk)); }
    __device__ void left_transposed(uint32 (&to)[4], int row, int chunk) const {
        ldmatrix_x4_trans(to, lane_of_rows(row, chunk));
    }
    __device__ void right_transposed(uint32 (&to)[4], int row, int chunk) const {
        ldmatrix_x4(to, lane_of_rows(row, chunk));
    }
    __device__ void right(uint32 (&to)[4], int row, int chunk) const {
        ldmatrix_x4_trans(to, lane_of_columns(row, chunk));
    }

private:
    // The row that this lane names, when of the four matrices of 8 x 8 the second lies below the first, or beside it.
    __device__ const uint4 *lane_of_columns(int row, int chunk) const {
        const int lane = threadIdx.x % WARP;
        return at(row + lane % 16, chunk + lane / 16);
    }
    __device__ const uint4 *lane_of_rows(int row, int chunk) const {
        const int lane = threadIdx.x % WARP;
        return at(row + lane % 8 + lane / 16 * 8, chunk + lane / 8 % 2);
    }
};

using Rows = Matrix<CHUNKS>;
using Square = Matrix<TOKENS / ELEMENTS_PER_CHUNK>;

__device__ uint32 from_float_pair(float low, float high) {
    scalar_t lower, upper;
    from_float(low, lower);
    from_float(high, upper);
    return lower | static_cast<uint32>(upper) << 16;
}

// 16 x 16 numbers of two sums, side by side, as the left operand of a product.
__device__ void from_float_sums(uint32 (&to)[4], const float (&sums)[2][4]) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        to[2 * half] = from_float_pair(sums[half][0], sums[half][1]);
        to[2 * half + 1] = from_float_pair(sums[half][2], sums[half][3]);
    }
}

// What a block works on: one head of one sequence. With `has_one_query` each sequence has a single query, the row of
// its number; else each token has one.
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

    __device__ uint64 query_at(uint32 stride) const { return static_cast<uint64>(first_query) * stride + head * WIDTH; }
    __device__ uint64 key_at(uint32 stride) const { return static_cast<uint64>(first_key) * stride + head * WIDTH; }

    // Random bits for a key and two queries: those of this number and the eighth behind, of which they are the lower
    // and the upper half.
    __device__ uint32 bits(const Dropout &drop, int heads, int query, int key) const {
        return drop.bits((static_cast<uint32>(first_query + query) * heads + head) * TOKENS + key);
    }
};

// Begin to copy this warp's rows to shared memory; zeros stand for those of its tile that are not there.
__device__ void copy_tile(const Rows &to, const scalar_t *from, uint32 stride, int rows) {
    const int tile = threadIdx.x / WARP * TILE, lane = threadIdx.x % WARP;
    if (tile >= rows) return;
#pragma unroll
    for (int i = 0; i < CHUNKS_OF_LANE; i++) {
        const int row = tile + (i * WARP + lane) / CHUNKS, chunk = lane % CHUNKS;
        const uint64 start = row < rows ? row * static_cast<uint64>(stride) : 0;
        cp_async(to.at(row, chunk), from + start + chunk * ELEMENTS_PER_CHUNK, row < rows);
    }
}

// sums += left * the 16 rows from this one on.
__device__ void add_product(float (&sums)[CHUNKS][4], const uint32 (&left)[4], const Rows &rows, int row) {
    uint32 right[4];
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
        rows.right(right, row, 2 * step);
        mma_m16n8k16(sums[2 * step], left, right[0], right[1]);
        mma_m16n8k16(sums[2 * step + 1], left, right[2], right[3]);
    }
}

// Write this warp's sums, its upper and its lower eight rows times their factors, as its rows of a matrix in memory, by
// way of its rows in shared memory.
__device__ void write_tile(scalar_t *to, uint32 stride, int rows, const Rows &by, const float (&sums)[CHUNKS][4],
                           const float (&factors)[2]) {
    const int tile = threadIdx.x / WARP * TILE, lane = threadIdx.x % WARP;
#pragma unroll
    for (int chunk = 0; chunk < CHUNKS; chunk++) {
#pragma unroll
        for (int half = 0; half < 2; half++)
            reinterpret_cast<uint32 *>(by.at(tile + lane / 4 + 8 * half, chunk))[lane % 4] =
                from_float_pair(sums[chunk][2 * half] * factors[half], sums[chunk][2 * half + 1] * factors[half]);
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < CHUNKS_OF_LANE; i++) {
        const int row = tile + (i * WARP + lane) / CHUNKS, chunk = lane % CHUNKS;
        if (row < rows)
            *reinterpret_cast<uint4 *>(to + row * static_cast<uint64>(stride) + chunk * ELEMENTS_PER_CHUNK) =
                *by.at(row, chunk);
    }
    __syncwarp();
}

// output: [queries, heads * WIDTH]. lse: [queries, heads], to base 2. query, key and value begin at their first
// column; rows of query are query_stride apart, those of key and value key_stride.
extern "C" __global__ void __launch_bounds__(THREADS)
    attention_forward(const scalar_t *query, const scalar_t *key, const scalar_t *value, uint32 query_stride,
                      uint32 key_stride, const int *cu_seqlens, int heads, int has_one_query, float scale,
                      const uint64 *seed, uint32 threshold, float kept_scale, scalar_t *output, float *lse) {
    const Place place(cu_seqlens, heads, has_one_query);
    const Dropout drop(seed, threshold, kept_scale);
    const Rows q{shared_memory()}, k{q.memory + Rows::SIZE}, v{k.memory + Rows::SIZE};
    copy_tile(q, query + place.query_at(query_stride), query_stride, place.queries);
    copy_tile(k, key + place.key_at(key_stride), key_stride, place.keys);
    cp_async_commit();
    copy_tile(v, value + place.key_at(key_stride), key_stride, place.keys);
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    const int tile = threadIdx.x / WARP * TILE, lane = threadIdx.x % WARP;
    const int keys = tile < place.queries ? place.keys : 0;  // that this warp's queries see

    uint32 left[STEPS][4], right[4];
#pragma unroll
    for (int step = 0; step < STEPS; step++) q.left(left[step], tile, 2 * step);
    float scores[TILES][2][4];
    float highest[2] = {-infinity(), -infinity()};
#pragma unroll
    for (int i = 0; i < TILES; i++) {
        if (i * TILE >= keys) break;
#pragma unroll
        for (int half = 0; half < 2; half++)
#pragma unroll
            for (int j = 0; j < 4; j++) scores[i][half][j] = 0;
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
            k.right_transposed(right, i * TILE, 2 * step);
            mma_m16n8k16(scores[i][0], left[step], right[0], right[1]);
            mma_m16n8k16(scores[i][1], left[step], right[2], right[3]);
        }
        const bool is_last = (i + 1) * TILE > keys;
#pragma unroll
        for (int half = 0; half < 2; half++)
#pragma unroll
            for (int j = 0; j < 4; j++) {
                if (is_last && i * TILE + half * 8 + lane % 4 * 2 + j % 2 >= keys) scores[i][half][j] = -infinity();
                highest[j / 2] = fmaxf(highest[j / 2], scores[i][half][j]);
            }
    }
    const float factor = scale * LOG2_E;
#pragma unroll
    for (int j = 0; j < 2; j++) {
        highest[j] = fmaxf(highest[j], __shfl_xor_sync(~0u, highest[j], 1));
        highest[j] = fmaxf(highest[j], __shfl_xor_sync(~0u, highest[j], 2)) * factor;
    }

    cp_async_wait<0>();
    __syncthreads();
    if (tile >= place.queries) return;
    float sum[2] = {}, result[CHUNKS][4] = {};
#pragma unroll
    for (int i = 0; i < TILES; i++) {
        if (i * TILE >= place.keys) break;
#pragma unroll
        for (int half = 0; half < 2; half++)
#pragma unroll
            for (int j = 0; j < 2; j++) {
                float &upper = scores[i][half][j], &lower = scores[i][half][j + 2];
                sum[0] += upper = exp2_approx(upper * factor - highest[0]);
                sum[1] += lower = exp2_approx(lower * factor - highest[1]);
                if (!threshold) continue;
                const int at = i * TILE + half * 8 + lane % 4 * 2 + j;
                const uint32 bits = place.bits(drop, heads, tile + lane / 4, at);
                upper = drop.drops(bits & 0xffff) ? 0.0f : upper;
                lower = drop.drops(bits >> 16) ? 0.0f : lower;
            }
        uint32 weights[4];
        from_float_sums(weights, scores[i]);
        add_product(result, weights, v, i * TILE);
    }
#pragma unroll
    for (int j = 0; j < 2; j++) {
        sum[j] = warp_reduce_sum<4>(sum[j]);
        const int row = tile + lane / 4 + 8 * j;
        if (lane % 4 == 0 && row < place.queries)
            lse[static_cast<uint64>(place.first_query + row) * heads + place.head] = highest[j] + log2_approx(sum[j]);
    }
    const uint32 stride = heads * WIDTH;
    const float factors[2] = {drop.scale / sum[0], drop.scale / sum[1]};
    write_tile(output + place.query_at(stride), stride, place.queries, q, result, factors);
}

// The gradients stand as query, key and value do.
extern "C" __global__ void __launch_bounds__(THREADS, 256 / TOKENS)
    attention_backward(const scalar_t *query, const scalar_t *key, const scalar_t *value, uint32 query_stride,
                       uint32 key_stride, const int *cu_seqlens, int heads, int has_one_query, float scale,
                       const uint64 *seed, uint32 threshold, float kept_scale, const scalar_t *output, const float *lse,
                       const scalar_t *d_output, scalar_t *d_query, scalar_t *d_key, scalar_t *d_value) {
    const Place place(cu_seqlens, heads, has_one_query);
    const Dropout drop(seed, threshold, kept_scale);
    const Rows q{shared_memory()}, k{q.memory + Rows::SIZE}, v{k.memory + Rows::SIZE}, d_o{v.memory + Rows::SIZE};
    const Square d_scores{d_o.memory + Rows::SIZE};  // [keys, queries]
    float *const log_sum = reinterpret_cast<float *>(d_scores.memory + Square::SIZE), *const product = log_sum + TOKENS;
    const uint32 stride = heads * WIDTH;
    copy_tile(q, query + place.query_at(query_stride), query_stride, place.queries);
    copy_tile(d_o, d_output + place.query_at(stride), stride, place.queries);
    copy_tile(k, key + place.key_at(key_stride), key_stride, place.keys);
    copy_tile(v, value + place.key_at(key_stride), key_stride, place.keys);
    const int tile = threadIdx.x / WARP * TILE, lane = threadIdx.x % WARP;
    if (threadIdx.x < TOKENS) {
        const int row = threadIdx.x;
        log_sum[row] = row < place.queries ? lse[static_cast<uint64>(place.first_query + row) * heads + place.head]
                                           : infinity();  // which makes a probability 0
    }
    // What softmax's gradient takes off: the sum over a row of the output times its gradient.
    float own[CHUNKS_OF_LANE][ELEMENTS_PER_CHUNK] = {};
#pragma unroll
    for (int i = 0; i < CHUNKS_OF_LANE; i++) {
        const int row = tile + (i * WARP + lane) / CHUNKS, column = lane % CHUNKS * ELEMENTS_PER_CHUNK;
        if (row < place.queries)
            load(output + place.query_at(stride) + row * static_cast<uint64>(stride) + column, own[i]);
    }
    cp_async_commit();
    cp_async_wait<0>();
    __syncwarp();
    if (tile < place.queries) {
#pragma unroll
        for (int i = 0; i < CHUNKS_OF_LANE; i++) {
            const int row = tile + (i * WARP + lane) / CHUNKS;
            float d_own[ELEMENTS_PER_CHUNK], sum = 0;
            load(reinterpret_cast<const scalar_t *>(d_o.at(row, lane % CHUNKS)), d_own);
#pragma unroll
            for (int j = 0; j < ELEMENTS_PER_CHUNK; j++) sum += own[i][j] * d_own[j];
            sum = warp_reduce_sum<CHUNKS>(sum);
            if (lane % CHUNKS == 0) product[row] = sum;
        }
    }
    __syncthreads();

    const float factor = scale * LOG2_E;
    if (tile < place.keys) {
        float d_keys[CHUNKS][4] = {}, d_values[CHUNKS][4] = {};
        for (int other = 0; other < place.queries; other += TILE) {
            uint32 left[4], right[4];
            float weights[2][4] = {}, d_weights[2][4] = {};  // of keys and queries
#pragma unroll
            for (int step = 0; step < STEPS; step++) {
                k.left(left, tile, 2 * step);
                q.right_transposed(right, other, 2 * step);
                mma_m16n8k16(weights[0], left, right[0], right[1]);
                mma_m16n8k16(weights[1], left, right[2], right[3]);
                v.left(left, tile, 2 * step);
                d_o.right_transposed(right, other, 2 * step);
                mma_m16n8k16(d_weights[0], left, right[0], right[1]);
                mma_m16n8k16(d_weights[1], left, right[2], right[3]);
            }
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const int own = tile + lane / 4 + j / 2 * 8, column = lane % 4 * 2 + j % 2;
                const uint32 bits = threshold ? place.bits(drop, heads, other + column, own) : 0;
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const int at = other + column + half * 8;
                    float &weight = weights[half][j], &d_weight = d_weights[half][j];
                    weight = own < place.keys ? exp2_approx(weight * factor - log_sum[at]) : 0.0f;
                    const float kept = drop.factor(half ? bits >> 16 : bits & 0xffff);
                    d_weight = weight * (d_weight * kept - product[at]);
                    weight *= kept;
                }
            }
            from_float_sums(left, weights);
            add_product(d_values, left, d_o, other);
            from_float_sums(left, d_weights);
            add_product(d_keys, left, q, other);
#pragma unroll
            for (int j = 0; j < 4; j++)
                reinterpret_cast<uint32 *>(
                    d_scores.at(tile + lane / 4 + j % 2 * 8, other / ELEMENTS_PER_CHUNK + j / 2))[lane % 4] = left[j];
        }
        const float one[2] = {1.0f, 1.0f}, scales[2] = {scale, scale};
        write_tile(d_value + place.key_at(key_stride), key_stride, place.keys, v, d_values, one);
        write_tile(d_key + place.key_at(key_stride), key_stride, place.keys, v, d_keys, scales);
    }
    __syncthreads();
    if (tile >= place.queries) return;
    float d_queries[CHUNKS][4] = {};
    for (int other = 0; other < place.keys; other += TILE) {
        uint32 left[4];
        d_scores.left_transposed(left, other, tile / ELEMENTS_PER_CHUNK);
        add_product(d_queries, left, k, other);
    }
    const float scales[2] = {scale, scale};
    write_tile(d_query + place.query_at(query_stride), query_stride, place.queries, q, d_queries, scales);
}
