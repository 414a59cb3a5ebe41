// Package onestep runs one-step image generators, and the diffusion models that they were distilled from, in-process:
//
//	model, err := onestep.OpenDefault()
//	session, err := model.NewSession()
//	images, err := session.Sample(ctx, onestep.Request{Seeds: []uint64{1, 2}, Labels: []int32{4, 7}})
//	err = png.Encode(file, images[0])
//
// It needs cgo and the C library, which is found by pkg-config. From a copy of the repository, and then in your module:
//
//	make install PREFIX=/usr/local
//	go get github.com/onestep/onestep/bindings/go
//
// With the build tag onestep_static the library is linked in whole, and a program needs no libonestep where it runs.
//
// A [Model] is immutable and shared; a [Session] has one caller's scratch memory and threads, and package pool lends sessions
// to the goroutines of a service. Image i of a [Request] depends on seed i alone, whatever the batch, the number of threads and
// the session. Failures are an [Error] with a [Code]; a call whose context ends returns the context's error.
package onestep

/*
#cgo pkg-config: onestep
#cgo onestep_static pkg-config: --static
// The archive by its own name, since -lonestep prefers a shared library beside it; that one then resolves nothing.
#cgo onestep_static,!darwin LDFLAGS: -Wl,--as-needed -l:libonestep.a
#include <onestep.h>
*/
import "C"

import "fmt"

// Version is the version of the library that was found, as "0.1.0".
func Version() string { return C.GoString(C.onestep_version()) }

// BuildInfo is one line for bug reports: version, target, features, instruction set in use.
func BuildInfo() string { return C.GoString(C.onestep_build_info()) }

// checkABI refuses a library whose interface, of version found, is another than the header's.
func checkABI(found uint32) error {
	if found == C.ONESTEP_ABI_VERSION {
		return nil
	}
	return &Error{Code: ABIMismatch, Message: fmt.Sprintf(
		"the library's interface is version %d, the program was compiled for version %d", found, C.ONESTEP_ABI_VERSION)}
}
