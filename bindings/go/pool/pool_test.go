package pool

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	onestep "github.com/onestep/onestep/bindings/go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newPool(t *testing.T, sessions, queue int) *Pool {
	t.Helper()
	model, err := onestep.OpenDefault()
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(model, sessions, queue)
	if err != nil {
		t.Fatal(err)
	}
	// Sessions outlive their model.
	model.Close()
	// Hangs where a session was lost.
	t.Cleanup(func() { p.Close() })
	return p
}

func get(t *testing.T, p *Pool) *onestep.Session {
	t.Helper()
	session, err := p.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return session
}

// eventually waits for what another goroutine is about to do.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// waiter borrows and gives back, once there is a session, on a goroutine of its own that already waits.
func waiter(t *testing.T, ctx context.Context, p *Pool) <-chan error {
	t.Helper()
	waiting := p.Stats().Waiting
	ended := make(chan error, 1)
	go func() { ended <- p.Do(ctx, func(*onestep.Session) error { return nil }) }()
	eventually(t, "a caller waits", func() bool { return p.Stats().Waiting == waiting+1 })
	return ended
}

func TestSizesRefused(t *testing.T) {
	model, err := onestep.OpenDefault()
	if err != nil {
		t.Fatal(err)
	}
	defer model.Close()
	for _, size := range [][2]int{{0, 1}, {-1, 1}, {1, -1}} {
		if _, err := New(model, size[0], size[1]); !errors.Is(err, onestep.InvalidArgument) {
			t.Errorf("%v: %v", size, err)
		}
	}
	if _, err := New(model, 2, 0, onestep.WithThreads(-1)); !errors.Is(err, onestep.InvalidArgument) {
		t.Errorf("an option that is refused: %v", err)
	}
}

func TestLends(t *testing.T) {
	p := newPool(t, 2, 0)
	a, b := get(t, p), get(t, p)
	if a == b || p.Stats() != (Stats{Sessions: 2}) {
		t.Errorf("the same session twice, or %+v", p.Stats())
	}
	if _, err := p.Get(t.Context()); err != ErrFull {
		t.Errorf("a third: %v", err)
	}
	p.Put(a)
	p.Put(b)
	if p.Stats() != (Stats{Sessions: 2, Idle: 2}) {
		t.Errorf("%+v", p.Stats())
	}
	enough := errors.New("enough")
	if err := p.Do(t.Context(), func(*onestep.Session) error { return enough }); err != enough {
		t.Error(err)
	}
	func() {
		defer func() { recover() }()
		p.Do(t.Context(), func(*onestep.Session) error { panic("enough") })
	}()
	if p.Stats().Idle != 2 {
		t.Errorf("after an error and a panic: %+v", p.Stats())
	}
}

func TestQueue(t *testing.T) {
	p := newPool(t, 1, 2)
	session := get(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	impatient := waiter(t, ctx, p)
	patient := waiter(t, t.Context(), p)
	if _, err := p.Get(t.Context()); err != ErrFull {
		t.Errorf("a third that waits: %v", err)
	}
	cancel()
	if err := <-impatient; err != context.Canceled {
		t.Error(err)
	}
	if _, err := p.Get(ctx); err != context.Canceled {
		t.Errorf("whose context had ended: %v", err)
	}
	// Its place is free again.
	late, cancelLate := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancelLate()
	if _, err := p.Get(late); err != context.DeadlineExceeded {
		t.Error(err)
	}
	p.Put(session)
	if err := <-patient; err != nil {
		t.Error(err)
	}
}

func TestClose(t *testing.T) {
	p := newPool(t, 2, 2)
	session := get(t, p)
	other := get(t, p)
	waiting := waiter(t, t.Context(), p)
	closed := make(chan struct{}, 2)
	for range 2 {
		go func() { p.Close(); closed <- struct{}{} }()
	}
	if err := <-waiting; err != onestep.ErrClosed {
		t.Errorf("who waited: %v", err)
	}
	if _, err := p.Get(t.Context()); err != onestep.ErrClosed {
		t.Errorf("who came later: %v", err)
	}
	p.Put(other)
	select {
	case <-closed:
		t.Error("closed while a session was lent")
	default:
	}
	if err := session.Err(); err != nil {
		t.Errorf("a session that is still lent: %v", err)
	}
	p.Put(session)
	<-closed
	<-closed
	if session.Err() != onestep.ErrClosed || other.Err() != onestep.ErrClosed {
		t.Error("a session is still open")
	}
}

// A session that came back unusable does not stay in the pool.
func TestReplaces(t *testing.T) {
	p := newPool(t, 1, 0)
	model, err := onestep.OpenDefault()
	if err != nil {
		t.Fatal(err)
	}
	defer model.Close()
	session := get(t, p)
	session.Close()
	p.Put(session)
	// Its model is closed: none can be made, and nothing is lost by trying.
	for range 3 {
		if _, err := p.Get(t.Context()); err != onestep.ErrClosed {
			t.Error(err)
		}
	}
	p.newSession = func() (*onestep.Session, error) { return model.NewSession() }
	session = get(t, p)
	if _, err := session.Sample(t.Context(), onestep.Request{Seeds: []uint64{1}, Labels: []int32{1}}); err != nil {
		t.Error(err)
	}
	p.Put(session)
}

func TestPutRefuses(t *testing.T) {
	p := newPool(t, 1, 0)
	session := get(t, p)
	p.Put(session)
	for name, session := range map[string]*onestep.Session{"twice": session, "nil": nil} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: taken", name)
				}
			}()
			p.Put(session)
		}()
	}
	if p.Stats().Idle != 1 {
		t.Errorf("%+v", p.Stats())
	}
}

// Many goroutines that change their minds draw what a session of their own would draw, and lose neither session nor place.
func TestManyBorrowers(t *testing.T) {
	const sessions, queue, goroutines = 2, 30, 32
	turns := 50
	if testing.Short() {
		turns = 10
	}
	p := newPool(t, sessions, queue)
	req := onestep.Request{Seeds: []uint64{7}, Labels: []int32{3}}
	var want []uint8
	p.Do(t.Context(), func(session *onestep.Session) error {
		images, err := session.Sample(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		want = images[0].Pix
		return nil
	})
	var group sync.WaitGroup
	for i := range goroutines {
		group.Add(1)
		go func() {
			defer group.Done()
			random := rand.New(rand.NewPCG(uint64(i), 0))
			for range turns {
				ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond>>random.IntN(14))
				err := p.Do(ctx, func(session *onestep.Session) error {
					images, err := session.Sample(ctx, req)
					if err == nil && !slices.Equal(images[0].Pix, want) {
						t.Error("another image")
					}
					return err
				})
				cancel()
				if err != nil && err != context.DeadlineExceeded {
					t.Error(err)
				}
			}
		}()
	}
	group.Wait()
	var lent []*onestep.Session
	for range sessions {
		lent = append(lent, get(t, p))
	}
	var waiting []<-chan error
	for range queue {
		waiting = append(waiting, waiter(t, t.Context(), p))
	}
	if _, err := p.Get(t.Context()); err != ErrFull {
		t.Errorf("one more than the queue has places: %v", err)
	}
	for _, session := range lent {
		p.Put(session)
	}
	for _, ended := range waiting {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
