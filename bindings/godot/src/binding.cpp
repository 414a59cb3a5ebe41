// What the engine is told of OneStepGenerator.
#include "functions.hpp"
#include "one_step_generator.hpp"
#include "registry.hpp"

namespace onestep_godot {

using engine::variant;

namespace {

constexpr const char *CLASS = "OneStepGenerator";
constexpr std::int32_t NOTIFICATION_PREDELETE = 1;

constexpr auto NIL = GDEXTENSION_VARIANT_TYPE_NIL;
constexpr auto BOOL = GDEXTENSION_VARIANT_TYPE_BOOL;
constexpr auto INT = GDEXTENSION_VARIANT_TYPE_INT;
constexpr auto FLOAT = GDEXTENSION_VARIANT_TYPE_FLOAT;
constexpr auto STRING = GDEXTENSION_VARIANT_TYPE_STRING;
constexpr auto DICTIONARY = GDEXTENSION_VARIANT_TYPE_DICTIONARY;
constexpr auto ARRAY = GDEXTENSION_VARIANT_TYPE_ARRAY;
constexpr auto INT32S = GDEXTENSION_VARIANT_TYPE_PACKED_INT32_ARRAY;
constexpr auto INT64S = GDEXTENSION_VARIANT_TYPE_PACKED_INT64_ARRAY;
constexpr auto FLOATS = GDEXTENSION_VARIANT_TYPE_PACKED_FLOAT32_ARRAY;

using arguments = std::vector<variant>;

one_step_generator &self(void *instance) { return *static_cast<one_step_generator *>(instance); }

drawing of_seeds(const arguments &given) { return {given[0].uint64s(), {}, given[1].int32s()}; }
drawing of_noise(const arguments &given) { return {{}, given[0].floats(), given[1].int32s()}; }

const std::vector<engine::bound_method> &methods() {
    static const engine::field images{ARRAY, "", "Image"};
    static const variant no_labels(engine::value{INT32S});
    static const std::vector<engine::bound_method> all = {
        {"open", {INT}, {{STRING, "path"}}, {""},
         [](void *of, const arguments &given) -> variant { return self(of).open(given[0].string()); }},
        {"info", {DICTIONARY}, {}, {}, [](void *of, const arguments &) { return self(of).info(); }},
        {"noise", {FLOATS}, {{INT64S, "seeds"}}, {},
         [](void *of, const arguments &given) { return self(of).noise(given[0].uint64s()); }},
        {"slerp", {FLOATS}, {{FLOATS, "a"}, {FLOATS, "b"}, {FLOAT, "t"}}, {},
         [](void *of, const arguments &given) {
             return self(of).slerp(given[0].floats(), given[1].floats(), given[2].real());
         }},
        {"draw", images, {{INT64S, "seeds"}, {INT32S, "labels"}}, {no_labels},
         [](void *of, const arguments &given) { return self(of).draw(of_seeds(given), "draw"); }},
        {"draw_noise", images, {{FLOATS, "noise"}, {INT32S, "labels"}}, {no_labels},
         [](void *of, const arguments &given) { return self(of).draw(of_noise(given), "draw_noise"); }},
        {"draw_async", {INT}, {{INT64S, "seeds"}, {INT32S, "labels"}}, {no_labels},
         [](void *of, const arguments &given) -> variant { return self(of).draw_async(of_seeds(given)); }},
        {"draw_noise_async", {INT}, {{FLOATS, "noise"}, {INT32S, "labels"}}, {no_labels},
         [](void *of, const arguments &given) -> variant { return self(of).draw_async(of_noise(given)); }},
        {"cancel", {NIL}, {}, {}, [](void *of, const arguments &) { return self(of).cancel(), variant(); }},
        {"is_drawing", {BOOL}, {}, {}, [](void *of, const arguments &) -> variant { return self(of).is_drawing(); }},
        {"_deliver", {NIL}, {}, {}, [](void *of, const arguments &) { return self(of).deliver(), variant(); }},
        {"set_threads", {NIL}, {{INT, "threads"}}, {},
         [](void *of, const arguments &given) { return self(of).set_threads(given[0].integer()), variant(); }},
        {"get_threads", {INT}, {}, {}, [](void *of, const arguments &) -> variant { return self(of).threads(); }},
        {"get_last_error", {STRING}, {}, {}, [](void *of, const arguments &) -> variant { return self(of).last_error(); }},
        {"get_last_status", {INT}, {}, {}, [](void *of, const arguments &) -> variant { return self(of).last_status(); }},
    };
    return all;
}

GDExtensionObjectPtr create(void *, GDExtensionBool) {
    const auto object = engine::api.classdb_construct_object2(engine::value::name("RefCounted").ptr());
    engine::api.object_set_instance(object, engine::value::name(CLASS).ptr(), new one_step_generator(object));
    return object;
}

void notify(void *instance, std::int32_t what, GDExtensionBool) {
    if (what == NOTIFICATION_PREDELETE) self(instance).leave();
}

void destroy(void *, void *instance) { delete &self(instance); }

} // namespace

void one_step_generator::register_class() {
    engine::register_class(CLASS, "RefCounted", {create, notify, destroy});
    for (const auto &method : methods()) engine::register_method(CLASS, method);
    engine::register_property(CLASS, {INT, "threads"}, "set_threads", "get_threads");
    engine::register_property(CLASS, {STRING, "last_error"}, "", "get_last_error");
    engine::register_property(CLASS, {INT, "last_status"}, "", "get_last_status");
    engine::register_signal(CLASS, "drawn", {{ARRAY, "images", "Image"}});
    engine::register_signal(CLASS, "failed", {{INT, "code"}, {STRING, "message"}});
    // ONESTEP_* of onestep.h, numbered from 0 without a gap; the name of what comes after the last is another.
    for (std::int32_t code = 0; std::string(onestep_status_name(code)) != "ONESTEP_UNKNOWN"; code++)
        engine::register_constant(CLASS, "Status", onestep_status_name(code) + sizeof "ONESTEP_" - 1, code);
}

void one_step_generator::unregister_class() { engine::unregister_class(CLASS); }

} // namespace onestep_godot
