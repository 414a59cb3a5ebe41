package main

import (
	"net"
	"os"
	"sync/atomic"
	"time"
)

// quiet is how long nobody calls before a listener that ends is closed.
const quiet = 100 * time.Millisecond

// lastLook is how long the kernel is asked once more after that.
const lastLook = 5 * time.Millisecond

// lastCalls is a listener that, once it is to end, first takes the connections that the kernel has made already: to close it at
// once would reset them, and their clients would get no answer at all.
type lastCalls struct {
	net.Listener
	// When it closes in any case, in nanoseconds of Unix time; 0 while it goes on.
	closes atomic.Int64
}

// end lets it close once it is quiet, after so long at most.
func (l *lastCalls) end(within time.Duration) {
	l.closes.Store(time.Now().Add(within).UnixNano())
	l.wait()
}

// wait bounds the next Accept.
func (l *lastCalls) wait() {
	deadline := time.Now().Add(quiet)
	if closes := time.Unix(0, l.closes.Load()); closes.Before(deadline) {
		deadline = closes
	}
	l.bound(deadline)
}

func (l *lastCalls) bound(deadline time.Time) {
	if listener, ok := l.Listener.(interface{ SetDeadline(time.Time) error }); ok {
		listener.SetDeadline(deadline)
	} else {
		l.Listener.Close()
	}
}

func (l *lastCalls) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if l.closes.Load() == 0 {
		return conn, err
	}
	if os.IsTimeout(err) {
		// Under much load this may have run late, and who called meanwhile still waits: a deadline that is over takes nobody.
		l.bound(time.Now().Add(lastLook))
		conn, err = l.Listener.Accept()
	}
	if os.IsTimeout(err) {
		return nil, net.ErrClosed
	}
	l.wait()
	return conn, err
}
