// Noise to state, a sampler's step, state to pixels. Each gives the host's own bits (`noise.rs`, `exec/cpu`,
// `image.rs`): every operation is one that rounds alike everywhere, in the same order.
#pragma once
#include "target.cuh"

struct Noise {
    const uint64_t* seeds;  // (batch)
    float* out;             // (batch, elements)
    int batch, elements;
    uint32_t stream;
    float scale;
};

// The natural logarithm of a float in (0, 1); see `noise.rs`.
__device__ __forceinline__ float noise_ln(float u) {
    const uint32_t sqrt_half = 0x3f3504f3u;
    const float p[9] = {7.0376836e-2f, -1.151461e-1f, 1.1676999e-1f, -1.2420141e-1f, 1.4249323e-1f,
                        -1.6668058e-1f, 2.0000715e-1f, -2.4999994e-1f, 3.333333e-1f};
    const uint32_t shifted = bits_of_float(u) - sqrt_half;
    const float e = static_cast<float>(static_cast<int32_t>(shifted) >> 23);
    const float f = add_exact(float_of_bits((shifted & 0x007fffffu) + sqrt_half), -1.0f);
    const float f2 = mul_exact(f, f);
    float sum = p[0];
    for (int i = 1; i < 9; ++i) sum = fma_exact(sum, f, p[i]);
    const float tail =
        fma_exact(f2, -0.5f, fma_exact(e, -2.1219444e-4f, mul_exact(sum, mul_exact(f, f2))));
    return fma_exact(e, 0.6933594f, add_exact(f, tail));
}

// Philox4x32-10 and Box and Muller's transform: the four normals of one block.
__device__ __forceinline__ void noise_block(uint64_t seed, uint32_t stream, uint32_t block, float (&z)[4]) {
    uint32_t c[4] = {block, stream, 0, 0}, key[2] = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
    for (int round = 0; round < 10; ++round) {
        const uint32_t low0 = 0xD2511F53u * c[0], high0 = mul_high(0xD2511F53u, c[0]);
        const uint32_t low1 = 0xCD9E8D57u * c[2], high1 = mul_high(0xCD9E8D57u, c[2]);
        c[0] = high1 ^ c[1] ^ key[0];
        c[1] = low1;
        c[2] = high0 ^ c[3] ^ key[1];
        c[3] = low0;
        key[0] += 0x9E3779B9u;
        key[1] += 0xBB67AE85u;
    }
    for (int pair = 0; pair < 4; pair += 2) {
        const float u = mul_exact(static_cast<float>((c[pair] >> 9) << 1 | 1), 1.0f / (1 << 24));
        const float radius = sqrt_exact(mul_exact(-2.0f, noise_ln(u)));
        const int m = static_cast<int>((c[pair + 1] >> 9) << 1 | 1);
        const int quarter = (m + (1 << 21)) >> 22;
        const float x = mul_exact(static_cast<float>(m - (quarter << 22)), 6.28318530717958647692f / (1 << 24));
        const float x2 = mul_exact(x, x);
        const float p = fma_exact(fma_exact(-1.9515296e-4f, x2, 8.332161e-3f), x2, -1.6666655e-1f);
        const float sin = fma_exact(p, mul_exact(x2, x), x);
        const float q = fma_exact(fma_exact(2.4433157e-5f, x2, -1.3887316e-3f), x2, 4.1666646e-2f);
        const float cos = fma_exact(q, mul_exact(x2, x2), fma_exact(x2, -0.5f, 1.0f));
        const bool even = (quarter & 1) == 0;
        const uint32_t cos_bits = bits_of_float(even ? cos : sin) ^ (static_cast<uint32_t>(quarter + 1) & 2) << 30;
        const uint32_t sin_bits = bits_of_float(even ? sin : cos) ^ (static_cast<uint32_t>(quarter) & 2) << 30;
        z[pair] = mul_exact(radius, float_of_bits(cos_bits));
        z[pair + 1] = mul_exact(radius, float_of_bits(sin_bits));
    }
}

// One thread a block of four elements.
__device__ __forceinline__ void draw_noise(const Noise& a) {
    const int blocks = (a.elements + 3) / 4;
    const size_t index = static_cast<size_t>(blockIdx.x) * 256 + threadIdx.x;
    const size_t image = index / blocks;
    if (image >= static_cast<size_t>(a.batch)) return;
    const int first = static_cast<int>(index % blocks) * 4;
    float z[4];
    noise_block(a.seeds[image], a.stream, static_cast<uint32_t>(first / 4), z);
    for (int i = 0; i < 4 && first + i < a.elements; ++i) {
        a.out[image * a.elements + first + i] = mul_exact(z[i], a.scale);
    }
}

struct Combine {
    float* x;
    const float* net;
    const float* fresh;  // or null
    uint64_t count;
    float x_factor, net_factor, fresh_factor;
    float clipped_x, clipped_net, limit, weight;
    int kind;  // 0; 1: with the clamped estimate; 2: spread
};

// e^x; see `exec/step.rs`.
__device__ __forceinline__ float step_exp(float x) {
    const float p[6] = {1.9875691e-4f, 1.3981999e-3f, 8.333452e-3f, 4.1665796e-2f, 1.6666665e-1f, 0.5f};
    x = x > 80.0f ? 80.0f : x;
    x = x < -80.0f ? -80.0f : x;
    const float n = add_exact(add_exact(mul_exact(x, 1.44269504f), 12582912.0f), -12582912.0f);
    const float r = add_exact(add_exact(x, -mul_exact(n, 0.6933594f)), -mul_exact(n, -2.1219444e-4f));
    float sum = p[0];
    for (int i = 1; i < 6; ++i) sum = add_exact(mul_exact(sum, r), p[i]);
    const float e = add_exact(add_exact(mul_exact(sum, mul_exact(r, r)), r), 1.0f);
    // A NaN stays one, whatever the conversion makes of it.
    const int whole = n == n ? static_cast<int>(n) : 0;
    return mul_exact(e, float_of_bits(static_cast<uint32_t>(whole + 127) << 23));
}

// x' = a x + b net [+ c fresh] [+ weight clamp(p x + q net)], or x e^(a + b net)
__device__ __forceinline__ void take_step(const Combine& a) {
    const size_t i = static_cast<size_t>(blockIdx.x) * 256 + threadIdx.x;
    if (i >= a.count) return;
    const float x = a.x[i], net = a.net[i];
    if (a.kind == 2) {
        a.x[i] = mul_exact(x, step_exp(add_exact(a.x_factor, mul_exact(a.net_factor, net))));
        return;
    }
    float value = add_exact(mul_exact(a.x_factor, x), mul_exact(a.net_factor, net));
    if (a.fresh) value = add_exact(value, mul_exact(a.fresh_factor, a.fresh[i]));
    if (a.kind == 1) {
        float estimate = add_exact(mul_exact(a.clipped_x, x), mul_exact(a.clipped_net, net));
        estimate = estimate > a.limit ? a.limit : estimate;
        estimate = estimate < -a.limit ? -a.limit : estimate;
        value = add_exact(value, mul_exact(a.weight, estimate));
    }
    a.x[i] = value;
}

struct Emit {
    const float* x;  // (batch, channels, pixels)
    void* out;       // tight, in the format's own order
    int batch, channels, pixels;
    int format;      // F32_NCHW 0, F32_NHWC 1, RGB8 2, RGBA8 3, BGRA8 4
    int unit_range, unused;
};

// [-1, 1] to 0..=255, to nearest; a NaN goes to 0.
__device__ __forceinline__ uint8_t to_byte(float x) {
    x = x > -1.0f ? x : -1.0f;
    x = x < 1.0f ? x : 1.0f;
    return static_cast<uint8_t>(add_exact(mul_exact(add_exact(x, 1.0f), 127.5f), 0.5f));
}

// One thread a pixel.
__device__ __forceinline__ void write_pixels(const Emit& a) {
    const size_t index = static_cast<size_t>(blockIdx.x) * 256 + threadIdx.x, image = index / a.pixels;
    if (image >= static_cast<size_t>(a.batch)) return;
    const float* const x = a.x + image * a.channels * a.pixels + index % a.pixels;
    auto channel = [&](int c) { return x[static_cast<size_t>(c) * a.pixels]; };
    if (a.format < 2) {
        for (int c = 0; c < a.channels; ++c) {
            const float value = a.unit_range ? mul_exact(add_exact(channel(c), 1.0f), 0.5f) : channel(c);
            const size_t to = a.format == 0 ? (image * a.channels + c) * a.pixels + index % a.pixels : index * a.channels + c;
            static_cast<float*>(a.out)[to] = value;
        }
        return;
    }
    const bool grey = a.channels == 1;
    const uint8_t r = to_byte(channel(0)), g = grey ? r : to_byte(channel(1)), b = grey ? r : to_byte(channel(2));
    const int bytes = a.format == 2 ? 3 : 4;
    uint8_t* const out = static_cast<uint8_t*>(a.out) + index * bytes;
    out[0] = a.format == 4 ? b : r;
    out[1] = g;
    out[2] = a.format == 4 ? r : b;
    if (bytes == 4) out[3] = a.channels == 4 ? to_byte(channel(3)) : 255;
}
