// The engine's C interface, as far as it is used here: its functions, and values that free themselves.
#ifndef ONESTEP_GODOT_ENGINE_HPP
#define ONESTEP_GODOT_ENGINE_HPP

#include <gdextension_interface.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

namespace engine {

using type = GDExtensionVariantType;

// Finds the functions; false where the engine is too old to have one of them.
bool load(GDExtensionInterfaceGetProcAddress find, GDExtensionClassLibraryPtr library);
GDExtensionClassLibraryPtr library();

// An error in the engine's console and debugger.
void print_error(const std::string &message, const char *function);

class variant;

// A value of a built-in type as the engine's functions take it by pointer: a StringName, a String, an Array, ...
class value {
  public:
    explicit value(type of);
    value(type of, const variant &from);
    value(const value &) = delete;
    value(value &&other) noexcept;
    ~value();

    static value name(const char *latin1);
    static value string(const std::string &utf8);

    void *ptr() { return bytes_; }
    const void *ptr() const { return bytes_; }
    type of() const { return of_; }

  private:
    struct raw {};
    value(type of, raw) : of_(of) {}
    type of_;
    alignas(8) unsigned char bytes_[16] = {}; // The largest of the types used, an array of packed numbers, takes 16.
};

// Frees what `ptr` holds and puts `from` there.
void assign(type of, void *ptr, const variant &from);

// A Variant.
class variant {
  public:
    variant() = default; // Nil is all zeros.
    variant(std::int64_t number);
    variant(int number) : variant(static_cast<std::int64_t>(number)) {}
    variant(bool is);
    variant(const std::string &utf8);
    variant(const char *utf8) : variant(std::string(utf8)) {}
    variant(const std::vector<float> &numbers);
    variant(const value &from) : variant(from.of(), from.ptr()) {}
    variant(type of, const void *ptr);
    variant(const variant &other) : variant(other.ptr()) {}
    explicit variant(GDExtensionConstVariantPtr other);
    variant(variant &&other) noexcept;
    variant &operator=(variant other) noexcept;
    ~variant();

    static variant bytes(const std::uint8_t *data, std::size_t size);

    type of() const;
    std::int64_t integer() const;
    double real() const;
    std::string string() const;
    // Null where it holds a null object, or none.
    GDExtensionObjectPtr object() const;
    std::vector<float> floats() const;
    std::vector<std::int32_t> int32s() const;
    // Godot's integers are signed: a seed above 2^63 - 1 is the negative number of the same 64 bits.
    std::vector<std::uint64_t> uint64s() const;

    // Calls a method by its name; nil where there is none.
    variant call(const char *method, std::initializer_list<variant> arguments = {});
    // of a Dictionary
    void set(const char *key, const variant &to);

    void *ptr() { return bytes_; }
    const void *ptr() const { return bytes_; }

  private:
    alignas(8) unsigned char bytes_[40] = {}; // 24 in engines of single precision, 40 in those of double precision.
};

static_assert(sizeof(variant) == 40, "an argument list is an array of variants");

bool convertible(type from, type to);

// A method of an engine's class, found by the hash of its signature. `object` is null for a static one.
class method {
  public:
    method(const char *of, const char *name, std::int64_t hash);
    variant operator()(GDExtensionObjectPtr object, std::initializer_list<variant> arguments = {}) const;

  private:
    GDExtensionMethodBindPtr bind_;
};

} // namespace engine

#endif
