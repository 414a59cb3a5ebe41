package onestep

/*
#cgo noescape onestep_cancel_trigger
#cgo nocallback onestep_cancel_trigger
#include <onestep.h>
*/
import "C"

import "context"

// token is a cancel token of one call at a time.
type token struct {
	c *C.onestep_cancel
	// Filled by a watcher once it has triggered the token, which it may do late.
	triggered chan struct{}
}

func newToken() token {
	return token{c: C.onestep_cancel_new(), triggered: make(chan struct{}, 1)}
}

func (t token) free() { C.onestep_cancel_free(t.c) }

// watch triggers t when ctx ends. Once the function that it returns is over, nothing will trigger t any more, and t is
// as new. Contexts that never end cost nothing.
func (t token) watch(ctx context.Context) (unwatch func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	stop := context.AfterFunc(ctx, func() {
		C.onestep_cancel_trigger(t.c)
		t.triggered <- struct{}{}
	})
	return func() {
		if !stop() {
			<-t.triggered
			C.onestep_cancel_reset(t.c)
		}
	}
}
