#include "progress.h"
#include "_cgo_export.h"

/* The handle is a number and no address: Go must never see it as a pointer. */
static int32_t progress(void *user, int32_t phase, uint32_t done, uint32_t total) {
    return onestepGoProgress((uintptr_t)user, phase, done, total);
}

int32_t onestep_go_options_progress(onestep_options *options, uintptr_t handle, onestep_error *err) {
    return onestep_options_set_progress(options, progress, (void *)handle, err);
}

int32_t onestep_go_request_progress(onestep_request *request, uintptr_t handle, onestep_error *err) {
    return onestep_request_set_progress(request, progress, (void *)handle, err);
}
