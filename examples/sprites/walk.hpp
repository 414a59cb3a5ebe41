// Every sprite's way through the noise that its pictures are drawn from.
#ifndef WALK_HPP
#define WALK_HPP

#include <onestep.hpp>

// A sprite goes from the noise of one seed to that of the next, and on, along great circles: a straight line would leave
// the shell where noise lies, and the pictures between would be pale.
class walk {
  public:
    // `seconds`: how long a sprite takes from one seed to the next.
    walk(const onestep::model &model, std::size_t sprites, double seconds);

    // Noise of the sprites `first`, `first` + 1, ... at time `now`, one behind the other; the last is followed by the
    // first. `out` holds as many as are wanted.
    void at(double now, std::size_t first, onestep::view<float> out);

    std::size_t sprites() const { return sprites_.size(); }
    std::size_t floats() const { return floats_; }

  private:
    struct sprite {
        std::uint64_t from = ~std::uint64_t{0}; // No sprite's: the ends are not there yet.
        std::vector<float> a, b;
    };
    const onestep::model &model_;
    std::vector<sprite> sprites_;
    std::size_t floats_;
    double seconds_;
};

#endif
