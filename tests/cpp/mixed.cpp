// One program of two files, this one compiled as C++17 and as C++23: each has its own `onestep::result`.
#include "../c/condition.h"
#include <onestep.hpp>

static std::size_t drawn() {
    auto model = onestep::model::open_default();
    CHECK(model.has_value());
    auto images = model->start()->draw(onestep::request().seeds({1, 2}).labels({3, 4}));
    CHECK(images.has_value());
    return images->pixels.size();
}

#if defined(__cpp_lib_expected)
std::size_t drawn_as_cpp23() { return drawn(); }
#else
std::size_t drawn_as_cpp23();

int main() {
    CHECK(drawn() == 2 * 768);
    CHECK(drawn_as_cpp23() == 2 * 768);
    return 0;
}
#endif
