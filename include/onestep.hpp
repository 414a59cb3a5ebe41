// onestep for C++17 and later: handles that free themselves, and results in place of status codes.
//
//     onestep::model model = onestep::model::open_default().value();
//     onestep::session session = model.start().value();
//     onestep::images two = session.draw(onestep::request().seeds({1, 2}).labels({0, 5})).value();
//
// Every fallible function gives a `result`: the C++23 standard's `std::expected` where there is one, else a smaller one
// of the same spelling. Nothing here needs exceptions or run-time types. `value()` of a failed result throws
// `onestep::exception` (or `std::bad_expected_access`) where exceptions are on, and ends the program where they are off;
// `or_throw` throws `onestep::exception` in both.
//
// Setters of `options` and `request` can be chained, on one that has a name and on one that has none; the first of them
// that fails is told by the call that takes them.
// What may be done from which thread is as in onestep.h. Header only; link with the library. MIT OR Apache-2.0.

#ifndef ONESTEP_HPP
#define ONESTEP_HPP

#include "onestep.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#if defined(__has_include) && __has_include(<version>)
#include <version>
#endif

#if defined(__cpp_exceptions)
#include <exception>
#include <stdexcept>
#endif

#if defined(__cpp_lib_expected)
#include <expected>
#define ONESTEP_HPP_NAMESPACE cpp23
#else
#define ONESTEP_HPP_NAMESPACE cpp17
#endif

namespace onestep {
// Files of one program may be compiled as C++17 and as C++23: the two meanings of `result` are kept apart.
inline namespace ONESTEP_HPP_NAMESPACE {

/// ONESTEP_*: what went wrong, as a kind.
enum class status : std::int32_t {
    ok = ONESTEP_OK,
    invalid_argument = ONESTEP_INVALID_ARGUMENT,
    buffer_too_small = ONESTEP_BUFFER_TOO_SMALL,
    io = ONESTEP_IO,
    bad_model = ONESTEP_BAD_MODEL,
    unsupported_model = ONESTEP_UNSUPPORTED_MODEL,
    device_unavailable = ONESTEP_DEVICE_UNAVAILABLE,
    device_failed = ONESTEP_DEVICE_FAILED,
    out_of_memory = ONESTEP_OUT_OF_MEMORY,
    cancelled = ONESTEP_CANCELLED,
    busy = ONESTEP_BUSY,
    not_built = ONESTEP_NOT_BUILT,
    abi_mismatch = ONESTEP_ABI_MISMATCH,
    panic = ONESTEP_PANIC,
    poisoned = ONESTEP_POISONED,
    internal = ONESTEP_INTERNAL,
};

/// The name of a status, as "ONESTEP_BUSY".
inline const char *name(status code) noexcept { return onestep_status_name(static_cast<std::int32_t>(code)); }

/// What went wrong.
struct error {
    status code = status::ok;
    /// The operating system's or driver's own number, or 0.
    std::int32_t native_code = 0;
    /// Names the file, tensor or argument, what was found and what was expected.
    std::string message;
};

#if defined(__cpp_exceptions)
/// What `or_throw` throws.
class exception : public std::runtime_error {
  public:
    explicit exception(error what) : std::runtime_error(what.message), code_(what.code), native_code_(what.native_code) {}
    status code() const noexcept { return code_; }
    std::int32_t native_code() const noexcept { return native_code_; }

  private:
    status code_;
    std::int32_t native_code_;
};
#endif

#if defined(__cpp_lib_expected)
template <class T> using result = std::expected<T, error>;
using failure = std::unexpected<error>;
#else
/// What makes a `result` a failed one.
class failure {
  public:
    explicit failure(onestep::error error) : error_(std::move(error)) {}
    onestep::error &error() noexcept { return error_; }

  private:
    onestep::error error_;
};

/// A `T`, or an `error`: the part of `std::expected` that one needs.
template <class T> class [[nodiscard]] result {
    using stored = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

  public:
    using value_type = T;
    template <class U = stored, class = std::enable_if_t<std::is_void_v<T>, U>> result() {}
    template <class U = stored, class = std::enable_if_t<std::is_constructible_v<stored, U &&> && !std::is_void_v<T> &&
                                                         !std::is_same_v<std::decay_t<U>, failure> &&
                                                         !std::is_same_v<std::decay_t<U>, result>>>
    result(U &&value) : state_(std::in_place_index<0>, std::forward<U>(value)) {}
    result(failure failed) : state_(std::in_place_index<1>, std::move(failed.error())) {}

    bool has_value() const noexcept { return state_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }

    /// Unchecked, as in `std::expected`.
    template <class U = stored> U &operator*() & noexcept { return *std::get_if<0>(&state_); }
    template <class U = stored> const U &operator*() const & noexcept { return *std::get_if<0>(&state_); }
    template <class U = stored> U &&operator*() && noexcept { return std::move(*std::get_if<0>(&state_)); }
    stored *operator->() noexcept { return std::get_if<0>(&state_); }
    const stored *operator->() const noexcept { return std::get_if<0>(&state_); }
    const onestep::error &error() const & noexcept { return *std::get_if<1>(&state_); }
    onestep::error &&error() && noexcept { return std::move(*std::get_if<1>(&state_)); }

    /// Throws `onestep::exception` where there is no value; ends the program where exceptions are off.
    decltype(auto) value() & { return checked(), taken(*this); }
    decltype(auto) value() const & { return checked(), taken(*this); }
    decltype(auto) value() && { return checked(), taken(std::move(*this)); }

    template <class U> stored value_or(U &&other) && {
        return has_value() ? std::move(**this) : static_cast<stored>(std::forward<U>(other));
    }

  private:
    template <class Self> static decltype(auto) taken(Self &&self) {
        if constexpr (!std::is_void_v<T>) return *std::forward<Self>(self);
    }
    void checked() const {
        if (has_value()) return;
#if defined(__cpp_exceptions)
        throw exception(error());
#else
        std::abort();
#endif
    }

    std::variant<stored, onestep::error> state_;
};
#endif

#if defined(__cpp_exceptions)
/// The value, or an `onestep::exception`.
template <class T> T or_throw(result<T> tried) {
    if (!tried) throw exception(std::move(tried).error());
    if constexpr (!std::is_void_v<T>) return *std::move(tried);
}
#endif

/// Somebody's contiguous `T`: made from a vector, array, `std::span`, braces, or pointer and count. Used during a call,
/// never kept.
template <class T> class view {
  public:
    constexpr view() noexcept = default;
    constexpr view(T *data, std::size_t size) noexcept : data_(data), size_(size) {}
    template <std::size_t N> constexpr view(T (&array)[N]) noexcept : data_(array), size_(N) {}
    template <class U = T, class = std::enable_if_t<std::is_const_v<U>>>
    constexpr view(std::initializer_list<std::remove_const_t<T>> list) noexcept {
        data_ = list.begin();
        size_ = list.size();
    }
    template <class C, class = std::enable_if_t<!std::is_same_v<std::decay_t<C>, view>>,
              class = std::enable_if_t<std::is_convertible_v<
                  std::remove_pointer_t<decltype(std::declval<C &>().data())> (*)[], T (*)[]>>,
              class = decltype(std::declval<C &>().size())>
    constexpr view(C &&container) noexcept : data_(container.data()), size_(container.size()) {}

    constexpr T *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr T *begin() const noexcept { return data_; }
    constexpr T *end() const noexcept { return data_ + size_; }
    constexpr T &operator[](std::size_t i) const noexcept { return data_[i]; }

  private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};

/// ONESTEP_FORMAT_*: how a pixel is stored.
enum class format : std::int32_t {
    f32_nchw = ONESTEP_FORMAT_F32_NCHW,
    f32_nhwc = ONESTEP_FORMAT_F32_NHWC,
    rgb8 = ONESTEP_FORMAT_RGB8,
    rgba8 = ONESTEP_FORMAT_RGBA8,
    bgra8 = ONESTEP_FORMAT_BGRA8,
};

/// ONESTEP_ROLE_*
enum class role : std::int32_t {
    automatic = ONESTEP_ROLE_AUTO,
    teacher = ONESTEP_ROLE_TEACHER,
    student = ONESTEP_ROLE_STUDENT,
};

/// ONESTEP_PRECISION_*
enum class precision : std::int32_t {
    automatic = ONESTEP_PRECISION_AUTO,
    f32 = ONESTEP_PRECISION_F32,
    bf16 = ONESTEP_PRECISION_BF16,
    f16 = ONESTEP_PRECISION_F16,
};

/// ONESTEP_SAMPLER_*
enum class sampler : std::int32_t {
    ddim = ONESTEP_SAMPLER_DDIM,
    ddpm = ONESTEP_SAMPLER_DDPM,
    consistency = ONESTEP_SAMPLER_CONSISTENCY,
    euler = ONESTEP_SAMPLER_EULER,
    heun = ONESTEP_SAMPLER_HEUN
};

/// ONESTEP_SPACING_*
enum class spacing : std::int32_t {
    file = ONESTEP_SPACING_FILE,
    leading = ONESTEP_SPACING_LEADING,
    trailing = ONESTEP_SPACING_TRAILING,
    quadratic = ONESTEP_SPACING_QUADRATIC,
    linspace = ONESTEP_SPACING_LINSPACE,
};

/// ONESTEP_PHASE_*
enum class phase : std::int32_t {
    open = ONESTEP_PHASE_OPEN,
    prepare = ONESTEP_PHASE_PREPARE,
    sample = ONESTEP_PHASE_SAMPLE,
    write = ONESTEP_PHASE_WRITE,
};

/// ONESTEP_INTERPOLATE_*
enum class interpolation : std::int32_t { lerp = ONESTEP_INTERPOLATE_LERP, slerp = ONESTEP_INTERPOLATE_SLERP };

/// Called on the calling thread; false cancels. An exception cancels, and leaves through the call in C++.
using progress = std::function<bool(phase, std::uint32_t done, std::uint32_t total)>;

namespace detail {

#if defined(__cpp_exceptions)
/// What a callback threw: it runs on the calling thread, so the call finds it here when it is over.
inline std::exception_ptr &thrown() noexcept {
    thread_local std::exception_ptr exception;
    return exception;
}
#endif

inline std::int32_t hear(void *user, std::int32_t what, std::uint32_t done, std::uint32_t total) noexcept {
    const auto &call = *static_cast<const progress *>(user);
#if defined(__cpp_exceptions)
    try {
        return call(static_cast<phase>(what), done, total) ? 0 : 1;
    } catch (...) {
        thrown() = std::current_exception();
        return 1;
    }
#else
    return call(static_cast<phase>(what), done, total) ? 0 : 1;
#endif
}

/// Lets go on its way what a callback threw.
inline void settle() {
#if defined(__cpp_exceptions)
    if (thrown()) std::rethrow_exception(std::exchange(thrown(), nullptr));
#endif
}

/// `call(&error)` as a result.
template <class Call> result<void> attempt(Call &&call) {
    onestep_error told{};
    const std::int32_t code = call(&told);
    settle();
    if (code != ONESTEP_OK) return failure(error{static_cast<status>(told.code), told.native_code, told.message});
    return {};
}

/// `value`, if what filled it is `done`.
template <class T> result<T> filled(T &value, result<void> done) {
    if (!done) return failure(std::move(done).error());
    return std::move(value);
}

/// `value`, which `call(&error)` fills.
template <class T, class Call, class = decltype(std::declval<Call &>()(nullptr))> result<T> filled(T &value, Call &&call) {
    return filled(value, attempt(std::forward<Call>(call)));
}

template <auto Free> struct freed {
    template <class T> void operator()(T *handle) const noexcept { Free(handle); }
};
template <class T, auto Free> using owned = std::unique_ptr<T, freed<Free>>;

/// `call(&handle, &error)` as a result that owns the handle.
template <class Owned, class Call> result<Owned> opened(Call &&call) {
    Owned owner;
    return filled(owner, [&](onestep_error *err) {
        typename Owned::pointer handle = nullptr;
        const std::int32_t code = call(&handle, err);
        owner.reset(handle);
        return code;
    });
}

} // namespace detail

/// Cancels calls, from any thread. Sticky: what carries it ends with `status::cancelled` until it is reset.
class cancel {
  public:
    cancel() : handle_(onestep_cancel_new()) {}
    void trigger() const noexcept { onestep_cancel_trigger(handle_.get()); }
    void reset() const noexcept { onestep_cancel_reset(handle_.get()); }
    onestep_cancel *get() const noexcept { return handle_.get(); }

  private:
    detail::owned<onestep_cancel, onestep_cancel_free> handle_;
};

namespace detail {

/// Setters that can be chained: the first failure is kept, and told by the call that takes the settings.
template <class Self, class Handle, auto New, auto Free, auto SetProgress, auto SetCancel> class settings {
  public:
    Self &progress(onestep::progress call) & {
        auto kept = call ? std::make_shared<const onestep::progress>(std::move(call)) : nullptr;
        with([&](Handle *handle, onestep_error *err) {
            return SetProgress(handle, kept ? hear : nullptr, const_cast<onestep::progress *>(kept.get()), err);
        });
        progress_ = std::move(kept);
        return self();
    }
    Self &&progress(onestep::progress call) && { return std::move(progress(std::move(call))); }
    Self &cancel(const onestep::cancel &token) & {
        return with([&](Handle *handle, onestep_error *err) { return SetCancel(handle, token.get(), err); });
    }
    Self &&cancel(const onestep::cancel &token) && { return std::move(cancel(token)); }

    Handle *get() const noexcept { return handle_.get(); }
    /// What a setter refused, if one did.
    const std::optional<error> &refused() const noexcept { return refused_; }

  protected:
    settings() : handle_(New()) {}

    template <class Call> Self &with(Call &&call) {
        if (auto done = attempt([&](onestep_error *err) { return call(handle_.get(), err); }); !done && !refused_)
            refused_ = std::move(done).error();
        return self();
    }

    owned<Handle, Free> handle_;
    std::optional<error> refused_;
    std::shared_ptr<const onestep::progress> progress_;

  private:
    Self &self() noexcept { return static_cast<Self &>(*this); }
};

} // namespace detail

/// How to open a model and start a session. `progress` is of opening, and of every call of sessions started with these
/// options whose request names no other; sessions keep it, and those of several threads call it at once.
class options : public detail::settings<options, onestep_options, onestep_options_new, onestep_options_free,
                                        onestep_options_set_progress, onestep_options_set_cancel> {
  public:
    options() = default;

    /// "auto" (the default), "cpu", "cuda:0", "metal:0".
    options &device(const std::string &id) & {
        return with([&](onestep_options *o, onestep_error *err) { return onestep_options_set_device(o, id.c_str(), err); });
    }
    options &&device(const std::string &id) && { return std::move(device(id)); }
    /// Threads of a session; 0, the default: the process's share.
    options &threads(std::uint32_t count) & {
        return with([&](onestep_options *o, onestep_error *err) { return onestep_options_set_threads(o, count, err); });
    }
    options &&threads(std::uint32_t count) && { return std::move(threads(count)); }
    options &precision(onestep::precision value) & {
        return with([&](onestep_options *o, onestep_error *err) {
            return onestep_options_set_precision(o, static_cast<std::int32_t>(value), err);
        });
    }
    options &&precision(onestep::precision value) && { return std::move(precision(value)); }
    options &role(onestep::role value) & {
        return with([&](onestep_options *o, onestep_error *err) {
            return onestep_options_set_role(o, static_cast<std::int32_t>(value), err);
        });
    }
    options &&role(onestep::role value) && { return std::move(role(value)); }
    /// A key of `onestep_options_set`.
    options &set(const std::string &key, const std::string &value) & {
        return with([&](onestep_options *o, onestep_error *err) {
            return onestep_options_set(o, key.c_str(), value.c_str(), err);
        });
    }
    options &&set(const std::string &key, const std::string &value) && { return std::move(set(key, value)); }

  private:
    friend class model;
};

/// What to draw. It can be used again.
class request : public detail::settings<request, onestep_request, onestep_request_new, onestep_request_free,
                                        onestep_request_set_progress, onestep_request_set_cancel> {
  public:
    request() = default;

    /// One an image: their number is the batch.
    request &seeds(view<const std::uint64_t> values) & {
        batch_ = values.size();
        return with([&](onestep_request *r, onestep_error *err) {
            return onestep_request_set_seeds(r, values.data(), values.size(), err);
        });
    }
    request &&seeds(view<const std::uint64_t> values) && { return std::move(seeds(values)); }
    /// x_T itself, (n, c, h, w).
    request &noise(view<const float> nchw) & {
        floats_ = nchw.size();
        return with([&](onestep_request *r, onestep_error *err) {
            return onestep_request_set_noise(r, nchw.data(), nchw.size(), err);
        });
    }
    request &&noise(view<const float> nchw) && { return std::move(noise(nchw)); }
    /// One an image, for conditional models.
    request &labels(view<const std::int32_t> values) & {
        return with([&](onestep_request *r, onestep_error *err) {
            return onestep_request_set_labels(r, values.data(), values.size(), err);
        });
    }
    request &&labels(view<const std::int32_t> values) && { return std::move(labels(values)); }
    /// Teachers only: `steps` network calls (0: the model's default), eta 0 to 1.
    request &ddim(std::uint32_t steps, float eta = 0) & {
        return with([&](onestep_request *r, onestep_error *err) { return onestep_request_set_ddim(r, steps, eta, err); });
    }
    request &&ddim(std::uint32_t steps, float eta = 0) && { return std::move(ddim(steps, eta)); }
    request &sampler(onestep::sampler kind, onestep::spacing spacing, std::uint32_t steps, float eta = 0) & {
        return with([&](onestep_request *r, onestep_error *err) {
            return onestep_request_set_sampler(r, static_cast<std::int32_t>(kind), static_cast<std::int32_t>(spacing), steps,
                                               eta, err);
        });
    }
    request &&sampler(onestep::sampler kind, onestep::spacing spacing, std::uint32_t steps, float eta = 0) && {
        return std::move(sampler(kind, spacing, steps, eta));
    }
    /// Descending timesteps, in place of a number of steps.
    request &schedule(view<const std::int32_t> timesteps) & {
        return with([&](onestep_request *r, onestep_error *err) {
            return onestep_request_set_schedule(r, timesteps.data(), timesteps.size(), err);
        });
    }
    request &&schedule(view<const std::int32_t> timesteps) && { return std::move(schedule(timesteps)); }
    /// Classifier-free guidance, of models that were taught without labels too; 1: none.
    request &guidance(float scale) & {
        return with([&](onestep_request *r, onestep_error *err) { return onestep_request_set_guidance(r, scale, err); });
    }
    request &&guidance(float scale) && { return std::move(guidance(scale)); }

  private:
    friend class session;
    std::size_t batch_ = 0, floats_ = 0;
};

/// How pixels lie in a buffer: tight, top row first, unless strides (in bytes) or flags (ONESTEP_FLAG_*) are given.
inline onestep_layout layout(format stored, std::uint32_t flags = 0) noexcept {
    onestep_layout made{};
    made.struct_size = sizeof made;
    made.format = static_cast<std::int32_t>(stored);
    made.flags = flags;
    return made;
}

/// A sheet, as of an atlas: `columns` images side by side in each of its rows; tight, unless strides are given.
inline onestep_layout sheet(format stored, std::uint64_t columns, std::uint32_t flags = 0) noexcept {
    onestep_layout made = layout(stored, flags);
    made.columns = columns;
    return made;
}

/// Images of 8 bits a channel, one behind the other.
struct images {
    std::int32_t count = 0, width = 0, height = 0, channels = 0;
    std::vector<std::uint8_t> pixels;

    /// The bytes of image `i`: rows from the top, pixels from the left.
    view<const std::uint8_t> operator[](std::size_t i) const noexcept {
        const auto bytes = static_cast<std::size_t>(width) * height * channels;
        return {pixels.data() + i * bytes, bytes};
    }
};

/// One caller's scratch memory and threads: one call at a time, a second one gets `status::busy`. It keeps its model.
class session {
  public:
    /// Gets ready for calls of `batch` images, of several sizes the largest first: the next one allocates nothing, and takes its
    /// usual time.
    result<void> prepare(std::uint32_t batch) {
        return detail::attempt([&](onestep_error *err) { return onestep_session_prepare(handle_.get(), batch, err); });
    }

    /// Draws into `out`, which may be unaligned and takes `model::output_size` bytes.
    result<void> draw(const request &what, const onestep_layout &how, void *out, std::size_t bytes) {
        if (what.refused()) return failure(*what.refused());
        return detail::attempt([&](onestep_error *err) {
            return onestep_session_sample(handle_.get(), what.get(), &how, out, bytes, err);
        });
    }

    /// Draws into memory of its own: RGB8, RGBA8 or BGRA8.
    result<images> draw(const request &what, format stored = format::rgb8) {
        if (stored == format::f32_nchw || stored == format::f32_nhwc)
            return failure(error{status::invalid_argument, 0, "draw: floats need a buffer of the caller's"});
        images drawn;
        drawn.width = info_.width;
        drawn.height = info_.height;
        drawn.channels = stored == format::rgb8 ? 3 : 4;
        const auto side = static_cast<std::size_t>(info_.width) * info_.height;
        const std::size_t count = what.batch_ != 0 ? what.batch_ : what.floats_ / (side * info_.channels);
        drawn.count = static_cast<std::int32_t>(count);
        drawn.pixels.resize(count * side * drawn.channels);
        // A batch of none has no memory; what is wrong with it, the library says.
        std::uint8_t none = 0;
        std::uint8_t *out = count != 0 ? drawn.pixels.data() : &none;
        return detail::filled(drawn, draw(what, layout(stored), out, drawn.pixels.size()));
    }

    /// The bare network's prediction for images `x` (n, c, h, w), one timestep an image, and one label an image for
    /// conditional models.
    result<void> predict(view<const float> x, view<const std::int32_t> timesteps, view<const std::int32_t> labels,
                         view<float> out) {
        return call(onestep_session_predict, x, timesteps, labels, out);
    }

    /// The same at any finite times, whole or not: what the network itself is told of an image's noise level.
    result<void> predict_at(view<const float> x, view<const float> times, view<const std::int32_t> labels,
                            view<float> out) {
        return call(onestep_session_predict_at, x, times, labels, out);
    }

    onestep_session *get() const noexcept { return handle_.get(); }

  private:
    template <class Predict, class Time>
    result<void> call(Predict predict, view<const float> x, view<const Time> times, view<const std::int32_t> labels,
                      view<float> out) {
        const auto image = static_cast<std::size_t>(info_.width) * info_.height * info_.channels;
        if (x.size() != times.size() * image)
            return failure(error{status::invalid_argument, 0, "predict: x has " + std::to_string(x.size()) + " floats, expected " +
                                                                  std::to_string(times.size() * image)});
        if (!labels.empty() && labels.size() != times.size())
            return failure(error{status::invalid_argument, 0,
                                 "predict: " + std::to_string(labels.size()) + " labels, expected " +
                                     std::to_string(times.size())});
        return detail::attempt([&](onestep_error *err) {
            return predict(handle_.get(), x.data(), times.data(), labels.data(), times.size(), out.data(), out.size(),
                           err);
        });
    }

    friend class model;
    using owned = detail::owned<onestep_session, onestep_session_free>;
    session(owned handle, const onestep_model_info &info, std::shared_ptr<const onestep::progress> progress)
        : progress_(std::move(progress)), handle_(std::move(handle)), info_(info) {}

    std::shared_ptr<const onestep::progress> progress_;
    owned handle_;
    onestep_model_info info_;
};

/// Weights, immutable; any number of threads and sessions may use one at a time.
class model {
  public:
    /// A file in onestep's own format, or a diffusers folder; UTF-8.
    static result<model> open_file(const std::string &path, const options &how = options()) {
        return opened(how, [&](onestep_model **out, onestep_error *err) {
            return onestep_model_open_file(path.c_str(), how.get(), out, err);
        });
    }
    /// The bytes of a file, needed during the call alone, and not copied.
    static result<model> open_memory(const void *data, std::size_t size, const options &how = options()) {
        return opened(how, [&](onestep_model **out, onestep_error *err) {
            return onestep_model_open_borrowed(data, size, nullptr, nullptr, how.get(), out, err);
        });
    }
    /// The student inside the library.
    static result<model> open_default(const options &how = options()) {
        return opened(how, [&](onestep_model **out, onestep_error *err) {
            return onestep_model_open_default(how.get(), out, err);
        });
    }

    const onestep_model_info &info() const noexcept { return info_; }

    result<session> start(const options &how = options()) const {
        if (how.refused()) return failure(*how.refused());
        auto handle = detail::opened<session::owned>([&](onestep_session **out, onestep_error *err) {
            return onestep_session_new(handle_.get(), how.get(), out, err);
        });
        if (!handle) return failure(std::move(handle).error());
        return session(*std::move(handle), info_, how.progress_);
    }

    /// All that is known of the model, as one JSON object: `onestep_model_info_json`.
    result<std::string> info_json() const {
        std::size_t needed = 0;
        auto asked = detail::attempt(
            [&](onestep_error *err) { return onestep_model_info_json(handle_.get(), nullptr, 0, &needed, err); });
        if (!asked) return failure(std::move(asked).error());
        std::string text(needed, '\0');
        auto told = detail::attempt([&](onestep_error *err) {
            return onestep_model_info_json(handle_.get(), &text[0], text.size(), &needed, err);
        });
        text.pop_back(); // C's strings end with a NUL.
        return detail::filled(text, std::move(told));
    }

    result<onestep_memory> estimate_memory(std::uint32_t batch) const {
        onestep_memory memory{};
        memory.struct_size = sizeof memory;
        return detail::filled(memory, [&](onestep_error *err) {
            return onestep_model_estimate_memory(handle_.get(), batch, &memory, err);
        });
    }
    /// Bytes that `session::draw` writes for `batch` images.
    result<std::uint64_t> output_size(std::uint32_t batch, const onestep_layout &how) const {
        std::uint64_t bytes = 0;
        return detail::filled(bytes, [&](onestep_error *err) {
            return onestep_output_size(handle_.get(), batch, &how, &bytes, err);
        });
    }
    /// x_T of each seed, (n, c, h, w): the same bits on every machine.
    result<std::vector<float>> noise(view<const std::uint64_t> seeds) const {
        std::vector<float> x(seeds.size() * static_cast<std::size_t>(info_.width) * info_.height * info_.channels);
        return detail::filled(x, noise(seeds, x));
    }
    /// The same, into the caller's memory.
    result<void> noise(view<const std::uint64_t> seeds, view<float> out) const {
        return detail::attempt([&](onestep_error *err) {
            return onestep_noise_fill(handle_.get(), seeds.data(), seeds.size(), out.data(), out.size(), err);
        });
    }

    onestep_model *get() const noexcept { return handle_.get(); }

  private:
    using owned = detail::owned<onestep_model, onestep_model_free>;
    model(owned handle, const onestep_model_info &info) : handle_(std::move(handle)), info_(info) {}

    template <class Call> static result<model> opened(const options &how, Call &&call) {
        if (const std::uint32_t found = onestep_abi_version(); found != ONESTEP_ABI_VERSION)
            return failure(error{status::abi_mismatch, 0,
                                 "the library's interface is version " + std::to_string(found) +
                                     ", the program was compiled for version " + std::to_string(ONESTEP_ABI_VERSION)});
        if (how.refused()) return failure(*how.refused());
        auto handle = detail::opened<owned>(std::forward<Call>(call));
        if (!handle) return failure(std::move(handle).error());
        onestep_model_info info{};
        info.struct_size = sizeof info;
        auto told = detail::attempt([&](onestep_error *err) { return onestep_model_get_info(handle->get(), &info, err); });
        if (!told) return failure(std::move(told).error());
        return model(*std::move(handle), info);
    }

    owned handle_;
    onestep_model_info info_;
};

/// Vectors between `a` and `b`, one behind the other, for each value of `t`, into the caller's memory.
inline result<void> interpolate(interpolation mode, view<const float> a, view<const float> b, view<const float> t,
                                view<float> out) {
    if (a.size() != b.size())
        return failure(error{status::invalid_argument, 0, "interpolate: a has " + std::to_string(a.size()) +
                                                              " floats, b has " + std::to_string(b.size())});
    return detail::attempt([&](onestep_error *err) {
        return onestep_noise_interpolate(static_cast<std::int32_t>(mode), a.data(), b.data(), a.size(), t.data(), t.size(),
                                         out.data(), out.size(), err);
    });
}

/// The same, into memory of their own.
inline result<std::vector<float>> interpolate(interpolation mode, view<const float> a, view<const float> b,
                                              view<const float> t) {
    std::vector<float> out(a.size() * t.size());
    return detail::filled(out, interpolate(mode, a, b, t, out));
}

/// The devices of this machine that this build can use; the CPU is the first.
inline result<std::vector<onestep_device_info>> devices() {
    std::uint32_t count = 0;
    if (auto done = detail::attempt([&](onestep_error *err) { return onestep_device_count(&count, err); }); !done)
        return failure(std::move(done).error());
    std::vector<onestep_device_info> found(count);
    for (std::uint32_t i = 0; i < count; i++) {
        found[i].struct_size = sizeof found[i];
        if (auto done = detail::attempt([&](onestep_error *err) { return onestep_device_get(i, &found[i], err); }); !done)
            return failure(std::move(done).error());
    }
    return found;
}

} // namespace ONESTEP_HPP_NAMESPACE
} // namespace onestep

#undef ONESTEP_HPP_NAMESPACE

#endif // ONESTEP_HPP
