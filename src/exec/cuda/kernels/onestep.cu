// Every kernel of the CUDA executor, by the names that `exec/cuda/kernels.rs` launches. `scripts/ptx.sh` compiles this
// file once an element type, and the PTX is committed beside it: neither a build nor a user needs CUDA's compiler.
#include "attention.cuh"
#include "conv.cuh"
#include "image.cuh"
#include "norm.cuh"
#include "resize.cuh"
#include "time.cuh"

// Named by element type: tensor cores for the 16-bit ones.
#define PLAIN(T, type, vector)                                                     \
    KERNEL(conv_plain_##T, 256, Conv) { conv_plain<type>(a); }                     \
    KERNEL(norm_##vector##_##T, 256, Norm) { norm<type, vector>(a); }              \
    KERNEL(norm_1_##T, 256, Norm) { norm<type, 1>(a); }                            \
    KERNEL(resize_##T, 256, Resize) { resize<type>(a); }                           \
    KERNEL(attention_plain_##T, 128, Attention) { attention_plain<type>(a); }
#define TILES(T)                                                                   \
    KERNEL(conv_128_##T, 128, Conv) { conv_tile<T, 128, 128, 2, 2>(a); }           \
    KERNEL(conv_64_##T, 128, Conv) { conv_tile<T, 64, 64, 2, 2>(a); }              \
    KERNEL(conv_32_##T, 128, Conv) { conv_tile<T, 32, 32, 2, 2>(a); }              \
    KERNEL(attention_32_##T, 128, Attention) { attention_tile<T, 32>(a); }         \
    KERNEL(attention_64_##T, 128, Attention) { attention_tile<T, 64>(a); }         \
    KERNEL(attention_128_##T, 128, Attention) { attention_tile<T, 128>(a); }       \
    KERNEL(attention_256_##T, 128, Attention) { attention_tile<T, 256>(a); }

#ifdef WITH_F32
PLAIN(f32, float, 4)
#endif
#ifdef WITH_BF16
PLAIN(bf16, bf16, 8)
TILES(bf16)
#endif
#ifdef WITH_F16
PLAIN(f16, f16, 8)
TILES(f16)
#endif

KERNEL(linear_rows, 128, Rows) { row_products(a); }
KERNEL(image_bias, 256, ImageBias) { add_rows(a); }
KERNEL(noise, 256, Noise) { draw_noise(a); }
KERNEL(combine, 256, Combine) { take_step(a); }
KERNEL(emit, 256, Emit) { write_pixels(a); }
