// CUDA's execution model on a CPU, so that the very kernels of `src/exec/cuda/kernels` run in tests on machines without
// a GPU. A block's threads are fibers of one operating-system thread that switch at barriers alone; a warp's collective
// operations (shuffles, matrix multiply-accumulate, matrix loads) wait for all 32 lanes, as the hardware's do.
//
// It is made to expose mistakes: shared memory is full of NaN before each block and ends at a page that cannot be
// touched; asynchronous copies land at once in some blocks, and no sooner than waited for in the others; threads run in
// several orders, from all warps in step to one warp after the other; a barrier that not all threads reach ends the
// program with the kernel's name.
#pragma once
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <vector>

#define __device__
#define __forceinline__ inline

namespace emulator {

struct Dim3 {
    unsigned x = 1, y = 1, z = 1;
};

[[noreturn]] inline void fail(const char* kernel, const char* what) {
    std::fprintf(stderr, "emulated kernel %s: %s\n", kernel, what);
    std::abort();
}

// Bytes that end where a page without access begins, and begin after one.
class Guarded {
public:
    explicit Guarded(size_t bytes, size_t align = 16) : bytes_(bytes) {
        const size_t page = 4096;
        const size_t room = (bytes + page - 1) / page * page;
        total_ = room + 2 * page;
        base_ = static_cast<char*>(mmap(nullptr, total_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
        if (base_ == MAP_FAILED) fail("-", "no address space");
        mprotect(base_ + page, room, PROT_READ | PROT_WRITE);
        start_ = base_ + page + (room - (bytes + align - 1) / align * align);
    }
    ~Guarded() { munmap(base_, total_); }
    Guarded(const Guarded&) = delete;
    Guarded& operator=(const Guarded&) = delete;
    char* data() const { return start_; }
    size_t size() const { return bytes_; }

private:
    size_t bytes_, total_;
    char *base_, *start_;
};

using Body = void (*)(const void* arguments);
struct Kernel {
    Body body;
    size_t arguments, threads;
};
inline std::map<std::string, Kernel>& kernels() {
    static std::map<std::string, Kernel> all;
    return all;
}
struct Register {
    Register(const char* name, size_t arguments, size_t threads, Body body) {
        kernels()[name] = {body, arguments, threads};
    }
};

// All that waits for `size` threads.
struct Barrier {
    unsigned waiting = 0, generation = 0;
};

struct Warp {
    Barrier barrier;
    alignas(16) unsigned char slots[32][64];
};

struct Copy {
    void* to;
    const void* from;  // null: zeros
};

struct Fiber {
    void* stack_pointer = nullptr;
    bool done = false;
    unsigned thread = 0;
    std::vector<std::vector<Copy>> groups;  // committed asynchronous copies, oldest first
    std::vector<Copy> open;
};

extern "C" void onestep_fiber_switch(void** save, void* load);
asm(R"(
.text
.type onestep_fiber_switch,@function
onestep_fiber_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size onestep_fiber_switch,.-onestep_fiber_switch
)");

constexpr size_t kStack = 128 << 10;

// One block at a time, on this operating-system thread.
struct Block {
    const char* kernel = "";
    Body body = nullptr;
    const void* arguments = nullptr;
    Dim3 index, grid;
    unsigned threads = 0, alive = 0;
    Barrier barrier;
    std::vector<Warp> warps;
    std::vector<Fiber> fibers;
    std::vector<char> stacks;
    Fiber* current = nullptr;
    void* scheduler = nullptr;
    char* dynamic = nullptr;
    bool progress = false;
    bool eager = false;  // asynchronous copies land at once
};
// This thread's; a bare pointer, since every `threadIdx` looks at it.
inline Block*& here() {
    static thread_local Block* pointer = nullptr;
    return pointer;
}
inline Block& block() { return *here(); }

inline void yield() {
    Block& b = block();
    Fiber* self = b.current;
    onestep_fiber_switch(&self->stack_pointer, b.scheduler);
}

inline void wait(Barrier& barrier, unsigned size) {
    Block& b = block();
    const unsigned generation = barrier.generation;
    b.progress = true;
    if (++barrier.waiting == size) {
        barrier.waiting = 0;
        ++barrier.generation;
        return;
    }
    while (barrier.generation == generation) yield();
    b.progress = true;
}

inline void sync_block() { wait(block().barrier, block().alive); }
inline unsigned thread() { return block().current->thread; }
inline Warp& warp() { return block().warps[thread() / 32]; }
inline void sync_warp() { wait(warp().barrier, 32); }

inline void fiber_main() {
    Block& b = block();
    b.body(b.arguments);
    Fiber* self = b.current;
    self->done = true;
    b.progress = true;
    --b.alive;
    if (b.barrier.waiting > 0 && b.barrier.waiting == b.alive) {
        b.barrier.waiting = 0;
        ++b.barrier.generation;
    }
    for (;;) yield();
}

inline void run_block(const char* name, const Kernel& kernel, const void* arguments, Dim3 grid, Dim3 index,
                      unsigned threads, Guarded& dynamic) {
    Block& b = block();
    b.kernel = name;
    b.body = kernel.body;
    b.arguments = arguments;
    b.grid = grid;
    b.index = index;
    b.threads = b.alive = threads;
    b.barrier = {};
    b.warps.assign((threads + 31) / 32, Warp{});
    b.fibers.resize(threads);
    if (b.stacks.size() < threads * kStack) b.stacks.resize(threads * kStack);
    b.dynamic = dynamic.data();
    std::memset(b.dynamic, 0xff, dynamic.size());
    for (unsigned t = 0; t < threads; ++t) {
        Fiber& fiber = b.fibers[t];
        fiber.done = false;
        fiber.thread = t;
        fiber.groups.clear();
        fiber.open.clear();
        auto top = reinterpret_cast<uintptr_t>(b.stacks.data() + (t + 1) * kStack) / 16 * 16;
        auto* stack = reinterpret_cast<void**>(top);
        *--stack = nullptr;                                   // keeps the stack aligned as after a call
        *--stack = reinterpret_cast<void*>(&fiber_main);      // returned to
        for (int i = 0; i < 6; ++i) *--stack = nullptr;       // saved registers
        fiber.stack_pointer = stack;
    }
    // Lets `count` threads from `first` on run until each waits; whether any has come further.
    auto run = [&](unsigned first, unsigned count, bool backwards) {
        b.progress = false;
        for (unsigned i = 0; i < count; ++i) {
            Fiber& fiber = b.fibers[first + (backwards ? count - 1 - i : i)];
            if (fiber.done) continue;
            b.current = &fiber;
            onestep_fiber_switch(&b.scheduler, fiber.stack_pointer);
        }
        return b.progress;
    };
    // All warps in step; or one warp as far as it gets before the next one, which shows what is overwritten too early.
    const unsigned order = (index.x + index.y + index.z) % 3;
    b.eager = order == 1;
    for (unsigned round = 0; b.alive > 0; ++round) {
        bool progress = false;
        if (order == 0) progress = run(0, threads, round % 2);
        else {
            for (unsigned i = 0; i < threads / 32; ++i) {
                const unsigned warp = order == 1 ? i : threads / 32 - 1 - i;
                while (run(32 * warp, 32, round % 2)) progress = true;
            }
        }
        if (!progress) fail(name, "not all threads reach a barrier");
    }
}

// Runs a grid on two threads.
inline void launch(const std::string& name, const void* arguments, Dim3 grid, unsigned threads, size_t dynamic) {
    const Kernel& kernel = kernels().at(name);
    const uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z;
    if (threads == 0 || threads > kernel.threads || threads % 32) fail(name.c_str(), "a block of the wrong size");
    std::atomic<uint64_t> next{0};
    auto work = [&] {
        static thread_local Block self;
        here() = &self;
        Guarded memory(dynamic, 128);
        for (uint64_t i; (i = next++) < blocks;) {
            const Dim3 index{unsigned(i % grid.x), unsigned(i / grid.x % grid.y), unsigned(i / grid.x / grid.y)};
            run_block(name.c_str(), kernel, arguments, grid, index, threads, memory);
        }
    };
    if (blocks < 4) return work();
    std::thread other(work);
    work();
    other.join();
}

// What every lane gave, for every lane.
template <class T, class F>
auto collective(const T& mine, F&& result) {
    static_assert(sizeof(T) <= 64);
    Warp& w = warp();
    std::memcpy(w.slots[thread() % 32], &mine, sizeof(T));
    sync_warp();
    auto value = result([&](unsigned lane) {
        T other;
        std::memcpy(&other, w.slots[lane], sizeof(T));
        return other;
    });
    sync_warp();
    return value;
}

inline void land(const Copy& copy) {
    if (copy.from) std::memcpy(copy.to, copy.from, 16);
    else std::memset(copy.to, 0, 16);
}
// What the hardware reads and writes as 16 bytes at once must begin at a multiple of them.
inline void check_aligned(const void* address) {
    if (reinterpret_cast<uintptr_t>(address) % 16 != 0) fail(block().kernel, "16 bytes that are not aligned");
}
inline void copy_async(void* to, const void* from) {
    check_aligned(to);
    check_aligned(from);
    if (block().eager) land({to, from});
    else block().current->open.push_back({to, from});
}
inline void commit() {
    Fiber& fiber = *block().current;
    fiber.groups.push_back(std::move(fiber.open));
    fiber.open.clear();
}
inline void wait_copies(size_t pending) {
    Fiber& fiber = *block().current;
    while (fiber.groups.size() > pending) {
        for (const Copy& copy : fiber.groups.front()) land(copy);
        fiber.groups.erase(fiber.groups.begin());
    }
}

}  // namespace emulator

struct EmulatedIndex {
    unsigned x, y, z;
};
#define threadIdx (EmulatedIndex{emulator::thread(), 0, 0})
#define blockIdx (emulator::block().index)
#define gridDim (emulator::block().grid)
#define blockDim (EmulatedIndex{emulator::block().threads, 1, 1})
