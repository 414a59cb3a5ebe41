#define _POSIX_C_SOURCE 199309L
#include "cloop.h"
#include <time.h>

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t loop_draw(onestep_session *session, int n, uint64_t seed, int32_t label, int32_t want, void *out, size_t size) {
    onestep_request *request = onestep_request_new();
    onestep_layout layout = {.struct_size = sizeof layout, .format = ONESTEP_FORMAT_RGBA8};
    onestep_error err;
    int32_t status = want;
    const int64_t start = now();
    for (int i = 0; i < n && status == want; i++) {
        status = onestep_request_set_seeds(request, &seed, 1, &err);
        if (!status) status = onestep_request_set_labels(request, &label, 1, &err);
        if (!status) status = onestep_session_sample(session, request, &layout, out, size, &err);
    }
    const int64_t took = now() - start;
    onestep_request_free(request);
    return status == want ? took : -1;
}
