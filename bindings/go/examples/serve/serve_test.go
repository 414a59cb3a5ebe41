package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/png"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	onestep "github.com/onestep/onestep/bindings/go"
	"github.com/onestep/onestep/bindings/go/pool"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newTestPool(t *testing.T, sessions, queue int) (onestep.Info, *pool.Pool) {
	t.Helper()
	model, err := onestep.OpenDefault()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { model.Close() })
	p, err := pool.New(model, sessions, queue)
	if err != nil {
		t.Fatal(err)
	}
	// Hangs where a session was lost.
	t.Cleanup(func() { p.Close() })
	return model.Info(), p
}

func borrow(t *testing.T, p *pool.Pool) *onestep.Session {
	t.Helper()
	session, err := p.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return session
}

func newTestServer(t *testing.T, sessions, queue int) (url string, p *pool.Pool) {
	t.Helper()
	info, p := newTestPool(t, sessions, queue)
	server := httptest.NewServer(newHandler(info, p))
	t.Cleanup(server.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return server.URL, p
}

func get(t *testing.T, url string) (*http.Response, []byte) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, body
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

func TestImage(t *testing.T) {
	url, _ := newTestServer(t, 2, 0)
	res, first := get(t, url+"/image?seed=7&label=3")
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "image/png" {
		t.Fatalf("%s: %s", res.Status, first)
	}
	img, err := png.Decode(bytes.NewReader(first))
	if err != nil || img.Bounds().Dx() != 16 || img.Bounds().Dy() != 16 {
		t.Errorf("%v", err)
	}
	if _, again := get(t, url+"/image?seed=7&label=3"); !bytes.Equal(first, again) {
		t.Error("the same seed gives another picture")
	}
	if _, other := get(t, url+"/image?seed=8&label=3"); bytes.Equal(first, other) {
		t.Error("another seed gives the same picture")
	}
	if _, other := get(t, url+"/image?seed=7&label=4"); bytes.Equal(first, other) {
		t.Error("another label gives the same picture")
	}
}

func TestBadInput(t *testing.T) {
	url, _ := newTestServer(t, 1, 0)
	for query, message := range map[string]string{
		"":                                  "seed",
		"?label=3":                          "seed",
		"?seed=-1&label=3":                  "seed",
		"?seed=18446744073709551616&label=": "seed",
		"?seed=seven&label=3":               "seven",
		"?seed=7":                           "label",
		"?seed=7&label=three":               "three",
		"?seed=7&label=10":                  "10",
		"?seed=7&label=-1":                  "-1",
	} {
		res, body := get(t, url+"/image"+query)
		if res.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), message) {
			t.Errorf("%q: %s: %s", query, res.Status, body)
		}
	}
	if res, err := http.Post(url+"/image", "", nil); err != nil || res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %v, %v", res, err)
	} else {
		res.Body.Close()
	}
}

func TestQueueFull(t *testing.T) {
	url, p := newTestServer(t, 1, 1)
	session := borrow(t, p)
	waited := make(chan int, 1)
	go func() {
		res, err := http.Get(url + "/image?seed=1&label=1")
		if err != nil {
			waited <- 0
			return
		}
		res.Body.Close()
		waited <- res.StatusCode
	}()
	eventually(t, "a request waits", func() bool { return p.Stats().Waiting == 1 })
	res, body := get(t, url+"/image?seed=1&label=1")
	if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Errorf("%s: %s", res.Status, body)
	}
	if _, body := get(t, url+"/metrics"); !strings.Contains(string(body), "onestep_queue_length 1\n") {
		t.Errorf("%s", body)
	}
	p.Put(session)
	if status := <-waited; status != http.StatusOK {
		t.Errorf("the one that waited: %d", status)
	}
}

func TestClientGone(t *testing.T) {
	url, p := newTestServer(t, 1, 8)
	// In the queue.
	session := borrow(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() { gone <- getWith(ctx, url+"/image?seed=1&label=1") }()
	eventually(t, "a request waits", func() bool { return p.Stats().Waiting == 1 })
	cancel()
	if err := <-gone; err == nil {
		t.Error("an answer after all")
	}
	eventually(t, "the request is gone", func() bool { return p.Stats().Waiting == 0 })
	p.Put(session)
	// And while drawing, or just before or after.
	for i := range 40 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*200*time.Microsecond)
		getWith(ctx, url+"/image?seed=1&label=1")
		cancel()
	}
	eventually(t, "the session is back", func() bool { return p.Stats().Idle == 1 })
	if res, body := get(t, url+"/image?seed=1&label=1"); res.StatusCode != http.StatusOK {
		t.Errorf("afterwards: %s: %s", res.Status, body)
	}
	if _, body := get(t, url+"/metrics"); !strings.Contains(string(body), `onestep_requests_total{status="499"}`) {
		t.Errorf("%s", body)
	}
}

// A client that closes its own side and listens is told that it counts as gone: there is no 200 without an image.
func TestClientHalfGone(t *testing.T) {
	url, p := newTestServer(t, 1, 8)
	session := borrow(t, p)
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /image?seed=1&label=1 HTTP/1.1\r\nHost: x\r\n\r\n")
	eventually(t, "a request waits", func() bool { return p.Stats().Waiting == 1 })
	conn.(*net.TCPConn).CloseWrite()
	if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || res.StatusCode != statusGone {
		t.Errorf("%v, %v", res, err)
	}
	p.Put(session)
}

// A request that takes too long gets 504, in the queue and while its image is drawn.
func TestDeadline(t *testing.T) {
	info, p := newTestPool(t, 1, 8)
	request := httptest.NewRequest("GET", "/image?seed=1&label=1", nil)
	ask := func(timeout time.Duration) int {
		w := httptest.NewRecorder()
		withDeadline(timeout, newHandler(info, p)).ServeHTTP(w, request)
		return w.Code
	}
	session := borrow(t, p)
	if status := ask(5 * time.Millisecond); status != http.StatusGatewayTimeout {
		t.Errorf("in the queue: %d", status)
	}
	p.Put(session)

	model, err := onestep.Open("../../../../models/digits-teacher.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer model.Close()
	teachers, err := pool.New(model, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer teachers.Close()
	info, p = model.Info(), teachers
	// Too little for the teacher's many network calls on any machine.
	if status := ask(time.Millisecond); status != http.StatusGatewayTimeout {
		t.Errorf("while drawing: %d", status)
	}
	if status := ask(time.Hour); status != http.StatusOK {
		t.Errorf("afterwards: %d", status)
	}
}

// The time to read an answer is bounded, whatever the answer is.
func TestTimeToRead(t *testing.T) {
	info, p := newTestPool(t, 1, 0)
	h := newHandler(info, p)
	for _, request := range []*http.Request{
		httptest.NewRequest("GET", "/image?seed=1&label=1", nil),
		httptest.NewRequest("GET", "/image", nil),
		httptest.NewRequest("GET", "/image", strings.NewReader("body")),
		httptest.NewRequest("GET", "/metrics", nil),
		httptest.NewRequest("GET", "/healthz", nil),
		httptest.NewRequest("GET", "/missing", nil),
	} {
		w := &deadlineRecorder{ResponseRecorder: httptest.NewRecorder()}
		h.ServeHTTP(w, request)
		if !w.write.After(time.Now()) {
			t.Errorf("%s: %d: the time to write ends at %v", request.URL, w.Code, w.write)
		}
	}
}

// deadlineRecorder records until when an answer may be written.
type deadlineRecorder struct {
	*httptest.ResponseRecorder
	write time.Time
}

func (r *deadlineRecorder) SetWriteDeadline(deadline time.Time) error { r.write = deadline; return nil }

// getWith wants an image.
func getWith(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	return nil
}

func TestMetricsAndHealth(t *testing.T) {
	url, _ := newTestServer(t, 1, 0)
	for i := range 3 {
		get(t, fmt.Sprintf("%s/image?seed=%d&label=1", url, i))
	}
	get(t, url+"/image")
	_, body := get(t, url+"/metrics")
	for _, line := range []string{
		`onestep_requests_total{status="200"} 3`,
		`onestep_requests_total{status="400"} 1`,
		`onestep_queue_length 0`,
		`onestep_draw_seconds_bucket{le="+Inf"} 3`,
		`onestep_draw_seconds_count 3`,
	} {
		if !strings.Contains(string(body), line+"\n") {
			t.Errorf("%s is missing:\n%s", line, body)
		}
	}
	if res, body := get(t, url+"/healthz"); res.StatusCode != http.StatusOK || string(body) != "ok\n" {
		t.Errorf("%s: %s", res.Status, body)
	}
}

func TestHistogram(t *testing.T) {
	m := newMetrics()
	for _, took := range []time.Duration{time.Millisecond, 2 * time.Millisecond, time.Minute} {
		m.observe(took)
	}
	var out strings.Builder
	m.write(&out, 0)
	for _, line := range []string{`{le="0.001"} 1`, `{le="0.0025"} 2`, `{le="10"} 2`, `{le="+Inf"} 3`} {
		if !strings.Contains(out.String(), "onestep_draw_seconds_bucket"+line+"\n") {
			t.Errorf("%s is missing:\n%s", line, out.String())
		}
	}
}

// A stop answers what waits, and takes nothing new.
func TestShutdownDrains(t *testing.T) {
	info, p := newTestPool(t, 1, 8)
	address, stop, ended := startServing(t, newHandler(info, p), 30*time.Second)
	url := "http://" + address + "/image?seed=1&label=1"

	session := borrow(t, p)
	const waiting = 5
	answers := make(chan error, waiting)
	for range waiting {
		go func() { answers <- getWith(context.Background(), url) }()
	}
	eventually(t, "five requests wait", func() bool { return p.Stats().Waiting == waiting })
	stop()
	eventually(t, "nothing new is taken", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	select {
	case err := <-ended:
		t.Fatalf("stopped before its requests were answered: %v", err)
	default:
	}
	p.Put(session)
	for range waiting {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A drain that takes too long ends what is left, and says so.
func TestShutdownEnds(t *testing.T) {
	info, p := newTestPool(t, 1, 8)
	address, stop, ended := startServing(t, newHandler(info, p), 10*time.Millisecond)
	session := borrow(t, p)
	answer := make(chan error, 1)
	go func() {
		answer <- getWith(context.Background(), "http://"+address+"/image?seed=1&label=1")
	}()
	eventually(t, "a request waits", func() bool { return p.Stats().Waiting == 1 })
	stop()
	if err := <-ended; err == nil {
		t.Error("no error")
	}
	if err := <-answer; err == nil {
		t.Error("an answer after all")
	}
	eventually(t, "the request is gone", func() bool { return p.Stats().Waiting == 0 })
	p.Put(session)
}

// Every client whose connection was made before the stop gets an answer: an image, or that there is no room.
func TestShutdownUnderABurst(t *testing.T) {
	info, p := newTestPool(t, 1, 16)
	address, stop, ended := startServing(t, newHandler(info, p), 30*time.Second)
	const clients = 300
	answers := make(chan error, clients)
	var made sync.WaitGroup
	made.Add(clients)
	for i := range clients {
		go func() {
			conn, err := net.Dial("tcp", address)
			made.Done()
			if err != nil {
				answers <- err
				return
			}
			defer conn.Close()
			fmt.Fprintf(conn, "GET /image?seed=%d&label=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", i)
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err == nil {
				_, err = io.ReadAll(res.Body)
				if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusServiceUnavailable {
					err = errors.New(res.Status)
				}
			}
			answers <- err
		}()
	}
	made.Wait()
	stop()
	for range clients {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Whoever announces a body and sends none gets an answer at once; whoever sends nothing at all does not keep a stop from ending.
func TestClientsThatSendNothing(t *testing.T) {
	info, p := newTestPool(t, 1, 8)
	address, stop, ended := startServing(t, newHandler(info, p), 30*time.Second)
	call := func(request string) net.Conn {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(8 * time.Second))
		fmt.Fprint(conn, request)
		return conn
	}
	for _, length := range []string{"Content-Length: 100", "Transfer-Encoding: chunked"} {
		conn := call("GET /image?seed=1&label=1 HTTP/1.1\r\nHost: x\r\n" + length + "\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || res.StatusCode != http.StatusRequestEntityTooLarge {
			t.Fatalf("%s: %v, %v", length, res, err)
		}
	}
	call("")
	call("GET /image?seed=1")
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the stop waits for clients that send nothing")
	}
	if p.Stats().Idle != 1 {
		t.Error("a session is held")
	}
}

// startServing serves at address until stop; ended gives what serve returned.
func startServing(t *testing.T, h http.Handler, drain time.Duration) (address string, stop func(), ended <-chan error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	returned := make(chan error, 1)
	go func() { returned <- serve(ctx, listener, h, drain) }()
	return listener.Addr().String(), stop, returned
}
