package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"image/png"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	onestep "github.com/onestep/onestep/bindings/go"
	"github.com/onestep/onestep/bindings/go/pool"
)

// kinds is how many different images the clients of a load ask for.
const kinds = 32

// The service gets 2,000 requests a second, whether it can draw as many or not. A third of the clients leave early; others send
// slowly, send bodies, or close their side. Every answer is right. Afterwards every goroutine has ended, every session is back
// and draws what it should, and memory has not grown. A stop in the middle of it answers the requests that came before. With
// -short the load is lower; ONESTEP_LOAD_SECONDS makes it longer.
func TestLoad(t *testing.T) {
	rate, seconds := 2000, 2
	if testing.Short() {
		rate, seconds = 300, 1
	}
	if text, ok := os.LookupEnv("ONESTEP_LOAD_SECONDS"); ok {
		var err error
		if seconds, err = strconv.Atoi(text); err != nil || seconds < 1 {
			t.Fatalf("ONESTEP_LOAD_SECONDS: %q is not a number of seconds", text)
		}
	}
	info, p := newTestPool(t, 2, 64)
	before := runtime.NumGoroutine() + 2 // serve's, and its server's
	address, stop, ended := startServing(t, newHandler(info, p), 30*time.Second)
	l := newLoad(t, address, p)

	l.offer(rate, rate)
	l.settle(before)
	warm := resident(t)
	l.offer(rate, rate*seconds)
	l.settle(before)
	grown := resident(t) - warm
	goroutines := runtime.NumGoroutine()

	var group sync.WaitGroup
	group.Add(1)
	go func() { defer group.Done(); l.offer(rate, rate) }()
	time.Sleep(500 * time.Millisecond)
	l.stopping.Store(true)
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the stop: %v", err)
	}
	group.Wait()
	l.settle(before - 2)

	l.checkSessions()
	for _, status := range []int{http.StatusOK, http.StatusRequestEntityTooLarge} {
		if l.answers[status] == 0 {
			t.Errorf("no answer of status %d", status)
		}
	}
	// A request that lost 1 KiB would have lost 4 MiB in two seconds, 60 in half a minute.
	if grown > 8<<20 && !testing.Short() {
		t.Errorf("resident memory has grown by %d KiB", grown>>10)
	}
	t.Logf("answers by status %v, %d left early; %d goroutines, before %d; resident memory %d KiB, then %+d KiB",
		l.answers, l.left.Load(), goroutines, before, warm>>10, grown>>10)
}

// load is what clients of one service ask for, and what they were answered.
type load struct {
	t       *testing.T
	address string
	client  *http.Client
	pool    *pool.Pool
	// The PNG of each kind, drawn before the load.
	want [kinds][]byte

	// The service was told to stop: it may refuse clients that come from now on.
	stopping atomic.Bool
	left     atomic.Int64
	mu       sync.Mutex
	answers  map[int]int
}

func newLoad(t *testing.T, address string, p *pool.Pool) *load {
	l := &load{
		t: t, address: address, pool: p, answers: map[int]int{},
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
	for kind := range l.want {
		res, body := get(t, "http://"+address+path(kind))
		if res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", res.Status, body)
		}
		l.want[kind] = body
	}
	http.DefaultClient.CloseIdleConnections()
	return l
}

func path(kind int) string { return fmt.Sprintf("/image?seed=%d&label=%d", kind, kind%8) }

// offer starts n clients, rate a second, however many of those before them are still there, and waits for the last to end.
func (l *load) offer(rate, n int) {
	var group sync.WaitGroup
	start := time.Now()
	for i := range n {
		time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(rate))))
		group.Add(1)
		go func() {
			defer group.Done()
			random := rand.New(rand.NewPCG(uint64(i), uint64(n)))
			if err := l.visit(random); err != nil {
				l.t.Errorf("client %d: %v", i, err)
			}
		}()
	}
	offered := time.Since(start)
	group.Wait()
	l.t.Logf("%d requests offered in %v", n, offered.Round(time.Millisecond))
	l.client.CloseIdleConnections()
}

// visit is one client, of a sort that is drawn by lot.
func (l *load) visit(random *rand.Rand) error {
	kind := random.IntN(kinds)
	switch lot := random.IntN(12); {
	case lot < 2:
		// Gone at a random moment, from before the connection is made to after the answer.
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond>>random.IntN(12))
		defer cancel()
		return l.ask(ctx, kind)
	case lot < 4:
		return l.hangUp(random, kind)
	case lot == 4:
		return l.sendBody(random, kind)
	case lot == 5:
		return l.closeHalf(random, kind)
	case lot == 6:
		return l.sendSlowly(random, kind)
	}
	return l.ask(context.Background(), kind)
}

// ask asks over a connection that others use before and after.
func (l *load) ask(ctx context.Context, kind int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.address+path(kind), nil)
	if err != nil {
		return err
	}
	res, err := l.client.Do(req)
	if err == nil {
		err = l.check(res, kind, http.StatusOK, http.StatusServiceUnavailable)
	}
	if ctx.Err() != nil {
		l.left.Add(1)
	}
	return unless(ctx.Err() != nil || l.stopping.Load(), err)
}

// hangUp sends a request, or the beginning of one, and closes the connection a little later, by a reset or in order.
func (l *load) hangUp(random *rand.Rand, kind int) error {
	conn, _, err := l.dial()
	if conn == nil {
		return err
	}
	request := request(kind, "")
	io.WriteString(conn, request[:min(len(request), random.IntN(2*len(request)))])
	time.Sleep(20 * time.Millisecond >> random.IntN(12))
	if random.IntN(2) == 0 {
		conn.SetLinger(0)
	}
	l.left.Add(1)
	return conn.Close()
}

// sendBody announces a body, which nothing reads, and sends a byte of it now and then until it is told so.
func (l *load) sendBody(random *rand.Rand, kind int) error {
	conn, mayFail, err := l.dial()
	if conn == nil {
		return err
	}
	defer conn.Close()
	io.WriteString(conn, request(kind, "Content-Length: 100\r\n"))
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for range 100 {
			time.Sleep(time.Duration(random.IntN(10)) * time.Millisecond)
			if _, err := conn.Write([]byte("x")); err != nil {
				return
			}
		}
	}()
	err = l.answer(conn, kind, http.StatusRequestEntityTooLarge)
	conn.Close()
	<-sent
	return unless(mayFail, err)
}

// closeHalf says that it will send no more, and listens. It may count as a client that went away.
func (l *load) closeHalf(random *rand.Rand, kind int) error {
	conn, mayFail, err := l.dial()
	if conn == nil {
		return err
	}
	defer conn.Close()
	io.WriteString(conn, request(kind, ""))
	time.Sleep(5 * time.Millisecond >> random.IntN(12))
	conn.CloseWrite()
	return unless(mayFail, l.answer(conn, kind, http.StatusOK, http.StatusServiceUnavailable, statusGone))
}

// sendSlowly sends its request in pieces.
func (l *load) sendSlowly(random *rand.Rand, kind int) error {
	conn, mayFail, err := l.dial()
	if conn == nil {
		return err
	}
	defer conn.Close()
	for rest := request(kind, ""); rest != ""; {
		n := min(len(rest), 1+random.IntN(20))
		io.WriteString(conn, rest[:n])
		rest = rest[n:]
		time.Sleep(time.Duration(random.IntN(50)) * time.Millisecond)
	}
	return unless(mayFail, l.answer(conn, kind, http.StatusOK, http.StatusServiceUnavailable))
}

func request(kind int, header string) string {
	return "GET " + path(kind) + " HTTP/1.1\r\nHost: x\r\n" + header + "Connection: close\r\n\r\n"
}

// dial makes a connection for one request; nil where a service that was told to stop takes none. Once it was told so, a
// connection mayFail.
func (l *load) dial() (conn *net.TCPConn, mayFail bool, err error) {
	made, err := net.Dial("tcp", l.address)
	mayFail = l.stopping.Load()
	if err != nil {
		return nil, mayFail, unless(mayFail, err)
	}
	return made.(*net.TCPConn), mayFail, nil
}

// unless is err, or nil for a client that may be left without an answer; a wrong answer is never right.
func unless(mayFail bool, err error) error {
	if _, wrong := err.(wrongAnswer); mayFail && !wrong {
		return nil
	}
	return err
}

// wrongAnswer is an answer that came whole, and is not what the service promises.
type wrongAnswer struct{ error }

func (l *load) answer(conn net.Conn, kind int, statuses ...int) error {
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	return l.check(res, kind, statuses...)
}

// check reads an answer, whose status must be one of these, and whose image that of its kind.
func (l *load) check(res *http.Response, kind int, statuses ...int) error {
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.answers[res.StatusCode]++
	l.mu.Unlock()
	for _, status := range statuses {
		switch {
		case res.StatusCode != status:
			continue
		case status == http.StatusOK && !bytes.Equal(body, l.want[kind]):
			return wrongAnswer{fmt.Errorf("seed %d: another image", kind)}
		case status == http.StatusServiceUnavailable && res.Header.Get("Retry-After") == "":
			return wrongAnswer{errors.New("503 without Retry-After")}
		}
		return nil
	}
	return wrongAnswer{fmt.Errorf("%s, %q; want one of %v", res.Status, body, statuses)}
}

// settle waits until nobody is served any more, and every goroutine of theirs is over.
func (l *load) settle(goroutines int) {
	l.t.Helper()
	eventually(l.t, "every session is back", func() bool {
		stats := l.pool.Stats()
		return stats.Idle == stats.Sessions && stats.Waiting == 0
	})
	eventually(l.t, fmt.Sprintf("no more than %d goroutines", goroutines), func() bool {
		return runtime.NumGoroutine() <= goroutines
	})
}

// checkSessions draws every kind on every session. With the portable instruction set the first eight have the golden hash.
func (l *load) checkSessions() {
	var sessions []*onestep.Session
	for range l.pool.Stats().Sessions {
		sessions = append(sessions, borrow(l.t, l.pool))
	}
	for i, session := range sessions {
		hash := fnv.New64a()
		for kind, want := range l.want {
			req := onestep.Request{Seeds: []uint64{uint64(kind)}, Labels: []int32{int32(kind % 8)}}
			images, err := session.Sample(l.t.Context(), req)
			if err != nil {
				l.t.Fatalf("session %d, seed %d: %v", i, kind, err)
			}
			var picture bytes.Buffer
			if err := png.Encode(&picture, images[0]); err != nil || !bytes.Equal(picture.Bytes(), want) {
				l.t.Errorf("session %d, seed %d: another image, or %v", i, kind, err)
			}
			if kind < 8 {
				hash.Write(images[0].Pix)
			}
		}
		if found := fmt.Sprintf("premultiplied %016x\n", hash.Sum64()); os.Getenv("ONESTEP_ISA") == "portable" &&
			!strings.Contains(l.golden(), found) {
			l.t.Errorf("session %d: %sis not in:\n%s", i, found, l.golden())
		}
		l.pool.Put(session)
	}
}

// golden is the hashes that every binding must give.
func (l *load) golden() string {
	text, err := os.ReadFile("../../../../tests/golden/hosts.txt")
	if err != nil {
		l.t.Fatal(err)
	}
	return string(text)
}

// resident is this process's memory, without what the collector could give back; 0 where it says nothing: without /proc, and
// under the race detector, whose own memory grows.
func resident(t *testing.T) int {
	if build, ok := debug.ReadBuildInfo(); ok && slices.Contains(build.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		return 0
	}
	debug.FreeOSMemory()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, pages int
	if _, err := fmt.Sscan(string(statm), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
