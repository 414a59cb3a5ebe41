// A cuDNN of plain loops on host memory, for `src/exec/cuda/cudnn/tests.rs`: the functions that onestep calls, strict
// about what they are given, with engines and failures that the tests choose (`fake_*`, at the end).

#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace {

enum { OK = 0, BAD_PARAM = 2000, NOT_FINALIZED = 2004, NOT_SUPPORTED = 3000, INTERNAL = 4000 };
enum { HANDLE, DATA_TYPE, BOOLEAN, INT64, FLOAT, VOID_PTR = 6, CONVOLUTION_MODE, HEURISTIC_MODE, NOTE = 11,
       POINTWISE_MODE = 14, DESCRIPTOR };
enum { F32 = 0, F16 = 2, BF16 = 9 };
enum { POINTWISE, CONVOLUTION, ENGINE, CONFIG, HEURISTICS, PLAN, FORWARD = 10, OPERATION = 13, GRAPH = 15, PACK, TENSOR };

std::string complaint;

int refuse(int status, const std::string &why) {
    complaint = why;
    return status;
}

struct Attribute {
    int tag;
    int64_t count;
    std::vector<char> bytes;
};

struct Descriptor {
    int kind;
    bool finalized;
    std::map<int, Attribute> attributes;
    // Of an engine, a configuration or a plan: a place in `engines`.
    size_t engine;
};

struct Engine {
    int mode;
    int64_t index;
    std::vector<int> notes;
    int status;
    int64_t workspace;
    int executed;
};

struct Handle {
    void *stream;
};

std::set<Descriptor *> live;
std::set<Handle *> handles;
std::vector<Engine> engines;
size_t version = 91200;
std::map<std::string, int> failures;

size_t size_of(int tag) {
    switch (tag) {
    case BOOLEAN: return 1;
    case HANDLE: case INT64: case VOID_PTR: case DESCRIPTOR: return 8;
    default: return 4;
    }
}

// What each kind must have, and may have, to be finished.
struct Rule {
    int kind, name, tag;
    int64_t least, most;
};
const Rule RULES[] = {
    {POINTWISE, 0, POINTWISE_MODE, 1, 1}, {POINTWISE, 1, DATA_TYPE, 1, 1},
    {CONVOLUTION, 100, DATA_TYPE, 1, 1}, {CONVOLUTION, 101, CONVOLUTION_MODE, 1, 1},
    {CONVOLUTION, 102, INT64, 2, 2}, {CONVOLUTION, 103, INT64, 2, 2}, {CONVOLUTION, 104, INT64, 2, 2},
    {CONVOLUTION, 105, INT64, 2, 2}, {CONVOLUTION, 106, INT64, 1, 1},
    {HEURISTICS, 200, HEURISTIC_MODE, 1, 1}, {HEURISTICS, 201, DESCRIPTOR, 1, 1},
    {PLAN, 400, HANDLE, 1, 1}, {PLAN, 401, DESCRIPTOR, 1, 1},
    {FORWARD, 700, FLOAT, 1, 1}, {FORWARD, 701, FLOAT, 1, 1}, {FORWARD, 702, DESCRIPTOR, 1, 1},
    {FORWARD, 703, DESCRIPTOR, 1, 1}, {FORWARD, 704, DESCRIPTOR, 1, 1}, {FORWARD, 705, DESCRIPTOR, 1, 1},
    {OPERATION, 750, DESCRIPTOR, 1, 1}, {OPERATION, 751, DESCRIPTOR, 1, 1}, {OPERATION, 752, DESCRIPTOR, 1, 1},
    {OPERATION, 753, DESCRIPTOR, 1, 1},
    {GRAPH, 800, HANDLE, 1, 1}, {GRAPH, 801, DESCRIPTOR, 1, 8},
    {PACK, 1000, INT64, 1, 8}, {PACK, 1001, VOID_PTR, 1, 8}, {PACK, 1003, VOID_PTR, 1, 1},
    {TENSOR, 900, INT64, 1, 1}, {TENSOR, 901, DATA_TYPE, 1, 1}, {TENSOR, 902, INT64, 4, 4},
    {TENSOR, 903, INT64, 4, 4}, {TENSOR, 906, INT64, 1, 1}, {TENSOR, 907, BOOLEAN, 0, 1}, {TENSOR, 908, BOOLEAN, 0, 1},
};

template <class T> T value(const Descriptor *descriptor, int name, size_t place = 0, T otherwise = T()) {
    auto found = descriptor->attributes.find(name);
    if (found == descriptor->attributes.end()) return otherwise;
    T result;
    std::memcpy(&result, found->second.bytes.data() + place * sizeof(T), sizeof(T));
    return result;
}

Descriptor *named(const Descriptor *descriptor, int name, size_t place = 0) {
    return value<Descriptor *>(descriptor, name, place);
}

int64_t count(const Descriptor *descriptor, int name) {
    auto found = descriptor->attributes.find(name);
    return found == descriptor->attributes.end() ? 0 : found->second.count;
}

int check(const Descriptor *descriptor) {
    std::set<int> known;
    for (const Rule &rule : RULES) {
        if (rule.kind != descriptor->kind) continue;
        known.insert(rule.name);
        auto found = descriptor->attributes.find(rule.name);
        if (found == descriptor->attributes.end()) {
            if (rule.least > 0) return refuse(BAD_PARAM, "attribute " + std::to_string(rule.name) + " is missing");
            continue;
        }
        const Attribute &attribute = found->second;
        if (attribute.tag != rule.tag || attribute.count < rule.least || attribute.count > rule.most)
            return refuse(BAD_PARAM, "attribute " + std::to_string(rule.name) + " has a wrong type or count");
        for (int64_t i = 0; rule.tag == DESCRIPTOR && i < attribute.count; i++) {
            Descriptor *other = named(descriptor, rule.name, i);
            if (!live.count(other) || !other->finalized)
                return refuse(NOT_FINALIZED, "attribute " + std::to_string(rule.name) + " names no finished descriptor");
        }
        if (rule.tag == HANDLE && !handles.count(value<Handle *>(descriptor, rule.name)))
            return refuse(BAD_PARAM, "no handle");
    }
    for (auto &attribute : descriptor->attributes)
        if (!known.count(attribute.first))
            return refuse(BAD_PARAM, "attribute " + std::to_string(attribute.first) + " does not belong here");
    return OK;
}

// A number of 16 bits with so many of exponent and mantissa, and back; to nearest, ties to even.
float decode(uint16_t bits, int exponent_bits, int mantissa_bits) {
    int exponent = bits >> mantissa_bits & ((1 << exponent_bits) - 1);
    double mantissa = bits & ((1 << mantissa_bits) - 1);
    if (exponent > 0) mantissa += 1 << mantissa_bits;
    int bias = (1 << (exponent_bits - 1)) - 1;
    double magnitude = std::ldexp(mantissa, (exponent > 0 ? exponent : 1) - bias - mantissa_bits);
    return float(bits >> 15 ? -magnitude : magnitude);
}

uint16_t encode(float number, int exponent_bits, int mantissa_bits) {
    int bias = (1 << (exponent_bits - 1)) - 1, exponent;
    std::frexp(number, &exponent);
    if (number == 0 || --exponent < 1 - bias) exponent = 1 - bias;
    double quanta = std::nearbyint(std::ldexp(std::fabs(double(number)), mantissa_bits - exponent));
    double bits = std::ldexp(double(exponent + bias - 1), mantissa_bits) + quanta;
    double infinity = std::ldexp(double((1 << exponent_bits) - 1), mantissa_bits);
    return uint16_t((bits > infinity ? infinity : bits)) | uint16_t(std::signbit(number) ? 0x8000 : 0);
}

struct Memory {
    std::map<int64_t, char *> addresses;
    std::map<int64_t, std::vector<float>> registers;
};

int64_t dims(const Descriptor *tensor, int axis) { return value<int64_t>(tensor, 902, axis); }
int64_t uid(const Descriptor *tensor) { return value<int64_t>(tensor, 906); }

int64_t elements(const Descriptor *tensor) {
    return dims(tensor, 0) * dims(tensor, 1) * dims(tensor, 2) * dims(tensor, 3);
}

// A tensor's values, found once for all of its elements.
struct View {
    int64_t sizes[4], steps[4];  // axes of one element are stretched
    int type;
    float *registers = nullptr;  // of a virtual tensor, which has no address
    char *start = nullptr;

    View(Memory &memory, const Descriptor *tensor) : type(value<int>(tensor, 901)) {
        const bool is_virtual = value<bool>(tensor, 907);
        int64_t step = 1;
        for (int axis = 3; axis >= 0; axis--) {
            sizes[axis] = dims(tensor, axis);
            steps[axis] = sizes[axis] == 1 ? 0 : is_virtual ? step : value<int64_t>(tensor, 903, axis);
            step *= sizes[axis];
        }
        if (is_virtual) {
            memory.registers[uid(tensor)].resize(elements(tensor));
            registers = memory.registers[uid(tensor)].data();
        } else {
            start = memory.addresses[uid(tensor)];
        }
    }
    // Of (n, c, h, w).
    int64_t place(int64_t n, int64_t c, int64_t h, int64_t w) const {
        return n * steps[0] + c * steps[1] + h * steps[2] + w * steps[3];
    }
    float read(int64_t at) const {
        if (registers) return registers[at];
        if (type == F32) return reinterpret_cast<const float *>(start)[at];
        const uint16_t bits = reinterpret_cast<const uint16_t *>(start)[at];
        return type == F16 ? decode(bits, 5, 10) : decode(bits, 8, 7);
    }
    void write(int64_t at, float number) const {
        if (registers) registers[at] = number;
        else if (type == F32) reinterpret_cast<float *>(start)[at] = number;
        else reinterpret_cast<uint16_t *>(start)[at] = type == F16 ? encode(number, 5, 10) : encode(number, 8, 7);
    }
};

void forward(Memory &memory, const Descriptor *operation) {
    const Descriptor *convolution = named(operation, 702);
    const View w(memory, named(operation, 703)), x(memory, named(operation, 704)), y(memory, named(operation, 705));
    int64_t steps[2], padding[2];
    for (int axis = 0; axis < 2; axis++) {
        steps[axis] = value<int64_t>(convolution, 103, axis);
        padding[axis] = value<int64_t>(convolution, 105, axis);
    }
    // Every value is read very often.
    std::vector<float> weights;
    for (int64_t o = 0; o < w.sizes[0]; o++)
        for (int64_t r = 0; r < w.sizes[2]; r++)
            for (int64_t s = 0; s < w.sizes[3]; s++)
                for (int64_t c = 0; c < w.sizes[1]; c++) weights.push_back(w.read(w.place(o, c, r, s)));
    std::vector<float> pixels;
    for (int64_t n = 0; n < x.sizes[0]; n++)
        for (int64_t h = 0; h < x.sizes[2]; h++)
            for (int64_t i = 0; i < x.sizes[3]; i++)
                for (int64_t c = 0; c < x.sizes[1]; c++) pixels.push_back(x.read(x.place(n, c, h, i)));
    const int64_t inputs = x.sizes[1];
    for (int64_t n = 0; n < y.sizes[0]; n++)
        for (int64_t o = 0; o < y.sizes[1]; o++)
            for (int64_t h = 0; h < y.sizes[2]; h++)
                for (int64_t i = 0; i < y.sizes[3]; i++) {
                    float sum = 0;
                    for (int64_t r = 0; r < w.sizes[2]; r++)
                        for (int64_t s = 0; s < w.sizes[3]; s++) {
                            const int64_t row = h * steps[0] + r - padding[0], column = i * steps[1] + s - padding[1];
                            if (row < 0 || column < 0 || row >= x.sizes[2] || column >= x.sizes[3]) continue;
                            const float *from = &pixels[((n * x.sizes[2] + row) * x.sizes[3] + column) * inputs];
                            const float *filter = &weights[((o * w.sizes[2] + r) * w.sizes[3] + s) * inputs];
                            for (int64_t c = 0; c < inputs; c++) sum += from[c] * filter[c];
                        }
                    y.write(y.place(n, o, h, i), sum);
                }
}

void pointwise(Memory &memory, const Descriptor *operation) {
    const View a(memory, named(operation, 751)), b(memory, named(operation, 752)), y(memory, named(operation, 753));
    const bool adds = value<int>(named(operation, 750), 0) == 0;
    for (int64_t n = 0; n < y.sizes[0]; n++)
        for (int64_t c = 0; c < y.sizes[1]; c++)
            for (int64_t h = 0; h < y.sizes[2]; h++)
                for (int64_t w = 0; w < y.sizes[3]; w++) {
                    const float left = a.read(a.place(n, c, h, w)), right = b.read(b.place(n, c, h, w));
                    y.write(y.place(n, c, h, w), adds ? left + right : left * right);
                }
}

// Whether the sizes of an operation's tensors go together.
int fits(const Descriptor *operation) {
    if (operation->kind == OPERATION) {
        const Descriptor *x = named(operation, 751), *b = named(operation, 752), *y = named(operation, 753);
        for (int axis = 0; axis < 4; axis++)
            if (dims(x, axis) != dims(y, axis) || (dims(b, axis) != 1 && dims(b, axis) != dims(y, axis)))
                return refuse(BAD_PARAM, "tensors of a pointwise operation differ");
        return OK;
    }
    const Descriptor *convolution = named(operation, 702);
    const Descriptor *w = named(operation, 703), *x = named(operation, 704), *y = named(operation, 705);
    bool good = dims(x, 0) == dims(y, 0) && dims(x, 1) == dims(w, 1) && dims(w, 0) == dims(y, 1);
    for (int axis = 0; axis < 2; axis++) {
        int64_t padded = dims(x, 2 + axis) + value<int64_t>(convolution, 104, axis) + value<int64_t>(convolution, 105, axis);
        int64_t size = (padded - dims(w, 2 + axis)) / value<int64_t>(convolution, 103, axis) + 1;
        good = good && size == dims(y, 2 + axis);
    }
    return good ? int(OK) : refuse(BAD_PARAM, "tensors of a convolution differ");
}

Descriptor *graph_of(const Descriptor *config) { return named(config, 201); }

int fail(const char *call) {
    auto found = failures.find(call);
    return found == failures.end() ? int(OK) : refuse(found->second, std::string("asked to fail in ") + call);
}

} // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT size_t cudnnGetVersion() { return version; }

EXPORT const char *cudnnGetErrorString(int status) {
    switch (status) {
    case OK: return "FAKE_SUCCESS";
    case NOT_SUPPORTED: return "FAKE_NOT_SUPPORTED";
    case BAD_PARAM: return "FAKE_BAD_PARAM";
    default: return "FAKE_FAILURE";
    }
}

EXPORT void cudnnGetLastErrorString(char *message, size_t most) {
    std::strncpy(message, complaint.c_str(), most);
    complaint.clear();
}

EXPORT int cudnnCreate(void **handle) {
    if (int status = fail("create")) return status;
    *handle = *handles.insert(new Handle{nullptr}).first;
    return OK;
}

EXPORT int cudnnDestroy(void *handle) {
    if (!handles.erase(static_cast<Handle *>(handle))) return BAD_PARAM;
    delete static_cast<Handle *>(handle);
    return OK;
}

EXPORT int cudnnSetStream(void *handle, void *stream) {
    static_cast<Handle *>(handle)->stream = stream;
    return OK;
}

EXPORT int cudnnBackendCreateDescriptor(int kind, void **descriptor) {
    *descriptor = *live.insert(new Descriptor{kind, false, {}, 0}).first;
    return OK;
}

EXPORT int cudnnBackendDestroyDescriptor(void *raw) {
    if (!live.erase(static_cast<Descriptor *>(raw))) return BAD_PARAM;
    delete static_cast<Descriptor *>(raw);
    return OK;
}

EXPORT int cudnnBackendSetAttribute(void *raw, int name, int tag, int64_t count, const void *elements) {
    Descriptor *descriptor = static_cast<Descriptor *>(raw);
    if (!live.count(descriptor) || descriptor->finalized) return refuse(BAD_PARAM, "set too late");
    const char *bytes = static_cast<const char *>(elements);
    descriptor->attributes[name] = {tag, count, {bytes, bytes + count * size_of(tag)}};
    return OK;
}

EXPORT int cudnnBackendFinalize(void *raw) {
    Descriptor *descriptor = static_cast<Descriptor *>(raw);
    if (int status = check(descriptor)) return status;
    if (descriptor->kind == HEURISTICS)
        if (int status = fail("heuristics")) return status;
    if (descriptor->kind == FORWARD || descriptor->kind == OPERATION)
        if (int status = fits(descriptor)) return status;
    if (descriptor->kind == PACK && count(descriptor, 1000) != count(descriptor, 1001))
        return refuse(BAD_PARAM, "as many addresses as tensors are needed");
    if (descriptor->kind == PLAN) {
        descriptor->engine = named(descriptor, 401)->engine;
        if (int status = engines[descriptor->engine].status) return refuse(status, "asked to fail while compiling");
    }
    descriptor->finalized = true;
    return OK;
}

EXPORT int cudnnBackendGetAttribute(void *raw, int name, int tag, int64_t most, int64_t *found, void *elements) {
    Descriptor *descriptor = static_cast<Descriptor *>(raw);
    if (!descriptor->finalized) return refuse(NOT_FINALIZED, "asked too early");
    Engine *engine = descriptor->engine < engines.size() ? &engines[descriptor->engine] : nullptr;
    if (descriptor->kind == HEURISTICS && name == 202 && tag == DESCRIPTOR) {
        *found = 0;
        for (size_t i = 0; i < engines.size(); i++) {
            if (engines[i].mode != value<int>(descriptor, 200)) continue;
            if (*found < most) {
                Descriptor *config = static_cast<Descriptor **>(elements)[*found];
                if (config->kind != CONFIG) return refuse(BAD_PARAM, "configurations are needed");
                config->finalized = true;
                config->engine = i;
                config->attributes[201] = descriptor->attributes[201];
            }
            ++*found;
        }
        return OK;
    }
    if (descriptor->kind == CONFIG && name == 300 && tag == DESCRIPTOR && most == 1) {
        Descriptor *result = *static_cast<Descriptor **>(elements);
        if (result->kind != ENGINE) return refuse(BAD_PARAM, "an engine is needed");
        result->finalized = true;
        result->engine = descriptor->engine;
        *found = 1;
        return OK;
    }
    if (descriptor->kind == ENGINE && name == 1301 && tag == INT64 && most == 1) {
        *static_cast<int64_t *>(elements) = engine->index;
        *found = 1;
        return OK;
    }
    if (descriptor->kind == ENGINE && name == 1303 && tag == NOTE) {
        *found = int64_t(engine->notes.size());
        for (int64_t i = 0; i < *found && i < most; i++) static_cast<int *>(elements)[i] = engine->notes[i];
        return OK;
    }
    if (descriptor->kind == PLAN && name == 402 && tag == INT64 && most == 1) {
        *static_cast<int64_t *>(elements) = engine->workspace;
        *found = 1;
        return OK;
    }
    return refuse(BAD_PARAM, "no such attribute to ask for");
}

// What a launch does.
struct Work {
    std::vector<Descriptor *> operations;
    Memory memory;
};

static void run(void *raw) {
    const std::unique_ptr<Work> work(static_cast<Work *>(raw));
    for (Descriptor *operation : work->operations) {
        if (operation->kind == FORWARD) forward(work->memory, operation);
        else pointwise(work->memory, operation);
    }
}

static void (*enqueue)(void *, void (*)(void *), void *) = nullptr;

// For the test of a library that lacks a function.
#ifdef WITHOUT_EXECUTE
#define cudnnBackendExecute renamed
#endif

EXPORT int cudnnBackendExecute(void *handle, void *raw_plan, void *raw_pack) {
    Descriptor *plan = static_cast<Descriptor *>(raw_plan), *pack = static_cast<Descriptor *>(raw_pack);
    if (!handles.count(static_cast<Handle *>(handle)) || !live.count(plan) || !live.count(pack))
        return refuse(BAD_PARAM, "dead");
    if (!plan->finalized || plan->kind != PLAN || !pack->finalized || pack->kind != PACK)
        return refuse(NOT_FINALIZED, "a plan and a pack are needed");
    if (int status = fail("execute")) return status;
    Engine &engine = engines[plan->engine];
    if (engine.workspace > 0 && !value<void *>(pack, 1003)) return refuse(BAD_PARAM, "no workspace");

    Memory memory;
    for (int64_t i = 0; i < count(pack, 1000); i++)
        memory.addresses[value<int64_t>(pack, 1000, i)] = value<char *>(pack, 1001, i);
    size_t used = 0;
    std::set<int64_t> seen;
    std::vector<Descriptor *> operations;
    if (!live.count(named(plan, 401))) return refuse(BAD_PARAM, "a dead configuration");
    Descriptor *graph = graph_of(named(plan, 401));
    if (!live.count(graph)) return refuse(BAD_PARAM, "a dead graph");
    for (int64_t i = 0; i < count(graph, 801); i++) {
        Descriptor *operation = named(graph, 801, i);
        bool conv = operation->kind == FORWARD;
        for (int name = conv ? 703 : 751; name <= (conv ? 705 : 753); name++) {
            Descriptor *tensor = named(operation, name);
            if (!live.count(tensor)) return refuse(BAD_PARAM, "a dead tensor");
            if (value<bool>(tensor, 907) || !seen.insert(uid(tensor)).second) continue;
            char *address = memory.addresses[uid(tensor)];
            uintptr_t alignment = value<bool>(tensor, 908) ? 4 : uintptr_t(value<int64_t>(tensor, 900));
            if (!address || uintptr_t(address) % alignment)
                return refuse(BAD_PARAM, "tensor " + std::to_string(uid(tensor)) + " has a bad address");
            used++;
        }
        operations.push_back(operation);
    }
    if (used != size_t(count(pack, 1000))) return refuse(BAD_PARAM, "addresses of no tensor");
    engine.executed++;
    auto *work = new Work{operations, memory};
    if (enqueue) enqueue(static_cast<Handle *>(handle)->stream, run, work);
    else run(work);
    return OK;
}

// Work goes to a stream of the driver on paper, rather than being done at once.
EXPORT void fake_enqueue(void (*put)(void *, void (*)(void *), void *)) { enqueue = put; }

EXPORT void fake_version(size_t number) { version = number; }

// Notes as bits; `status` is what compiling answers.
EXPORT void fake_engine(int mode, int64_t index, unsigned notes, int status, int64_t workspace) {
    Engine engine{mode, index, {}, status, workspace, 0};
    for (int note = 0; note < 10; note++)
        if (notes >> note & 1) engine.notes.push_back(note);
    engines.push_back(engine);
}

EXPORT void fake_fail(const char *call, int status) { failures[call] = status; }

EXPORT int fake_executed(int64_t index) {
    int sum = 0;
    for (const Engine &engine : engines)
        if (engine.index == index) sum += engine.executed;
    return sum;
}

EXPORT void *fake_stream() { return handles.empty() ? nullptr : (*handles.begin())->stream; }

// Descriptors and handles that nobody has destroyed.
EXPORT int fake_live() { return int(live.size() + handles.size()); }
