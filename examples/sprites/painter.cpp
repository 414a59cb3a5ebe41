#include "painter.hpp"

#include <algorithm>
#include <chrono>

namespace {

// One thread: the other cores are the program's own.
onestep::session started(const onestep::model &model, const onestep::cancel &cancel) {
    return onestep::or_throw(model.start(onestep::options().threads(1).cancel(cancel)));
}

} // namespace

painter::painter(const onestep::model &model, std::size_t sprites, double budget)
    : session_(started(model, cancel_)), walk_(model, sprites, 3.0),
      bytes_(static_cast<std::size_t>(model.info().width) * model.info().height * 4), classes_(model.info().num_classes) {
    calibrate(budget);
    thread_ = std::thread(&painter::work, this);
}

painter::~painter() {
    cancel_.trigger();
    {
        const std::lock_guard lock(mutex_);
        quit_ = true;
    }
    asked_.notify_one();
    thread_.join();
}

void painter::ask(double now) {
    {
        const std::lock_guard lock(mutex_);
        wanted_ = now;
    }
    asked_.notify_one();
}

std::optional<batch> painter::take() {
    const std::lock_guard lock(mutex_);
    if (failed_) std::rethrow_exception(failed_);
    return std::exchange(done_, std::nullopt);
}

void painter::work() {
    std::unique_lock lock(mutex_);
    for (;;) {
        asked_.wait(lock, [&] { return wanted_ || quit_; });
        if (quit_) return;
        const double now = *std::exchange(wanted_, std::nullopt);
        batch into = std::move(spare_);
        lock.unlock();
        try {
            draw(now, into);
            lock.lock();
            done_ = std::move(into);
        } catch (...) {
            lock.lock();
            failed_ = std::current_exception();
        }
    }
}

double painter::draw(double now, batch &into) {
    const auto begun = std::chrono::steady_clock::now();
    into.first = next_;
    into.count = count_;
    into.pixels.resize(count_ * bytes_);
    noise_.resize(count_ * walk_.floats());
    walk_.at(now, next_, noise_);
    if (classes_ > 0) {
        labels_.resize(count_);
        for (std::size_t i = 0; i < count_; i++)
            labels_[i] = static_cast<std::int32_t>((next_ + i) % walk_.sprites() % static_cast<std::size_t>(classes_));
        request_.labels(labels_);
    }
    request_.noise(noise_);
    onestep::or_throw(session_.draw(request_, onestep::layout(onestep::format::rgba8), into.pixels.data(),
                                    into.pixels.size()));
    next_ = (next_ + count_) % walk_.sprites();
    const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - begun;
    return into.milliseconds = taken.count();
}

void painter::calibrate(double budget) {
    std::size_t fits = 1;
    for (std::size_t size = 1; size <= walk_.sprites(); size++) {
        count_ = size;
        batch trial;
        draw(0, trial); // A batch size's first call allocates.
        double longest = 0;
        for (int i = 0; i < 5; i++) longest = std::max(longest, draw(0, trial));
        if (longest > budget / 2) break;
        fits = size;
    }
    count_ = fits;
    next_ = 0;
}
