package onestep

/*
#include <onestep.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"syscall"
)

// ErrClosed is returned by what is used after its Close.
var ErrClosed = errors.New("onestep: used after Close")

// Error is what the library says went wrong. It matches its [Code], and for IO the system's own errors:
//
//	errors.Is(err, onestep.BadModel)
//	errors.Is(err, fs.ErrNotExist)
type Error struct {
	// Code is what errors.Is compares.
	Code Code
	// Native is the operating system's or driver's own number, or 0.
	Native int
	// Message names the file, tensor or argument, what was found and what was expected.
	Message string
	// What Go's own reading gave.
	cause error
}

// Error is the message, behind the package's name.
func (e *Error) Error() string { return "onestep: " + e.Message }

// Is reports whether target is e's Code.
func (e *Error) Is(target error) bool {
	code, ok := target.(Code)
	return ok && code == e.Code
}

// Unwrap gives the cause of an IO error: the error of the reader or file system that was given, or the errno.
func (e *Error) Unwrap() error {
	if e.cause != nil {
		return e.cause
	}
	if e.Code == IO && e.Native != 0 {
		return syscall.Errno(e.Native)
	}
	return nil
}

// Code is the kind of an [Error], and itself an error for [errors.Is].
type Code int32

const (
	// InvalidArgument is an argument, option or request that makes no sense; nothing was done.
	InvalidArgument Code = C.ONESTEP_INVALID_ARGUMENT
	// BufferTooSmall is not met in Go, where buffers know their size.
	BufferTooSmall Code = C.ONESTEP_BUFFER_TOO_SMALL
	// IO is the operating system's refusal to read.
	IO Code = C.ONESTEP_IO
	// BadModel is a model file that is damaged, incomplete or contradicts itself.
	BadModel Code = C.ONESTEP_BAD_MODEL
	// UnsupportedModel is a sound model of a kind that the library does not run.
	UnsupportedModel Code = C.ONESTEP_UNSUPPORTED_MODEL
	// DeviceUnavailable is a device that is not on this machine.
	DeviceUnavailable Code = C.ONESTEP_DEVICE_UNAVAILABLE
	// DeviceFailed is an error of the device while working.
	DeviceFailed Code = C.ONESTEP_DEVICE_FAILED
	// OutOfMemory is memory that could not be had.
	OutOfMemory Code = C.ONESTEP_OUT_OF_MEMORY
	// Cancelled is a call that a [ProgressFunc] ended; one that a context ended returns the context's error.
	Cancelled Code = C.ONESTEP_CANCELLED
	// Busy is a session that another goroutine is inside.
	Busy Code = C.ONESTEP_BUSY
	// NotBuilt is a part that this build of the library was made without.
	NotBuilt Code = C.ONESTEP_NOT_BUILT
	// ABIMismatch is a library whose interface is another than the one that the program was compiled for.
	ABIMismatch Code = C.ONESTEP_ABI_MISMATCH
	// Panic is a bug in the library, caught at its edge.
	Panic Code = C.ONESTEP_PANIC
	// Poisoned is a session on which an earlier call panicked; close it and make another.
	Poisoned Code = C.ONESTEP_POISONED
	// Internal is a broken promise inside the library, found before it did harm.
	Internal Code = C.ONESTEP_INTERNAL
)

// String is the library's name of the code, as "ONESTEP_BUSY".
func (c Code) String() string { return C.GoString(C.onestep_status_name(C.int32_t(c))) }

// Error is String.
func (c Code) Error() string { return c.String() }

func newError(e *C.onestep_error) *Error {
	return &Error{Code: Code(e.code), Native: int(e.native_code), Message: C.GoString(&e.message[0])}
}

// attempt makes a call of the library that is not worth saving allocations on.
func attempt(call func(*C.onestep_error) C.int32_t) error {
	var e C.onestep_error
	if call(&e) == C.ONESTEP_OK {
		return nil
	}
	return newError(&e)
}

// invalid refuses what would not reach the library as it was meant.
func invalid(format string, args ...any) error {
	return &Error{Code: InvalidArgument, Message: fmt.Sprintf(format, args...)}
}
