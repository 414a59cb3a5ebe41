#!/usr/bin/env python3
"""Writes a C++ file that compiles where NVIDIA's cuda.h declares what a table.rs says: of each function the name, and of
its arguments how many there are, which are pointers and how large each is; of each constant the number; and of the one
structure where its fields stand."""

import re
import sys

KINDS = {"c_int": "int", "c_uint": "unsigned", "usize": "size_t", "u64": "std::uint64_t", "Address": "std::uint64_t",
         "Handle": "void*"}

source = open(sys.argv[1]).read()
functions = re.findall(r'^    \w+ = "(\w+)" \((.*?)\);', source, re.MULTILINE | re.DOTALL)
numbers = re.findall(r"^pub const (CU\w+): c_u?int = (\d+);", source, re.MULTILINE)
assert functions and numbers, "nothing found to compare"

# "Internal" declares the first form of a function too, which keeps its plain name in the driver.
print("""#include <cstddef>
#include <cstdint>
#include <type_traits>
#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>
template <class A, class B> constexpr bool alike = std::is_pointer_v<A> == std::is_pointer_v<B> && sizeof(A) == sizeof(B);
template <class... A> struct arguments {
    template <class... B> static constexpr bool of(CUresult (*)(B...)) {
        if constexpr (sizeof...(A) == sizeof...(B)) return (alike<A, B> && ...);
        return false;
    }
};
using Node = CUDA_KERNEL_NODE_PARAMS_v1;
static_assert(offsetof(Node, func) == 0 && offsetof(Node, gridDimX) == 8 && offsetof(Node, blockDimX) == 20 &&
              offsetof(Node, sharedMemBytes) == 32 && offsetof(Node, kernelParams) == 40 && offsetof(Node, extra) == 48 &&
              sizeof(Node) == 56, "KernelNode");""")
for name, arguments in functions:
    types = [argument.strip() for argument in arguments.split(",")]
    kinds = ["void*" if type.startswith("*") else KINDS[type] for type in types]
    print(f'static_assert(arguments<{", ".join(kinds)}>::of(decltype(&{name})()), "{name}");')
for name, number in numbers:
    print(f'static_assert({name} == {number}, "{name}");')
