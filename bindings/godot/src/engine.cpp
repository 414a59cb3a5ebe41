#include "engine.hpp"
#include "functions.hpp"

#include <cstring>
#include <utility>

namespace engine {

namespace {

GDExtensionClassLibraryPtr own_library;

// The methods of all packed arrays have these signatures, and so these hashes.
constexpr GDExtensionInt SIZE_HASH = 3173160232, RESIZE_HASH = 848867239;

std::int64_t size_of(const value &packed) {
    const value name = value::name("size");
    std::int64_t size = 0;
    api.variant_get_ptr_builtin_method(packed.of(), name.ptr(), SIZE_HASH)(const_cast<void *>(packed.ptr()), nullptr, &size,
                                                                            0);
    return size;
}

void resize(value &packed, std::int64_t size) {
    const value name = value::name("resize");
    const void *arguments[] = {&size};
    std::int64_t status = 0;
    api.variant_get_ptr_builtin_method(packed.of(), name.ptr(), RESIZE_HASH)(packed.ptr(), arguments, &status, 1);
}

// The elements of a packed array, copied. An empty one has no first element to ask for.
template <class T, class At> std::vector<T> unpacked(type of, const variant &from, At at) {
    const value packed(of, from);
    std::vector<T> out(static_cast<std::size_t>(size_of(packed)));
    if (!out.empty()) std::memcpy(out.data(), at(packed.ptr(), 0), out.size() * sizeof(T));
    return out;
}

template <class T, class At> variant packed(type of, const T *data, std::size_t size, At at) {
    value made(of);
    resize(made, static_cast<std::int64_t>(size));
    // Smaller than asked for where memory could not be had.
    if (size != 0 && size_of(made) == static_cast<std::int64_t>(size)) std::memcpy(at(made.ptr(), 0), data, size * sizeof(T));
    return made;
}

std::vector<const void *> pointers(std::initializer_list<variant> arguments) {
    std::vector<const void *> out;
    for (const variant &argument : arguments) out.push_back(argument.ptr());
    return out;
}

} // namespace

functions api;

bool load(GDExtensionInterfaceGetProcAddress find, GDExtensionClassLibraryPtr library) {
    own_library = library;
    return api.find(find);
}

GDExtensionClassLibraryPtr library() { return own_library; }

void print_error(const std::string &message, const char *function) {
    api.print_error_with_message(message.c_str(), message.c_str(), function, "onestep", 0, true);
}

value::value(type of) : of_(of) { api.variant_get_ptr_constructor(of, 0)(bytes_, nullptr); }

value::value(type of, const variant &from) : of_(of) {
    api.get_variant_to_type_constructor(of)(bytes_, const_cast<void *>(from.ptr()));
}

// The engine's values may be moved by their bytes; what is left behind owns nothing.
value::value(value &&other) noexcept : of_(std::exchange(other.of_, GDEXTENSION_VARIANT_TYPE_NIL)) {
    std::memcpy(bytes_, other.bytes_, sizeof bytes_);
}

value::~value() {
    if (of_ == GDEXTENSION_VARIANT_TYPE_NIL) return;
    if (const auto destroy = api.variant_get_ptr_destructor(of_)) destroy(bytes_);
}

value value::name(const char *latin1) {
    value made(GDEXTENSION_VARIANT_TYPE_STRING_NAME, raw());
    api.string_name_new_with_latin1_chars(made.bytes_, latin1, false);
    return made;
}

value value::string(const std::string &utf8) {
    value made(GDEXTENSION_VARIANT_TYPE_STRING, raw());
    api.string_new_with_utf8_chars_and_len(made.bytes_, utf8.data(), static_cast<std::int64_t>(utf8.size()));
    return made;
}

void assign(type of, void *ptr, const variant &from) {
    if (of == GDEXTENSION_VARIANT_TYPE_NIL) return;
    if (const auto destroy = api.variant_get_ptr_destructor(of)) destroy(ptr);
    api.get_variant_to_type_constructor(of)(ptr, const_cast<void *>(from.ptr()));
}

variant::variant(type of, const void *ptr) {
    api.get_variant_from_type_constructor(of)(bytes_, const_cast<void *>(ptr));
}

variant::variant(GDExtensionConstVariantPtr other) { api.variant_new_copy(bytes_, other); }

variant::variant(std::int64_t number) : variant(GDEXTENSION_VARIANT_TYPE_INT, &number) {}

variant::variant(bool is) {
    const GDExtensionBool stored = is;
    api.get_variant_from_type_constructor(GDEXTENSION_VARIANT_TYPE_BOOL)(bytes_, const_cast<GDExtensionBool *>(&stored));
}

variant::variant(const std::string &utf8) : variant(value::string(utf8)) {}

variant::variant(const std::vector<float> &numbers)
    : variant(packed(GDEXTENSION_VARIANT_TYPE_PACKED_FLOAT32_ARRAY, numbers.data(), numbers.size(),
                     api.packed_float32_array_operator_index)) {}

variant variant::bytes(const std::uint8_t *data, std::size_t size) {
    return packed(GDEXTENSION_VARIANT_TYPE_PACKED_BYTE_ARRAY, data, size, api.packed_byte_array_operator_index);
}

variant::variant(variant &&other) noexcept {
    std::memcpy(bytes_, other.bytes_, sizeof bytes_);
    std::memset(other.bytes_, 0, sizeof other.bytes_);
}

variant &variant::operator=(variant other) noexcept {
    unsigned char kept[sizeof bytes_];
    std::memcpy(kept, bytes_, sizeof bytes_);
    std::memcpy(bytes_, other.bytes_, sizeof bytes_);
    std::memcpy(other.bytes_, kept, sizeof bytes_);
    return *this;
}

variant::~variant() { api.variant_destroy(bytes_); }

type variant::of() const { return api.variant_get_type(bytes_); }

std::int64_t variant::integer() const {
    std::int64_t out = 0;
    api.get_variant_to_type_constructor(GDEXTENSION_VARIANT_TYPE_INT)(&out, const_cast<unsigned char *>(bytes_));
    return out;
}

double variant::real() const {
    double out = 0;
    api.get_variant_to_type_constructor(GDEXTENSION_VARIANT_TYPE_FLOAT)(&out, const_cast<unsigned char *>(bytes_));
    return out;
}

GDExtensionObjectPtr variant::object() const {
    GDExtensionObjectPtr out = nullptr;
    api.get_variant_to_type_constructor(GDEXTENSION_VARIANT_TYPE_OBJECT)(&out, const_cast<unsigned char *>(bytes_));
    return out;
}

std::string variant::string() const {
    const value text(GDEXTENSION_VARIANT_TYPE_STRING, *this);
    std::string out(static_cast<std::size_t>(api.string_to_utf8_chars(text.ptr(), nullptr, 0)), '\0');
    api.string_to_utf8_chars(text.ptr(), out.data(), static_cast<std::int64_t>(out.size()));
    return out;
}

std::vector<float> variant::floats() const {
    return unpacked<float>(GDEXTENSION_VARIANT_TYPE_PACKED_FLOAT32_ARRAY, *this,
                           api.packed_float32_array_operator_index_const);
}

std::vector<std::int32_t> variant::int32s() const {
    return unpacked<std::int32_t>(GDEXTENSION_VARIANT_TYPE_PACKED_INT32_ARRAY, *this,
                                  api.packed_int32_array_operator_index_const);
}

std::vector<std::uint64_t> variant::uint64s() const {
    return unpacked<std::uint64_t>(GDEXTENSION_VARIANT_TYPE_PACKED_INT64_ARRAY, *this,
                                   api.packed_int64_array_operator_index_const);
}

variant variant::call(const char *method, std::initializer_list<variant> arguments) {
    const value name = value::name(method);
    const auto list = pointers(arguments);
    variant out;
    GDExtensionCallError error{};
    api.variant_call(bytes_, name.ptr(), list.data(), static_cast<std::int64_t>(list.size()), out.bytes_, &error);
    return out;
}

void variant::set(const char *key, const variant &to) {
    const variant name(key);
    GDExtensionBool valid = false;
    api.variant_set_keyed(bytes_, name.ptr(), to.ptr(), &valid);
}

bool convertible(type from, type to) { return api.variant_can_convert_strict(from, to); }

method::method(const char *of, const char *name, std::int64_t hash)
    : bind_(api.classdb_get_method_bind(value::name(of).ptr(), value::name(name).ptr(), hash)) {}

variant method::operator()(GDExtensionObjectPtr object, std::initializer_list<variant> arguments) const {
    variant out;
    if (bind_ == nullptr) return out;
    const auto list = pointers(arguments);
    GDExtensionCallError error{};
    api.object_method_bind_call(bind_, object, list.data(), static_cast<std::int64_t>(list.size()), out.ptr(), &error);
    return out;
}

} // namespace engine
