package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"log"
	"net/http"
	"strconv"
	"time"

	onestep "github.com/onestep/onestep/bindings/go"
	"github.com/onestep/onestep/bindings/go/pool"
)

// statusGone is the status of a request whose client went away. One that closed its own side alone still reads it.
const statusGone = 499

// writeTimeout is how long a client may take to read its answer.
const writeTimeout = 10 * time.Second

type handler struct {
	info    onestep.Info
	pool    *pool.Pool
	metrics *metrics
}

func newHandler(info onestep.Info, p *pool.Pool) http.Handler {
	h := &handler{info: info, pool: p, metrics: newMetrics()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /image", h.image)
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		h.metrics.write(w, p.Stats().Waiting)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		boundWriting(w)
		withoutBody(mux).ServeHTTP(w, r)
	})
}

// withDeadline bounds how long a request waits and is drawn.
func withDeadline(timeout time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// boundWriting gives the client writeTimeout from now on: one that does not read keeps no goroutine for ever.
func boundWriting(w http.ResponseWriter) {
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
}

// withoutBody refuses requests that announce a body, which nothing here reads: net/http would wait for it before it answers.
func withoutBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			http.NewResponseController(w).SetReadDeadline(time.Now())
			w.Header().Set("Connection", "close")
			http.Error(w, "no body is expected", http.StatusRequestEntityTooLarge)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (h *handler) image(w http.ResponseWriter, r *http.Request) {
	picture, err := h.draw(r)
	status := statusOf(err)
	h.metrics.count(status)
	// Waiting and drawing were not the client's time.
	boundWriting(w)
	switch status {
	case http.StatusOK:
		w.Header().Set("Content-Type", "image/png")
		w.Header().Set("Content-Length", strconv.Itoa(len(picture)))
		w.Write(picture)
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
		http.Error(w, err.Error(), status)
	case http.StatusInternalServerError:
		log.Printf("%s: %v", r.URL, err)
		http.Error(w, "the image could not be drawn", status)
	case statusGone:
		http.Error(w, "the client went away", status)
	default:
		http.Error(w, err.Error(), status)
	}
}

// draw gives the PNG that r asks for.
func (h *handler) draw(r *http.Request) ([]byte, error) {
	req, err := h.parse(r)
	if err != nil {
		return nil, err
	}
	var images []*image.RGBA
	err = h.pool.Do(r.Context(), func(session *onestep.Session) error {
		start := time.Now()
		images, err = session.Sample(r.Context(), req)
		if err == nil {
			h.metrics.observe(time.Since(start))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var picture bytes.Buffer
	err = png.Encode(&picture, images[0])
	return picture.Bytes(), err
}

// badInput is a query that makes no sense.
type badInput struct{ error }

func (h *handler) parse(r *http.Request) (onestep.Request, error) {
	query := r.URL.Query()
	seed, err := strconv.ParseUint(query.Get("seed"), 10, 64)
	if err != nil {
		return onestep.Request{}, badInput{fmt.Errorf("seed: %q is not a number from 0 to 2^64 - 1", query.Get("seed"))}
	}
	req := onestep.Request{Seeds: []uint64{seed}}
	if h.info.NumClasses == 0 && !query.Has("label") {
		return req, nil
	}
	// A label that is a number, but none of the model's, is the library's to refuse.
	label, err := strconv.ParseInt(query.Get("label"), 10, 32)
	if err != nil {
		return onestep.Request{}, badInput{fmt.Errorf("label: %q is not a number from 0 to %d", query.Get("label"), h.info.NumClasses-1)}
	}
	req.Labels = []int32{int32(label)}
	return req, nil
}

func statusOf(err error) int {
	var input badInput
	switch {
	case err == nil:
		return http.StatusOK
	case errors.As(err, &input), errors.Is(err, onestep.InvalidArgument):
		return http.StatusBadRequest
	case errors.Is(err, pool.ErrFull):
		return http.StatusServiceUnavailable
	case errors.Is(err, context.Canceled):
		return statusGone
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	}
	return http.StatusInternalServerError
}
