#!/usr/bin/env python3
"""Writes a C++ file that compiles where NVIDIA's cuda.h declares what a table.rs says: of each function the name, and of
its arguments how many there are, which are pointers and how large each is; of each constant the number."""

import re
import sys

KINDS = {"c_int": "int", "c_uint": "unsigned", "usize": "size_t", "u64": "std::uint64_t", "Address": "std::uint64_t",
         "Handle": "void*"}

source = open(sys.argv[1]).read()
functions = re.findall(r'^    \w+ = "(\w+)" \((.*?)\);', source, re.MULTILINE | re.DOTALL)
numbers = re.findall(r"^pub const (CU\w+): c_u?int = (\d+);", source, re.MULTILINE)
assert functions and numbers, "nothing found to compare"

print("""#include <cstdint>
#include <type_traits>
#include <cuda.h>
template <class A, class B> constexpr bool alike = std::is_pointer_v<A> == std::is_pointer_v<B> && sizeof(A) == sizeof(B);
template <class... A> struct arguments {
    template <class... B> static constexpr bool of(CUresult (*)(B...)) {
        if constexpr (sizeof...(A) == sizeof...(B)) return (alike<A, B> && ...);
        return false;
    }
};""")
for name, arguments in functions:
    types = [argument.strip() for argument in arguments.split(",")]
    kinds = ["void*" if type.startswith("*") else KINDS[type] for type in types]
    print(f'static_assert(arguments<{", ".join(kinds)}>::of(decltype(&{name})()), "{name}");')
for name, number in numbers:
    print(f'static_assert({name} == {number}, "{name}");')
