// include/onestep.hpp as a C++ program uses it; the same file in every mode (C++17 to 23, exceptions and run-time types
// on and off). The argument is the repository's folder.
#include "../c/condition.h"
#include <onestep.hpp>

#include <array>
#include <atomic>
#include <cstring>
#include <fstream>
#include <iterator>
#include <thread>

namespace {

const std::vector<std::uint64_t> seeds{1, 2, 3};
const std::array<std::int32_t, 3> labels{4, 7, 9};

onestep::request digits() { return onestep::request().seeds(seeds).labels(labels); }

std::string folder;

onestep::result<onestep::model> open_student() {
    return onestep::model::open_file((folder + "/models/digits-student.safetensors").c_str());
}

onestep::session started() {
    auto model = open_student();
    CHECK(model.has_value());
    auto session = model->start(onestep::options().threads(2));
    CHECK(session.has_value());
    return std::move(*session); // The model may go: the session keeps what it needs.
}

template <class T> void check_failed(const onestep::result<T> &tried, onestep::status code, const char *named) {
    CHECK(!tried);
    CHECK(tried.error().code == code);
    CHECK(tried.error().message.find(named) != std::string::npos);
}

void draws_what_the_c_functions_draw() {
    auto session = started();
    auto drawn = session.draw(digits());
    CHECK(drawn.has_value());
    CHECK(drawn->count == 3 && drawn->width == 16 && drawn->height == 16 && drawn->channels == 3);

    onestep_layout layout{};
    layout.struct_size = sizeof layout;
    layout.format = ONESTEP_FORMAT_RGB8;
    std::vector<std::uint8_t> pixels(drawn->pixels.size());
    const auto request = digits();
    CHECK(onestep_session_sample(session.get(), request.get(), &layout, pixels.data(), pixels.size(), nullptr) == 0);
    CHECK(pixels == drawn->pixels);
    CHECK(std::memcmp((*drawn)[2].data(), pixels.data() + 2 * 768, 768) == 0 && (*drawn)[2].size() == 768);

    auto ready = started();
    CHECK(ready.prepare(3).has_value());
    auto again = ready.draw(digits());
    CHECK(again && again->pixels == pixels);
    check_failed(ready.prepare(0), onestep::status::invalid_argument, "batch");

    auto rgba = session.draw(digits(), onestep::format::rgba8);
    CHECK(rgba && rgba->pixels.size() == 3 * 16 * 16 * 4 && rgba->pixels[3] == 255);
    check_failed(session.draw(digits(), onestep::format::f32_nchw), onestep::status::invalid_argument, "floats");
}

void sheets_are_drawn_in_one_call() {
    auto session = started();
    auto drawn = session.draw(digits());
    const auto two = onestep::sheet(onestep::format::rgb8, 2);
    std::vector<std::uint8_t> sheet(2 * 16 * 32 * 3, 7);
    CHECK(drawn && session.draw(digits(), two, sheet.data(), sheet.size()).has_value());
    for (std::size_t i = 0; i < 3; i++)
        for (std::size_t y = 0; y < 16; y++) {
            const auto *row = &sheet[((i / 2 * 16 + y) * 32 + i % 2 * 16) * 3];
            CHECK(std::memcmp(row, (*drawn)[i].data() + y * 48, 48) == 0);
        }
    for (std::size_t y = 16; y < 32; y++) CHECK(sheet[(y * 32 + 16) * 3] == 7); // There is no fourth.
}

void the_default_draws_portraits() {
    auto model = onestep::model::open_default();
    CHECK(model && model->info().channels == 4 && model->info().num_classes == 8 && model->info().default_steps == 1);
    auto session = model->start();
    CHECK(session.has_value());
    auto drawn = session->draw(onestep::request().seeds({1, 2}).labels({0, 5}), onestep::format::rgba8);
    CHECK(drawn && drawn->pixels.size() == 2 * 16 * 16 * 4 && drawn->pixels[3] < 16); // The upper left is transparent.
    auto better = session->draw(onestep::request().seeds({1, 2}).labels({0, 5}).ddim(2), onestep::format::rgba8);
    CHECK(better && better->pixels != drawn->pixels);
}

void noise_can_be_given_and_walked() {
    auto model = open_student();
    CHECK(model.has_value());
    auto session = model->start();
    auto noise = model->noise(seeds);
    CHECK(session && noise && noise->size() == 3 * 256);
    auto by_noise = session->draw(onestep::request().noise(*noise).labels(labels));
    auto by_seeds = session->draw(digits());
    CHECK(by_noise && by_seeds && by_noise->pixels == by_seeds->pixels && by_noise->count == 3);

    const onestep::view<const float> a{noise->data(), 256}, b{noise->data() + 256, 256};
    auto walk = onestep::interpolate(onestep::interpolation::slerp, a, b, {0.0f, 0.5f, 1.0f});
    CHECK(walk && walk->size() == 3 * 256);
    CHECK(std::memcmp(walk->data(), a.data(), 256 * 4) == 0 && std::memcmp(walk->data() + 512, b.data(), 256 * 4) == 0);
    check_failed(onestep::interpolate(onestep::interpolation::lerp, a, {b.data(), 9}, {0.5f}),
                 onestep::status::invalid_argument, "256");
}

void the_bare_network_is_there() {
    auto model = open_student();
    CHECK(model.has_value());
    auto session = model->start();
    auto x = model->noise({5});
    CHECK(session && x);
    std::vector<float> out(256), none;
    CHECK(session->predict_at(*x, {998.5f}, {3}, out).has_value());
    const auto between = out;
    CHECK(session->predict(*x, {999}, {3}, out).has_value());
    CHECK(between != out);
    auto at = std::vector<float>(256);
    CHECK(session->predict_at(*x, {999.0f}, {3}, at).has_value());
    CHECK(at == out);
    auto image = std::vector<float>(256);
    const auto layout = onestep::layout(onestep::format::f32_nchw);
    CHECK(session->draw(onestep::request().seeds({5}).labels({3}), layout, image.data(), 1024).has_value());
    for (int i = 0; i < 256; i++) CHECK(image[i] == (*x)[i] - out[i]); // x_0 = x_T - eps(x_T, 999)
    check_failed(session->predict(*x, {999, 999}, {3, 3}, out), onestep::status::invalid_argument, "512");
    check_failed(session->predict(*x, {999}, {3, 3}, out), onestep::status::invalid_argument, "labels");
    check_failed(session->predict(*x, {999}, {3}, none), onestep::status::buffer_too_small, "");
}

void files_and_memory() {
    const std::string teacher = folder + "/models/digits-teacher.safetensors";
    const char *path = teacher.c_str();
    auto how = onestep::options();
    std::uint32_t heard = 0;
    how.progress([&](onestep::phase, std::uint32_t, std::uint32_t) { return ++heard, true; });
    auto file = onestep::model::open_file(path, how);
    CHECK(file && heard > 0);
    CHECK(file->info().role == ONESTEP_ROLE_TEACHER && file->info().num_classes == 10);
    std::ifstream stream(path, std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(stream), {}};
    auto memory = onestep::model::open_memory(bytes.data(), bytes.size());
    CHECK(memory.has_value());
    auto a = file->start(), b = memory->start();
    CHECK(a && b);
    auto x = a->draw(digits().ddim(3)), y = b->draw(digits().schedule({666, 333, 0}));
    CHECK(x && y && x->pixels == y->pixels);
    auto json = file->info_json();
    CHECK(json && json->front() == '{' && json->back() == '}' && json->find('\0') == std::string::npos);
    CHECK(json->find("\"generator\":\"teacher\"") != std::string::npos);
    auto estimate = file->estimate_memory(4);
    CHECK(estimate && estimate->weights > 0);
    auto size = file->output_size(4, onestep::layout(onestep::format::rgb8));
    CHECK(size && *size == 4 * 768);
    auto devices = onestep::devices();
    CHECK(devices && std::string((*devices)[0].id) == "cpu");
    check_failed(onestep::model::open_file("no/such/file"), onestep::status::io, "no/such/file");
    check_failed(onestep::model::open_memory(bytes.data(), 100), onestep::status::bad_model, "");
}

/* Consistency models and EDM's draw by samplers of their own, and refuse others. */
void other_models_have_other_samplers() {
    const auto layout = onestep::layout(onestep::format::f32_nchw);
    auto draw = [&](onestep::session &session, onestep::request request, onestep::sampler kind, std::uint32_t steps) {
        std::vector<float> image(64);
        request.sampler(kind, onestep::spacing::file, steps);
        return session.draw(request, layout, image.data(), 256) ? image : std::vector<float>();
    };
    auto edm = onestep::model::open_file((folder + "/tests/golden/edm/tiny").c_str());
    CHECK(edm.has_value());
    auto session = edm->start();
    CHECK(session.has_value());
    auto seven = [] { return onestep::request().seeds({7}); };
    using onestep::sampler;
    const auto euler = draw(*session, seven(), sampler::euler, 3), heun = draw(*session, seven(), sampler::heun, 3);
    CHECK(!euler.empty() && !heun.empty() && euler != heun);
    CHECK(draw(*session, seven(), sampler::euler, 1) == draw(*session, seven(), sampler::heun, 1));
    CHECK(draw(*session, seven(), sampler::ddpm, 3).empty());
}

void the_first_refusal_is_told() {
    auto session = started();
    const auto refused = digits().ddim(5, 7.0f).ddim(5);
    CHECK(refused.refused().has_value());
    check_failed(session.draw(refused), onestep::status::invalid_argument, "eta");
    check_failed(onestep::model::open_default(onestep::options().set("colour", "red").threads(1)),
                 onestep::status::invalid_argument, "colour");
    check_failed(session.draw(onestep::request().seeds({1})), onestep::status::invalid_argument, "label");
    check_failed(session.draw(onestep::request().labels({1})), onestep::status::invalid_argument, "seeds");
}

void calls_are_cancelled() {
    auto session = started();
    const onestep::cancel token;
    auto request = digits();
    request.cancel(token);
    std::thread(&onestep::cancel::trigger, &token).join();
    check_failed(session.draw(request), onestep::status::cancelled, "");
    token.reset();
    CHECK(session.draw(request).has_value());
    request.progress([](onestep::phase, std::uint32_t done, std::uint32_t) { return done < 2; });
    check_failed(session.draw(request), onestep::status::cancelled, "");
    request.progress(nullptr);
    CHECK(session.draw(request).has_value());
}

void threads_share_a_model() {
    auto model = open_student();
    CHECK(model.has_value());
    auto expected = model->start(onestep::options().threads(1))->draw(digits());
    CHECK(expected.has_value());
    const onestep::cancel token;
    std::atomic<std::uint32_t> heard{0};
    const auto how = onestep::options().threads(1).progress(
        [&](onestep::phase, std::uint32_t, std::uint32_t) { return ++heard, true; });
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 4; thread++)
        threads.emplace_back([&, cancelled = thread == 0] {
            auto session = model->start(how);
            CHECK(session.has_value());
            for (int i = 0; i < 8; i++) {
                auto request = digits();
                if (cancelled) request.cancel(token);
                auto drawn = session->draw(request);
                CHECK(drawn ? drawn->pixels == expected->pixels
                            : cancelled && drawn.error().code == onestep::status::cancelled);
            }
        });
    token.trigger();
    for (auto &thread : threads) thread.join();
    CHECK(heard > 0);
}

#if defined(__cpp_exceptions)
void exceptions_go_through() {
    auto session = started();
    auto request = digits();
    request.progress([](onestep::phase, std::uint32_t, std::uint32_t) -> bool { throw 7; });
    bool caught = false;
    try {
        (void)session.draw(request);
    } catch (int thrown) {
        caught = thrown == 7;
    }
    CHECK(caught);
    CHECK(onestep::or_throw(session.draw(digits())).count == 3);
    try {
        onestep::or_throw(session.draw(onestep::request().seeds({1})));
        CHECK(false);
    } catch (const onestep::exception &told) {
        CHECK(told.code() == onestep::status::invalid_argument && std::strlen(told.what()) > 0);
    }
    try {
        (void)session.draw(onestep::request().seeds({1})).value();
        CHECK(false);
    } catch (const std::exception &) {
    }
}
#endif

} // namespace

int main(int argc, char **argv) {
    CHECK(argc == 2);
    folder = argv[1];
    CHECK(std::string(onestep::name(onestep::status::busy)) == "ONESTEP_BUSY");
    draws_what_the_c_functions_draw();
    sheets_are_drawn_in_one_call();
    the_default_draws_portraits();
    noise_can_be_given_and_walked();
    the_bare_network_is_there();
    files_and_memory();
    other_models_have_other_samplers();
    the_first_refusal_is_told();
    calls_are_cancelled();
    threads_share_a_model();
#if defined(__cpp_exceptions)
    exceptions_go_through();
#endif
    return 0;
}
