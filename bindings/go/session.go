package onestep

/*
#include <onestep.h>
*/
import "C"

import (
	"context"
	"runtime"
	"sync/atomic"
	"unsafe"
)

// Session is one caller's scratch memory and threads. One call at a time: a second one gets [Busy]. Sessions of one
// model run side by side.
//
// Calls return the context's error once it has ended, within milliseconds; the session stays usable.
type Session struct {
	native   *native
	handle   *handle
	busy     atomic.Bool
	broken   atomic.Pointer[Error]
	info     Info
	progress ProgressFunc
}

// native is what a session has of C, and what its calls hand to C.
type native struct {
	session *C.onestep_session
	request *C.onestep_request
	// request has more set than seeds and labels.
	special bool
	token   token
	layout  C.onestep_layout
	err     C.onestep_error
}

// NewSession makes a session, which reads [WithThreads] and [WithProgress]. It outlives Close of its model.
func (m *Model) NewSession(opts ...Option) (*Session, error) {
	o, err := newSettings(opts)
	if err != nil {
		return nil, err
	}
	defer o.free()
	n := &native{token: newToken(), request: C.onestep_request_new()}
	err = attempt(func(e *C.onestep_error) C.int32_t { return C.onestep_options_set_cancel(o.c, n.token.c, e) })
	if err == nil {
		err = m.call(func(e *C.onestep_error) C.int32_t {
			return C.onestep_session_new(m.c, o.c, &n.session, e)
		})
	}
	if err != nil {
		n.free()
		return nil, err
	}
	s := &Session{native: n, handle: &handle{free: n.free}, info: m.info, progress: o.progress}
	runtime.AddCleanup(s, (*handle).close, s.handle)
	return s, nil
}

// Prepare gets ready for calls of batch images, of several sizes the largest first: the next one plans and allocates nothing in the
// library, and takes its usual time.
func (s *Session) Prepare(ctx context.Context, batch int) error {
	n, err := toUint32("batch", batch)
	if err != nil {
		return err
	}
	return s.call(ctx, func(c *native) C.int32_t { return C.onestep_session_prepare(c.session, n, &c.err) })
}

// SampleFloats draws a batch as floats, (n, c, h, w), as the network gave them: in [-1, 1] or a little outside.
func (s *Session) SampleFloats(ctx context.Context, req Request) ([]float32, error) {
	n := req.batch(s.info.floats()) * s.info.floats()
	if err := s.check(ctx, &req, 4*n); err != nil {
		return nil, err
	}
	floats := make([]float32, n)
	out := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(floats))), 4*n)
	if err := s.draw(ctx, &req, newLayout(C.ONESTEP_FORMAT_F32_NCHW), out); err != nil {
		return nil, err
	}
	return floats, nil
}

// Predict is the bare network, for callers with a sampler of their own: the raw prediction for images x, (n, c, h, w),
// at one timestep an image, and one label an image for conditional models.
func (s *Session) Predict(ctx context.Context, x []float32, timesteps, labels []int32) ([]float32, error) {
	return s.predict(ctx, x, len(timesteps), labels, func(c *native, labels *C.int32_t, out []float32) C.int32_t {
		return C.onestep_session_predict(c.session, (*C.float)(unsafe.SliceData(x)),
			(*C.int32_t)(unsafe.SliceData(timesteps)), labels, C.size_t(len(timesteps)),
			(*C.float)(unsafe.SliceData(out)), C.size_t(len(out)), &c.err)
	})
}

// PredictAt is Predict at any finite times, whole or not: what the network itself is told of an image's noise level.
func (s *Session) PredictAt(ctx context.Context, x, times []float32, labels []int32) ([]float32, error) {
	return s.predict(ctx, x, len(times), labels, func(c *native, labels *C.int32_t, out []float32) C.int32_t {
		return C.onestep_session_predict_at(c.session, (*C.float)(unsafe.SliceData(x)),
			(*C.float)(unsafe.SliceData(times)), labels, C.size_t(len(times)),
			(*C.float)(unsafe.SliceData(out)), C.size_t(len(out)), &c.err)
	})
}

// predict makes one network call for n images.
func (s *Session) predict(ctx context.Context, x []float32, n int, labels []int32,
	call func(c *native, labels *C.int32_t, out []float32) C.int32_t) ([]float32, error) {
	if floats := s.info.floats(); len(x) != n*floats {
		return nil, invalid("x: %d floats given, %d needed", len(x), n*floats)
	}
	if len(labels) != 0 && len(labels) != n {
		return nil, invalid("labels: %d given, %d needed", len(labels), n)
	}
	out := make([]float32, len(x))
	err := s.call(ctx, func(c *native) C.int32_t { return call(c, (*C.int32_t)(unsafe.SliceData(labels)), out) })
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Err says why the session cannot be used any more: [ErrClosed], or the error of a call that the library panicked in. It is
// nil while the session can be used.
func (s *Session) Err() error {
	if s.handle.isClosed() {
		return ErrClosed
	}
	if err := s.broken.Load(); err != nil {
		return err
	}
	return nil
}

// Close frees the session, once the call that is inside it is over. Closing again does nothing.
func (s *Session) Close() error {
	s.handle.close()
	return nil
}

// draw samples into out.
func (s *Session) draw(ctx context.Context, req *Request, layout C.onestep_layout, out []byte) error {
	if _, err := toUint32("steps", req.Steps); err != nil {
		return err
	}
	progress := req.Progress
	if progress == nil {
		progress = s.progress
	}
	l := newListener(progress)
	defer l.done()
	// C refuses a batch of none, once it has seen that there is somewhere to write.
	if len(out) == 0 {
		out = make([]byte, 1)
	}
	return s.call(ctx, func(n *native) C.int32_t {
		if status := n.fill(req, l); status != C.ONESTEP_OK {
			return status
		}
		n.layout = layout
		return C.onestep_session_sample(n.session, n.request, &n.layout, unsafe.Pointer(&out[0]), C.size_t(len(out)), &n.err)
	})
}

// check refuses a request that the library would refuse, before so many bytes are taken for its images. Where that is
// little, draw will find out.
func (s *Session) check(ctx context.Context, req *Request, bytes int) error {
	if bytes <= 64<<20 {
		return nil
	}
	err := s.draw(ctx, req, newLayout(C.ONESTEP_FORMAT_RGBA8), nil)
	if e, ok := err.(*Error); ok && e.Code == BufferTooSmall {
		return nil
	}
	return err
}

// call makes do the one call that is inside the session, and ends it when ctx ends.
func (s *Session) call(ctx context.Context, do func(*native) C.int32_t) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// Else the cleanup might come before acquire, where this is the session's last use.
	defer runtime.KeepAlive(s)
	if err := s.handle.acquire(); err != nil {
		return err
	}
	defer s.handle.release()
	// The library would say so too, but the request and the token are not its to guard.
	if !s.busy.CompareAndSwap(false, true) {
		return &Error{Code: Busy, Message: "the session is busy: another call is running on it"}
	}
	defer s.busy.Store(false)
	defer s.native.token.watch(ctx)()
	status := do(s.native)
	if status == C.ONESTEP_OK {
		return nil
	}
	if err := ctx.Err(); err != nil && status == C.ONESTEP_CANCELLED {
		return err
	}
	err := newError(&s.native.err)
	s.remember(err)
	return err
}

// remember keeps err where no later call can succeed.
func (s *Session) remember(err *Error) {
	if err.Code == Panic || err.Code == Poisoned {
		s.broken.CompareAndSwap(nil, err)
	}
}

func (n *native) free() {
	C.onestep_session_free(n.session)
	C.onestep_request_free(n.request)
	n.token.free()
}

func newLayout(format C.int32_t) C.onestep_layout {
	var layout C.onestep_layout
	layout.struct_size = C.uint32_t(unsafe.Sizeof(layout))
	layout.format = format
	return layout
}
