// The class OneStepGenerator: what GDScript calls, over generator.hpp.
#ifndef ONESTEP_GODOT_ONE_STEP_GENERATOR_HPP
#define ONESTEP_GODOT_ONE_STEP_GENERATOR_HPP

#include "engine.hpp"
#include "generator.hpp"

#include <atomic>

namespace onestep_godot {

class one_step_generator {
  public:
    static void register_class();
    static void unregister_class();

    explicit one_step_generator(GDExtensionObjectPtr object) : object_(object) {}

    std::int64_t open(const std::string &path);
    engine::variant info() const;
    engine::variant noise(const std::vector<std::uint64_t> &seeds);
    engine::variant slerp(const std::vector<float> &a, const std::vector<float> &b, double t);
    engine::variant draw(drawing what, const char *function);
    std::int64_t draw_async(drawing what);
    // On the main thread, where the drawing thread has it called: joins that thread, and emits the signal.
    void deliver();
    bool is_drawing() const { return generator_.drawing_now(); }
    void cancel() { generator_.cancel(); }
    // Before the engine takes the object to pieces, which the drawing thread would call.
    void leave() { generator_.abandon(); }

    std::int64_t threads() const { return threads_; }
    void set_threads(std::int64_t count) { threads_ = count; }
    std::string last_error() const;
    std::int64_t last_status() const;

  private:
    // Remembers what went wrong, or that nothing did, and gives its status.
    std::int64_t told(const onestep::error &error);
    template <class T> std::int64_t told(const onestep::result<T> &tried);
    // The same where the result cannot say it: to the console as well.
    template <class T> bool succeeded(const onestep::result<T> &tried, const char *function);

    GDExtensionObjectPtr object_;
    std::atomic<std::int64_t> threads_{0};
    mutable std::mutex mutex_; // of `last_`
    onestep::error last_;
    generator generator_; // Last: it goes first, and its thread with it.
};

} // namespace onestep_godot

#endif
