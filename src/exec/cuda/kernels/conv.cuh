// Convolutions of 3 x 3 and 1 x 1 as implicit matrix products: rows are output pixels, columns output channels, and the
// sum runs over taps and input channels. Nothing is unfolded in memory. Every element is summed in the same order whatever
// the tile and the batch, so an image's bits depend on neither.
#pragma once
#include "element.cuh"

struct Conv {
    const void* a;         // (batch, height, width, channels_a); with `planes_in` floats, (batch, channels_a, height, width)
    const void* b;         // read as if its channels followed those of a; null: none
    const void* weight;    // (out_channels, taps, channels)
    const float* bias;     // (out_channels)
    const float* rows;     // added to an image's pixels: rows[row_of[image] * row_stride + row_offset + channel]; or null
    const int* row_of;
    const void* residual;  // as out, added; or null
    void* out;             // (batch, out_height, out_width, out_channels); with `planes_out` floats in planes
    int batch, height, width;
    int channels_a, channels_b;
    int out_height, out_width, out_channels;
    int taps;     // 9 or 1
    int stride, pad;
    int doubled;  // 1: the input is read as if each pixel were two by two
    int row_stride, row_offset;
    int planes_in;  // 1: planes; 2: planes of x, convolved as 2 x - 1
    int planes_out;
    float scale;
    int unused;
};

// Where an image's row begins, or null.
__device__ __forceinline__ const float* row_of(const Conv& a, int image) {
    return a.rows ? a.rows + static_cast<size_t>(a.row_of[image]) * a.row_stride + a.row_offset : nullptr;
}

// What is added to a channel: its bias, and what the image's row has for it.
__device__ __forceinline__ float added(float bias, const float* row, int channel) {
    return row ? bias + row[channel] : bias;
}

constexpr int kDepth = 64;  // channels a step: 128 bytes, one cache line of each row
constexpr int kStages = 3;

// Bytes of shared memory of a tile; the host's `conv.rs` computes the same.
template <int BM, int BN>
constexpr int kConvShared = kStages * (BM + BN) * kDepth * 2;

// Tensor cores; BM pixels by BN channels a block of WM x WN warps. T has 16 bits; channels come in eights.
template <class T, int BM, int BN, int WM, int WN>
__device__ __forceinline__ void conv_tile(const Conv& a) {
    constexpr int kThreads = 32 * WM * WN;
    constexpr int kRows = kThreads / 8;  // rows that all threads load at a time, 8 threads a row
    constexpr int MI = BM / WM / 16, NI = BN / WN / 8;
    static_assert(MI >= 1 && NI >= 2 && NI % 2 == 0 && BM % kRows == 0 && BN % kRows == 0, "tile");
    static_assert(BM * (BN + 8) * 4 <= kConvShared<BM, BN>, "the epilogue's tile fits");

    SHARED_DYNAMIC(memory);
    T* const pixels_tile = reinterpret_cast<T*>(memory);
    T* const weights_tile = pixels_tile + kStages * BM * kDepth;

    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    const int out_pixels = a.out_height * a.out_width, pixels = a.batch * out_pixels;
    const int columns = (a.out_channels + BN - 1) / BN;
    const int first_pixel = blockIdx.x / columns * BM, first_channel = blockIdx.x % columns * BN;
    const int height = a.height << a.doubled, width = a.width << a.doubled;
    const int channels = a.channels_a + a.channels_b;

    // The rows that this thread loads: top left tap and first pixel of the image.
    int top[BM / kRows], left[BM / kRows], image_start[BM / kRows];
#pragma unroll
    for (int i = 0; i < BM / kRows; ++i) {
        const int pixel = first_pixel + thread / 8 + i * kRows, within = pixel % out_pixels;
        const bool there = pixel < pixels;
        top[i] = there ? within / a.out_width * a.stride - a.pad : -(1 << 28);
        left[i] = within % a.out_width * a.stride - a.pad;
        image_start[i] = there ? pixel / out_pixels * a.height * a.width : 0;
    }

    // Of the next step to load. Taps come one after the other before the next channels do: the same pixels, a few lines on,
    // which the first cache still has.
    int tap = 0, base = 0;
    bool second = false;
    auto load = [&](int stage) {
        const T* const source = static_cast<const T*>(second ? a.b : a.a);
        const int source_channels = second ? a.channels_b : a.channels_a;
        const int piece = thread % 8, channel = base + 8 * piece;
        const bool inside = channel < source_channels;
        const int tap_y = a.taps == 9 ? tap / 3 : 0, tap_x = a.taps == 9 ? tap % 3 : 0;
#pragma unroll
        for (int i = 0; i < BM / kRows; ++i) {
            const int row = thread / 8 + i * kRows, y = top[i] + tap_y, x = left[i] + tap_x;
            const bool there = inside && y >= 0 && y < height && x >= 0 && x < width;
            const size_t pixel = there ? image_start[i] + (y >> a.doubled) * a.width + (x >> a.doubled) : 0;
            T* const to = pixels_tile + (stage * BM + row) * kDepth + 8 * (piece ^ row % 8);
            copy_async_cached(to, source + (there ? pixel * source_channels + channel : 0), there);
        }
        const T* const weights = static_cast<const T*>(a.weight);
        const size_t depth = static_cast<size_t>(a.taps) * channels;
#pragma unroll
        for (int i = 0; i < BN / kRows; ++i) {
            const int row = thread / 8 + i * kRows, out = first_channel + row;
            const bool there = inside && out < a.out_channels;
            const size_t at = out * depth + tap * channels + (second ? a.channels_a : 0) + channel;
            T* const to = weights_tile + (stage * BN + row) * kDepth + 8 * (piece ^ row % 8);
            copy_async(to, weights + (there ? at : 0), there);
        }
        if (++tap == a.taps) {
            tap = 0;
            base += kDepth;
            if (base >= source_channels) {
                base = 0;
                second = true;
            }
        }
    };

    const int steps =
        a.taps * ((a.channels_a + kDepth - 1) / kDepth + (a.channels_b + kDepth - 1) / kDepth);
    for (int stage = 0; stage < kStages - 1; ++stage) {
        if (stage < steps) load(stage);
        commit_copies();
    }

    float sums[MI][NI][4] = {};
    const int warp_row = warp / WN * (BM / WM), warp_column = warp % WN * (BN / WN);
    for (int step = 0; step < steps; ++step) {
        wait_copies<kStages - 2>();
        sync_block();
        // Into the stage that all have finished with.
        if (step + kStages - 1 < steps) load((step + kStages - 1) % kStages);
        commit_copies();

        const T* const left_tile = pixels_tile + step % kStages * BM * kDepth;
        const T* const right_tile = weights_tile + step % kStages * BN * kDepth;
#pragma unroll
        for (int k = 0; k < kDepth / 16; ++k) {
            uint32_t left_operand[MI][4], right_operand[NI / 2][4];
#pragma unroll
            for (int i = 0; i < MI; ++i) {
                const int row = warp_row + 16 * i + lane % 16, piece = 2 * k + lane / 16;
                load_matrices(left_operand[i], left_tile + row * kDepth + 8 * (piece ^ row % 8));
            }
#pragma unroll
            for (int j = 0; j < NI / 2; ++j) {
                const int row = warp_column + 16 * j + lane / 16 * 8 + lane % 8, piece = 2 * k + lane / 8 % 2;
                load_matrices(right_operand[j], right_tile + row * kDepth + 8 * (piece ^ row % 8));
            }
#pragma unroll
            for (int i = 0; i < MI; ++i) {
#pragma unroll
                for (int j = 0; j < NI; ++j) {
                    const uint32_t right[2] = {right_operand[j / 2][j % 2 * 2], right_operand[j / 2][j % 2 * 2 + 1]};
                    multiply_add<T>(sums[i][j], left_operand[i], right);
                }
            }
        }
    }

    // Through shared memory, so that rows leave in 16 bytes a thread.
    wait_copies<0>();
    sync_block();
    float* const tile = reinterpret_cast<float*>(memory);
    constexpr int kPitch = BN + 8;  // rows of a warp's pairs lie in banks of their own
#pragma unroll
    for (int i = 0; i < MI; ++i) {
#pragma unroll
        for (int j = 0; j < NI; ++j) {
            float* const to = tile + (warp_row + 16 * i + lane / 4) * kPitch + warp_column + 8 * j + lane % 4 * 2;
            to[0] = sums[i][j][0];
            to[1] = sums[i][j][1];
            to[8 * kPitch] = sums[i][j][2];
            to[8 * kPitch + 1] = sums[i][j][3];
        }
    }
    sync_block();
    // A thread finishes eight channels, of one row after the other.
    static_assert(kThreads % (BN / 8) == 0, "the same channels in each turn");
    const int column = thread % (BN / 8) * 8, channel = first_channel + column;
    if (channel >= a.out_channels) return;
    float bias[8] = {}, add[8];
    for (int i = 0; i < 8 && channel + i < a.out_channels; ++i) bias[i] = a.bias[channel + i];
    int image = -1;
    for (int row = thread / (BN / 8); row < BM; row += kThreads / (BN / 8)) {
        const int pixel = first_pixel + row;
        if (pixel >= pixels) break;
        if (image != pixel / out_pixels) {
            image = pixel / out_pixels;
            const float* const rows = row_of(a, image);
#pragma unroll
            for (int i = 0; i < 8; ++i) add[i] = channel + i < a.out_channels ? added(bias[i], rows, channel + i) : 0.0f;
        }
        const Vector<float, 4>* const from = reinterpret_cast<const Vector<float, 4>*>(tile + row * kPitch + column);
        const Vector<float, 4> low = from[0], high = from[1];
        auto sum = [&](int i) { return i < 4 ? low.at[i] : high.at[i - 4]; };
        if (a.planes_out) {
            float* const out = static_cast<float*>(a.out);
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                if (channel + i >= a.out_channels) break;
                const size_t to = (static_cast<size_t>(image) * a.out_channels + channel + i) * out_pixels;
                out[to + pixel % out_pixels] = (sum(i) + add[i]) * a.scale;
            }
            continue;
        }
        const size_t to = static_cast<size_t>(pixel) * a.out_channels + channel;
        Vector<T, 8> residual = {}, out;
        if (a.residual) residual = *reinterpret_cast<const Vector<T, 8>*>(static_cast<const T*>(a.residual) + to);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            out.at[i] = from_float<T>((sum(i) + add[i] + to_float(residual.at[i])) * a.scale);
        }
        *reinterpret_cast<Vector<T, 8>*>(static_cast<T*>(a.out) + to) = out;
    }
}

// Float arithmetic, any number of channels, planes or channels last: 64 pixels by 64 channels a block of 256 threads.
template <class T>
__device__ __forceinline__ void conv_plain(const Conv& a) {
    constexpr int kTile = 64, kStep = 16, kPitch = kTile + 1;
    SHARED(float, left_tile, kStep * kPitch);
    SHARED(float, right_tile, kStep * kPitch);

    const int thread = threadIdx.x, tx = thread % 16, ty = thread / 16;
    const int out_pixels = a.out_height * a.out_width, pixels = a.batch * out_pixels;
    const int columns = (a.out_channels + kTile - 1) / kTile;
    const int first_pixel = blockIdx.x / columns * kTile, first_channel = blockIdx.x % columns * kTile;
    const int height = a.height << a.doubled, width = a.width << a.doubled;
    const int channels = a.channels_a + a.channels_b, depth = a.taps * channels;

    auto input = [&](int pixel, int k) {
        const int tap = k / channels, channel = k % channels, within = pixel % out_pixels, image = pixel / out_pixels;
        const int y = within / a.out_width * a.stride - a.pad + (a.taps == 9 ? tap / 3 : 0);
        const int x = within % a.out_width * a.stride - a.pad + (a.taps == 9 ? tap % 3 : 0);
        if (y < 0 || y >= height || x < 0 || x >= width) return 0.0f;
        const int at = (y >> a.doubled) * a.width + (x >> a.doubled), size = a.height * a.width;
        if (a.planes_in) {
            const float value = static_cast<const float*>(a.a)[(static_cast<size_t>(image) * channels + channel) * size + at];
            return a.planes_in == 2 ? 2.0f * value - 1.0f : value;
        }
        const bool second = channel >= a.channels_a;
        const T* const source = static_cast<const T*>(second ? a.b : a.a);
        const int source_channels = second ? a.channels_b : a.channels_a;
        const size_t start = (static_cast<size_t>(image) * size + at) * source_channels;
        return to_float(source[start + (second ? channel - a.channels_a : channel)]);
    };

    float sums[4][4] = {};
    for (int start = 0; start < depth; start += kStep) {
        for (int e = thread; e < kTile * kStep; e += 256) {
            const int k = start + e % kStep, row = e / kStep;
            const int pixel = first_pixel + row, channel = first_channel + row;
            left_tile[e % kStep * kPitch + row] = pixel < pixels && k < depth ? input(pixel, k) : 0.0f;
            const size_t at = static_cast<size_t>(channel) * depth + k;
            right_tile[e % kStep * kPitch + row] =
                channel < a.out_channels && k < depth ? to_float(static_cast<const T*>(a.weight)[at]) : 0.0f;
        }
        sync_block();
        for (int k = 0; k < kStep; ++k) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    sums[i][j] += left_tile[k * kPitch + ty + 16 * i] * right_tile[k * kPitch + tx + 16 * j];
                }
            }
        }
        sync_block();
    }
    for (int i = 0; i < 4; ++i) {
        for (int j = 0; j < 4; ++j) {
            const int pixel = first_pixel + ty + 16 * i, channel = first_channel + tx + 16 * j;
            if (pixel >= pixels || channel >= a.out_channels) continue;
            const int image = pixel / out_pixels;
            const size_t to = static_cast<size_t>(pixel) * a.out_channels + channel;
            const float residual = a.residual ? to_float(static_cast<const T*>(a.residual)[to]) : 0.0f;
            const float value = (sums[i][j] + added(a.bias[channel], row_of(a, image), channel) + residual) * a.scale;
            if (a.planes_out) {
                const size_t plane = static_cast<size_t>(image) * a.out_channels + channel;
                static_cast<float*>(a.out)[plane * out_pixels + pixel % out_pixels] = value;
            } else {
                static_cast<T*>(a.out)[to] = from_float<T>(value);
            }
        }
    }
}
