// What the kernels ask of the machine: the GPU's own instructions, or their meaning in plain C++ where the kernels run in
// tests on a CPU (tests/cuda/emulator.hpp). Everything else in this folder is written once.
#pragma once

#ifdef __CUDACC__

#include <cstdint>

// A kernel of at most THREADS threads a block, which takes one structure of arguments.
#define KERNEL(name, THREADS, Args) \
    extern "C" __global__ void __launch_bounds__(THREADS) name(const __grid_constant__ Args a)
#define SHARED(T, name, N) __shared__ T name[N]
#define SHARED_DYNAMIC(name) extern __shared__ __align__(128) unsigned char name[]

__device__ __forceinline__ void sync_block() { __syncthreads(); }

template <class T>
__device__ __forceinline__ T shuffle_xor(T value, int lanes) {
    return __shfl_xor_sync(0xffffffffu, value, lanes);
}

// 16 bytes from global to shared memory, or 16 zeros, landed after `wait_copies`.
__device__ __forceinline__ void copy_async(void* to, const void* from, bool there) {
    const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(there ? 16 : 0) : "memory");
}
// The same through the first cache, for what is read again soon.
__device__ __forceinline__ void copy_async_cached(void* to, const void* from, bool there) {
    const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(there ? 16 : 0) : "memory");
}
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most N committed groups are under way.
template <int N>
__device__ __forceinline__ void wait_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// Four 8 x 8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8.
__device__ __forceinline__ void load_matrices(uint32_t (&m)[4], const void* row) {
    const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3]) : "r"(address) : "memory");
}
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&m)[4], const void* row) {
    const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3]) : "r"(address) : "memory");
}

// A few units in the last place, for what is rounded to 16 bits next.
__device__ __forceinline__ float exp_fast(float x) { return __expf(x); }
__device__ __forceinline__ float divide_fast(float a, float b) { return __fdividef(a, b); }

// Roundings spelled out, for the code whose bits must be the host's: no contraction, no approximation.
__device__ __forceinline__ float add_exact(float a, float b) { return __fadd_rn(a, b); }
__device__ __forceinline__ float mul_exact(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ float fma_exact(float a, float b, float c) { return __fmaf_rn(a, b, c); }
__device__ __forceinline__ float sqrt_exact(float a) { return __fsqrt_rn(a); }
__device__ __forceinline__ uint32_t mul_high(uint32_t a, uint32_t b) { return __umulhi(a, b); }
__device__ __forceinline__ float float_of_bits(uint32_t bits) { return __uint_as_float(bits); }
__device__ __forceinline__ uint32_t bits_of_float(float value) { return __float_as_uint(value); }

#else

#define KERNEL(name, THREADS, Args)                                                                          \
    static void name(const Args& a);                                                                         \
    static const emulator::Register name##_registered(                                                       \
        #name, sizeof(Args), THREADS, [](const void* given) { name(*static_cast<const Args*>(given)); });     \
    static void name(const Args& a)
#define SHARED(T, name, N) static thread_local T name[N]
#define SHARED_DYNAMIC(name) unsigned char* name = reinterpret_cast<unsigned char*>(emulator::block().dynamic)

inline void sync_block() { emulator::sync_block(); }

template <class T>
T shuffle_xor(T value, int lanes) {
    return emulator::collective(value, [&](auto of) { return of((threadIdx.x % 32) ^ lanes); });
}

inline void copy_async(void* to, const void* from, bool there) { emulator::copy_async(to, there ? from : nullptr); }
inline void copy_async_cached(void* to, const void* from, bool there) { copy_async(to, from, there); }
inline void commit_copies() { emulator::commit(); }
template <int N>
void wait_copies() {
    emulator::wait_copies(N);
}

// Lane l gets elements (l / 4, 2 (l % 4)) and its right neighbour of each matrix.
inline void load_matrices(uint32_t (&m)[4], const void* row) {
    emulator::check_aligned(row);
    const unsigned lane = threadIdx.x % 32;
    emulator::collective(row, [&](auto of) {
        for (unsigned i = 0; i < 4; ++i) {
            std::memcpy(&m[i], static_cast<const char*>(of(8 * i + lane / 4)) + 4 * (lane % 4), 4);
        }
        return 0;
    });
}
// The same of the transposed matrices.
inline void load_matrices_transposed(uint32_t (&m)[4], const void* row) {
    emulator::check_aligned(row);
    const unsigned lane = threadIdx.x % 32;
    emulator::collective(row, [&](auto of) {
        for (unsigned i = 0; i < 4; ++i) {
            uint16_t pair[2];
            for (unsigned j = 0; j < 2; ++j) {
                std::memcpy(&pair[j], static_cast<const char*>(of(8 * i + 2 * (lane % 4) + j)) + 2 * (lane / 4), 2);
            }
            std::memcpy(&m[i], pair, 4);
        }
        return 0;
    });
}

inline float exp_fast(float x) { return std::exp(x); }
inline float divide_fast(float a, float b) { return b > 0x1p126f ? 0.0f : a / b; }

inline float add_exact(float a, float b) { return a + b; }
inline float mul_exact(float a, float b) { return a * b; }
inline float fma_exact(float a, float b, float c) { return std::fma(a, b, c); }
inline float sqrt_exact(float a) { return std::sqrt(a); }
inline uint32_t mul_high(uint32_t a, uint32_t b) { return static_cast<uint32_t>((uint64_t{a} * b) >> 32); }
inline float float_of_bits(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
inline uint32_t bits_of_float(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}

#endif
