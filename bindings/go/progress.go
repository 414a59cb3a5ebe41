package onestep

/*
#include <onestep.h>
*/
import "C"

import "runtime/cgo"

// ProgressFunc hears how far a call is: done of total in a phase. It runs on the goroutine that made the call; false
// ends the call with [Cancelled]. A panic ends the call too, and goes on from there once the library has returned.
// It must not call [runtime.Goexit], nor sample on the session that is calling.
type ProgressFunc func(phase Phase, done, total int) bool

// Phase is what a call is doing.
type Phase int32

const (
	PhaseOpen    Phase = C.ONESTEP_PHASE_OPEN    // reading a file
	PhasePrepare Phase = C.ONESTEP_PHASE_PREPARE // packing weights; counted in tensors
	PhaseSample  Phase = C.ONESTEP_PHASE_SAMPLE  // sampling; counted in network blocks, all steps together
	PhaseWrite   Phase = C.ONESTEP_PHASE_WRITE   // writing a file
)

// listener is a ProgressFunc while C holds on to it. The nil listener hears nothing.
type listener struct {
	f        ProgressFunc
	handle   cgo.Handle
	panicked any
}

func newListener(f ProgressFunc) *listener {
	if f == nil {
		return nil
	}
	l := &listener{f: f}
	l.handle = cgo.NewHandle(l)
	return l
}

// done lets go of l, and lets a panic of its function go on its way; no call that carries l may run any more.
func (l *listener) done() {
	if l == nil {
		return
	}
	l.handle.Delete()
	if l.panicked != nil {
		panic(l.panicked)
	}
}

//export onestepGoProgress
func onestepGoProgress(handle C.uintptr_t, phase C.int32_t, done, total C.uint32_t) (stop C.int32_t) {
	l := cgo.Handle(handle).Value().(*listener)
	// C's frames cannot be unwound: the panic waits in l.
	defer func() {
		if p := recover(); p != nil {
			l.panicked, stop = p, 1
		}
	}()
	if l.panicked != nil || !l.f(Phase(phase), int(done), int(total)) {
		return 1
	}
	return 0
}
