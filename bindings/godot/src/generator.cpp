#include "generator.hpp"

#include <exception>
#include <new>

namespace onestep_godot {

namespace {

onestep::failure refused(onestep::status code, const char *message) {
    return onestep::failure(onestep::error{code, 0, message});
}

onestep::failure not_open() {
    return refused(onestep::status::invalid_argument, "no model is open: call open() first");
}

// `call()`, whose exceptions (memory, or a thread, that could not be had) become failures: the engine is built without any.
template <class Call> auto guarded(Call &&call) -> decltype(call()) {
    try {
        return call();
    } catch (const std::bad_alloc &) {
        return refused(onestep::status::out_of_memory, "memory could not be had");
    } catch (const std::exception &thrown) {
        return refused(onestep::status::internal, thrown.what());
    }
}

} // namespace

// Makes the generator busy with something that can be cancelled, if it is idle, and idle again at its end unless kept.
class generator::turn {
  public:
    explicit turn(generator &of) : of_(of) {
        auto token = std::make_shared<const onestep::cancel>();
        const std::lock_guard lock(of_.mutex_);
        if (of_.busy_) return;
        of_.busy_ = true;
        of_.token_ = token_ = std::move(token);
    }
    ~turn() {
        if (!token_) return;
        const std::lock_guard lock(of_.mutex_);
        of_.busy_ = false;
        of_.token_.reset();
    }
    explicit operator bool() const { return token_ != nullptr; }
    const token_ptr &token() const { return token_; }
    void keep() { token_.reset(); }
    static onestep::failure taken() { return refused(onestep::status::busy, "this generator is drawing or opening already"); }

  private:
    generator &of_;
    token_ptr token_;
};

template <class Open> onestep::result<void> generator::opened(std::uint32_t threads, Open &&open) {
    return guarded([&]() -> onestep::result<void> {
        turn mine(*this);
        if (!mine) return turn::taken();
        onestep::result<onestep::model> model = open(onestep::options().threads(threads).cancel(*mine.token()));
        if (!model) return onestep::failure(std::move(model).error());
        // Without the token: it ends with the opening.
        auto session = model->start(onestep::options().threads(threads));
        if (!session) return onestep::failure(std::move(session).error());
        auto shared = std::make_shared<const onestep::model>(*std::move(model));
        const std::lock_guard lock(mutex_);
        session_.emplace(*std::move(session));
        model_ = std::move(shared);
        return {};
    });
}

onestep::result<void> generator::open(onestep::view<const std::uint8_t> bytes, std::uint32_t threads) {
    return opened(threads, [&](const onestep::options &how) {
        return onestep::model::open_memory(bytes.data(), bytes.size(), how);
    });
}

onestep::result<void> generator::open_default(std::uint32_t threads) {
    return opened(threads, [](const onestep::options &how) { return onestep::model::open_default(how); });
}

generator::model_ptr generator::opened_model() const {
    const std::lock_guard lock(mutex_);
    return model_;
}

std::optional<onestep_model_info> generator::info() const {
    const auto model = opened_model();
    if (!model) return std::nullopt;
    return model->info();
}

onestep::result<std::vector<float>> generator::noise(onestep::view<const std::uint64_t> seeds) const {
    const auto model = opened_model();
    if (!model) return not_open();
    return guarded([&] { return model->noise(seeds); });
}

generator::outcome generator::draw(const drawing &what) {
    return guarded([&]() -> outcome {
        turn mine(*this);
        if (!mine) return turn::taken();
        return drawn(what, *mine.token());
    });
}

generator::outcome generator::drawn(const drawing &what, const onestep::cancel &token) {
    if (!session_) return not_open();
    const onestep_model_info &info = model_->info();
    const std::size_t floats = static_cast<std::size_t>(info.width) * info.height * info.channels;
    if (what.seeds.empty() && what.noise.size() < floats)
        return refused(onestep::status::invalid_argument, "nothing to draw: no seeds, and no noise of a whole image");
    onestep::request request;
    // An empty list takes away what is not there: that neither is given is for the library to say.
    request.seeds(what.seeds).noise(what.noise).labels(what.labels).cancel(token);
    return session_->draw(request, onestep::format::rgba8);
}

onestep::result<void> generator::start(drawing what, std::function<void()> done) {
    return guarded([&]() -> onestep::result<void> {
        turn mine(*this);
        if (!mine) return turn::taken();
        if (!session_) return not_open();
        auto work = [this, what = std::move(what), done = std::move(done), token = mine.token()] {
            auto got = guarded([&] { return drawn(what, *token); });
            {
                const std::lock_guard lock(mutex_);
                outcome_.emplace(std::move(got));
            }
            done();
        };
        const std::lock_guard lock(mutex_); // The thread has its outcome to leave only when it is known here.
        thread_ = std::thread(std::move(work));
        mine.keep();
        return {};
    });
}

std::optional<generator::outcome> generator::collect() {
    std::optional<outcome> got;
    std::thread finished;
    {
        const std::lock_guard lock(mutex_);
        if (!outcome_) return std::nullopt;
        got = std::move(outcome_);
        outcome_.reset();
        finished = std::move(thread_);
        busy_ = false;
        token_.reset();
    }
    if (finished.joinable()) finished.join();
    return got;
}

bool generator::drawing_now() const {
    const std::lock_guard lock(mutex_);
    return busy_;
}

void generator::cancel() {
    const std::lock_guard lock(mutex_);
    if (token_) token_->trigger();
}

void generator::abandon() {
    std::thread running;
    {
        const std::lock_guard lock(mutex_);
        if (token_) token_->trigger();
        running = std::move(thread_);
    }
    if (running.joinable()) running.join();
}

onestep::result<std::vector<float>> slerp(onestep::view<const float> a, onestep::view<const float> b, float t) {
    return guarded([&] { return onestep::interpolate(onestep::interpolation::slerp, a, b, {t}); });
}

} // namespace onestep_godot
