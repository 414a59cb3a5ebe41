package onestep

/*
#include <onestep.h>
#include <stdlib.h>
*/
import "C"

import (
	"math"
	"strings"
	"unsafe"
)

// Option says how to open a model or run a session.
type Option func(*settings) error

// settings are the library's options while a model or session is made.
type settings struct {
	c        *C.onestep_options
	progress ProgressFunc
}

// Precision is the arithmetic of a model.
type Precision int32

const (
	PrecisionAuto Precision = C.ONESTEP_PRECISION_AUTO // the device's default; F32 on the CPU, BF16 on CUDA
	F32           Precision = C.ONESTEP_PRECISION_F32  // floats of 32 bits
	BF16          Precision = C.ONESTEP_PRECISION_BF16 // weights of half the size; results differ by 1 % or so
	F16           Precision = C.ONESTEP_PRECISION_F16  // floats of 16 bits, on GPUs
)

// Role says how many network calls a model draws in.
type Role int32

const (
	RoleAuto Role = C.ONESTEP_ROLE_AUTO    // the role that the file names, else Teacher
	Teacher  Role = C.ONESTEP_ROLE_TEACHER // several
	Student  Role = C.ONESTEP_ROLE_STUDENT // one
)

// WithDevice chooses the device of a model: "auto" (the default), "cpu", "cuda:0", "metal:0".
func WithDevice(id string) Option {
	return func(s *settings) error {
		c, err := cString("device", id)
		if err != nil {
			return err
		}
		defer C.free(unsafe.Pointer(c))
		return attempt(func(e *C.onestep_error) C.int32_t { return C.onestep_options_set_device(s.c, c, e) })
	}
}

// WithThreads sets the threads of a session; 0, the default, is the process's share. Pixels do not depend on it.
func WithThreads(n int) Option {
	return func(s *settings) error {
		threads, err := toUint32("threads", n)
		if err != nil {
			return err
		}
		return attempt(func(e *C.onestep_error) C.int32_t { return C.onestep_options_set_threads(s.c, threads, e) })
	}
}

// WithPrecision chooses the arithmetic of a model.
func WithPrecision(p Precision) Option {
	return func(s *settings) error {
		return attempt(func(e *C.onestep_error) C.int32_t {
			return C.onestep_options_set_precision(s.c, C.int32_t(p), e)
		})
	}
}

// WithRole opens a model as a teacher or a student.
func WithRole(r Role) Option {
	return func(s *settings) error {
		return attempt(func(e *C.onestep_error) C.int32_t { return C.onestep_options_set_role(s.c, C.int32_t(r), e) })
	}
}

// WithProgress hears of opening a model, or of every call to sample of a session whose request names no other.
func WithProgress(f ProgressFunc) Option {
	return func(s *settings) error {
		s.progress = f
		return nil
	}
}

// WithSetting sets an option that has no function of its own; onestep_options_set in onestep.h lists them.
func WithSetting(key, value string) Option {
	return func(s *settings) error {
		k, err := cString("key", key)
		if err != nil {
			return err
		}
		defer C.free(unsafe.Pointer(k))
		v, err := cString("value", value)
		if err != nil {
			return err
		}
		defer C.free(unsafe.Pointer(v))
		return attempt(func(e *C.onestep_error) C.int32_t { return C.onestep_options_set(s.c, k, v, e) })
	}
}

// newSettings applies opts; what it returns must be freed.
func newSettings(opts []Option) (*settings, error) {
	s := &settings{c: C.onestep_options_new()}
	for _, opt := range opts {
		if err := opt(s); err != nil {
			s.free()
			return nil, err
		}
	}
	return s, nil
}

func (s *settings) free() { C.onestep_options_free(s.c) }

// cString copies text for C, where a NUL would end it early.
func cString(argument, text string) (*C.char, error) {
	if strings.IndexByte(text, 0) >= 0 {
		return nil, invalid("%s: %q has a NUL in it", argument, text)
	}
	return C.CString(text), nil
}

func toUint32(argument string, n int) (C.uint32_t, error) {
	if n < 0 || uint64(n) > math.MaxUint32 {
		return 0, invalid("%s: %d is not in [0, %d]", argument, n, uint32(math.MaxUint32))
	}
	return C.uint32_t(n), nil
}
