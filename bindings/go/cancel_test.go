package onestep

import (
	"context"
	"testing"
	"time"
)

func TestCancelBefore(t *testing.T) {
	session := newSession(t, openStudent(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req := digits(1)
	req.Progress = func(Phase, int, int) bool { t.Error("the library was called"); return true }
	if _, err := session.Sample(ctx, req); err != context.Canceled {
		t.Error(err)
	}
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if _, err := session.Predict(late, nil, nil, nil); err != context.DeadlineExceeded {
		t.Error(err)
	}
}

// Cancelled at one of a teacher's many blocks, the call ends long before the last.
func TestCancelInside(t *testing.T) {
	session := newSession(t, openTeacher(t))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	last, of := 0, 0
	req := digits(1)
	req.Steps = 50
	req.Progress = func(_ Phase, done, total int) bool {
		if last, of = done, total; done >= 10 {
			cancel()
			// The watcher has its own goroutine: let it come.
			time.Sleep(5 * time.Millisecond)
		}
		return true
	}
	if _, err := session.Sample(ctx, req); err != context.Canceled {
		t.Error(err)
	}
	if last < 10 || last > of/2 {
		t.Errorf("cancelled at block 10, ended at %d of %d", last, of)
	}
	// The token must not remember.
	req.Progress, req.Steps = nil, 2
	if _, err := session.Sample(t.Context(), req); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestDeadlineInside(t *testing.T) {
	model := openTeacher(t)
	session := newSession(t, model)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	req := digits(32)
	req.Steps = 500
	if _, err := session.Sample(ctx, req); err != context.DeadlineExceeded {
		t.Error(err)
	}

	ctx, cancel = context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	const batch = 256
	noise, err := model.Noise(make([]uint64, batch)...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.Predict(ctx, noise, make([]int32, batch), make([]int32, batch)); err != context.DeadlineExceeded {
		t.Error(err)
	}
}

func TestProgressEnds(t *testing.T) {
	model := openStudent(t)
	heard := 0
	session := newSession(t, model, WithProgress(func(Phase, int, int) bool { heard++; return heard < 3 }))
	_, err := session.Sample(t.Context(), digits(1))
	wantCode(t, err, Cancelled)
	if heard != 3 {
		t.Errorf("heard %d times, want 3", heard)
	}
	req := digits(1)
	var dones []int
	req.Progress = func(phase Phase, done, total int) bool {
		if dones = append(dones, done); phase != PhaseSample || done > total || done < len(dones)-1 {
			t.Errorf("phase %d: %d of %d", phase, done, total)
		}
		return true
	}
	if _, err := session.Sample(t.Context(), req); err != nil || len(dones) == 0 || heard != 3 {
		t.Errorf("%v; heard %d times by the request, %d by the session", err, len(dones), heard)
	}
}

func TestProgressPanics(t *testing.T) {
	session := newSession(t, openStudent(t))
	req := digits(1)
	heard := 0
	req.Progress = func(Phase, int, int) bool { heard++; panic("enough") }
	func() {
		defer func() {
			if p := recover(); p != "enough" {
				t.Errorf("recovered %v", p)
			}
		}()
		session.Sample(t.Context(), req)
		t.Error("the panic is lost")
	}()
	if heard != 1 {
		t.Errorf("called %d times", heard)
	}
	if _, err := session.Sample(t.Context(), digits(1)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
