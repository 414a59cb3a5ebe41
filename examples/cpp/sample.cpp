// Ten handwritten digits, drawn by the student inside the library, side by side in a PGM picture.
//
//   cargo rustc --release --lib --crate-type cdylib
//   c++ -std=c++17 -Iinclude examples/cpp/sample.cpp -Ltarget/release -lonestep -o sample
//   LD_LIBRARY_PATH=target/release ./sample digits.pgm
#include <onestep.hpp>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <numeric>
#include <vector>

int main(int argc, char **argv) try {
    const auto model = onestep::or_throw(onestep::model::open_default());
    auto session = onestep::or_throw(model.start());

    const int digits = model.info().num_classes, side = model.info().width;
    std::vector<std::uint64_t> seeds(digits);
    std::vector<std::int32_t> labels(digits);
    std::iota(seeds.begin(), seeds.end(), 0);
    std::iota(labels.begin(), labels.end(), 0);
    std::vector<float> images(digits * side * side);
    onestep::or_throw(session.draw(onestep::request().seeds(seeds).labels(labels),
                                   onestep::layout(onestep::format::f32_nchw), images.data(), images.size() * sizeof(float)));

    std::ofstream file(argc > 1 ? argv[1] : "digits.pgm", std::ios::binary);
    file << "P5\n" << digits * side << ' ' << side << "\n255\n";
    for (int y = 0; y < side; y++)
        for (int i = 0; i < digits; i++)
            for (int x = 0; x < side; x++) {
                const float value = std::clamp(images[(i * side + y) * side + x], -1.0f, 1.0f);
                file.put(static_cast<char>(static_cast<unsigned char>((value + 1) * 127.5f + 0.5f)));
            }
    file.close();
    if (!file) throw std::runtime_error("the picture could not be written");
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
