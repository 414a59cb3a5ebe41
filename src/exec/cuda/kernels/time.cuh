// Linear layers of the time embedding: a few rows, so the weights' bytes are all that counts.
#pragma once
#include "element.cuh"

struct Rows {
    const float* x;       // (rows, inputs)
    const float* weight;  // (outputs, inputs)
    const float* bias;    // (outputs)
    const float* table;   // (classes, outputs), of which row labels[r] is added; or null
    const int* labels;
    float* out;  // (rows, outputs)
    int rows, inputs, outputs, activation;
};

// One warp an output, 4 a block; block x outputs, blocks of a row side by side.
__device__ __forceinline__ void row_products(const Rows& a) {
    const int blocks = (a.outputs + 3) / 4, row = blockIdx.x / blocks;
    const int out = blockIdx.x % blocks * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    const bool there = out < a.outputs;
    const float* const x = a.x + static_cast<size_t>(row) * a.inputs;
    const float* const weight = a.weight + static_cast<size_t>(there ? out : 0) * a.inputs;
    float sum = 0.0f;
    for (int i = lane; i < a.inputs; i += 32) sum += x[i] * weight[i];
    for (int lanes = 16; lanes > 0; lanes /= 2) sum += shuffle_xor(sum, lanes);
    if (lane > 0 || !there) return;
    sum += a.bias[out];
    if (a.table) sum += a.table[static_cast<size_t>(a.labels[row]) * a.outputs + out];
    a.out[static_cast<size_t>(row) * a.outputs + out] = activate<float>(a.activation, sum);
}

struct ImageBias {
    const float* bias;  // (channels)
    const float* rows;  // as in `Conv`
    const int* row_of;
    float* out;  // (batch, channels)
    int batch, channels;
    int row_stride, row_offset;
};

// One thread a value.
__device__ __forceinline__ void add_rows(const ImageBias& a) {
    const int index = blockIdx.x * 256 + threadIdx.x, image = index / a.channels, channel = index % a.channels;
    if (image >= a.batch) return;
    const float row = a.rows[static_cast<size_t>(a.row_of[image]) * a.row_stride + a.row_offset + channel];
    a.out[index] = a.bias[channel] + row;
}
