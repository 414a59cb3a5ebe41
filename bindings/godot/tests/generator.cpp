// src/generator.hpp without the engine. The argument is the repository's folder.
#include "../../../tests/c/condition.h"
#include "../src/generator.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

using onestep::status;
using onestep_godot::drawing;
using onestep_godot::generator;

namespace {

std::string folder;
std::vector<std::uint8_t> teacher;

std::vector<std::uint8_t> bytes_of(const std::string &path) {
    std::ifstream file(folder + path, std::ios::binary);
    CHECK(file.good());
    return {std::istreambuf_iterator<char>(file), {}};
}

unsigned long long fnv1a(const void *data, std::size_t size) {
    auto bytes = static_cast<const unsigned char *>(data);
    unsigned long long hash = 0xcbf29ce484222325ULL;
    for (std::size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * 0x100000001b3ULL;
    return hash;
}

unsigned long long expected(const std::string &key) {
    std::ifstream file(folder + "/tests/golden/hosts.txt");
    std::string name;
    unsigned long long hash;
    while (file >> name >> std::hex >> hash)
        if (name == key) return hash;
    CHECK(!"the key is in the file");
    return 0;
}

// Classes in turn: eight of the portraits inside the library, ten of the teacher's digits.
drawing images(std::size_t count, int classes = 8) {
    drawing what;
    for (std::size_t i = 0; i < count; i++) {
        what.seeds.push_back(i);
        what.labels.push_back(static_cast<std::int32_t>(i) % classes);
    }
    return what;
}

template <class T> void check_failed(const onestep::result<T> &tried, status code, const char *named) {
    CHECK(!tried);
    CHECK(tried.error().code == code);
    CHECK(tried.error().message.find(named) != std::string::npos);
}

// Says once that something has come.
class bell {
  public:
    void ring() {
        const std::lock_guard lock(mutex_);
        rung_ = true;
        heard_.notify_all();
    }
    void wait() {
        std::unique_lock lock(mutex_);
        CHECK(heard_.wait_for(lock, std::chrono::seconds(120), [&] { return rung_; }));
        rung_ = false;
    }

  private:
    std::mutex mutex_;
    std::condition_variable heard_;
    bool rung_ = false;
};

void draws_the_golden_portraits() {
    generator one;
    check_failed(one.draw(images(1)), status::invalid_argument, "open");
    check_failed(one.noise({1}), status::invalid_argument, "open");
    CHECK(!one.info());
    CHECK(one.open_default(2));
    CHECK(one.info()->width == 16 && one.info()->num_classes == 8);
    auto noise = one.noise(images(8).seeds);
    CHECK(noise && fnv1a(noise->data(), noise->size() * sizeof(float)) == expected("noise"));
    auto drawn = one.draw(images(8));
    CHECK(drawn && drawn->count == 8 && drawn->channels == 4);
    CHECK(fnv1a(drawn->pixels.data(), drawn->pixels.size()) == expected("pixels"));

    drawing from_noise;
    from_noise.noise = *noise;
    from_noise.labels = images(8).labels;
    auto again = one.draw(from_noise);
    CHECK(again && again->count == 8 && again->pixels == drawn->pixels);

    drawing high;
    high.seeds = {0xffffffffffffffffULL}; // -1 of the engine's signed integers
    high.labels = {3};
    CHECK(one.draw(high));
}

void walks_between_noises() {
    generator one;
    CHECK(one.open_default(1));
    auto a = *one.noise({1}), b = *one.noise({2});
    CHECK(*onestep_godot::slerp(a, b, 0) == a);
    CHECK(*onestep_godot::slerp(a, b, 1) == b);
    auto between = *onestep_godot::slerp(a, b, 0.5f);
    CHECK(between.size() == a.size() && between != a && between != b);
    a.pop_back();
    check_failed(onestep_godot::slerp(a, b, 0.5f), status::invalid_argument, "1023");
}

void tells_what_is_wrong() {
    const char *textures = "/models/textures-student.safetensors";
    generator one;
    CHECK(one.open_default(1));
    auto what = images(2);
    what.labels = {3};
    check_failed(one.draw(what), status::invalid_argument, "label");
    what.labels = {3, 10};
    check_failed(one.draw(what), status::invalid_argument, "10");
    check_failed(one.draw(drawing()), status::invalid_argument, "nothing");

    drawing half;
    half.noise.resize(3 * 512);
    half.labels = {1};
    check_failed(one.draw(half), status::invalid_argument, "noise");

    auto broken = teacher;
    broken[broken.size() / 2] ^= 1;
    check_failed(one.open(broken, 1), status::bad_model, "");
    check_failed(one.open({}, 1), status::bad_model, "");
    check_failed(one.open(bytes_of(textures), 100000), status::invalid_argument, "threads");
    CHECK(one.info()->role == ONESTEP_ROLE_STUDENT); // still the first
    CHECK(one.draw(images(2)));
    CHECK(one.open(bytes_of(textures), 1));
    CHECK(one.info()->channels == 3 && one.info()->num_classes != 8);
}

void draws_on_its_own_thread() {
    generator one;
    bell ready;
    CHECK(one.open_default(1));
    auto expected = one.draw(images(8));
    CHECK(!one.collect());
    std::thread::id drew;
    for (int round = 0; round < 3; round++) {
        CHECK(one.start(images(8), [&] {
            drew = std::this_thread::get_id();
            ready.ring();
        }));
        CHECK(one.drawing_now());
        check_failed(one.start(images(1), [] {}), status::busy, "already");
        check_failed(one.draw(images(1)), status::busy, "already");
        check_failed(one.open_default(1), status::busy, "already");
        ready.wait();
        auto got = one.collect();
        CHECK(got && *got && (*got)->pixels == expected->pixels);
        CHECK(drew != std::this_thread::get_id());
        CHECK(!one.drawing_now() && !one.collect());
    }
}

void cancels_what_draws_and_nothing_else() {
    generator one;
    bell ready;
    CHECK(one.open(teacher, 1));
    one.cancel(); // Nothing draws.
    CHECK(one.draw(images(1)));
    CHECK(one.start(images(200, 10), [&] { ready.ring(); })); // Fifty network calls of 200 images: seconds.
    one.cancel();
    ready.wait();
    auto got = one.collect();
    CHECK(got);
    check_failed(*got, status::cancelled, "");
    CHECK(one.draw(images(1)));
}

void may_go_while_it_draws() {
    for (int wait : {0, 1, 20}) {
        std::atomic<int> done{0};
        {
            generator one;
            CHECK(one.open(teacher, 1));
            CHECK(one.start(images(200, 10), [&] { done++; }));
            std::this_thread::sleep_for(std::chrono::milliseconds(wait));
        }
        CHECK(done == 1);
    }
}

void survives_many_threads() {
    generator one;
    CHECK(one.open_default(1));
    std::vector<std::thread> threads;
    std::atomic<int> drew{0};
    for (int t = 0; t < 4; t++)
        threads.emplace_back([&, t] {
            for (int i = 0; i < 20; i++) {
                if (t == 0) one.cancel();
                if (t == 1 && i % 5 == 0) (void)one.open_default(1);
                CHECK(one.info() && one.noise({7}));
                auto got = one.draw(images(1));
                if (got) drew++;
                else CHECK(got.error().code == status::busy || got.error().code == status::cancelled);
            }
        });
    for (auto &thread : threads) thread.join();
    CHECK(drew > 0);
}

} // namespace

int main(int argc, char **argv) {
    CHECK(argc == 2);
    folder = argv[1];
    CHECK(setenv("ONESTEP_ISA", "portable", 1) == 0); // The library reads it once, at the first call that needs it.
    teacher = bytes_of("/models/digits-teacher.safetensors");
    draws_the_golden_portraits();
    walks_between_noises();
    tells_what_is_wrong();
    draws_on_its_own_thread();
    cancels_what_draws_and_nothing_else();
    may_go_while_it_draws();
    survives_many_threads();
    std::puts("generator: all passed");
}
