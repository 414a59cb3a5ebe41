/* What the C tests share: a check that says where it failed, and the models they use. */
#ifndef CHECK_H
#define CHECK_H

#include "condition.h"
#include <onestep.h>
#include <string.h>

/* The status, and that the error struct says the same, with a message just where there is an error. */
#define CHECK_STATUS(expected, call)                                                \
    do {                                                                            \
        int32_t status_ = (call);                                                   \
        if (status_ != (expected)) {                                                \
            fprintf(stderr, "%s:%d: %s: %s (%s), expected %s\n", __FILE__, __LINE__, #call, \
                    onestep_status_name(status_), err.message, onestep_status_name(expected)); \
            exit(1);                                                                \
        }                                                                           \
        CHECK(err.code == status_);                                                 \
        CHECK((err.message[0] != 0) == (status_ != ONESTEP_OK));                    \
    } while (0)

#define CHECK_OK(call) CHECK_STATUS(ONESTEP_OK, call)

#define SIDE 16
#define IMAGE (SIDE * SIDE)

/* Poisoned, so that a function that forgets to fill it is noticed. */
static onestep_error err = {-1, -1, "never filled"};

/* The first argument of every test program is the repository's folder; this is a file there, until the next call. */
static inline const char *path_of(const char *folder, const char *file) {
    static char path[4096];
    CHECK((size_t)snprintf(path, sizeof path, "%s/%s", folder, file) < sizeof path);
    return path;
}

static inline onestep_model *open_file(const char *path) {
    onestep_model *model = NULL;
    CHECK_OK(onestep_model_open_file(path, NULL, &model, &err));
    return model;
}

#define TEACHER "models/digits-teacher.safetensors"

static inline onestep_model *open_student(const char *folder) {
    return open_file(path_of(folder, "models/digits-student.safetensors"));
}

static inline onestep_model *open_teacher(const char *folder) { return open_file(path_of(folder, TEACHER)); }

static inline onestep_session *new_session(onestep_model *model, uint32_t threads) {
    onestep_options *options = onestep_options_new();
    onestep_session *session = NULL;
    CHECK_OK(onestep_options_set_threads(options, threads, &err));
    CHECK_OK(onestep_session_new(model, options, &session, &err));
    onestep_options_free(options);
    return session;
}

static inline onestep_request *digits(const uint64_t *seeds, const int32_t *labels, size_t n) {
    onestep_request *request = onestep_request_new();
    CHECK_OK(onestep_request_set_seeds(request, seeds, n, &err));
    CHECK_OK(onestep_request_set_labels(request, labels, n, &err));
    return request;
}

static inline onestep_layout layout_of(int32_t format) {
    onestep_layout layout;
    memset(&layout, 0, sizeof layout);
    layout.struct_size = sizeof layout;
    layout.format = format;
    return layout;
}

#endif
