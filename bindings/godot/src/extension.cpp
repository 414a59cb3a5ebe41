// Where the engine enters: the symbol that onestep.gdextension names.
#include "one_step_generator.hpp"

#if defined(_WIN32)
#define ONESTEP_GODOT_EXPORT __declspec(dllexport)
#else
#define ONESTEP_GODOT_EXPORT __attribute__((visibility("default")))
#endif

namespace {

void initialize(void *, GDExtensionInitializationLevel level) {
    if (level == GDEXTENSION_INITIALIZATION_SCENE) onestep_godot::one_step_generator::register_class();
}

void deinitialize(void *, GDExtensionInitializationLevel level) {
    if (level == GDEXTENSION_INITIALIZATION_SCENE) onestep_godot::one_step_generator::unregister_class();
}

} // namespace

extern "C" ONESTEP_GODOT_EXPORT GDExtensionBool onestep_godot_init(GDExtensionInterfaceGetProcAddress find,
                                                                   GDExtensionClassLibraryPtr library,
                                                                   GDExtensionInitialization *out) {
    if (!engine::load(find, library)) return false;
    out->minimum_initialization_level = GDEXTENSION_INITIALIZATION_SCENE;
    out->userdata = nullptr;
    out->initialize = initialize;
    out->deinitialize = deinitialize;
    return true;
}
