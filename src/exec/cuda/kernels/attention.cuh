// softmax(q k^T factor) v, a row at a time and never as a whole matrix (online softmax: Milakov and Gimelshein 2018;
// tiles: Dao et al. 2022).
#pragma once
#include "element.cuh"

struct Attention {
    const void* qkv;  // (batch, tokens, 3, heads, head_channels)
    void* out;        // (batch, tokens, heads, head_channels)
    int batch, tokens, heads, head_channels;
    float factor;  // 1 / sqrt(head_channels)
    int unused;
};

constexpr int kQueries = 64, kKeys = 32;

// Tensor cores: 64 queries and `DV` channels of the values a block of 4 warps. Head channels come in eights.
template <class T, int DV>
__device__ __forceinline__ void attention_tile(const Attention& a) {
    constexpr int kThreads = 128, kTiles = DV / 8;
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    const int d = a.head_channels, depth = (d + 15) / 16 * 16, pitch = depth + 8, value_pitch = DV + 8;
    const int query_tiles = (a.tokens + kQueries - 1) / kQueries, slices = (d + DV - 1) / DV;
    const int first_query = blockIdx.x % query_tiles * kQueries;
    const int slice = blockIdx.x / query_tiles % slices * DV;
    const int head = blockIdx.x / query_tiles / slices % a.heads, image = blockIdx.x / query_tiles / slices / a.heads;
    const int channels = a.heads * d;
    const T* const start = static_cast<const T*>(a.qkv) + static_cast<size_t>(image) * a.tokens * 3 * channels + head * d;

    SHARED_DYNAMIC(memory);
    T* const queries = reinterpret_cast<T*>(memory);
    T* const keys = queries + kQueries * pitch;
    T* const values = keys + kKeys * pitch;

    // `count` rows of q, k or v from token `first` on, `width` channels from `channel` on.
    auto load = [&](T* tile, int tile_pitch, int count, int first, int part, int channel, int width) {
        for (int at = thread; at < count * (width / 8); at += kThreads) {
            const int row = at / (width / 8), c = channel + at % (width / 8) * 8;
            const bool there = first + row < a.tokens && c < d;
            const size_t from = static_cast<size_t>(first + row) * 3 * channels + part * channels + c;
            copy_async(tile + row * tile_pitch + c - channel, start + (there ? from : 0), there);
        }
        commit_copies();
    };
    load(queries, pitch, kQueries, first_query, 0, 0, depth);
    load(keys, pitch, kKeys, 0, 1, 0, depth);
    load(values, value_pitch, kKeys, 0, 2, slice, DV);

    float out[kTiles][4] = {};
    float largest[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
    const float factor = a.factor * 1.44269504f;  // of powers of two
    for (int key = 0; key < a.tokens; key += kKeys) {
        wait_copies<1>();  // the keys; the values may still be under way
        sync_block();
        float scores[kKeys / 8][4] = {};
        for (int k = 0; k < depth; k += 16) {
            uint32_t left[4], right[2][4];
            load_matrices(left, queries + (16 * warp + lane % 16) * pitch + k + lane / 16 * 8);
#pragma unroll
            for (int j = 0; j < 2; ++j) {
                load_matrices(right[j], keys + (16 * j + lane / 16 * 8 + lane % 8) * pitch + k + lane / 8 % 2 * 8);
            }
#pragma unroll
            for (int j = 0; j < kKeys / 8; ++j) {
                const uint32_t operand[2] = {right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1]};
                multiply_add<T>(scores[j], left, operand);
            }
        }
        sync_block();
        const bool more = key + kKeys < a.tokens;
        if (more) load(keys, pitch, kKeys, key + kKeys, 1, 0, depth);

        // Lane l holds rows l / 4 (half 0) and l / 4 + 8 (half 1); four lanes share a row.
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float most = largest[half];
#pragma unroll
            for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    float& score = scores[j][2 * half + i];
                    score = key + 8 * j + lane % 4 * 2 + i < a.tokens ? score * factor : -INFINITY;
                    most = fmaxf(most, score);
                }
            }
            most = fmaxf(most, shuffle_xor(most, 1));
            most = fmaxf(most, shuffle_xor(most, 2));
            const float shrink = exp2f(largest[half] - most);
            largest[half] = most;
            total[half] *= shrink;
#pragma unroll
            for (int t = 0; t < kTiles; ++t) {
                out[t][2 * half] *= shrink;
                out[t][2 * half + 1] *= shrink;
            }
#pragma unroll
            for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    float& score = scores[j][2 * half + i];
                    score = exp2f(score - most);
                    total[half] += score;
                }
            }
        }

        if (more) wait_copies<1>();
        else wait_copies<0>();
        sync_block();
#pragma unroll
        for (int k = 0; k < kKeys / 16; ++k) {
            const uint32_t left[4] = {pack<T>(scores[2 * k][0], scores[2 * k][1]), pack<T>(scores[2 * k][2], scores[2 * k][3]),
                                      pack<T>(scores[2 * k + 1][0], scores[2 * k + 1][1]),
                                      pack<T>(scores[2 * k + 1][2], scores[2 * k + 1][3])};
#pragma unroll
            for (int t = 0; t < kTiles; t += 2) {
                uint32_t right[4];
                const int row = 16 * k + lane / 8 % 2 * 8 + lane % 8, column = 8 * t + lane / 16 * 8;
                load_matrices_transposed(right, values + row * value_pitch + column);
                const uint32_t first[2] = {right[0], right[1]}, second[2] = {right[2], right[3]};
                multiply_add<T>(out[t], left, first);
                multiply_add<T>(out[t + 1], left, second);
            }
        }
        sync_block();
        if (more) load(values, value_pitch, kKeys, key + kKeys, 2, slice, DV);
    }

#pragma unroll
    for (int half = 0; half < 2; ++half) {
        float sum = total[half];
        sum += shuffle_xor(sum, 1);
        sum += shuffle_xor(sum, 2);
        const int query = first_query + 16 * warp + lane / 4 + 8 * half;
        if (query >= a.tokens) continue;
        T* const row = static_cast<T*>(a.out) + (static_cast<size_t>(image) * a.tokens + query) * channels + head * d;
#pragma unroll
        for (int t = 0; t < kTiles; ++t) {
            const int column = slice + 8 * t + lane % 4 * 2;
            if (column >= d) continue;
            *reinterpret_cast<uint32_t*>(row + column) = pack<T>(out[t][2 * half] / sum, out[t][2 * half + 1] / sum);
        }
    }
}

// Float arithmetic, any number of channels: one query a block of 128 threads.
template <class T>
__device__ __forceinline__ void attention_plain(const Attention& a) {
    constexpr int kThreads = 128, kChunk = 1024;
    const int thread = threadIdx.x, d = a.head_channels, channels = a.heads * d;
    const int query = blockIdx.x % a.tokens, head = blockIdx.x / a.tokens % a.heads, image = blockIdx.x / a.tokens / a.heads;
    const T* const start = static_cast<const T*>(a.qkv) + static_cast<size_t>(image) * a.tokens * 3 * channels + head * d;
    auto token = [&](int index, int part) { return start + (static_cast<size_t>(index) * 3 + part) * channels; };

    SHARED_DYNAMIC(memory);
    float* const scores = reinterpret_cast<float*>(memory);  // (chunk)
    float* const parts = scores + kChunk;                    // (threads)
    float* const sums = parts + kThreads;                    // (head_channels)
    for (int c = thread; c < d; c += kThreads) sums[c] = 0.0f;

    auto reduced = [&](float value, bool most) {
        sync_block();
        parts[thread] = value;
        for (int half = kThreads / 2; half > 0; half /= 2) {
            sync_block();
            if (thread < half) {
                const float other = parts[thread + half];
                parts[thread] = most ? fmaxf(parts[thread], other) : parts[thread] + other;
            }
        }
        sync_block();
        return parts[0];
    };

    float largest = -INFINITY, total = 0.0f;
    for (int first = 0; first < a.tokens; first += kChunk) {
        const int count = a.tokens - first < kChunk ? a.tokens - first : kChunk;
        float most = largest;
        for (int i = thread; i < count; i += kThreads) {
            const T *const q = token(query, 0), *const k = token(first + i, 1);
            float score = 0.0f;
            for (int c = 0; c < d; ++c) score += to_float(q[c]) * to_float(k[c]);
            scores[i] = score * a.factor;
            most = fmaxf(most, scores[i]);
        }
        most = reduced(most, true);
        float sum = 0.0f;
        for (int i = thread; i < count; i += kThreads) {
            scores[i] = expf(scores[i] - most);
            sum += scores[i];
        }
        sum = reduced(sum, false);
        const float shrink = expf(largest - most);
        total = total * shrink + sum;
        largest = most;
        for (int c = thread; c < d; c += kThreads) {
            float value = sums[c] * shrink;
            for (int i = 0; i < count; ++i) value += scores[i] * to_float(token(first + i, 2)[c]);
            sums[c] = value;
        }
        sync_block();
    }
    T* const out = static_cast<T*>(a.out) + (static_cast<size_t>(image) * a.tokens + query) * channels + head * d;
    for (int c = thread; c < d; c += kThreads) out[c] = from_float<T>(sums[c] / total);
}
