#include "registry.hpp"
#include "functions.hpp"

#include <deque>
#include <exception>

namespace engine {

namespace {

constexpr std::uint32_t PROPERTY_HINT_ARRAY_TYPE = 31, PROPERTY_USAGE_DEFAULT = 6, PROPERTY_USAGE_NONE = 0;

// Fields as the engine takes them, with the names that they point to.
class fields {
  public:
    void add(const field &from, std::uint32_t usage = PROPERTY_USAGE_DEFAULT) {
        const bool typed = *from.elements != 0;
        values_.push_back(value::name(from.name));
        values_.push_back(value::name(""));
        values_.push_back(value::string(from.elements));
        void *text = values_.back().ptr();
        void *of = values_[values_.size() - 2].ptr();
        void *name = values_[values_.size() - 3].ptr();
        infos_.push_back({from.of, name, of, typed ? PROPERTY_HINT_ARRAY_TYPE : 0, text, usage});
        metadata_.push_back(GDEXTENSION_METHOD_ARGUMENT_METADATA_NONE);
    }
    GDExtensionPropertyInfo *data() { return infos_.data(); }
    GDExtensionClassMethodArgumentMetadata *metadata() { return metadata_.data(); }
    std::uint32_t size() const { return static_cast<std::uint32_t>(infos_.size()); }

  private:
    std::deque<value> values_; // They stay where they are.
    std::vector<GDExtensionPropertyInfo> infos_;
    std::vector<GDExtensionClassMethodArgumentMetadata> metadata_;
};

GDExtensionCallErrorType checked(const bound_method &method, std::vector<variant> &arguments, GDExtensionCallError *error) {
    const std::size_t count = method.arguments.size(), least = count - method.defaults.size();
    error->expected = static_cast<std::int32_t>(count);
    if (arguments.size() > count) return GDEXTENSION_CALL_ERROR_TOO_MANY_ARGUMENTS;
    error->expected = static_cast<std::int32_t>(least);
    if (arguments.size() < least) return GDEXTENSION_CALL_ERROR_TOO_FEW_ARGUMENTS;
    for (std::size_t i = 0; i < arguments.size(); i++) {
        error->argument = static_cast<std::int32_t>(i);
        error->expected = method.arguments[i].of;
        if (!convertible(arguments[i].of(), method.arguments[i].of)) return GDEXTENSION_CALL_ERROR_INVALID_ARGUMENT;
    }
    for (std::size_t i = arguments.size(); i < count; i++) arguments.push_back(method.defaults[i - least]);
    return GDEXTENSION_CALL_OK;
}

// The engine knows no exceptions. What comes here is memory that could not be had.
template <class Call> variant kept_in(const char *where, Call &&call) {
    try {
        return call();
    } catch (const std::exception &thrown) {
        print_error(thrown.what(), where);
        return {};
    }
}

void call_with_variants(void *userdata, void *instance, const GDExtensionConstVariantPtr *given, GDExtensionInt count,
                        GDExtensionVariantPtr out, GDExtensionCallError *error) {
    const auto &method = *static_cast<const bound_method *>(userdata);
    const variant result = kept_in(method.name, [&]() -> variant {
        std::vector<variant> arguments;
        for (GDExtensionInt i = 0; i < count; i++) arguments.emplace_back(given[i]);
        error->error = checked(method, arguments, error);
        if (error->error != GDEXTENSION_CALL_OK) return {};
        return method.call(instance, arguments);
    });
    api.variant_destroy(out);
    api.variant_new_copy(out, result.ptr());
}

// How typed GDScript calls: arguments and result are of the declared types, and the result's memory holds one already.
void call_with_pointers(void *userdata, void *instance, const GDExtensionConstTypePtr *given, GDExtensionTypePtr out) {
    const auto &method = *static_cast<const bound_method *>(userdata);
    const variant result = kept_in(method.name, [&] {
        std::vector<variant> arguments;
        for (std::size_t i = 0; i < method.arguments.size(); i++) arguments.emplace_back(method.arguments[i].of, given[i]);
        return method.call(instance, arguments);
    });
    assign(method.returns.of, out, result);
}

} // namespace

void register_class(const char *name, const char *parent, const lifetime &how) {
    GDExtensionClassCreationInfo4 info{};
    info.is_exposed = true;
    info.create_instance_func = how.create;
    info.notification_func = how.notify;
    info.free_instance_func = how.free;
    api.classdb_register_extension_class4(library(), value::name(name).ptr(), value::name(parent).ptr(), &info);
}

void register_method(const char *of, const bound_method &method) {
    value name = value::name(method.name);
    fields result, arguments;
    result.add(method.returns);
    for (const field &argument : method.arguments) arguments.add(argument);
    std::vector<variant> defaults = method.defaults;
    std::vector<void *> default_pointers;
    for (variant &one : defaults) default_pointers.push_back(one.ptr());

    GDExtensionClassMethodInfo info{};
    info.name = name.ptr();
    info.method_userdata = const_cast<bound_method *>(&method);
    info.call_func = call_with_variants;
    info.ptrcall_func = call_with_pointers;
    info.method_flags = GDEXTENSION_METHOD_FLAGS_DEFAULT;
    info.has_return_value = method.returns.of != GDEXTENSION_VARIANT_TYPE_NIL;
    info.return_value_info = result.data();
    info.return_value_metadata = *result.metadata();
    info.argument_count = arguments.size();
    info.arguments_info = arguments.data();
    info.arguments_metadata = arguments.metadata();
    info.default_argument_count = static_cast<std::uint32_t>(default_pointers.size());
    info.default_arguments = default_pointers.data();
    api.classdb_register_extension_class_method(library(), value::name(of).ptr(), &info);
}

void register_property(const char *of, const field &property, const char *setter, const char *getter) {
    fields info;
    info.add(property, *setter != 0 ? PROPERTY_USAGE_DEFAULT : PROPERTY_USAGE_NONE);
    api.classdb_register_extension_class_property(library(), value::name(of).ptr(), info.data(), value::name(setter).ptr(),
                                                   value::name(getter).ptr());
}

void register_signal(const char *of, const char *name, const std::vector<field> &arguments) {
    fields infos;
    for (const field &argument : arguments) infos.add(argument);
    api.classdb_register_extension_class_signal(library(), value::name(of).ptr(), value::name(name).ptr(), infos.data(),
                                                 infos.size());
}

void register_constant(const char *of, const char *enumeration, const char *name, std::int64_t constant) {
    api.classdb_register_extension_class_integer_constant(library(), value::name(of).ptr(), value::name(enumeration).ptr(),
                                                           value::name(name).ptr(), constant, false);
}

void unregister_class(const char *name) { api.classdb_unregister_extension_class(library(), value::name(name).ptr()); }

} // namespace engine
