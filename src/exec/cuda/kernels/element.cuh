// What activations and weights are stored as, and vectors of them. All arithmetic is in float.
#pragma once
#include "target.cuh"

struct bf16 {
    uint16_t bits;
};
struct f16 {
    uint16_t bits;
};

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(bf16 value) { return float_of_bits(uint32_t{value.bits} << 16); }

template <class T>
__device__ __forceinline__ T from_float(float value);

template <>
__device__ __forceinline__ float from_float<float>(float value) {
    return value;
}
// To 16 bits: to nearest, ties to even; a NaN stays one.
#ifdef __CUDACC__
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float value) {
    bf16 narrow;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(narrow.bits) : "f"(value));
    return narrow;
}
__device__ __forceinline__ float to_float(f16 value) {
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(value.bits));
    return wide;
}
template <>
__device__ __forceinline__ f16 from_float<f16>(float value) {
    f16 narrow;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(narrow.bits) : "f"(value));
    return narrow;
}
#else
template <>
inline bf16 from_float<bf16>(float value) {
    const uint32_t bits = bits_of_float(value), rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return {static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? 0x7fff : rounded)};
}
inline float to_float(f16 value) {
    _Float16 narrow;
    std::memcpy(&narrow, &value, 2);
    return static_cast<float>(narrow);
}
template <>
inline f16 from_float<f16>(float value) {
    const auto narrow = static_cast<_Float16>(value);
    f16 bits;
    std::memcpy(&bits, &narrow, 2);
    return bits;
}
#endif

// N elements, read and written as one: 16 bytes of them are one instruction.
template <class T, int N>
struct alignas(N * sizeof(T)) Vector {
    T at[N];
};

// d += a b of a 16 x 16 and a 16 x 8 tile, the tensor cores' own layout: lane l holds rows l / 4 and l / 4 + 8 of a and d,
// column l / 4 of b, and of each two neighbours at 2 (l % 4).
#ifdef __CUDACC__
template <class T>
__device__ __forceinline__ void multiply_add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
template <>
__device__ __forceinline__ void multiply_add<bf16>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
template <>
__device__ __forceinline__ void multiply_add<f16>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#else
template <class T>
void multiply_add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    struct Operands {
        uint32_t a[4], b[2];
    } mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    const unsigned row = threadIdx.x % 32 / 4, column = threadIdx.x % 4 * 2;
    emulator::collective(mine, [&](auto of) {
        auto pair = [](uint32_t word, unsigned which) { return to_float(T{static_cast<uint16_t>(word >> 16 * which)}); };
        for (unsigned quad = 0; quad < 4; ++quad) {  // four lanes share the 16 products of an element
            const Operands left = of(4 * row + quad), first = of(4 * column + quad), second = of(4 * column + 4 + quad);
            for (unsigned half = 0; half < 2; ++half) {
                for (unsigned i = 0; i < 2; ++i) {
                    const float upper = pair(left.a[2 * half], i), lower = pair(left.a[2 * half + 1], i);
                    d[0] += upper * pair(first.b[half], i);
                    d[1] += upper * pair(second.b[half], i);
                    d[2] += lower * pair(first.b[half], i);
                    d[3] += lower * pair(second.b[half], i);
                }
            }
        }
        return 0;
    });
}
#endif

// Two neighbours packed as a multiply's operand.
template <class T>
__device__ __forceinline__ uint32_t pack(float low, float high) {
    return uint32_t{from_float<T>(low).bits} | uint32_t{from_float<T>(high).bits} << 16;
}

// x sigmoid(x), max(x, 0), x Phi(x), x tanh(ln(1 + e^x)); the numbers are the host's.
enum Activation { kSilu, kRelu, kGelu, kMish, kNone };
// T: what the result is rounded to.
template <class T>
__device__ __forceinline__ float activate(int activation, float x) {
    switch (activation) {
        case kSilu:
            if (sizeof(T) == 4) return x / (1.0f + expf(-x));
            // Below, the result is nearer to 0 than 2e-33, and the quick division leaves its range.
            return x < -80.0f ? -0.0f : divide_fast(x, 1.0f + exp_fast(-x));
        case kRelu: return x > 0.0f ? x : (x <= 0.0f ? 0.0f : x);
        case kGelu: return 0.5f * x * (1.0f + erff(x * 0.70710678f));
        case kMish: return x * tanhf(fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))));
        default: return x;
    }
}
