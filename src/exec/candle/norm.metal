// act(GroupNorm(x)), or act(GroupNorm(x) (1 + scale) + shift): one threadgroup an (image, group).
//
// `Stored` is float or half, as norm.rs writes in front. Sums are in float, and always in the same order. tests/metal.rs
// compiles this text as C++: threadgroup memory is an argument because C++ has no place to declare it.

#include <metal_stdlib>
using namespace metal;

// `Shape` in norm.rs.
struct Shape {
    uint channels;
    uint groups;
    uint pixels;
    float eps;
    uint scale_shift;
    uint silu;
};

// The sum over the threadgroup, whose width is a power of two.
inline float2 sum_of_all(float2 value, threadgroup float2* shared, uint lane, uint width) {
    shared[lane] = value;
    for (uint reach = width / 2; reach > 0; reach /= 2) {
        threadgroup_barrier(mem_flags::mem_threadgroup);
        if (lane < reach) {
            shared[lane] += shared[lane + reach];
        }
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    const float2 sum = shared[0];
    // The next sum overwrites what slower threads are still to read.
    threadgroup_barrier(mem_flags::mem_threadgroup);
    return sum;
}

kernel void group_norm(
    device const Stored* x [[buffer(0)]],           // (n, channels, pixels)
    device const Stored* weight [[buffer(1)]],      // (channels)
    device const Stored* bias [[buffer(2)]],        // (channels)
    device const Stored* time [[buffer(3)]],        // (n, 2 channels): scales, shifts; read under `scale_shift` alone
    device Stored* y [[buffer(4)]],                 // (n, channels, pixels)
    constant Shape& shape [[buffer(5)]],
    threadgroup float2* shared [[threadgroup(0)]],  // (width)
    uint place [[threadgroup_position_in_grid]],
    uint lane [[thread_position_in_threadgroup]],
    uint width [[threads_per_threadgroup]]) {
    const uint image = place / shape.groups;
    const uint group_channels = shape.channels / shape.groups;
    const uint first_channel = place % shape.groups * group_channels;
    const uint count = group_channels * shape.pixels;
    x += ulong(place) * count;
    y += ulong(place) * count;
    time += ulong(image) * 2 * shape.channels;

    float2 sums = float2(0.0f, 0.0f);
    for (uint i = lane; i < count; i += width) {
        sums.x += float(x[i]);
    }
    const float center = sum_of_all(sums, shared, lane, width).x / float(count);

    // Two passes, corrected for what `center` lacks of the mean (Chan, Golub and LeVeque 1983).
    sums = float2(0.0f, 0.0f);
    for (uint i = lane; i < count; i += width) {
        const float deviation = float(x[i]) - center;
        sums += float2(deviation, deviation * deviation);
    }
    sums = sum_of_all(sums, shared, lane, width);
    const float lack = sums.x / float(count);
    const float variance = max(sums.y / float(count) - lack * lack, 0.0f);
    const float inverse = 1.0f / sqrt(variance + shape.eps);

    for (uint i = lane; i < count; i += width) {
        const uint channel = first_channel + i / shape.pixels;
        float scale = float(weight[channel]);
        float shift = float(bias[channel]);
        if (shape.scale_shift != 0) {
            const float factor = 1.0f + float(time[channel]);
            scale *= factor;
            shift = shift * factor + float(time[shape.channels + channel]);
        }
        const float value = (float(x[i]) - center - lack) * inverse * scale + shift;
        y[i] = Stored(shape.silu != 0 ? value / (1.0f + exp(-value)) : value);
    }
}
