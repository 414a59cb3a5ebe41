#include "walk.hpp"

#include <algorithm>
#include <cmath>

walk::walk(const onestep::model &model, std::size_t sprites, double seconds)
    : model_(model), sprites_(sprites), seconds_(seconds) {
    const onestep_model_info &info = model.info();
    floats_ = static_cast<std::size_t>(info.width) * info.height * info.channels;
    for (sprite &each : sprites_) {
        each.a.resize(floats_);
        each.b.resize(floats_);
    }
}

void walk::at(double now, std::size_t first, onestep::view<float> out) {
    for (std::size_t i = 0; i < out.size() / floats_; i++) {
        const std::size_t index = (first + i) % sprites_.size();
        sprite &each = sprites_[index];
        // The sprites set out one after the other: never do all change at once.
        const double way = now / seconds_ + static_cast<double>(index) / static_cast<double>(sprites_.size());
        const auto from = static_cast<std::uint64_t>(way);
        const auto seed = [&](std::uint64_t stop) { return index + stop * sprites_.size(); };
        if (each.from != from) {
            each.from = from;
            onestep::or_throw(model_.noise({seed(from)}, each.a));
            onestep::or_throw(model_.noise({seed(from + 1)}, each.b));
        }
        const auto t = static_cast<float>(way - std::floor(way));
        onestep::or_throw(onestep::interpolate(onestep::interpolation::slerp, each.a, each.b, {t * t * (3 - 2 * t)},
                                               {out.data() + i * floats_, floats_}));
    }
}
