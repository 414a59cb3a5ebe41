// Tells the engine of a class: its methods, properties, signals and constants.
#ifndef ONESTEP_GODOT_REGISTRY_HPP
#define ONESTEP_GODOT_REGISTRY_HPP

#include "engine.hpp"

namespace engine {

// An argument, a result or a property. `elements` names the class of what an Array holds.
struct field {
    type of = GDEXTENSION_VARIANT_TYPE_NIL;
    const char *name = "";
    const char *elements = "";
};

// A method of the class. `defaults` are those of its last arguments.
struct bound_method {
    const char *name;
    field returns;
    std::vector<field> arguments;
    std::vector<variant> defaults;
    // With as many arguments as there are, of types that convert to theirs.
    variant (*call)(void *instance, const std::vector<variant> &arguments);
};

// What the engine calls to make, tell and free an instance.
struct lifetime {
    GDExtensionObjectPtr (*create)(void *, GDExtensionBool notify);
    void (*notify)(void *instance, int32_t what, GDExtensionBool reversed);
    void (*free)(void *, void *instance);
};

void register_class(const char *name, const char *parent, const lifetime &how);
// `method` must live as long as the class.
void register_method(const char *of, const bound_method &method);
// An empty setter makes it read-only.
void register_property(const char *of, const field &property, const char *setter, const char *getter);
void register_signal(const char *of, const char *name, const std::vector<field> &arguments);
void register_constant(const char *of, const char *enumeration, const char *name, std::int64_t constant);
void unregister_class(const char *name);

} // namespace engine

#endif
