#ifndef ONESTEP_GO_CLOOP_H
#define ONESTEP_GO_CLOOP_H

#include <onestep.h>

/* Nanoseconds of n calls; -1 if one of them ended with another status than want. */
int64_t loop_draw(onestep_session *session, int n, uint64_t seed, int32_t label, int32_t want, void *out, size_t size);

#endif
