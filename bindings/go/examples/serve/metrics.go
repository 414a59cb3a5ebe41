package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"
)

// bounds of the buckets of draw times, in seconds.
var bounds = [...]float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}

type metrics struct {
	mu       sync.Mutex
	requests map[int]uint64
	// Draws of each bucket alone, the last of them beyond every bound.
	draws   [len(bounds) + 1]uint64
	seconds float64
}

func newMetrics() *metrics { return &metrics{requests: map[int]uint64{}} }

// count counts a request for an image by its status.
func (m *metrics) count(status int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests[status]++
}

// observe notes how long an image took to draw.
func (m *metrics) observe(took time.Duration) {
	seconds := took.Seconds()
	bucket, _ := slices.BinarySearch(bounds[:], seconds)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.draws[bucket]++
	m.seconds += seconds
}

// write writes Prometheus' text format.
func (m *metrics) write(w io.Writer, waiting int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fmt.Fprintln(w, "# HELP onestep_requests_total Requests for an image by status; 499: the client went away.")
	fmt.Fprintln(w, "# TYPE onestep_requests_total counter")
	for _, status := range slices.Sorted(maps.Keys(m.requests)) {
		fmt.Fprintf(w, "onestep_requests_total{status=\"%d\"} %d\n", status, m.requests[status])
	}
	fmt.Fprintln(w, "# HELP onestep_queue_length Requests that wait for a session.")
	fmt.Fprintln(w, "# TYPE onestep_queue_length gauge")
	fmt.Fprintf(w, "onestep_queue_length %d\n", waiting)
	fmt.Fprintln(w, "# HELP onestep_draw_seconds Time to draw an image, without waiting and encoding.")
	fmt.Fprintln(w, "# TYPE onestep_draw_seconds histogram")
	var total uint64
	for i, bound := range bounds {
		total += m.draws[i]
		fmt.Fprintf(w, "onestep_draw_seconds_bucket{le=\"%g\"} %d\n", bound, total)
	}
	total += m.draws[len(bounds)]
	fmt.Fprintf(w, "onestep_draw_seconds_bucket{le=\"+Inf\"} %d\n", total)
	fmt.Fprintf(w, "onestep_draw_seconds_sum %g\nonestep_draw_seconds_count %d\n", m.seconds, total)
}
