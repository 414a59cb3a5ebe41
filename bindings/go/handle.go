package onestep

import "sync"

// handle counts the calls that are inside a C object, so that it is freed once it was closed and none is left: neither
// Close nor the garbage collector can free it under a running call.
type handle struct {
	free func()

	mu     sync.Mutex
	calls  int
	closed bool
}

// acquire lets a call in, which must release; after close it gives ErrClosed.
func (h *handle) acquire() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	h.calls++
	return nil
}

func (h *handle) release() {
	h.mu.Lock()
	h.calls--
	last := h.closed && h.calls == 0
	h.mu.Unlock()
	if last {
		h.free()
	}
}

func (h *handle) close() {
	h.mu.Lock()
	idle := !h.closed && h.calls == 0
	h.closed = true
	h.mu.Unlock()
	if idle {
		h.free()
	}
}

func (h *handle) isClosed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}
