// Runs `norm.metal` on one input: norm INPUT OUTPUT. The input is a `Header`, a `Shape` and the kernel's arrays, in their
// type of storage.

#include <fstream>
#include <iterator>
#include <limits>
#include <string>

// Last, for its words are macros.
#include <metal_stdlib>

namespace floats {
#define Stored float
#include "norm.metal"
#undef Stored
}  // namespace floats
namespace halves {
#define Stored half
#include "norm.metal"
}  // namespace halves

using metal::float2, metal::half, metal::uint;

struct Header {
    uint is_half, images, width, backwards;
};

template <typename T, typename Shape>
void run(void group_norm(const T*, const T*, const T*, const T*, T*, const Shape&, float2*, uint, uint, uint),
         const Header& header, std::ifstream& input, std::ofstream& output) {
    Shape shape;
    input.read(reinterpret_cast<char*>(&shape), sizeof shape);
    const std::string arrays(std::istreambuf_iterator<char>(input), {});
    const std::size_t count = std::size_t(header.images) * shape.channels * shape.pixels;
    const char* rest = arrays.data();
    const auto array = [&rest](std::size_t length) {
        std::vector<T> values(length);
        std::copy_n(rest, length * sizeof(T), reinterpret_cast<char*>(values.data()));
        rest += length * sizeof(T);
        return values;
    };
    const auto x = array(count), weight = array(shape.channels), bias = array(shape.channels);
    const auto time = array(shape.scale_shift ? 2 * std::size_t(header.images) * shape.channels : 0);
    if (rest != arrays.data() + arrays.size()) {
        std::fputs("the input is of another size\n", stderr);
        std::exit(1);
    }

    // What is read or left without having been written is seen.
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::vector<T> y(count, T(nan));
    for (uint place = 0; place < header.images * shape.groups; place++) {
        std::vector<float2> shared(header.width, float2(nan, nan));
        metal::Threads::run(header.width, header.backwards != 0, [&](uint lane) {
            group_norm(x.data(), weight.data(), bias.data(), time.data(), y.data(), shape, shared.data(), place, lane,
                       header.width);
        });
    }
    output.write(reinterpret_cast<const char*>(y.data()), std::streamsize(count * sizeof(T)));
}

int main(int, char** arguments) {
    std::ifstream input(arguments[1], std::ios::binary);
    Header header;
    input.read(reinterpret_cast<char*>(&header), sizeof header);
    std::ofstream output(arguments[2], std::ios::binary);
    if (header.is_half) {
        run(halves::group_norm, header, input, output);
    } else {
        run(floats::group_norm, header, input, output);
    }
    return output ? 0 : 1;
}
