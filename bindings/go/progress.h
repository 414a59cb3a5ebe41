/* Setters of a progress callback that carries a runtime/cgo.Handle. */
#ifndef ONESTEP_GO_PROGRESS_H
#define ONESTEP_GO_PROGRESS_H

#include <onestep.h>

int32_t onestep_go_options_progress(onestep_options *options, uintptr_t handle, onestep_error *err);
int32_t onestep_go_request_progress(onestep_request *request, uintptr_t handle, onestep_error *err);

#endif
