#include "log.h"
#include "_cgo_export.h"

static void say(void *user, int32_t level, const char *utf8, size_t len) {
    (void)user;
    onestepGoLog(level, (char *)utf8, len);
}

/* Everything: which levels are wanted is asked of the logger, who may change his mind. */
void onestep_go_set_log(bool on) { onestep_set_log(on ? say : NULL, NULL, ONESTEP_LOG_DEBUG); }
