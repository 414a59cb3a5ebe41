// Ten handwritten digits, drawn by the student inside the library, side by side in a PGM picture.
//
//   cargo rustc --release --lib --crate-type cdylib
//   c++ -std=c++17 -Iinclude examples/cpp/sample.cpp -Ltarget/release -lonestep -o sample
//   LD_LIBRARY_PATH=target/release ./sample digits.pgm
#include <onestep.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <vector>

template <auto Free> struct Freed {
    template <class T> void operator()(T *handle) const { Free(handle); }
};
using Model = std::unique_ptr<onestep_model, Freed<onestep_model_free>>;
using Session = std::unique_ptr<onestep_session, Freed<onestep_session_free>>;
using Request = std::unique_ptr<onestep_request, Freed<onestep_request_free>>;

int main(int argc, char **argv) try {
    constexpr int digits = 10, side = 16;
    onestep_error err;
    const auto check = [&](int32_t status) {
        if (status != ONESTEP_OK) throw std::runtime_error(err.message);
    };

    onestep_model *opened = nullptr;
    check(onestep_model_open_default(nullptr, &opened, &err));
    const Model model(opened);
    onestep_session *started = nullptr;
    check(onestep_session_new(model.get(), nullptr, &started, &err));
    const Session session(started);

    std::vector<uint64_t> seeds(digits);
    std::vector<int32_t> labels(digits);
    std::iota(seeds.begin(), seeds.end(), 0);
    std::iota(labels.begin(), labels.end(), 0);
    const Request request(onestep_request_new());
    check(onestep_request_set_seeds(request.get(), seeds.data(), seeds.size(), &err));
    check(onestep_request_set_labels(request.get(), labels.data(), labels.size(), &err));
    std::vector<float> images(digits * side * side);
    check(onestep_session_sample(session.get(), request.get(), nullptr, images.data(), images.size() * sizeof(float), &err));

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
