// GroupNorm (Wu and He 2018) over one activation or two side by side, an image's own scale and shift, and the
// activation, in one pass over memory that the caches hold: the second reading finds what the first one left there.
#pragma once
#include "element.cuh"

struct Norm {
    const void* a;       // (batch, pixels, channels_a)
    const void* b;       // (batch, pixels, channels_b); or null
    const float* gamma;  // (channels)
    const float* beta;
    const float* rows;   // an image's scale at rows[row_of[image] * row_stride + row_offset + channel], its shift one width on
    const int* row_of;
    void* out;           // (batch, pixels, channels)
    int batch, pixels, channels_a, channels_b;
    int groups, block_groups;  // a block normalises `block_groups` groups of an image
    int activation;
    int row_stride, row_offset;
    float eps;
};

// N channels a thread, which divide those of both inputs and of a block's groups. 256 threads.
// Sums are taken of differences from a channel's first pixel, and merged as means and squared deviations (Chan, Golub and
// LeVeque 1979), so that a large mean costs no digits of the variance.
template <class T, int N>
__device__ __forceinline__ void norm(const Norm& a) {
    constexpr int kThreads = 256;
    const int channels = a.channels_a + a.channels_b, group_channels = channels / a.groups;
    const int slab = group_channels * a.block_groups, slabs = a.groups / a.block_groups;
    const int image = blockIdx.x / slabs, first = blockIdx.x % slabs * slab, vectors = slab / N;
    const int thread = threadIdx.x;

    SHARED_DYNAMIC(memory);
    float* const sums = reinterpret_cast<float*>(memory);  // (threads, N), twice
    float* const squares = sums + kThreads * N;
    float* const means = squares + kThreads * N;  // (slab)
    float* const deviations = means + slab;       // (slab)
    float* const group_mean = deviations + slab;  // (block_groups)
    float* const group_factor = group_mean + a.block_groups;

    auto at = [&](int vector, int pixel) {
        const int channel = first + vector * N;
        const bool second = channel >= a.channels_a;
        const int source_channels = second ? a.channels_b : a.channels_a;
        const T* const source = static_cast<const T*>(second ? a.b : a.a);
        const size_t start = (static_cast<size_t>(image) * a.pixels + pixel) * source_channels;
        return *reinterpret_cast<const Vector<T, N>*>(source + start + channel - (second ? a.channels_a : 0));
    };

    for (int start = 0; start < vectors; start += kThreads) {
        const int width = vectors - start < kThreads ? vectors - start : kThreads;
        const int lanes = kThreads / width, lane = thread / width, vector = start + thread % width;
        const bool active = lane < lanes;
        float base[N] = {};
        if (active) {
            float sum[N] = {}, square[N] = {};
            const Vector<T, N> origin = at(vector, 0);
            for (int i = 0; i < N; ++i) base[i] = to_float(origin.at[i]);
#pragma unroll 4
            for (int pixel = lane; pixel < a.pixels; pixel += lanes) {
                const Vector<T, N> values = at(vector, pixel);
#pragma unroll
                for (int i = 0; i < N; ++i) {
                    const float difference = to_float(values.at[i]) - base[i];
                    sum[i] += difference;
                    square[i] += difference * difference;
                }
            }
            for (int i = 0; i < N; ++i) {
                sums[thread * N + i] = sum[i];
                squares[thread * N + i] = square[i];
            }
        }
        int half = 1;
        while (half < lanes) half *= 2;
        for (half /= 2; half > 0; half /= 2) {
            sync_block();
            if (lane < half && lane + half < lanes) {
                for (int i = 0; i < N; ++i) {
                    sums[thread * N + i] += sums[(thread + half * width) * N + i];
                    squares[thread * N + i] += squares[(thread + half * width) * N + i];
                }
            }
        }
        if (lane == 0) {
            for (int i = 0; i < N; ++i) {
                const float mean = sums[thread * N + i] / a.pixels;
                means[vector * N + i] = base[i] + mean;
                deviations[vector * N + i] = squares[thread * N + i] - sums[thread * N + i] * mean;
            }
        }
        sync_block();
    }
    for (int group = thread; group < a.block_groups; group += kThreads) {
        float mean = 0, deviation = 0;
        for (int i = 0; i < group_channels; ++i) mean += means[group * group_channels + i];
        mean /= group_channels;
        for (int i = 0; i < group_channels; ++i) {
            const float off = means[group * group_channels + i] - mean;
            deviation += deviations[group * group_channels + i] + a.pixels * off * off;
        }
        const float variance = fmaxf(deviation / (static_cast<float>(a.pixels) * group_channels), 0.0f);
        group_mean[group] = mean;
        group_factor[group] = 1.0f / sqrtf(variance + a.eps);
    }
    sync_block();

    for (int start = 0; start < vectors; start += kThreads) {
        const int width = vectors - start < kThreads ? vectors - start : kThreads;
        const int lanes = kThreads / width, lane = thread / width, vector = start + thread % width;
        if (lane >= lanes) continue;
        float mean[N], factor[N], shift[N];
        for (int i = 0; i < N; ++i) {
            const int within = vector * N + i, channel = first + within, group = within / group_channels;
            mean[i] = group_mean[group];
            factor[i] = group_factor[group] * a.gamma[channel];
            shift[i] = a.beta[channel];
            if (a.rows) {
                const float* const row = a.rows + static_cast<size_t>(a.row_of[image]) * a.row_stride + a.row_offset;
                const float stretch = 1.0f + row[channel];
                factor[i] *= stretch;
                shift[i] = shift[i] * stretch + row[channels + channel];
            }
        }
        T* const out = static_cast<T*>(a.out) + static_cast<size_t>(image) * a.pixels * channels + first + vector * N;
        auto write = [&](auto activated) {
            for (int pixel = lane; pixel < a.pixels; pixel += lanes) {
                const Vector<T, N> values = at(vector, pixel);
                Vector<T, N> result;
#pragma unroll
                for (int i = 0; i < N; ++i) {
                    const float value = (to_float(values.at[i]) - mean[i]) * factor[i] + shift[i];
                    result.at[i] = from_float<T>(activated(value));
                }
                *reinterpret_cast<Vector<T, N>*>(out + static_cast<size_t>(pixel) * channels) = result;
            }
        };
        // The usual one has a loop of its own, in which nothing is asked an element.
        if (a.activation == kSilu) write([](float value) { return activate<T>(kSilu, value); });
        else write([&](float value) { return activate<T>(a.activation, value); });
    }
}
