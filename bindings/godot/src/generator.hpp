// What a OneStepGenerator does, without the engine: a model and its session, drawn on the caller's thread or on a thread of
// its own. Nothing here throws but for what `done` throws.
#ifndef ONESTEP_GODOT_GENERATOR_HPP
#define ONESTEP_GODOT_GENERATOR_HPP

#include <onestep.hpp>

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace onestep_godot {

// One image a seed, or one for each x_T in `noise`.
struct drawing {
    std::vector<std::uint64_t> seeds;
    std::vector<float> noise;
    std::vector<std::int32_t> labels;
};

// Every function may be called from any thread, whatever the others do: what opens or draws while something else does is
// answered with `busy`. The destructor alone needs the generator for itself.
class generator {
  public:
    using outcome = onestep::result<onestep::images>;

    generator() = default;
    generator(const generator &) = delete;
    ~generator() { abandon(); }

    // The bytes of a file in onestep's format; `threads` as in onestep::options. What was open before stays where it fails.
    onestep::result<void> open(onestep::view<const std::uint8_t> bytes, std::uint32_t threads);
    // The model inside the library.
    onestep::result<void> open_default(std::uint32_t threads);
    std::optional<onestep_model_info> info() const;

    onestep::result<std::vector<float>> noise(onestep::view<const std::uint64_t> seeds) const;

    // RGBA8.
    outcome draw(const drawing &what);
    // Draws on a thread of its own and calls `done` there when `collect` has something to give. Until somebody has
    // collected it, the generator is busy.
    onestep::result<void> start(drawing what, std::function<void()> done);
    // What `start` has drawn; nothing while it draws.
    std::optional<outcome> collect();
    bool drawing_now() const;

    // Ends what is opening or drawing, within milliseconds; what comes after is not cancelled.
    void cancel();
    // Cancels, and returns when the thread is gone: `done` will not be called any more.
    void abandon();

  private:
    using model_ptr = std::shared_ptr<const onestep::model>;
    using token_ptr = std::shared_ptr<const onestep::cancel>;
    class turn;

    template <class Open> onestep::result<void> opened(std::uint32_t threads, Open &&open);
    model_ptr opened_model() const;
    outcome drawn(const drawing &what, const onestep::cancel &token);

    mutable std::mutex mutex_; // of everything below, but that `session_` belongs to whoever has made the generator busy
    bool busy_ = false;
    token_ptr token_;
    model_ptr model_;
    std::optional<onestep::session> session_;
    std::optional<outcome> outcome_;
    std::thread thread_;
};

// Between `a` and `b` on the great circle: what a latent walk draws from.
onestep::result<std::vector<float>> slerp(onestep::view<const float> a, onestep::view<const float> b, float t);

} // namespace onestep_godot

#endif
