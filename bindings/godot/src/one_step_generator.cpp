#include "one_step_generator.hpp"
#include "functions.hpp"

#include <limits>

namespace onestep_godot {

using engine::value;
using engine::variant;

namespace {

constexpr std::int64_t FILE_ACCESS_READ = 1, IMAGE_FORMAT_RGBA8 = 5;

// A whole file, from the disk or from a pack. The bytes stay the engine's: opening a model does not copy them.
onestep::result<variant> read(const std::string &path) {
    static const engine::method open("FileAccess", "open", 1247358404), open_error("FileAccess", "get_open_error", 166280745);
    variant file = open(nullptr, {variant(path), variant(FILE_ACCESS_READ)});
    if (file.object() == nullptr) {
        const auto code = open_error(nullptr).integer();
        return onestep::failure(onestep::error{onestep::status::io, static_cast<std::int32_t>(code),
                                               path + ": cannot be opened: Godot's error " + std::to_string(code)});
    }
    return file.call("get_buffer", {file.call("get_length")});
}

variant images_of(const onestep::images &drawn) {
    static const engine::method create("Image", "create_from_data", 299398494);
    value array(GDEXTENSION_VARIANT_TYPE_ARRAY);
    engine::api.array_set_typed(array.ptr(), GDEXTENSION_VARIANT_TYPE_OBJECT, value::name("Image").ptr(), variant().ptr());
    variant out(array);
    for (std::int32_t i = 0; i < drawn.count; i++) {
        const auto pixels = drawn[static_cast<std::size_t>(i)];
        out.call("append", {create(nullptr, {variant(drawn.width), variant(drawn.height), variant(false),
                                             variant(IMAGE_FORMAT_RGBA8), variant::bytes(pixels.data(), pixels.size())})});
    }
    return out;
}

} // namespace

std::int64_t one_step_generator::told(const onestep::error &error) {
    const std::lock_guard lock(mutex_);
    last_ = error;
    return static_cast<std::int64_t>(error.code);
}

template <class T> std::int64_t one_step_generator::told(const onestep::result<T> &tried) {
    return told(tried ? onestep::error() : tried.error());
}

template <class T> bool one_step_generator::succeeded(const onestep::result<T> &tried, const char *function) {
    told(tried);
    if (!tried) engine::print_error(tried.error().message, function);
    return tried.has_value();
}

std::string one_step_generator::last_error() const {
    const std::lock_guard lock(mutex_);
    return last_.message;
}

std::int64_t one_step_generator::last_status() const {
    const std::lock_guard lock(mutex_);
    return static_cast<std::int64_t>(last_.code);
}

std::int64_t one_step_generator::open(const std::string &path) {
    // What is no number of threads is left to the library to refuse.
    const std::int64_t asked = threads_, most = std::numeric_limits<std::uint32_t>::max();
    const auto threads = static_cast<std::uint32_t>(asked < 0 || asked > most ? most : asked);
    if (path.empty()) return told(generator_.open_default(threads));
    const auto file = read(path);
    if (!file) return told(file.error());
    const value bytes(GDEXTENSION_VARIANT_TYPE_PACKED_BYTE_ARRAY, *file);
    const std::size_t size = static_cast<std::size_t>(variant(bytes).call("size").integer());
    const std::uint8_t *data = size != 0 ? engine::api.packed_byte_array_operator_index_const(bytes.ptr(), 0) : nullptr;
    auto opened = generator_.open({data, size}, threads);
    if (!opened) {
        auto error = opened.error();
        error.message = path + ": " + error.message;
        return told(error);
    }
    return told(opened);
}

variant one_step_generator::info() const {
    variant out{value(GDEXTENSION_VARIANT_TYPE_DICTIONARY)};
    const auto known = generator_.info();
    if (!known) return out;
    out.set("role", known->role == ONESTEP_ROLE_STUDENT ? "student" : "teacher");
    out.set("width", known->width);
    out.set("height", known->height);
    out.set("channels", known->channels);
    out.set("num_classes", known->num_classes);
    out.set("train_timesteps", known->train_timesteps);
    out.set("default_steps", known->default_steps);
    out.set("parameters", static_cast<std::int64_t>(known->parameters));
    out.set("weight_bytes", static_cast<std::int64_t>(known->weight_bytes));
    out.set("arch", known->arch);
    out.set("device", known->device);
    out.set("library", onestep_version());
    return out;
}

variant one_step_generator::noise(const std::vector<std::uint64_t> &seeds) {
    const auto made = generator_.noise(seeds);
    return succeeded(made, "noise") ? variant(*made) : variant(std::vector<float>());
}

variant one_step_generator::slerp(const std::vector<float> &a, const std::vector<float> &b, double t) {
    const auto made = onestep_godot::slerp(a, b, static_cast<float>(t));
    return succeeded(made, "slerp") ? variant(*made) : variant(std::vector<float>());
}

variant one_step_generator::draw(drawing what, const char *function) {
    const auto drawn = generator_.draw(what);
    return images_of(succeeded(drawn, function) ? *drawn : onestep::images());
}

std::int64_t one_step_generator::draw_async(drawing what) {
    return told(generator_.start(std::move(what), [object = object_] {
        // The bare pointer: a reference held here could be the last one, and the thread would have to wait for itself.
        static const engine::method call_deferred("Object", "call_deferred", 3400424181);
        call_deferred(object, {variant(value::name("_deliver"))});
    }));
}

void one_step_generator::deliver() {
    static const engine::method emit_signal("Object", "emit_signal", 4047867050);
    const auto outcome = generator_.collect();
    if (!outcome) return;
    told(*outcome);
    // Last: a handler may drop the last reference to this object.
    if (*outcome) {
        emit_signal(object_, {variant(value::name("drawn")), images_of(**outcome)});
    } else {
        const onestep::error error = outcome->error();
        emit_signal(object_, {variant(value::name("failed")), variant(static_cast<int>(error.code)), variant(error.message)});
    }
}

} // namespace onestep_godot
