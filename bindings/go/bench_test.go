package onestep

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/onestep/onestep/bindings/go/internal/cloop"
)

// BenchmarkSample draws one image a call, in Go and in a loop of C, on one session. A call before each timed one leaves the
// caches as they are in a loop.
func BenchmarkSample(b *testing.B) {
	for name, ctx := range contexts(b) {
		b.Run(name, func(b *testing.B) {
			session := newSession(b, openStudent(b))
			req, img := digits(1), session.NewImages(1)
			pix := make([]byte, len(img[0].Pix))
			inC := func() time.Duration { return cloop.Draw(unsafe.Pointer(session.native.session), 1, 0, 0, 0, pix) }
			inGo := func() time.Duration {
				start := time.Now()
				if err := session.SampleInto(ctx, req, img...); err != nil {
					b.Fatal(err)
				}
				return time.Since(start)
			}
			compare(b, inGo, inC)
			b.ReportMetric(testing.AllocsPerRun(5, func() { inGo() }), "allocs/call")
			if !bytes.Equal(pix, img[0].Pix) {
				b.Fatal("Go and C draw different images")
			}
		})
	}
}

// BenchmarkOverhead makes calls that C refuses at once, for there is no such label: what Go takes longer is the binding's
// own time, and that of making the error, which a call that draws does without.
func BenchmarkOverhead(b *testing.B) {
	for name, ctx := range contexts(b) {
		b.Run(name, func(b *testing.B) {
			session := newSession(b, openStudent(b))
			req, img := digits(1), session.NewImages(1)
			pix := make([]byte, len(img[0].Pix))
			req.Labels[0] = 10
			const calls = 100
			inC := func() time.Duration {
				return cloop.Draw(unsafe.Pointer(session.native.session), calls, 0, 10, int32(InvalidArgument), pix) / calls
			}
			inGo := func() time.Duration {
				start := time.Now()
				for range calls {
					if err := session.SampleInto(ctx, req, img...); err == nil {
						b.Fatal("no error")
					}
				}
				return time.Since(start) / calls
			}
			compare(b, inGo, inC)
		})
	}
}

// compare makes calls in Go and in C turn about, and reports what both took, and what Go took longer, at the median and at
// the first decile: other work on the machine lengthens calls of a millisecond at random, the fastest of them the least.
func compare(b *testing.B, inGo, inC func() time.Duration) {
	var gos, cs []time.Duration
	for turn := 0; b.Loop(); turn++ {
		var g, c time.Duration
		if turn%2 == 0 {
			inGo()
			g = inGo()
			inC()
			c = inC()
		} else {
			inC()
			c = inC()
			inGo()
			g = inGo()
		}
		if c <= 0 {
			b.Fatal("C failed")
		}
		gos, cs = append(gos, g), append(cs, c)
	}
	slices.Sort(gos)
	slices.Sort(cs)
	for name, at := range map[string]int{"median": len(gos) / 2, "decile": len(gos) / 10} {
		g, c := float64(gos[at].Nanoseconds()), float64(cs[at].Nanoseconds())
		b.ReportMetric(g, name+"-go-ns")
		b.ReportMetric(c, name+"-c-ns")
		b.ReportMetric(100*(g-c)/c, name+"-overhead-%")
	}
}

func contexts(b *testing.B) map[string]context.Context {
	cancellable, cancel := context.WithCancel(context.Background())
	b.Cleanup(cancel)
	return map[string]context.Context{"background": context.Background(), "cancellable": cancellable}
}

// A call that draws into the caller's image allocates nothing where its context cannot end.
func TestAllocations(t *testing.T) {
	session := newSession(t, openStudent(t))
	req, img := digits(1), session.NewImages(1)
	allocations := func(ctx context.Context) float64 {
		return testing.AllocsPerRun(20, func() {
			if err := session.SampleInto(ctx, req, img...); err != nil {
				t.Fatal(err)
			}
		})
	}
	if n := allocations(context.Background()); n != 0 {
		t.Errorf("%v allocations", n)
	}
	// Those of context.AfterFunc and what it is given.
	if n := allocations(t.Context()); n > 8 {
		t.Errorf("%v allocations with a context that can end", n)
	}
}
