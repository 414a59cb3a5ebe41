/* onestep: one-step image generators.
 *
 * Every fallible function returns a status, ONESTEP_OK or another of the codes below, and ends in a nullable pointer to
 * an onestep_error that it fills. Nothing aborts, and nothing is printed. Exceptions to the first: memory of less than
 * 64 KiB that cannot be had ends the process, as in any Rust program.
 *
 * Handles are opaque. A pointer to one must come from this library and not have been freed. Strings are UTF-8. Models
 * and cancel tokens may be used from any thread at any time; a session from one thread at a time (a second one gets
 * BUSY); options and requests from one thread at a time. Callbacks run on the thread that made the call.
 *
 * The host's thread and process stay as they are: a call rounds and keeps small numbers as IEEE 754 has it by default,
 * whatever mode the thread is in, and gives that mode back with its flags (x86-64, aarch64; callbacks run in the default
 * mode). The library's threads block all signals but those of faults, and it sets no handler. A CPU call needs 64 KiB of
 * stack, however deep the network; a Keras file is read on a thread of its own. After a fork, a child may open models
 * and sessions of its own; those of its parent belong to that.
 *
 * Float and integer arrays are aligned as their type; the bytes of models and pixels need not be.
 *
 * Generated from src/ffi by cbindgen; do not edit. MIT OR Apache-2.0. */

#ifndef ONESTEP_H
#define ONESTEP_H

#include <stddef.h>
#include <stdint.h>

/**
 * Before every function whose result must not be lost: a status, or a handle that nothing else could free. Define it as
 * nothing before this header for no warnings.
 */
#ifndef ONESTEP_MUST_USE
#if defined(__GNUC__) || defined(__clang__)
#define ONESTEP_MUST_USE __attribute__((warn_unused_result))
#elif defined(_MSC_VER)
#include <sal.h>
#define ONESTEP_MUST_USE _Check_return_
#else
#define ONESTEP_MUST_USE
#endif
#endif

/**
 * Success.
 */
#define ONESTEP_OK 0

/**
 * An argument, option or request that makes no sense; nothing was done.
 */
#define ONESTEP_INVALID_ARGUMENT 1

/**
 * The caller's buffer is too small; nothing was written.
 */
#define ONESTEP_BUFFER_TOO_SMALL 2

/**
 * The operating system refused to read; `native_code` is its errno.
 */
#define ONESTEP_IO 3

/**
 * A model file that is damaged, incomplete or contradicts itself, or is larger than the limits that were set.
 */
#define ONESTEP_BAD_MODEL 4

/**
 * A sound model of a kind that this library does not run; the message names the key.
 */
#define ONESTEP_UNSUPPORTED_MODEL 5

/**
 * The device asked for is not on this machine.
 */
#define ONESTEP_DEVICE_UNAVAILABLE 6

/**
 * The device gave an error while working.
 */
#define ONESTEP_DEVICE_FAILED 7

/**
 * Memory could not be had.
 */
#define ONESTEP_OUT_OF_MEMORY 8

/**
 * A cancel token was triggered, or a progress callback said so.
 */
#define ONESTEP_CANCELLED 9

/**
 * Another thread is inside this session.
 */
#define ONESTEP_BUSY 10

/**
 * This build of the library was made without the part asked for.
 */
#define ONESTEP_NOT_BUILT 11

/**
 * The caller was compiled against an incompatible header.
 */
#define ONESTEP_ABI_MISMATCH 12

/**
 * A bug in this library, caught at its edge.
 */
#define ONESTEP_PANIC 13

/**
 * A session on which an earlier call panicked; free it and make another.
 */
#define ONESTEP_POISONED 14

/**
 * A broken promise inside this library, found before it did harm.
 */
#define ONESTEP_INTERNAL 15

/**
 * Version of this interface. It changes when a program compiled against an older header could no longer run.
 */
#define ONESTEP_ABI_VERSION 1

/**
 * The version of the library that this header came with, for `#if`; `onestep_version` tells that of the library found.
 */
#define ONESTEP_VERSION_MAJOR 0

/**
 * The second number.
 */
#define ONESTEP_VERSION_MINOR 1

/**
 * The third.
 */
#define ONESTEP_VERSION_PATCH 0

/**
 * Failures, which the call's error tells as well.
 */
#define ONESTEP_LOG_ERROR 1

/**
 * The result may not be what was wanted.
 */
#define ONESTEP_LOG_WARN 2

/**
 * What was chosen.
 */
#define ONESTEP_LOG_INFO 3

/**
 * What was done.
 */
#define ONESTEP_LOG_DEBUG 4

/**
 * (1 - t) a + t b
 */
#define ONESTEP_INTERPOLATE_LERP 0

/**
 * Along the great circle: what keeps noise noise.
 */
#define ONESTEP_INTERPOLATE_SLERP 1

/**
 * Deterministic where eta is 0 (Song et al. 2021).
 */
#define ONESTEP_SAMPLER_DDIM 0

/**
 * Ancestral (Ho et al. 2020).
 */
#define ONESTEP_SAMPLER_DDPM 1

/**
 * A consistency model's own, of one step or of several (Song et al. 2023).
 */
#define ONESTEP_SAMPLER_CONSISTENCY 2

/**
 * EDM's, by Euler's method (Karras et al. 2022).
 */
#define ONESTEP_SAMPLER_EULER 3

/**
 * EDM's, by Heun's method: two network calls a step, but for the last.
 */
#define ONESTEP_SAMPLER_HEUN 4

/**
 * As the model's file says.
 */
#define ONESTEP_SPACING_FILE 0

/**
 * i (T / K) + offset
 */
#define ONESTEP_SPACING_LEADING 1

/**
 * round(T - i T / K) - 1
 */
#define ONESTEP_SPACING_TRAILING 2

/**
 * floor(linspace(0, sqrt(0.8 T), K)^2), the paper's
 */
#define ONESTEP_SPACING_QUADRATIC 3

/**
 * round(linspace(0, T - 1, K))
 */
#define ONESTEP_SPACING_LINSPACE 4

/**
 * 32-bit floats, (n, c, h, w).
 */
#define ONESTEP_FORMAT_F32_NCHW 0

/**
 * 32-bit floats, (n, h, w, c).
 */
#define ONESTEP_FORMAT_F32_NHWC 1

/**
 * 8 bits a channel; models of one channel are written as grey, a fourth channel is left out.
 */
#define ONESTEP_FORMAT_RGB8 2

/**
 * 8 bits a channel; alpha is the fourth channel of a model of four, not multiplied in, else 255.
 */
#define ONESTEP_FORMAT_RGBA8 3

/**
 * As RGBA8, blue first.
 */
#define ONESTEP_FORMAT_BGRA8 4

/**
 * Bottom row first, as textures of OpenGL and Unity are.
 */
#define ONESTEP_FLAG_FLIP_Y 1

/**
 * Floats in [0, 1]; else [-1, 1] as the network gave them. Neither clamps. 8-bit formats ignore it.
 */
#define ONESTEP_FLAG_F32_UNIT_RANGE 2

/**
 * Colours times alpha, for who blends so. RGBA8 and BGRA8 alone; other formats ignore it.
 */
#define ONESTEP_FLAG_PREMULTIPLIED 4

/**
 * The role that the file names, else teacher.
 */
#define ONESTEP_ROLE_AUTO 0

/**
 * Draws in several network calls.
 */
#define ONESTEP_ROLE_TEACHER 1

/**
 * Draws in one network call.
 */
#define ONESTEP_ROLE_STUDENT 2

/**
 * The device's default: f32 on the CPU and on Metal, bf16 on CUDA.
 */
#define ONESTEP_PRECISION_AUTO 0

/**
 * 32-bit floats throughout.
 */
#define ONESTEP_PRECISION_F32 1

/**
 * Weights are rounded to bfloat16, and what they are multiplied with too where the processor multiplies pairs of
 * bfloat16 fast; sums stay f32, and on the CPU activations do. Results differ from f32's by 1 % or so (relative RMS), and prepared
 * weights take half the memory.
 */
#define ONESTEP_PRECISION_BF16 2

/**
 * Weights and activations in half precision: CUDA, Metal, and `executor=reference`. NOT_BUILT elsewhere.
 */
#define ONESTEP_PRECISION_F16 3

/**
 * Reading a file.
 */
#define ONESTEP_PHASE_OPEN 0

/**
 * Packing weights; counted in tensors.
 */
#define ONESTEP_PHASE_PREPARE 1

/**
 * Sampling; counted in network blocks, all steps together.
 */
#define ONESTEP_PHASE_SAMPLE 2

/**
 * Writing a file.
 */
#define ONESTEP_PHASE_WRITE 3

/**
 * The processor.
 */
#define ONESTEP_DEVICE_CPU 0

/**
 * An NVIDIA GPU.
 */
#define ONESTEP_DEVICE_CUDA 1

/**
 * An Apple GPU.
 */
#define ONESTEP_DEVICE_METAL 2

/**
 * A sticky cancel token: once triggered, every call that carries it ends with CANCELLED until it is reset. Safe to
 * use from any thread, and to free while a call that carries it runs.
 */
typedef struct onestep_cancel onestep_cancel;

/**
 * A model: immutable, safe to use from any number of threads and sessions. Freeing it under a live session is safe.
 */
typedef struct onestep_model onestep_model;

/**
 * How to open a model and run a session; NULL stands for all defaults wherever one is taken. Setters copy; free it
 * as soon as the model or session is there. One thread at a time.
 */
typedef struct onestep_options onestep_options;

/**
 * What to sample. Setters copy; a request can be used again. One thread at a time.
 */
typedef struct onestep_request onestep_request;

/**
 * One caller's scratch memory and threads. One call at a time: a second one answers BUSY. Sessions of one model run
 * side by side. Do not free a session while a call on it runs.
 */
typedef struct onestep_session onestep_session;

/**
 * What went wrong. The caller owns it; every fallible function takes a pointer to one, or NULL. A function that
 * succeeds sets `code` to ONESTEP_OK and the message to the empty string.
 */
typedef struct onestep_error {
    /**
     * The status that the function returned.
     */
    int32_t code;
    /**
     * The operating system's or driver's own number, or 0.
     */
    int32_t native_code;
    /**
     * UTF-8, NUL-terminated, cut at a character where it is too long.
     */
    char message[504];
} onestep_error;

/**
 * A device of this machine.
 */
typedef struct onestep_device_info {
    /**
     * sizeof(onestep_device_info)
     */
    uint32_t struct_size;
    /**
     * ONESTEP_DEVICE_*
     */
    int32_t kind;
    /**
     * Index within its kind.
     */
    int32_t index;
    /**
     * 0
     */
    uint32_t flags;
    /**
     * Bytes; 0 unknown.
     */
    uint64_t memory_total;
    /**
     * Bytes; 0 unknown.
     */
    uint64_t memory_free;
    /**
     * What `onestep_options_set_device` takes.
     */
    char id[32];
    /**
     * The device's own name.
     */
    char name[128];
} onestep_device_info;

/**
 * Called on the thread that has something to say; `utf8` has `len` bytes and is NUL-terminated.
 */
typedef void (*onestep_log_fn)(void *user, int32_t level, const char *utf8, size_t len);

/**
 * Called exactly once, when borrowed memory is no longer needed.
 */
typedef void (*onestep_release_fn)(void *user);

/**
 * What a model is.
 */
typedef struct onestep_model_info {
    /**
     * sizeof(onestep_model_info)
     */
    uint32_t struct_size;
    /**
     * ONESTEP_ROLE_TEACHER or ONESTEP_ROLE_STUDENT
     */
    int32_t role;
    /**
     * Pixels.
     */
    int32_t width;
    /**
     * Pixels.
     */
    int32_t height;
    /**
     * Channels of an image.
     */
    int32_t channels;
    /**
     * Labels are 0 to num_classes - 1; 0: unconditional, takes no labels.
     */
    int32_t num_classes;
    /**
     * Timesteps are 0 to train_timesteps - 1.
     */
    int32_t train_timesteps;
    /**
     * Steps where the caller names none; 1 for a student.
     */
    int32_t default_steps;
    /**
     * Parameters of the network.
     */
    uint64_t parameters;
    /**
     * Bytes of the weights in the file.
     */
    uint64_t weight_bytes;
    /**
     * "unet2d"
     */
    char arch[32];
    /**
     * The device chosen, as "cpu".
     */
    char device[32];
    /**
     * The precision chosen; never AUTO.
     */
    int32_t precision;
    /**
     * 0
     */
    int32_t reserved;
} onestep_model_info;

/**
 * Memory in bytes.
 */
typedef struct onestep_memory {
    /**
     * sizeof(onestep_memory)
     */
    uint32_t struct_size;
    /**
     * 0
     */
    uint32_t reserved;
    /**
     * Prepared weights, shared by all sessions of the model.
     */
    uint64_t weights;
    /**
     * Scratch of a session at the batch asked for; 0 for the reference executor, which does not plan.
     */
    uint64_t scratch;
    /**
     * Both, and what opening needs beside them for a moment.
     */
    uint64_t host_peak;
} onestep_memory;

/**
 * How pixels lie in the caller's buffer. Zero but for `struct_size` and `format` is a tight batch.
 *
 * Images lie one behind the other, `image_stride` apart; or on a sheet, as in an atlas: `columns` of them side by side,
 * `column_stride` apart, in each of its rows, which are `image_stride` apart. `row_stride` is the sheet's then, from one row of
 * pixels to the next. With `columns` alone the sheet is one tight picture, `columns` images wide; under F32_NCHW each row of
 * images has planes of its own, unless `plane_stride` says otherwise. The last row of images may be shorter. Nothing may
 * overlap. ONESTEP_FLAG_FLIP_Y flips each image where it is.
 */
typedef struct onestep_layout {
    /**
     * sizeof(onestep_layout)
     */
    uint32_t struct_size;
    /**
     * ONESTEP_FORMAT_*
     */
    int32_t format;
    /**
     * ONESTEP_FLAG_*, or-ed
     */
    uint32_t flags;
    /**
     * 0
     */
    uint32_t reserved;
    /**
     * Bytes from one row to the next; 0 = tight.
     */
    uint64_t row_stride;
    /**
     * Bytes from one channel plane to the next (F32_NCHW alone); 0 = tight.
     */
    uint64_t plane_stride;
    /**
     * Bytes from one image to the next, on a sheet from one row of images to the next; 0 = tight.
     */
    uint64_t image_stride;
    /**
     * Images side by side in each row of a sheet; 0: no sheet. Programs compiled before it was there have none.
     */
    uint64_t columns;
    /**
     * Bytes from one image to the next in its row of a sheet; 0 = tight, and where `columns` is 0.
     */
    uint64_t column_stride;
} onestep_layout;

/**
 * Called on the thread that made the call, with (user, ONESTEP_PHASE_*, done, total). A return other than 0 cancels.
 * It must not unwind or longjmp through the library, and must not use the session that is calling.
 */
typedef int32_t (*onestep_progress_fn)(void *user, int32_t phase, uint32_t done, uint32_t total);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * A token that has not been triggered. Never NULL.
 */
ONESTEP_MUST_USE struct onestep_cancel *onestep_cancel_new(void);

/**
 * Cancels every call that carries this token, now and later. A running call ends
 * within milliseconds on the CPU, and before its next network call on CUDA.
 */
void onestep_cancel_trigger(struct onestep_cancel *cancel);

/**
 * Makes the token usable again.
 */
void onestep_cancel_reset(struct onestep_cancel *cancel);

/**
 * Frees a token; NULL does nothing. Requests, options and sessions that it was set on keep what they need of it.
 */
void onestep_cancel_free(struct onestep_cancel *cancel);

/**
 * How many devices this build can use on this machine; the CPU is always one of them.
 */
ONESTEP_MUST_USE int32_t onestep_device_count(uint32_t *count, struct onestep_error *err);

/**
 * Device number `index`, from 0.
 */
ONESTEP_MUST_USE
int32_t onestep_device_get(uint32_t index,
                           struct onestep_device_info *info,
                           struct onestep_error *err);

/**
 * The name of a status, as `"ONESTEP_BUSY"`; `"ONESTEP_UNKNOWN"` for other numbers. Static; never NULL.
 */
const char *onestep_status_name(int32_t status);

/**
 * ONESTEP_ABI_VERSION of the library; a binding compares it with the header's at start.
 */
uint32_t onestep_abi_version(void);

/**
 * The library's version, as "0.1.0". Static.
 */
const char *onestep_version(void);

/**
 * One line for bug reports: version, target, features, instruction set in use. Static; the format may change.
 */
const char *onestep_build_info(void);

/**
 * Hands everything at least as important as `min_level` (ONESTEP_LOG_*) to `log`, on the thread that says it; NULL
 * ends that. One callback a process. Returns once no call of the old callback is in flight; called from inside the
 * callback it does nothing.
 */
void onestep_set_log(onestep_log_fn log,
                     void *user,
                     int32_t min_level);

/**
 * Opens a file in onestep's own format, a packed file, or a diffusers folder. `path` is UTF-8. `*out` is NULL unless the call
 * succeeds.
 */
ONESTEP_MUST_USE
int32_t onestep_model_open_file(const char *path,
                                const struct onestep_options *options,
                                struct onestep_model **out,
                                struct onestep_error *err);

/**
 * Prepares the model at `source` for the CPU once, and writes its weights, as they are then, to a packed file at `out`: opening
 * that reads them, where opening `source` transforms them. It has up to 2.4 times the bytes of 32-bit weights, opens where the
 * processor has the instruction set that it was packed for (option `isa`), and is good for nothing but drawing. Opened with the
 * option `memory` = `map`, its weights are used where they lie in the file, shared by all processes that do so.
 *
 * The options say which instruction set, precision and memory mode it is for; progress comes with ONESTEP_PHASE_WRITE, in
 * tensors. Nothing is left where the call fails. Paths are UTF-8.
 */
ONESTEP_MUST_USE
int32_t onestep_model_pack_file(const char *source,
                                const char *out,
                                const struct onestep_options *options,
                                struct onestep_error *err);

/**
 * Opens the bytes of a file in onestep's own format, which are needed during the call alone.
 */
ONESTEP_MUST_USE
int32_t onestep_model_open_memory(const void *data,
                                  size_t size,
                                  const struct onestep_options *options,
                                  struct onestep_model **out,
                                  struct onestep_error *err);

/**
 * Opens bytes without copying them, and calls `release(user)` exactly once when they are no longer needed: before
 * this function returns, whether it succeeds or fails. They may be unaligned. `release` may be NULL.
 */
ONESTEP_MUST_USE
int32_t onestep_model_open_borrowed(const void *data,
                                    size_t size,
                                    onestep_release_fn release,
                                    void *user,
                                    const struct onestep_options *options,
                                    struct onestep_model **out,
                                    struct onestep_error *err);

/**
 * Opens the student inside the library: portraits in pixels, 16 x 16, four channels (RGBA, alpha not multiplied in), eight
 * classes: 0 short hair, 1 long hair, 2 and 3 the same with glasses, 4 and 5 with a hat, 6 a beard, 7 a beard and a hat. One
 * network call an image, or better two (`onestep_request_set_ddim`). NOT_BUILT where the library was built without it.
 */
ONESTEP_MUST_USE
int32_t onestep_model_open_default(const struct onestep_options *options,
                                   struct onestep_model **out,
                                   struct onestep_error *err);

/**
 * What the model is. Set `info->struct_size` first.
 */
ONESTEP_MUST_USE
int32_t onestep_model_get_info(const struct onestep_model *model,
                               struct onestep_model_info *info,
                               struct onestep_error *err);

/**
 * All that is known of the model, as one JSON object in UTF-8: what `onestep info --json` prints, but for its name and memory.
 * It has, beside what `onestep_model_get_info` tells, the kind of generator, the prediction, the schedule, where the weights come
 * from, and notes of what was assumed or left out. Keys are added, and none is taken away.
 *
 * `out` has room for `size` bytes, and `*needed` becomes the size of the text with its final NUL, the same at every call. NULL
 * and 0 ask for `*needed` alone. After BUFFER_TOO_SMALL nothing else was written.
 */
ONESTEP_MUST_USE
int32_t onestep_model_info_json(const struct onestep_model *model,
                                char *out,
                                size_t size,
                                size_t *needed,
                                struct onestep_error *err);

/**
 * What calls of `batch` images take. Set `memory->struct_size` first.
 */
ONESTEP_MUST_USE
int32_t onestep_model_estimate_memory(const struct onestep_model *model,
                                      uint32_t batch,
                                      struct onestep_memory *memory,
                                      struct onestep_error *err);

/**
 * Bytes that `onestep_session_sample` writes for `batch` images, from the first to the last; checks the layout.
 */
ONESTEP_MUST_USE
int32_t onestep_output_size(const struct onestep_model *model,
                            uint32_t batch,
                            const struct onestep_layout *layout,
                            uint64_t *bytes,
                            struct onestep_error *err);

/**
 * Frees a model; NULL does nothing. Sessions made from it stay usable.
 */
void onestep_model_free(struct onestep_model *model);

/**
 * x_T of each seed as (n, c, h, w) floats, the same bits on every machine and device: what sampling starts from.
 */
ONESTEP_MUST_USE
int32_t onestep_noise_fill(const struct onestep_model *model,
                           const uint64_t *seeds,
                           size_t n,
                           float *out,
                           size_t n_floats,
                           struct onestep_error *err);

/**
 * Vectors between `a` and `b`, of `len` floats each, one for each of the `n_t` values of `t` (0 gives a, 1 gives b).
 * `mode` is ONESTEP_INTERPOLATE_*; SLERP turns over the whole vector. `out` has n_t len floats at least, and shares
 * none with `a`, `b` and `t`.
 */
ONESTEP_MUST_USE
int32_t onestep_noise_interpolate(int32_t mode,
                                  const float *a,
                                  const float *b,
                                  size_t len,
                                  const float *t,
                                  size_t n_t,
                                  float *out,
                                  size_t n_floats,
                                  struct onestep_error *err);

/**
 * Options with all defaults. Never NULL.
 */
ONESTEP_MUST_USE struct onestep_options *onestep_options_new(void);

/**
 * Frees options; NULL does nothing.
 */
void onestep_options_free(struct onestep_options *options);

/**
 * The device: "auto" (the default: "cuda:0" where it can be used, else "cpu"), "cpu", "cuda:0", "metal:0". Read when a
 * model is opened; a session lives on its model's device. Devices that this build lacks are refused then, with NOT_BUILT,
 * and those that this machine lacks with DEVICE_UNAVAILABLE.
 */
ONESTEP_MUST_USE
int32_t onestep_options_set_device(struct onestep_options *options,
                                   const char *id,
                                   struct onestep_error *err);

/**
 * Threads of a session, 1 to 1024; 0, the default: the process's share (affinity and cgroup). Pixels do not depend
 * on it.
 */
ONESTEP_MUST_USE
int32_t onestep_options_set_threads(struct onestep_options *options,
                                    uint32_t threads,
                                    struct onestep_error *err);

/**
 * The arithmetic, ONESTEP_PRECISION_*. Read when a model is opened.
 */
ONESTEP_MUST_USE
int32_t onestep_options_set_precision(struct onestep_options *options,
                                      int32_t precision,
                                      struct onestep_error *err);

/**
 * The role, ONESTEP_ROLE_*: AUTO takes the file's. Read when a model is opened.
 */
ONESTEP_MUST_USE
int32_t onestep_options_set_role(struct onestep_options *options,
                                 int32_t role,
                                 struct onestep_error *err);

/**
 * Progress of opening, and of every call of a session made with these options whose request names no other; NULL for
 * none.
 */
ONESTEP_MUST_USE
int32_t onestep_options_set_progress(struct onestep_options *options,
                                     onestep_progress_fn progress,
                                     void *user,
                                     struct onestep_error *err);

/**
 * A token that cancels opening, and every call of a session made with these options; NULL for none.
 */
ONESTEP_MUST_USE
int32_t onestep_options_set_cancel(struct onestep_options *options,
                                   struct onestep_cancel *cancel,
                                   struct onestep_error *err);

/**
 * Options that have no setter of their own. An unknown key or value is INVALID_ARGUMENT; a key of a backend that this
 * build lacks is ignored.
 *
 * | key | values | default |
 * |---|---|---|
 * | `executor` | `fast`; `reference` (plain loops, slow, the oracle) | `fast` |
 * | `clip_sample` | `file`; `true`; `false`: whether samplers clamp their estimate of the image | `file` |
 * | `memory` | `fast`; `low`: half the speed, and weights that take what their values take, not up to 2.4 times; `map`: a packed file's weights, used where they lie in the file, which nobody may change or cut meanwhile | `fast` |
 * | `isa` | `auto`; `portable`, `neon`, `avx2`, `avx512`, `avx512bf16`: the instruction set of the CPU's kernels. Results differ from one to another in their last bits | `auto`: what the environment's `ONESTEP_ISA` says, else the processor's best |
 * | `spin_us` | microseconds that an idle worker spins before it sleeps | the pool's |
 * | `limits.file_bytes` | largest weight file | 17179869184 |
 * | `limits.parameters` | most parameters of a network | 4000000000 |
 * | `limits.pixels` | most pixels of an image | 16777216 |
 * | `limits.batch` | most images a call | 4096 |
 * | `limits.memory` | most bytes of a model's prepared weights and a session's scratch memory together, on the CPU; OUT_OF_MEMORY beyond | 18446744073709551615 |
 * | `cuda.convolutions` | `own`; `cudnn`: those of cuDNN 9, tuned when a shape is first met | `own` |
 * | `cuda.library_path` | folder where CUDA's libraries are looked for first | the environment's `ONESTEP_CUDA_LIBRARY_PATH` |
 */
ONESTEP_MUST_USE
int32_t onestep_options_set(struct onestep_options *options,
                            const char *key,
                            const char *value,
                            struct onestep_error *err);

/**
 * An empty request. Never NULL.
 */
ONESTEP_MUST_USE struct onestep_request *onestep_request_new(void);

/**
 * Frees a request; NULL does nothing.
 */
void onestep_request_free(struct onestep_request *request);

/**
 * One seed an image; their number is the batch. Image i depends on seed i alone. n = 0 takes seeds away.
 */
ONESTEP_MUST_USE
int32_t onestep_request_set_seeds(struct onestep_request *request,
                                  const uint64_t *seeds,
                                  size_t n,
                                  struct onestep_error *err);

/**
 * x_T itself, (n, c, h, w), in place of the seeds' own; seeds of the same batch may stand beside it for the fresh
 * noise of stochastic samplers. n_floats = 0 takes it away.
 */
ONESTEP_MUST_USE
int32_t onestep_request_set_noise(struct onestep_request *request,
                                  const float *nchw,
                                  size_t n_floats,
                                  struct onestep_error *err);

/**
 * One label an image, 0 to num_classes - 1, for conditional models; num_classes itself stands for no label where the model was
 * taught without labels too. n = 0 takes labels away.
 */
ONESTEP_MUST_USE
int32_t onestep_request_set_labels(struct onestep_request *request,
                                   const int32_t *labels,
                                   size_t n,
                                   struct onestep_error *err);

/**
 * DDIM with the file's spacing: `steps` network calls (0: the model's default), eta 0 to 1. Teachers only.
 */
ONESTEP_MUST_USE
int32_t onestep_request_set_ddim(struct onestep_request *request,
                                 uint32_t steps,
                                 float eta,
                                 struct onestep_error *err);

/**
 * How a teacher samples: ONESTEP_SAMPLER_*, ONESTEP_SPACING_*, `steps` network calls (0: the model's default), and
 * DDIM's eta, 0 to 1. Values are checked here as far as they can be, and against the model when it samples.
 */
ONESTEP_MUST_USE
int32_t onestep_request_set_sampler(struct onestep_request *request,
                                    int32_t kind,
                                    int32_t spacing,
                                    uint32_t steps,
                                    float eta,
                                    struct onestep_error *err);

/**
 * An explicit sequence of descending timesteps, or of a consistency model's ascending noise levels (0: the most noise), in
 * place of a number of steps; keeps the sampler and eta that were
 * set. n = 0 takes it away.
 */
ONESTEP_MUST_USE
int32_t onestep_request_set_schedule(struct onestep_request *request,
                                     const int32_t *timesteps,
                                     size_t n,
                                     struct onestep_error *err);

/**
 * Classifier-free guidance (Ho and Salimans 2022), for conditional models that were taught without labels too: each prediction is
 * p(none) + scale (p(label) - p(none)), at two network calls a step. 1: none; 0: as if there were no labels; usual are 1.5 to 8.
 * Keeps the sampler and schedule that were set. Whether the model can be guided is checked when it samples.
 */
ONESTEP_MUST_USE
int32_t onestep_request_set_guidance(struct onestep_request *request,
                                     float scale,
                                     struct onestep_error *err);

/**
 * Progress of the call, in place of the session's; NULL for none.
 */
ONESTEP_MUST_USE
int32_t onestep_request_set_progress(struct onestep_request *request,
                                     onestep_progress_fn progress,
                                     void *user,
                                     struct onestep_error *err);

/**
 * A token that cancels the call; NULL for none.
 */
ONESTEP_MUST_USE
int32_t onestep_request_set_cancel(struct onestep_request *request,
                                   struct onestep_cancel *cancel,
                                   struct onestep_error *err);

/**
 * A session on a model. Of the options it reads threads, `spin_us`, progress and cancel; NULL stands for all defaults.
 */
ONESTEP_MUST_USE
int32_t onestep_session_new(const struct onestep_model *model,
                            const struct onestep_options *options,
                            struct onestep_session **out,
                            struct onestep_error *err);

/**
 * Frees a session and ends its threads; NULL does nothing.
 */
void onestep_session_free(struct onestep_session *session);

/**
 * Gets ready for calls of `batch` images: plans memory for every way in which the model can draw, and calls the network on
 * noise of its own, once (seven times for Heun's method). Blocks. The next call of so many images allocates nothing, and takes its
 * usual time. Samplers other than the model's own may still have a graph to make on CUDA, and EDM's of more steps than the default
 * a longer list of them.
 *
 * `batch` is 1 to `limits.batch`. Of several batch sizes the largest comes first: its memory is enough for the others, which a
 * larger one after them would make CUDA record anew. The options' progress hears of it (ONESTEP_PHASE_SAMPLE), and their token
 * cancels it.
 */
ONESTEP_MUST_USE
int32_t onestep_session_prepare(struct onestep_session *session,
                                uint32_t batch,
                                struct onestep_error *err);

/**
 * Draws a batch into `out`, which may be unaligned, has `out_size` bytes, and needs `onestep_output_size` of them.
 * Blocks. After CANCELLED, `out` is unspecified and the session usable; after BUFFER_TOO_SMALL nothing was written.
 * A session's first calls of a batch size and kind of sampler plan and allocate (`onestep_session_prepare` does it before); later
 * ones do not.
 */
ONESTEP_MUST_USE
int32_t onestep_session_sample(struct onestep_session *session,
                               const struct onestep_request *request,
                               const struct onestep_layout *layout,
                               void *out,
                               size_t out_size,
                               struct onestep_error *err);

/**
 * The bare network, for callers with a sampler of their own: the raw prediction for `n` images `x` (n, c, h, w) at
 * one timestep an image, and one label an image for conditional models (else `labels` is NULL). `out` has `n_floats`
 * floats, n c h w at least; `x` has n c h w, finite ones, and shares none with `out`. Of a network that learned
 * its variance, it is the mean.
 */
ONESTEP_MUST_USE
int32_t onestep_session_predict(struct onestep_session *session,
                                const float *x_nchw,
                                const int32_t *timesteps,
                                const int32_t *labels,
                                size_t n,
                                float *out,
                                size_t n_floats,
                                struct onestep_error *err);

/**
 * `onestep_session_predict` at any finite times, whole or not: what the network itself is told of an image's noise level,
 * such as ln(sigma) / 4 (EDM) or 250 ln(sigma) (consistency models).
 */
ONESTEP_MUST_USE
int32_t onestep_session_predict_at(struct onestep_session *session,
                                   const float *x_nchw,
                                   const float *times,
                                   const int32_t *labels,
                                   size_t n,
                                   float *out,
                                   size_t n_floats,
                                   struct onestep_error *err);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* ONESTEP_H */
