package pool_test

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	onestep "github.com/onestep/onestep/bindings/go"
	"github.com/onestep/onestep/bindings/go/pool"
)

// A handler that draws: two sessions, 64 requests that may wait, and half a minute for each.
func Example() {
	model, err := onestep.OpenDefault()
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	sessions, err := pool.New(model, 2, 64)
	if err != nil {
		log.Fatal(err)
	}
	defer sessions.Close()
	http.HandleFunc("GET /portrait", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 30*time.Second)
		defer cancel()
		var images []*image.RGBA
		err := sessions.Do(ctx, func(session *onestep.Session) (err error) {
			images, err = session.Sample(ctx, onestep.Request{Seeds: []uint64{1}, Labels: []int32{5}})
			return err
		})
		switch {
		case errors.Is(err, pool.ErrFull):
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		case errors.Is(err, context.DeadlineExceeded):
			http.Error(w, err.Error(), http.StatusGatewayTimeout)
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		default:
			w.Header().Set("Content-Type", "image/png")
			png.Encode(w, images[0])
		}
	})

	w := httptest.NewRecorder()
	http.DefaultServeMux.ServeHTTP(w, httptest.NewRequest("GET", "/portrait", nil))
	fmt.Println(w.Code, w.Header().Get("Content-Type"), sessions.Stats().Idle)
	// Output: 200 image/png 2
}

// Get and Put lend a session for longer than one function.
func ExamplePool_Get() {
	model, err := onestep.OpenDefault()
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	sessions, err := pool.New(model, 1, 0)
	if err != nil {
		log.Fatal(err)
	}
	defer sessions.Close()
	session, err := sessions.Get(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	_, full := sessions.Get(context.Background())
	sessions.Put(session)
	fmt.Println(full)
	// Output: onestep: every session is lent, and the queue is full
}
