package onestep

/*
#include "log.h"
*/
import "C"

import (
	"context"
	"log/slog"
	"sync/atomic"
)

// logger is where the library's log goes; nil: nowhere.
var logger atomic.Pointer[slog.Logger]

// SetLogger hands the library's log to l: what was chosen when a model was opened ([slog.LevelInfo]), what may not be as it was
// meant ([slog.LevelWarn]), and bugs of the library ([slog.LevelError]), of which the call's error tells too. Without a logger,
// the default, nothing is said; nil brings that back. There is one for the process, and an earlier one is no longer called
// once SetLogger returns.
//
// The handler runs inside the call that has something to say, and should be quick. A panic of it is dropped, and so is what the
// library says because of a call that the handler makes. It must not call [runtime.Goexit].
func SetLogger(l *slog.Logger) {
	if checkABI(uint32(C.onestep_abi_version())) != nil {
		// Open says so.
		return
	}
	logger.Store(l)
	// Again where another call came between, so that the library's state is that of the last logger.
	for again := true; again; again = logger.Load() != l {
		l = logger.Load()
		C.onestep_go_set_log(l != nil)
	}
}

//export onestepGoLog
func onestepGoLog(level C.int32_t, text *C.char, size C.size_t) {
	// C's frames cannot be unwound, and the call that is logged has no place for another's panic.
	defer func() { _ = recover() }()
	l, at := logger.Load(), slogLevel(int32(level))
	if l != nil && l.Enabled(context.Background(), at) {
		l.Log(context.Background(), at, C.GoStringN(text, C.int(size)))
	}
}

func slogLevel(level int32) slog.Level {
	switch level {
	case C.ONESTEP_LOG_ERROR:
		return slog.LevelError
	case C.ONESTEP_LOG_WARN:
		return slog.LevelWarn
	case C.ONESTEP_LOG_INFO:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}
