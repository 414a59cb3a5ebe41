/* The library's log, to Go. */
#ifndef ONESTEP_GO_LOG_H
#define ONESTEP_GO_LOG_H

#include <onestep.h>
#include <stdbool.h>

void onestep_go_set_log(bool on);

#endif
