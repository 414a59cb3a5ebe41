// Package cloop makes the calls of a program in C, and times them there: what the binding is measured against.
package cloop

/*
#cgo pkg-config: onestep
#cgo onestep_static pkg-config: --static
#cgo onestep_static,!darwin LDFLAGS: -Wl,--as-needed -l:libonestep.a
#include "cloop.h"
*/
import "C"

import (
	"time"
	"unsafe"
)

// Draw makes n calls for an image of a seed and label one after another on an onestep_session, and says how long C took; a
// negative time if one of them ended with another status than want. out holds one RGBA image.
func Draw(session unsafe.Pointer, n int, seed uint64, label int32, want int32, out []byte) time.Duration {
	return time.Duration(C.loop_draw((*C.onestep_session)(session), C.int(n), C.uint64_t(seed), C.int32_t(label),
		C.int32_t(want), unsafe.Pointer(&out[0]), C.size_t(len(out))))
}
