// Serve draws images over HTTP:
//
//	GET /image?seed=7&label=3    a PNG; the same seed and label always give the same one
//	GET /metrics                 counters in Prometheus' text format
//	GET /healthz                 200 while the process serves
//
// A request that finds the queue full is answered by 503 at once, one that is not drawn within -timeout by 504.
//
// SIGTERM and SIGINT stop it: every connection that was made by then is answered, with its image, 503 or 504, within -drain.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	onestep "github.com/onestep/onestep/bindings/go"
	"github.com/onestep/onestep/bindings/go/pool"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on")
	path := flag.String("model", "", "model file or diffusers folder (default: the model inside the library)")
	sessions := flag.Int("sessions", 2, "images drawn at a time, each on one thread")
	queue := flag.Int("queue", 64, "requests that may wait for a session; others get 503")
	timeout := flag.Duration("timeout", 30*time.Second, "how long a request may wait and be drawn; then it gets 504")
	drain := flag.Duration("drain", 30*time.Second, "how long a stop waits for requests")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, *addr, *path, *sessions, *queue, *timeout, *drain); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, addr, path string, sessions, queue int, timeout, drain time.Duration) error {
	if timeout <= 0 {
		return fmt.Errorf("-timeout: %v given, more than 0 needed", timeout)
	}
	onestep.SetLogger(slog.Default())
	model, err := open(path)
	if err != nil {
		return err
	}
	defer model.Close()
	p, err := pool.New(model, sessions, queue)
	if err != nil {
		return err
	}
	defer p.Close()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	log.Printf("listening on http://%s", listener.Addr())
	return serve(ctx, listener, withDeadline(timeout, newHandler(model.Info(), p)), drain)
}

func open(path string) (*onestep.Model, error) {
	if path == "" {
		return onestep.OpenDefault()
	}
	return onestep.Open(path)
}

// serve serves until ctx ends, then finishes the requests that it has.
func serve(ctx context.Context, listener net.Listener, handler http.Handler, drain time.Duration) error {
	// Nobody holds a connection by sending slowly, or by sending nothing.
	server := &http.Server{Handler: handler, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	last := &lastCalls{Listener: listener}
	served := make(chan error, 1)
	go func() { served <- server.Serve(last) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	last.end(min(drain, 2*time.Second))
	<-served
	err := server.Shutdown(stopping)
	if err != nil {
		// Ends the requests' contexts, and so what is being drawn.
		err = errors.Join(err, server.Close())
	}
	return err
}
