// Another height and width: the averages of 2x2 pixels, or each pixel four times.
#pragma once
#include "element.cuh"

struct Resize {
    const void* x;
    void* out;
    int batch, height, width, channels;  // of the result
    int halve, unused;
};

// One thread a value of the result.
template <class T>
__device__ __forceinline__ void resize(const Resize& a) {
    const size_t index = static_cast<size_t>(blockIdx.x) * 256 + threadIdx.x, channel = index % a.channels;
    const size_t pixel = index / a.channels, column = pixel % a.width;
    const size_t line = pixel / a.width, row = line % a.height, image = line / a.height;
    if (image >= static_cast<size_t>(a.batch)) return;
    const T* const x = static_cast<const T*>(a.x);
    T* const out = static_cast<T*>(a.out) + index;
    if (!a.halve) {
        *out = x[((image * (a.height / 2) + row / 2) * (a.width / 2) + column / 2) * a.channels + channel];
        return;
    }
    const size_t width = 2 * static_cast<size_t>(a.width);
    const T* const corner = x + ((image * 2 * a.height + 2 * row) * width + 2 * column) * a.channels + channel;
    const float upper = to_float(corner[0]) + to_float(corner[a.channels]);
    const T* const below = corner + width * a.channels;
    const float lower = to_float(below[0]) + to_float(below[a.channels]);
    *out = from_float<T>(0.25f * (upper + lower));
}
