package onestep

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"
)

const studentName = "digits-student.safetensors"

func TestOpenFS(t *testing.T) {
	models := os.DirFS("../../models")
	want, err := newSession(t, openStudent(t)).SampleFloats(t.Context(), digits(2))
	if err != nil {
		t.Fatal(err)
	}
	same := func(how string, model *Model) {
		t.Helper()
		got, err := newSession(t, model).SampleFloats(t.Context(), digits(2))
		if err != nil || len(got) != len(want) || got[0] != want[0] || got[300] != want[300] {
			t.Errorf("%s: another image than that of Open, or %v", how, err)
		}
	}
	same("OpenFS", opened(t)(OpenFS(models, studentName)))
	data, err := fs.ReadFile(models, studentName)
	if err != nil {
		t.Fatal(err)
	}
	same("OpenFS of memory", opened(t)(OpenFS(fstest.MapFS{"a/b": {Data: data}}, "a/b")))
	same("OpenReader", opened(t)(OpenReader(iotest.HalfReader(bytes.NewReader(data)))))
}

func TestOpenFSRefuses(t *testing.T) {
	for name, fsys := range map[string]fs.FS{"the system's": os.DirFS("."), "memory's": fstest.MapFS{}} {
		_, err := OpenFS(fsys, "no/such")
		wantCode(t, err, IO)
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no/such") {
			t.Errorf("%s: %v", name, err)
		}
	}
	files := fstest.MapFS{"models/empty": {}}
	_, err := OpenFS(files, "models/empty")
	wantCode(t, err, BadModel)
	if !strings.HasPrefix(err.Error(), "onestep: models/empty: ") {
		t.Error(err)
	}
	_, err = OpenFS(files, "models/empty", WithDevice("toaster"))
	wantCode(t, err, InvalidArgument)
	for _, fsys := range []fs.FS{files, os.DirFS(".."), nil} {
		_, err = OpenFS(fsys, ".")
		wantCode(t, err, InvalidArgument)
	}
}

func TestOpenReaderRefuses(t *testing.T) {
	_, err := OpenReader(strings.NewReader(""))
	wantCode(t, err, BadModel)
	_, err = OpenReader(nil)
	wantCode(t, err, InvalidArgument)
	broken := errors.New("the line is dead")
	_, err = OpenReader(io.MultiReader(strings.NewReader("1234567"), iotest.ErrReader(broken)))
	wantCode(t, err, IO)
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "after 7 bytes") {
		t.Error(err)
	}
}
