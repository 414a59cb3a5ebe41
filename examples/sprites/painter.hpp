// Draws sprites on a thread of its own, as many a frame as its budget allows.
#ifndef PAINTER_HPP
#define PAINTER_HPP

#include "walk.hpp"

#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>

// Sprites `first`, `first` + 1, ..., `first` + `count` - 1 (the last is followed by the first), RGBA8.
struct batch {
    std::size_t first = 0, count = 0;
    double milliseconds = 0;
    std::vector<std::uint8_t> pixels;
};

// The frame asks for a batch, shows something else, and takes the batch when it comes by again: it waits for nothing.
class painter {
  public:
    // Measures batches of growing size, and keeps the largest that takes half of `budget` milliseconds at most: the
    // other half is for what else the machine does.
    painter(const onestep::model &model, std::size_t sprites, double budget);
    painter(const painter &) = delete;
    ~painter();

    std::size_t count() const { return count_; }

    // Asks for the next batch, as the sprites are at time `now` (seconds). Only after `take` gave the one before.
    void ask(double now);
    // The batch asked for, if it is done; throws what drawing it threw.
    std::optional<batch> take();
    // Gives a batch's memory back.
    void reuse(batch used) { spare_ = std::move(used); }

  private:
    double draw(double now, batch &into);
    void calibrate(double budget);
    void work();

    onestep::cancel cancel_;
    onestep::session session_;
    onestep::request request_;
    walk walk_;
    std::size_t bytes_;
    std::int32_t classes_;
    std::size_t count_ = 1, next_ = 0;
    std::vector<float> noise_;
    std::vector<std::int32_t> labels_;
    batch spare_;

    std::mutex mutex_;
    std::condition_variable asked_;
    std::optional<double> wanted_;
    std::optional<batch> done_;
    std::exception_ptr failed_;
    bool quit_ = false;
    std::thread thread_;
};

#endif
