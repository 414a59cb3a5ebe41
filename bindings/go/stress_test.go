package onestep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Many goroutines draw from one model, and change their minds at random: every image comes, and is that of its seed and
// label; no goroutine is left over, and memory does not grow.
func TestManyGoroutines(t *testing.T) {
	const goroutines, kinds = 64, 30
	samples := 200
	if testing.Short() {
		samples = 20
	}
	model := openStudent(t)
	sessions := make([]*Session, goroutines)
	for i := range sessions {
		sessions[i] = newSession(t, model)
	}
	want, err := sessions[0].Sample(t.Context(), digits(kinds))
	if err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()

	var drawn, cancelled atomic.Int64
	draw := func(samples int) {
		var group sync.WaitGroup
		for i, session := range sessions {
			group.Add(1)
			go func() {
				defer group.Done()
				random := rand.New(rand.NewPCG(uint64(i), uint64(samples)))
				img := session.NewImages(1)[0]
				for range samples {
					kind := random.IntN(kinds)
					req := Request{Seeds: []uint64{uint64(kind)}, Labels: []int32{int32(kind % 10)}}
					if random.IntN(2) == 0 {
						// From 3 microseconds to 200 milliseconds, each order as likely: on any machine some end before a
						// call has begun, some within one, some after it.
						wait := 200 * time.Millisecond >> random.IntN(17)
						ctx, cancel := context.WithTimeout(context.Background(), wait)
						err := session.SampleInto(ctx, req, img)
						cancel()
						if errors.Is(err, context.DeadlineExceeded) {
							cancelled.Add(1)
							err = session.SampleInto(context.Background(), req, img)
						}
						if err != nil {
							t.Error(err)
							return
						}
					} else if err := session.SampleInto(context.Background(), req, img); err != nil {
						t.Error(err)
						return
					}
					if !bytes.Equal(img.Pix, want[kind].Pix) {
						t.Errorf("seed and label %d: another image", kind)
					}
					drawn.Add(1)
				}
			}()
		}
		group.Wait()
	}
	draw(10)
	warm := resident(t)
	draw(samples)
	grown := resident(t) - warm

	if drawn.Load() != int64(goroutines*(10+samples)) {
		t.Errorf("%d images, want %d", drawn.Load(), goroutines*(10+samples))
	}
	if cancelled.Load() == 0 {
		t.Error("nothing was cancelled")
	}
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, before %d", runtime.NumGoroutine(), before)
		}
	}
	// A call that lost 1 KiB would have lost 12 MiB in the long run.
	if grown > 8<<20 && !testing.Short() {
		t.Errorf("resident memory has grown by %d KiB", grown>>10)
	}
	t.Logf("%d images, %d cancelled, resident memory %+d KiB", drawn.Load(), cancelled.Load(), grown>>10)
}

// resident is this process's memory, without what the collector could give back.
func resident(t *testing.T) int {
	debug.FreeOSMemory()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("no /proc here")
	}
	var size, pages int
	if _, err := fmt.Sscan(string(statm), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
