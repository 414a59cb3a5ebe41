package onestep

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What these open is closed when the test ends; sessions have one thread.

func openDefault(t testing.TB, opts ...Option) *Model {
	t.Helper()
	return opened(t)(OpenDefault(opts...))
}

func openStudent(t testing.TB, opts ...Option) *Model {
	t.Helper()
	return opened(t)(Open("../../models/digits-student.safetensors", opts...))
}

func openTeacher(t testing.TB) *Model {
	t.Helper()
	return opened(t)(Open("../../models/digits-teacher.safetensors"))
}

func opened(t testing.TB) func(*Model, error) *Model {
	return func(model *Model, err error) *Model {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { model.Close() })
		return model
	}
}

func newSession(t testing.TB, model *Model, opts ...Option) *Session {
	t.Helper()
	session, err := model.NewSession(append([]Option{WithThreads(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	return session
}

// digits asks for seeds and labels 0 to n-1, modulo 10.
func digits(n int) Request { return labelled(n, 10) }

// portraits asks the default model for seeds and kinds 0 to n-1, modulo 8.
func portraits(n int) Request { return labelled(n, 8) }

func labelled(n, classes int) Request {
	var req Request
	for i := range n {
		req.Seeds = append(req.Seeds, uint64(i))
		req.Labels = append(req.Labels, int32(i%classes))
	}
	return req
}

func wantCode(t *testing.T, err error, code Code) {
	t.Helper()
	var told *Error
	if !errors.Is(err, code) || !errors.As(err, &told) || told.Message == "" {
		t.Errorf("%v, want %v with a message", err, code)
	}
}

// golden is a hash that every binding must give.
func golden(t *testing.T, key string) uint64 {
	t.Helper()
	file, err := os.Open("../../tests/golden/hosts.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var name string
		var hash uint64
		if _, err := fmt.Sscanf(lines.Text(), "%s %x", &name, &hash); err == nil && name == key {
			return hash
		}
	}
	t.Fatalf("no hash of %s", key)
	return 0
}

func TestGoldenNoise(t *testing.T) {
	noise, err := openDefault(t).Noise(portraits(8).Seeds...)
	if err != nil {
		t.Fatal(err)
	}
	hash := fnv.New64a()
	binary.Write(hash, binary.LittleEndian, noise)
	if want := golden(t, "noise"); hash.Sum64() != want {
		t.Errorf("%x, want %x", hash.Sum64(), want)
	}
}

// Pixels are the same bits on every machine with the portable instruction set alone, which the library reads once: in a
// process of its own.
func TestGoldenPixels(t *testing.T) {
	if os.Getenv("ONESTEP_ISA") != "portable" {
		test := exec.Command(os.Args[0], "-test.run=^TestGoldenPixels$")
		test.Env = append(os.Environ(), "ONESTEP_ISA=portable")
		if out, err := test.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	session := newSession(t, openDefault(t))
	images, err := session.Sample(context.Background(), portraits(8))
	if err != nil {
		t.Fatal(err)
	}
	hash := fnv.New64a()
	for _, img := range images {
		hash.Write(img.Pix)
	}
	if want := golden(t, "premultiplied"); hash.Sum64() != want {
		t.Errorf("%x, want %x", hash.Sum64(), want)
	}
}

func TestABI(t *testing.T) {
	if err := checkABI(1); err != nil {
		t.Error(err)
	}
	wantCode(t, checkABI(2), ABIMismatch)
}

func TestCodes(t *testing.T) {
	if Busy.String() != "ONESTEP_BUSY" || Code(99).String() != "ONESTEP_UNKNOWN" {
		t.Errorf("%v, %v", Busy, Code(99))
	}
	wrapped := fmt.Errorf("drawing: %w", &Error{Code: Busy, Message: "busy"})
	if !errors.Is(wrapped, Busy) || errors.Is(wrapped, IO) {
		t.Errorf("%v does not match its code alone", wrapped)
	}
}
