// The functions of gdextension_interface.h that are used here, under the names that the engine knows them by. All are there
// since Godot 4.4.
#ifndef ONESTEP_GODOT_FUNCTIONS_HPP
#define ONESTEP_GODOT_FUNCTIONS_HPP

#include <gdextension_interface.h>

namespace engine {

#define ONESTEP_ENGINE_FUNCTIONS(X)                                                                              \
    X(ClassdbConstructObject2, classdb_construct_object2)                                                        \
    X(ClassdbGetMethodBind, classdb_get_method_bind)                                                             \
    X(ClassdbRegisterExtensionClass4, classdb_register_extension_class4)                                         \
    X(ClassdbRegisterExtensionClassIntegerConstant, classdb_register_extension_class_integer_constant)           \
    X(ClassdbRegisterExtensionClassMethod, classdb_register_extension_class_method)                              \
    X(ClassdbRegisterExtensionClassProperty, classdb_register_extension_class_property)                          \
    X(ClassdbRegisterExtensionClassSignal, classdb_register_extension_class_signal)                              \
    X(ClassdbUnregisterExtensionClass, classdb_unregister_extension_class)                                       \
    X(ArraySetTyped, array_set_typed)                                                                            \
    X(GetVariantFromTypeConstructor, get_variant_from_type_constructor)                                          \
    X(GetVariantToTypeConstructor, get_variant_to_type_constructor)                                              \
    X(ObjectMethodBindCall, object_method_bind_call)                                                             \
    X(ObjectSetInstance, object_set_instance)                                                                    \
    X(PackedByteArrayOperatorIndex, packed_byte_array_operator_index)                                            \
    X(PackedByteArrayOperatorIndexConst, packed_byte_array_operator_index_const)                                 \
    X(PackedFloat32ArrayOperatorIndex, packed_float32_array_operator_index)                                      \
    X(PackedFloat32ArrayOperatorIndexConst, packed_float32_array_operator_index_const)                           \
    X(PackedInt32ArrayOperatorIndexConst, packed_int32_array_operator_index_const)                               \
    X(PackedInt64ArrayOperatorIndexConst, packed_int64_array_operator_index_const)                               \
    X(PrintErrorWithMessage, print_error_with_message)                                                           \
    X(StringNameNewWithLatin1Chars, string_name_new_with_latin1_chars)                                           \
    X(StringNewWithUtf8CharsAndLen, string_new_with_utf8_chars_and_len)                                          \
    X(StringToUtf8Chars, string_to_utf8_chars)                                                                   \
    X(VariantCall, variant_call)                                                                                 \
    X(VariantCanConvertStrict, variant_can_convert_strict)                                                       \
    X(VariantDestroy, variant_destroy)                                                                           \
    X(VariantGetPtrBuiltinMethod, variant_get_ptr_builtin_method)                                                \
    X(VariantGetPtrConstructor, variant_get_ptr_constructor)                                                     \
    X(VariantGetPtrDestructor, variant_get_ptr_destructor)                                                       \
    X(VariantGetType, variant_get_type)                                                                          \
    X(VariantNewCopy, variant_new_copy)                                                                          \
    X(VariantSetKeyed, variant_set_keyed)

struct functions {
#define ONESTEP_DECLARE(Type, name) GDExtensionInterface##Type name = nullptr;
    ONESTEP_ENGINE_FUNCTIONS(ONESTEP_DECLARE)
#undef ONESTEP_DECLARE

    bool find(GDExtensionInterfaceGetProcAddress at) {
#define ONESTEP_FIND(Type, name)                                                                                 \
    name = reinterpret_cast<GDExtensionInterface##Type>(at(#name));                                              \
    if (name == nullptr) return false;
        ONESTEP_ENGINE_FUNCTIONS(ONESTEP_FIND)
#undef ONESTEP_FIND
        return true;
    }
};

extern functions api;

} // namespace engine

#endif
