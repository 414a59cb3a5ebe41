// A CUDA driver on paper: the functions of libcuda.so.1 that the executor calls, over host memory, launching the real
// kernels on the emulator. Built by tests/cuda.rs, which loads it in the driver's place.
//
// Work on a stream is done when it is waited for and not before, so memory that is reused too early shows. Every handle
// and every range is checked; what a real driver would refuse, or what would be undefined, ends the program with a
// sentence. Tests change what it pretends to be by `fake_cuda_set`.
#include <functional>
#include <memory>
#include <mutex>
#include <set>

#define WITH_F32
#define WITH_BF16
#define WITH_F16
#include "../../src/exec/cuda/kernels/onestep.cu"

namespace {

using Status = int;
constexpr Status kSuccess = 0, kInvalidValue = 1, kOutOfMemory = 2, kNotInitialized = 3, kNoDevice = 100,
                 kInvalidDevice = 101, kInvalidContext = 201, kNotFound = 500, kLaunchFailed = 719;

struct Settings {
    long version = 11070, devices = 1, major = 9, minor = 0, memory = 8L << 30, init = 0, shared = 232448, multiprocessors = 132, broken = 0, refuses_code = 0;
    // The functions of this name fail with this status, after so many calls that succeed.
    std::map<std::string, std::pair<long, long>> failures;
};
struct Context {
    int device = 0;
    int retained = 0;
    size_t used = 0;
};
struct Function {
    std::string name;
    size_t own = 0, shared = 48 << 10;  // bytes of shared memory of its own, and at most of a launch's
};
struct Module {
    std::string code;
    std::map<std::string, std::unique_ptr<Function>> functions;
};
using Work = std::function<void()>;
struct Stream {
    std::vector<Work> queue;
};
struct Graph {
    std::vector<std::unique_ptr<Work>> nodes;
};
struct Executable {
    std::vector<Work> nodes;
};
struct Event {
    Stream* stream = nullptr;
    size_t after = 0;
};

std::recursive_mutex mutex;
Settings settings;
// What a program that is not a test's own may be told: FAKE_CUDA_DEVICES.
const bool told = [] {
    if (const char* devices = std::getenv("FAKE_CUDA_DEVICES")) settings.devices = std::atol(devices);
    return true;
}();
Context contexts[8];
thread_local std::vector<Context*> stack;
thread_local int capture_mode = 0;
std::map<uint64_t, std::pair<std::unique_ptr<emulator::Guarded>, Context*>> memory;
std::map<void*, std::unique_ptr<emulator::Guarded>> host_memory;
std::set<void*> handles;  // streams, graphs, events, modules alive
std::set<Stream*> streams;
std::multiset<Executable*> running;  // an entry for each launch that is not done
thread_local std::set<uint64_t> defaults;  // this thread's copies on the default stream that it has not waited for
long calls_to_allocate = 0, launches = 0, graph_launches = 0, instantiated = 0;

[[noreturn]] void refuse(const char* function, const char* what) {
    std::fprintf(stderr, "%s: %s\n", function, what);
    std::abort();
}
Status failure(const char* function) {
    auto found = settings.failures.find(function);
    if (found == settings.failures.end()) return kSuccess;
    if (found->second.first-- > 0) return kSuccess;
    found->second.first = 0;
    return static_cast<Status>(found->second.second);
}
Context* current(const char* function) {
    if (stack.empty() || !stack.back()) refuse(function, "no context is current");
    // Another thread may be capturing, and no call be allowed then but in the relaxed mode.
    if (capture_mode != 2) refuse(function, "not in the relaxed mode of capture");
    return stack.back();
}
void check_handle(const char* function, void* handle) {
    if (!handles.count(handle)) refuse(function, "a handle that is not alive");
}
// Device memory must lie in one live allocation.
char* device_range(const char* function, uint64_t address, size_t bytes) {
    auto found = memory.upper_bound(address);
    if (found == memory.begin()) refuse(function, "an address of no allocation");
    --found;
    if (address + bytes > found->first + found->second.first->size()) refuse(function, "a range beyond its allocation");
    return reinterpret_cast<char*>(address);
}
void enqueue(Stream* stream, Work work) { stream->queue.push_back(std::move(work)); }
void drain(Stream* stream, size_t count) {
    count = std::min(count, stream->queue.size());
    for (size_t i = 0; i < count; ++i) stream->queue[i]();
    stream->queue.erase(stream->queue.begin(), stream->queue.begin() + count);
}

}  // namespace

#define CALL(name, ...)                                                \
    extern "C" Status name(__VA_ARGS__) {                              \
        const char* const function = #name;                            \
        (void)function;                                                \
        const std::lock_guard<std::recursive_mutex> lock(mutex);       \
        if (const Status status = failure(function)) return status;
#define END return kSuccess; }

extern "C" void fake_cuda_set(const char* key, long value) {
    const std::lock_guard<std::recursive_mutex> lock(mutex);
    const std::map<std::string, long Settings::*> known = {
        {"version", &Settings::version}, {"devices", &Settings::devices}, {"major", &Settings::major},
        {"minor", &Settings::minor},     {"memory", &Settings::memory},   {"init", &Settings::init},
        {"shared", &Settings::shared},
        {"multiprocessors", &Settings::multiprocessors},
        {"broken", &Settings::broken},
        {"refuses_code", &Settings::refuses_code}};
    settings.*known.at(key) = value;
}
extern "C" void fake_cuda_fail(const char* function, long after, long status) {
    const std::lock_guard<std::recursive_mutex> lock(mutex);
    if (status) settings.failures[function] = {after, status};
    else settings.failures.erase(function);
}
// For a cuDNN on paper.
extern "C" void fake_cuda_enqueue(Stream* stream, void (*work)(void*), void* data) {
    const std::lock_guard<std::recursive_mutex> lock(mutex);
    enqueue(stream, [=] { work(data); });
}
// 0 allocations so far, 1 kernels launched, 2 graphs launched, 3 graphs made, 4 bytes held, 5 handles alive
extern "C" long fake_cuda_count(int what) {
    const std::lock_guard<std::recursive_mutex> lock(mutex);
    size_t held = 0;
    for (const Context& context : contexts) held += context.used;
    const long all[] = {calls_to_allocate, launches, graph_launches, instantiated, long(held), long(handles.size())};
    return all[what];
}

CALL(cuInit, unsigned flags)
    if (flags) return kInvalidValue;
    return static_cast<Status>(settings.init);
}
CALL(cuDriverGetVersion, int* version) *version = static_cast<int>(settings.version); END
CALL(cuGetErrorName, Status status, const char** name)
    const std::map<Status, const char*> names = {{kOutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY"}, {kNoDevice, "CUDA_ERROR_NO_DEVICE"},
        {kLaunchFailed, "CUDA_ERROR_LAUNCH_FAILED"}, {kInvalidValue, "CUDA_ERROR_INVALID_VALUE"}, {kNotInitialized, "CUDA_ERROR_NOT_INITIALIZED"},
        {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"}, {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"}};
    auto found = names.find(status);
    if (found == names.end()) return kInvalidValue;
    *name = found->second;
END
CALL(cuGetErrorString, Status status, const char** text)
    *text = status == kLaunchFailed ? "unspecified launch failure" : "an error of the driver on paper";
END

CALL(cuDeviceGetCount, int* count) *count = static_cast<int>(settings.devices); END
CALL(cuDeviceGet, int* device, int ordinal)
    if (ordinal < 0 || ordinal >= settings.devices) return kInvalidDevice;
    *device = ordinal;
END
CALL(cuDeviceGetName, char* name, int length, int device)
    std::snprintf(name, length, "Paper GPU %d", device);
END
CALL(cuDeviceTotalMem_v2, size_t* bytes, int) *bytes = settings.memory; END
CALL(cuDeviceGetAttribute, int* value, int attribute, int)
    switch (attribute) {
        case 16: *value = static_cast<int>(settings.multiprocessors); break;
        case 75: *value = static_cast<int>(settings.major); break;
        case 76: *value = static_cast<int>(settings.minor); break;
        case 97: *value = static_cast<int>(settings.shared); break;  // shared memory a block may opt in to
        default: return kInvalidValue;
    }
END
CALL(cuDevicePrimaryCtxRetain, Context** context, int device)
    if (device < 0 || device >= settings.devices) return kInvalidDevice;
    contexts[device].device = device;
    ++contexts[device].retained;
    *context = &contexts[device];
END
CALL(cuDevicePrimaryCtxRelease_v2, int device)
    if (contexts[device].retained-- == 0) refuse(function, "not retained");
END
CALL(cuCtxPushCurrent_v2, Context* context)
    if (!context || !context->retained) return kInvalidContext;
    stack.push_back(context);
END
CALL(cuCtxPopCurrent_v2, Context** context)
    if (stack.empty()) return kInvalidContext;
    if (context) *context = stack.back();
    stack.pop_back();
    if (stack.empty() && capture_mode != 0) refuse(function, "the thread's mode of capture is another than before");
END
CALL(cuThreadExchangeStreamCaptureMode, int* mode) std::swap(*mode, capture_mode); END

CALL(cuMemGetInfo_v2, size_t* free, size_t* total)
    *total = settings.memory;
    *free = settings.memory - current(function)->used;
END
CALL(cuMemAlloc_v2, uint64_t* address, size_t bytes)
    Context* const context = current(function);
    if (bytes == 0) return kInvalidValue;
    if (context->used + bytes > size_t(settings.memory)) return kOutOfMemory;
    auto block = std::make_unique<emulator::Guarded>(bytes);
    std::memset(block->data(), 0xff, bytes);
    *address = reinterpret_cast<uint64_t>(block->data());
    context->used += bytes;
    ++calls_to_allocate;
    memory[*address] = {std::move(block), context};
END
CALL(cuMemFree_v2, uint64_t address)
    auto found = memory.find(address);
    if (found == memory.end()) refuse(function, "not an allocation");
    if (found->second.second != current(function)) refuse(function, "memory of another context");
    for (Stream* stream : streams) drain(stream, SIZE_MAX);  // as the real one waits
    found->second.second->used -= found->second.first->size();
    memory.erase(found);
END
CALL(cuMemHostAlloc, void** pointer, size_t bytes, unsigned)
    current(function);
    auto block = std::make_unique<emulator::Guarded>(bytes);
    *pointer = block->data();
    ++calls_to_allocate;
    host_memory[*pointer] = std::move(block);
END
CALL(cuMemFreeHost, void* pointer)
    if (!host_memory.erase(pointer)) refuse(function, "not an allocation");
END
CALL(cuMemcpyHtoD_v2, uint64_t to, const void* from, size_t bytes)
    current(function);
    // It returns when it has read the memory; the bytes arrive by the time that the default stream is waited for.
    char* const target = device_range(function, to, bytes);
    std::memcpy(target, from, bytes);
    defaults.insert(to);
END
CALL(cuMemcpyHtoDAsync_v2, uint64_t to, const void* from, size_t bytes, Stream* stream)
    current(function);
    check_handle(function, stream);
    char* const target = device_range(function, to, bytes);
    enqueue(stream, [=] { std::memcpy(target, from, bytes); });
END
CALL(cuMemcpyDtoHAsync_v2, void* to, uint64_t from, size_t bytes, Stream* stream)
    current(function);
    check_handle(function, stream);
    const char* const source = device_range(function, from, bytes);
    enqueue(stream, [=] { std::memcpy(to, source, bytes); });
END

CALL(cuModuleLoadDataEx, Module** module, const void* image, unsigned count, int* options, void** values)
    current(function);
    const std::string code = static_cast<const char*>(image);
    if (settings.refuses_code || code.find(".version 7.0") == std::string::npos) {
        if (count == 2 && options[0] == 5 && options[1] == 6) {
            std::snprintf(static_cast<char*>(values[0]), reinterpret_cast<size_t>(values[1]), "line 7: not on paper\n");
        }
        return 218;  // CUDA_ERROR_INVALID_PTX
    }
    *module = new Module{code, {}};
    handles.insert(*module);
END
CALL(cuModuleUnload, Module* module)
    check_handle(function, module);
    handles.erase(module);
    delete module;
END
CALL(cuModuleGetFunction, Function** result, Module* module, const char* name)
    check_handle(function, module);
    // In the code that a GPU would run, and in what runs here.
    const size_t entry = module->code.find(std::string(".entry ") + name + "(");
    if (entry == std::string::npos || !emulator::kernels().count(name)) return kNotFound;
    auto& slot = module->functions[name];
    if (!slot) slot.reset(new Function{name});
    const size_t arguments = std::stoul(module->code.substr(module->code.find('[', entry) + 1));
    if (arguments != emulator::kernels().at(name).arguments) refuse(function, "code and source take different arguments");
    // Its own shared memory: `.shared .align 4 .b8 name[4160];`
    slot->own = 0;
    const std::string body = module->code.substr(entry, module->code.find(".entry ", entry + 1) - entry);
    for (size_t at = 0; (at = body.find("\t.shared ", at)) != std::string::npos; ++at) {
        slot->own += std::stoul(body.substr(body.find('[', at) + 1));
    }
    *result = slot.get();
END
CALL(cuFuncGetAttribute, int* value, int attribute, Function* kernel)
    if (attribute != 1) return kInvalidValue;
    *value = static_cast<int>(kernel->own);
END
CALL(cuFuncSetAttribute, Function* kernel, int attribute, int value)
    if (attribute != 8 || value + long(kernel->own) > settings.shared) return kInvalidValue;
    kernel->shared = value;
END

namespace {

// A launch as a real driver takes it, which copies the arguments; empty if it would refuse it.
Work launch(const char* function, Function* kernel, const unsigned (&grid)[3], const unsigned (&block)[3], unsigned shared,
            void** parameters) {
    const auto [gx, gy, gz] = grid;
    if (gx == 0 || gx > 0x7fffffff || gy != 1 || gz != 1 || block[1] != 1 || block[2] != 1) return {};
    if (shared > kernel->shared) return {};
    const emulator::Kernel& known = emulator::kernels().at(kernel->name);
    if (block[0] == 0 || block[0] > known.threads) refuse(function, "other threads than the kernel is made for");
    const char* const start = static_cast<const char*>(parameters[0]);
    std::vector<char> arguments(start, start + known.arguments);
    return [=, name = kernel->name, blocks = gx, threads = block[0]] {
        ++launches;
        // A device on which one tile of the convolutions, or the noise, does nothing.
        if (settings.broken == 1 && name.find("conv_64") == 0) return;
        if (settings.broken == 2 && name == "noise") return;
        emulator::launch(name, arguments.data(), {blocks, 1, 1}, threads, shared);
    };
}

}  // namespace

CALL(cuLaunchKernel, Function* kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
     unsigned shared, Stream* stream, void** parameters, void**)
    current(function);
    check_handle(function, stream);
    if (!defaults.empty()) refuse(function, "copies on the default stream may not have arrived");
    Work work = launch(function, kernel, {gx, gy, gz}, {bx, by, bz}, shared, parameters);
    if (!work) return kInvalidValue;
    enqueue(stream, std::move(work));
END

CALL(cuStreamCreate, Stream** stream, unsigned)
    current(function);
    *stream = new Stream;
    handles.insert(*stream);
    streams.insert(*stream);
END
CALL(cuStreamDestroy_v2, Stream* stream)
    check_handle(function, stream);
    drain(stream, SIZE_MAX);
    handles.erase(stream);
    streams.erase(stream);
    delete stream;
END
CALL(cuStreamSynchronize, Stream* stream)
    current(function);
    if (!stream) {
        defaults.clear();
        return kSuccess;
    }
    check_handle(function, stream);
    drain(stream, SIZE_MAX);
END
struct KernelNode {
    Function* kernel;
    unsigned grid[3], block[3], shared;
    void **parameters, **extra;
};
CALL(cuGraphCreate, Graph** graph, unsigned flags)
    if (flags) return kInvalidValue;
    *graph = new Graph;
    handles.insert(*graph);
END
CALL(cuGraphAddKernelNode, Work** node, Graph* graph, Work* const* before, size_t count, const KernelNode* node_launch)
    current(function);
    check_handle(function, graph);
    // One after the other is all that is asked for here.
    const bool first = graph->nodes.empty();
    if (count != (first ? 0 : 1) || (!first && *before != graph->nodes.back().get())) refuse(function, "not a chain");
    if (node_launch->extra) return kInvalidValue;
    Work work = launch(function, node_launch->kernel, node_launch->grid, node_launch->block, node_launch->shared, node_launch->parameters);
    if (!work) return kInvalidValue;
    graph->nodes.push_back(std::make_unique<Work>(std::move(work)));
    *node = graph->nodes.back().get();
END
CALL(cuGraphInstantiateWithFlags, Executable** result, Graph* graph, unsigned long long flags)
    current(function);
    if (flags) return kInvalidValue;
    check_handle(function, graph);
    *result = new Executable;
    for (const auto& node : graph->nodes) (*result)->nodes.push_back(*node);
    ++instantiated;
    handles.insert(*result);
END
CALL(cuGraphDestroy, Graph* graph)
    check_handle(function, graph);
    handles.erase(graph);
    delete graph;
END
CALL(cuGraphExecDestroy, Executable* graph)
    check_handle(function, graph);
    if (running.count(graph)) refuse(function, "a graph that a stream may be running");
    handles.erase(graph);
    delete graph;
END
CALL(cuGraphLaunch, Executable* graph, Stream* stream)
    current(function);
    check_handle(function, graph);
    check_handle(function, stream);
    if (!defaults.empty()) refuse(function, "copies on the default stream may not have arrived");
    ++graph_launches;
    running.insert(graph);
    for (const Work& node : graph->nodes) enqueue(stream, node);
    enqueue(stream, [=] { running.erase(running.find(graph)); });
END

CALL(cuEventCreate, Event** event, unsigned)
    *event = new Event;
    handles.insert(*event);
END
CALL(cuEventRecord, Event* event, Stream* stream)
    check_handle(function, event);
    check_handle(function, stream);
    event->stream = stream;
    event->after = stream->queue.size();
END
CALL(cuEventSynchronize, Event* event)
    check_handle(function, event);
    if (event->stream) drain(event->stream, event->after);
    event->after = 0;
END
CALL(cuEventElapsedTime_v2, float* milliseconds, Event*, Event*) *milliseconds = 1.0f; END
CALL(cuEventDestroy_v2, Event* event)
    check_handle(function, event);
    handles.erase(event);
    delete event;
END
