package onestep

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// handlerFunc is a slog handler that takes everything.
type handlerFunc func(slog.Record)

func (f handlerFunc) Enabled(context.Context, slog.Level) bool           { return true }
func (f handlerFunc) Handle(_ context.Context, record slog.Record) error { f(record); return nil }
func (f handlerFunc) WithAttrs([]slog.Attr) slog.Handler                 { return f }
func (f handlerFunc) WithGroup(string) slog.Handler                      { return f }

func setLogger(t *testing.T, h slog.Handler) {
	SetLogger(slog.New(h))
	t.Cleanup(func() { SetLogger(nil) })
}

func TestSetLogger(t *testing.T) {
	var records []slog.Record
	setLogger(t, handlerFunc(func(r slog.Record) { records = append(records, r) }))
	openStudent(t, WithDevice("cpu"))
	if len(records) != 1 || records[0].Level != slog.LevelInfo || records[0].Time.IsZero() ||
		!strings.Contains(records[0].Message, "digits-student.safetensors: ") {
		t.Errorf("%v", records)
	}
	// Asked anew at each message.
	var text bytes.Buffer
	var level slog.LevelVar
	level.Set(slog.LevelWarn)
	setLogger(t, slog.NewTextHandler(&text, &slog.HandlerOptions{Level: &level}))
	openStudent(t, WithDevice("cpu"))
	if text.Len() != 0 {
		t.Errorf("beside warnings: %s", &text)
	}
	level.Set(slog.LevelInfo)
	openStudent(t, WithDevice("cpu"))
	if !strings.Contains(text.String(), "level=INFO") {
		t.Errorf("%q", &text)
	}
	SetLogger(nil)
	text.Reset()
	openStudent(t)
	if text.Len() != 0 || len(records) != 1 {
		t.Errorf("after the end: %s, %v", &text, records)
	}
}

func TestLevels(t *testing.T) {
	for c, want := range map[int32]slog.Level{1: slog.LevelError, 2: slog.LevelWarn, 3: slog.LevelInfo, 4: slog.LevelDebug} {
		if got := slogLevel(c); got != want {
			t.Errorf("%d: %v, want %v", c, got, want)
		}
	}
}

// What a handler does cannot harm the call that it hears of: a panic, a call of its own, another logger.
func TestHandlersThatMisbehave(t *testing.T) {
	setLogger(t, handlerFunc(func(slog.Record) { panic("enough") }))
	openStudent(t)

	heard := 0
	setLogger(t, handlerFunc(func(slog.Record) { heard++; openDefault(t) }))
	openStudent(t, WithDevice("cpu"))
	if heard != 1 {
		t.Errorf("heard %d times", heard)
	}

	heard = 0
	second := slog.New(handlerFunc(func(slog.Record) { heard++ }))
	setLogger(t, handlerFunc(func(slog.Record) { SetLogger(second) }))
	openStudent(t, WithDevice("cpu"))
	openStudent(t, WithDevice("cpu"))
	if heard != 1 {
		t.Errorf("the logger that was set by a handler has heard %d times, want 1", heard)
	}
}

// Loggers change while models are opened: each hears nothing any more once it was replaced.
func TestLoggersRace(t *testing.T) {
	t.Cleanup(func() { SetLogger(nil) })
	var group sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		group.Add(1)
		go func() {
			defer group.Done()
			for {
				select {
				case <-done:
					return
				default:
					openAndClose(t)
				}
			}
		}()
	}
	for range 50 {
		var replaced atomic.Bool
		SetLogger(slog.New(handlerFunc(func(slog.Record) {
			if replaced.Load() {
				t.Error("a logger that was replaced is still called")
			}
		})))
		openAndClose(t)
		SetLogger(nil)
		replaced.Store(true)
	}
	close(done)
	group.Wait()

	// From several goroutines, the last one counts, whichever that is.
	for range 200 {
		heard := false
		l := slog.New(handlerFunc(func(slog.Record) { heard = true }))
		for _, next := range []*slog.Logger{nil, l} {
			group.Add(1)
			go func() { defer group.Done(); SetLogger(next) }()
		}
		group.Wait()
		openAndClose(t)
		if heard != (logger.Load() == l) {
			t.Fatal("the last logger hears nothing, or one before it does")
		}
	}
}

func openAndClose(t *testing.T) {
	model, err := OpenDefault(WithDevice("cpu"))
	if err != nil {
		t.Error(err)
		return
	}
	model.Close()
}
