// Package pool lends the sessions of a model to the goroutines of a service:
//
//	sessions, err := pool.New(model, 2, 64)
//	err = sessions.Do(ctx, func(session *onestep.Session) error {
//		images, err = session.Sample(ctx, request)
//		return err
//	})
//
// Each session has one borrower at a time. A caller waits for a session until its context ends, first come, first served. If
// the queue is full, it is refused at once, so that a service under too much load answers early.
package pool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	onestep "github.com/onestep/onestep/bindings/go"
)

// ErrFull is returned where every session is lent and every place in the queue is taken.
var ErrFull = errors.New("onestep: every session is lent, and the queue is full")

// Pool lends sessions. It may be used from any number of goroutines.
type Pool struct {
	newSession func() (*onestep.Session, error)
	// Sessions that nobody has; nil in place of one that has to be made anew.
	idle chan *onestep.Session
	// One element for each caller that has a session or waits for one.
	places  chan struct{}
	waiting atomic.Int64
	closed  chan struct{}
	closing sync.Once

	mu   sync.Mutex
	lent map[*onestep.Session]bool
}

// Stats is a pool at one moment.
type Stats struct {
	Sessions int // of the pool
	Idle     int // sessions that nobody has
	Waiting  int // callers that wait for a session
}

// New makes a pool of so many sessions, for which at most queue callers may wait. All sessions are made now, with opts; each
// has one thread unless opts say otherwise. The model may be closed while the pool is used, but a session that has become
// unusable can then not be replaced.
func New(model *onestep.Model, sessions, queue int, opts ...onestep.Option) (*Pool, error) {
	if sessions < 1 {
		return nil, invalid("sessions: %d given, at least 1 needed", sessions)
	}
	if queue < 0 {
		return nil, invalid("queue: %d given, at least 0 needed", queue)
	}
	opts = append([]onestep.Option{onestep.WithThreads(1)}, opts...)
	p := &Pool{
		newSession: func() (*onestep.Session, error) { return model.NewSession(opts...) },
		idle:       make(chan *onestep.Session, sessions),
		places:     make(chan struct{}, sessions+queue),
		closed:     make(chan struct{}),
		lent:       map[*onestep.Session]bool{},
	}
	for range sessions {
		session, err := p.newSession()
		if err != nil {
			p.closeIdle(len(p.idle))
			return nil, err
		}
		p.idle <- session
	}
	return p, nil
}

// Do lends a session to use, and takes it back whatever use does. It returns what use returns, or what Get does.
func (p *Pool) Do(ctx context.Context, use func(*onestep.Session) error) error {
	session, err := p.Get(ctx)
	if err != nil {
		return err
	}
	defer p.Put(session)
	return use(session)
}

// Get borrows a session, which must be given back by Put. It waits until there is one. It returns the context's error if that
// ends first, [ErrFull] at once if too many wait, and [onestep.ErrClosed] after Close.
func (p *Pool) Get(ctx context.Context) (*onestep.Session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case <-p.closed:
		return nil, onestep.ErrClosed
	default:
	}
	select {
	case p.places <- struct{}{}:
	default:
		return nil, ErrFull
	}
	session, err := p.take(ctx)
	if err != nil {
		<-p.places
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lent[session] = true
	return session, nil
}

// Put gives a borrowed session back. One that cannot be used any more (see [onestep.Session.Err]) is closed, and another is
// made in its place when it is next needed. Put panics if the session is not lent: it would have two borrowers.
func (p *Pool) Put(session *onestep.Session) {
	p.mu.Lock()
	lent := p.lent[session]
	delete(p.lent, session)
	p.mu.Unlock()
	if !lent {
		panic("onestep: Put of a session that the pool has not lent")
	}
	if session.Err() != nil {
		session.Close()
		session = nil
	}
	p.idle <- session
	<-p.places
}

// Stats says how the pool is used.
func (p *Pool) Stats() Stats {
	return Stats{Sessions: cap(p.idle), Idle: len(p.idle), Waiting: int(p.waiting.Load())}
}

// Close refuses the callers that wait and those that come, waits until every borrowed session is back, and closes all
// sessions. Closing again does nothing. A borrower must not call it: it would wait for itself.
func (p *Pool) Close() error {
	p.closing.Do(func() {
		close(p.closed)
		p.closeIdle(cap(p.idle))
	})
	return nil
}

func (p *Pool) take(ctx context.Context) (*onestep.Session, error) {
	select {
	case session := <-p.idle:
		return p.usable(session)
	default:
	}
	p.waiting.Add(1)
	defer p.waiting.Add(-1)
	select {
	case session := <-p.idle:
		return p.usable(session)
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.closed:
		return nil, onestep.ErrClosed
	}
}

// usable is session, or another where it has to be made anew. Where that fails, the next borrower tries again.
func (p *Pool) usable(session *onestep.Session) (*onestep.Session, error) {
	if session != nil {
		return session, nil
	}
	session, err := p.newSession()
	if err != nil {
		p.idle <- nil
		return nil, err
	}
	return session, nil
}

// closeIdle takes n sessions, as they come back, and closes them.
func (p *Pool) closeIdle(n int) {
	for range n {
		if session := <-p.idle; session != nil {
			session.Close()
		}
	}
}

func invalid(format string, args ...any) error {
	return &onestep.Error{Code: onestep.InvalidArgument, Message: fmt.Sprintf(format, args...)}
}
