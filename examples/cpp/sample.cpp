// Eight portraits with transparency, drawn by the student inside the library, side by side in a TGA picture.
//
//   cargo rustc --release --package onestep --lib --crate-type cdylib
//   c++ -std=c++17 -Iinclude examples/cpp/sample.cpp -Ltarget/release -lonestep -o sample
//   LD_LIBRARY_PATH=target/release ./sample portraits.tga
#include <onestep.hpp>

#include <cstdio>
#include <fstream>
#include <numeric>
#include <vector>

int main(int argc, char **argv) try {
    const auto model = onestep::or_throw(onestep::model::open_default());
    auto session = onestep::or_throw(model.start());

    const int portraits = model.info().num_classes, side = model.info().width, width = portraits * side;
    std::vector<std::uint64_t> seeds(portraits);
    std::vector<std::int32_t> labels(portraits);
    std::iota(seeds.begin(), seeds.end(), 0);
    std::iota(labels.begin(), labels.end(), 0);
    const auto layout = onestep::sheet(onestep::format::bgra8, portraits);
    std::vector<char> picture(side * width * 4);
    onestep::or_throw(session.draw(onestep::request().seeds(seeds).labels(labels), layout, picture.data(), picture.size()));

    // Pixels as they are, 32 bits each, eight of them alpha, top row first.
    const char header[18] = {0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, static_cast<char>(width), 0, static_cast<char>(side), 0, 32, 0x28};
    std::ofstream file(argc > 1 ? argv[1] : "portraits.tga", std::ios::binary);
    file.write(header, sizeof header).write(picture.data(), static_cast<std::streamsize>(picture.size()));
    file.close();
    if (!file) throw std::runtime_error("the picture could not be written");
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
