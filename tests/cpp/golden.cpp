// What tests/c/golden.c checks, through onestep.hpp. The argument is the repository's folder.
#include "../c/condition.h"
#include <onestep.hpp>

#include <cstdlib>
#include <fstream>
#include <map>
#include <numeric>

namespace {

std::uint64_t fnv1a(const void *data, std::size_t size) {
    const auto *bytes = static_cast<const unsigned char *>(data);
    return std::accumulate(bytes, bytes + size, std::uint64_t{0xcbf29ce484222325},
                           [](std::uint64_t hash, unsigned char byte) { return (hash ^ byte) * 0x100000001b3; });
}

std::map<std::string, std::uint64_t> hashes(const std::string &path) {
    std::ifstream file(path);
    std::map<std::string, std::uint64_t> found;
    for (std::string key, hash; file >> key >> hash;) found[key] = std::stoull(hash, nullptr, 16);
    return found;
}

} // namespace

int main(int argc, char **argv) {
    CHECK(argc > 1);
    // The library reads it once, at the first call that needs it.
    CHECK(setenv("ONESTEP_ISA", "portable", 1) == 0);
    auto expected = hashes(std::string(argv[1]) + "/tests/golden/hosts.txt");
    std::vector<std::uint64_t> seeds(8);
    std::vector<std::int32_t> labels(8);
    std::iota(seeds.begin(), seeds.end(), 0);
    std::iota(labels.begin(), labels.end(), 0);

    auto model = onestep::model::open_default();
    CHECK(model.has_value());
    auto noise = model->noise(seeds);
    CHECK(noise && fnv1a(noise->data(), noise->size() * sizeof(float)) == expected["noise"]);

    auto session = model->start();
    CHECK(session.has_value());
    auto drawn = session->draw(onestep::request().seeds(seeds).labels(labels), onestep::format::rgba8);
    CHECK(drawn && fnv1a(drawn->pixels.data(), drawn->pixels.size()) == expected["pixels"]);
    return 0;
}
