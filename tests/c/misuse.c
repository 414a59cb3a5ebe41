/* Wrong calls: NULL everywhere, wrong handles, unknown words, a forced panic. A status each, and nothing lost. */
#include "check.h"
#include <math.h>
#include <pthread.h>

static pthread_t calling_thread;
static int messages;
static void count_message(void *user, int32_t level, const char *utf8, size_t len) {
    CHECK(user == &messages && level >= ONESTEP_LOG_ERROR && level <= ONESTEP_LOG_DEBUG);
    CHECK(strlen(utf8) == len && len > 0);
    CHECK(pthread_equal(pthread_self(), calling_thread));
    messages++;
}

#define INVALID(call) CHECK_STATUS(ONESTEP_INVALID_ARGUMENT, call)

int main(int argc, char **argv) {
    CHECK(argc > 1);
    calling_thread = pthread_self();
    uint64_t seed = 1;
    int32_t label = 1;
    float floats[IMAGE] = {0};
    static float others[IMAGE];
    const float ends[2] = {0, 1};
    uint64_t bytes = 0;
    uint32_t count = 0;
    onestep_session *session = NULL;
    onestep_model *model = open_student(argv[1]), *none = model;
    onestep_options *options = onestep_options_new();
    onestep_request *request = onestep_request_new();
    onestep_model_info info;
    onestep_memory memory;
    onestep_device_info device;
    info.struct_size = sizeof info;
    memory.struct_size = sizeof memory;
    device.struct_size = sizeof device;

    /* Freeing nothing is fine; so is an error that nobody wants. */
    onestep_model_free(NULL);
    onestep_session_free(NULL);
    onestep_options_free(NULL);
    onestep_request_free(NULL);
    onestep_cancel_free(NULL);
    onestep_cancel_trigger(NULL);
    onestep_cancel_reset(NULL);
    CHECK(onestep_model_open_file(NULL, NULL, &none, NULL) == ONESTEP_INVALID_ARGUMENT && none == NULL);

    INVALID(onestep_model_open_file(path_of(argv[1], TEACHER), NULL, NULL, &err));
    INVALID(onestep_model_open_file(NULL, NULL, &none, &err));
    INVALID(onestep_model_open_memory(NULL, 9, NULL, &none, &err));
    INVALID(onestep_model_open_memory(&seed, SIZE_MAX, NULL, &none, &err));
    INVALID(onestep_model_open_default(NULL, NULL, &err));
    INVALID(onestep_model_get_info(NULL, &info, &err));
    INVALID(onestep_model_get_info(model, NULL, &err));
    INVALID(onestep_model_estimate_memory(NULL, 1, &memory, &err));
    INVALID(onestep_model_estimate_memory(model, 1, NULL, &err));
    INVALID(onestep_model_estimate_memory(model, UINT32_MAX, &memory, &err));
    INVALID(onestep_output_size(NULL, 1, NULL, &bytes, &err));
    INVALID(onestep_output_size(model, 1, NULL, NULL, &err));
    INVALID(onestep_output_size(model, 0, NULL, &bytes, &err));
    INVALID(onestep_device_count(NULL, &err));
    INVALID(onestep_device_get(0, NULL, &err));
    INVALID(onestep_device_get(UINT32_MAX, &device, &err));
    INVALID(onestep_session_new(NULL, NULL, &session, &err));
    INVALID(onestep_session_new(model, NULL, NULL, &err));
    INVALID(onestep_noise_fill(NULL, &seed, 1, floats, IMAGE, &err));
    INVALID(onestep_noise_fill(model, NULL, 1, floats, IMAGE, &err));
    INVALID(onestep_noise_fill(model, &seed, 1, NULL, IMAGE, &err));
    INVALID(onestep_noise_fill(model, (const uint64_t *)((const char *)&seed + 1), 1, floats, IMAGE, &err));
    INVALID(onestep_noise_interpolate(0, NULL, floats, 4, floats, 1, floats, 4, &err));
    INVALID(onestep_noise_interpolate(0, floats, floats, SIZE_MAX, floats, 3, floats, 4, &err));
    CHECK_OK(onestep_noise_fill(model, NULL, 0, NULL, 0, &err));

    INVALID(onestep_options_set_device(NULL, "cpu", &err));
    INVALID(onestep_options_set_device(options, NULL, &err));
    INVALID(onestep_options_set_device(options, "toaster", &err));
    INVALID(onestep_options_set_device(options, "cpu\xff", &err));
    INVALID(onestep_options_set_threads(options, 1025, &err));
    INVALID(onestep_options_set_precision(options, 4, &err));
    INVALID(onestep_options_set_precision(options, -1, &err));
    INVALID(onestep_options_set_role(options, 3, &err));
    INVALID(onestep_options_set(options, "colour", "blue", &err));
    CHECK(strstr(err.message, "colour") != NULL);
    INVALID(onestep_options_set(options, "executor", "abacus", &err));
    INVALID(onestep_options_set(options, "limits.batch", "-1", &err));
    INVALID(onestep_options_set(options, "spin_us", "4294967296", &err));
    INVALID(onestep_options_set(options, NULL, "x", &err));
    INVALID(onestep_options_set(options, "executor", NULL, &err));
    CHECK_OK(onestep_options_set(options, "cuda.library_path", "/nowhere", &err));
    CHECK_OK(onestep_options_set(options, "clip_sample", "false", &err));
    CHECK_OK(onestep_options_set(options, "memory", "low", &err));
    CHECK_OK(onestep_options_set(options, "spin_us", "10", &err));

    /* A limit is kept. */
    CHECK_OK(onestep_options_set(options, "limits.parameters", "1000", &err));
    CHECK_STATUS(ONESTEP_BAD_MODEL, onestep_model_open_default(options, &none, &err));
    CHECK(strstr(err.message, "limits.parameters") != NULL);
    CHECK_OK(onestep_options_set(options, "limits.parameters", "100000000", &err));
    CHECK_OK(onestep_options_set(options, "limits.batch", "1", &err));
    CHECK_OK(onestep_model_open_default(options, &none, &err));
    INVALID(onestep_output_size(none, 2, NULL, &bytes, &err));
    onestep_model_free(none);

    /* A backend that this build lacks. */
    CHECK_OK(onestep_options_set_device(options, "cuda:0", &err));
    int32_t status = onestep_model_open_default(options, &none, &err);
    CHECK(status == ONESTEP_NOT_BUILT || status == ONESTEP_DEVICE_UNAVAILABLE || status == ONESTEP_OK);
    if (status == ONESTEP_OK) onestep_model_free(none);
    CHECK_OK(onestep_options_set_device(options, "auto", &err));

    /* One kind of handle for another. */
    INVALID(onestep_model_get_info((const onestep_model *)(void *)options, &info, &err));
    INVALID(onestep_options_set_threads((onestep_options *)(void *)request, 1, &err));
    INVALID(onestep_request_set_seeds((onestep_request *)(void *)model, &seed, 1, &err));
    onestep_request_free((onestep_request *)(void *)model); /* left alone */
    CHECK_OK(onestep_model_get_info(model, &info, &err));

    CHECK_OK(onestep_session_new(model, NULL, &session, &err));
    INVALID(onestep_session_sample(NULL, request, NULL, floats, sizeof floats, &err));
    INVALID(onestep_session_sample(session, NULL, NULL, floats, sizeof floats, &err));
    INVALID(onestep_session_sample(session, request, NULL, NULL, sizeof floats, &err));
    INVALID(onestep_request_set_seeds(request, NULL, 1, &err));
    INVALID(onestep_request_set_seeds(NULL, &seed, 1, &err));
    INVALID(onestep_request_set_seeds(request, &seed, SIZE_MAX / 4, &err));
    INVALID(onestep_request_set_noise(request, NULL, IMAGE, &err));
    INVALID(onestep_request_set_labels(request, NULL, 1, &err));
    INVALID(onestep_request_set_schedule(request, NULL, 1, &err));
    INVALID(onestep_session_predict(session, NULL, &label, &label, 1, floats, IMAGE, &err));
    INVALID(onestep_session_predict(session, floats, &label, &label, 1, floats, IMAGE, &err));
    CHECK(strstr(err.message, "overlaps x_nchw"));
    INVALID(onestep_noise_interpolate(ONESTEP_INTERPOLATE_LERP, floats, floats, 4, ends, 2, floats + 3, 8, &err));
    CHECK(strstr(err.message, "overlaps a"));
    floats[7] = NAN;
    INVALID(onestep_session_predict(session, floats, &label, &label, 1, others, IMAGE, &err));
    CHECK(strstr(err.message, "float 7"));
    floats[7] = 0;
    INVALID(onestep_session_predict(session, floats, NULL, &label, 1, floats, IMAGE, &err));
    INVALID(onestep_session_predict(NULL, floats, &label, &label, 1, floats, IMAGE, &err));

    /* A panic inside is a status, the log says it, and the session knows. */
    status = onestep_options_set(options, "test.panic", "true", &err);
    if (status == ONESTEP_OK) {
        onestep_session *doomed = NULL;
        onestep_set_log(count_message, &messages, ONESTEP_LOG_ERROR);
        CHECK_OK(onestep_session_new(model, options, &doomed, &err));
        CHECK_OK(onestep_request_set_seeds(request, &seed, 1, &err));
        CHECK_OK(onestep_request_set_labels(request, &label, 1, &err));
        CHECK_STATUS(ONESTEP_PANIC, onestep_session_sample(doomed, request, NULL, floats, sizeof floats, &err));
        CHECK(strstr(err.message, "test.panic") != NULL);
        CHECK(messages == 1);
        CHECK_STATUS(ONESTEP_POISONED, onestep_session_sample(doomed, request, NULL, floats, sizeof floats, &err));
        CHECK_STATUS(ONESTEP_POISONED,
                     onestep_session_predict(doomed, floats, &label, &label, 1, floats, IMAGE, &err));
        onestep_session_free(doomed);
        CHECK_OK(onestep_session_sample(session, request, NULL, floats, sizeof floats, &err));
        onestep_set_log(NULL, NULL, 0);
    } else {
        CHECK(status == ONESTEP_INVALID_ARGUMENT); /* a release build */
    }

    /* The log says what was chosen. */
    messages = 0;
    onestep_set_log(count_message, &messages, ONESTEP_LOG_DEBUG);
    CHECK_OK(onestep_model_open_default(NULL, &none, &err));
    CHECK(messages > 0);
    onestep_model_free(none);
    onestep_set_log(NULL, NULL, 0);
    messages = 0;
    CHECK_OK(onestep_device_count(&count, &err));
    CHECK_OK(onestep_model_open_default(NULL, &none, &err));
    CHECK(messages == 0);
    onestep_model_free(none);

    CHECK(onestep_abi_version() == ONESTEP_ABI_VERSION);
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", ONESTEP_VERSION_MAJOR, ONESTEP_VERSION_MINOR, ONESTEP_VERSION_PATCH);
    CHECK(strncmp(onestep_version(), version, strlen(version)) == 0);
    CHECK(strchr(onestep_version(), '.') != NULL && strstr(onestep_build_info(), onestep_version()) != NULL);
    CHECK(strcmp(onestep_status_name(ONESTEP_BUSY), "ONESTEP_BUSY") == 0);
    CHECK(strcmp(onestep_status_name(-5), "ONESTEP_UNKNOWN") == 0);

    onestep_session_free(session);
    onestep_request_free(request);
    onestep_options_free(options);
    onestep_model_free(model);
    return 0;
}
