package main

import (
	"context"
	"errors"
	"sync/atomic"

	onestep "github.com/onestep/onestep/bindings/go"
)

// errFull is the answer to a request that finds every place in the queue taken.
var errFull = errors.New("the queue is full")

// pool lends sessions, to so many that wait in a bounded queue.
type pool struct {
	sessions chan *onestep.Session
	// One place for each request that has a session or waits for one.
	places  chan struct{}
	waiting atomic.Int64
}

func newPool(model *onestep.Model, sessions, queue int) (*pool, error) {
	if sessions < 1 || queue < 0 {
		return nil, errors.New("-sessions must be 1 at least, -queue 0")
	}
	p := &pool{sessions: make(chan *onestep.Session, sessions), places: make(chan struct{}, sessions+queue)}
	for range sessions {
		session, err := model.NewSession(onestep.WithThreads(1))
		if err != nil {
			p.drop(len(p.sessions))
			return nil, err
		}
		p.sessions <- session
	}
	return p, nil
}

// with lends a session to use, once there is one; errFull at once where too many wait, ctx's error if it ends first.
func (p *pool) with(ctx context.Context, use func(*onestep.Session) error) error {
	select {
	case p.places <- struct{}{}:
	default:
		return errFull
	}
	defer func() { <-p.places }()
	session, err := p.take(ctx)
	if err != nil {
		return err
	}
	defer func() { p.sessions <- session }()
	return use(session)
}

func (p *pool) take(ctx context.Context) (*onestep.Session, error) {
	p.waiting.Add(1)
	defer p.waiting.Add(-1)
	select {
	case session := <-p.sessions:
		return session, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// close waits for every session to come back, and closes it.
func (p *pool) close() { p.drop(cap(p.sessions)) }

func (p *pool) drop(n int) {
	for range n {
		(<-p.sessions).Close()
	}
}
