package onestep

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"
)

// OpenFS opens a file in onestep's own format from fsys, such as an [embed.FS] or an [archive/zip.Reader]. The file is held in
// memory during the call alone. Diffusers folders are for [Open].
func OpenFS(fsys fs.FS, name string, opts ...Option) (*Model, error) {
	if fsys == nil {
		return nil, invalid("fsys: nil given, a file system needed")
	}
	data, err := fs.ReadFile(fsys, name)
	if err != nil {
		if info, statErr := fs.Stat(fsys, name); statErr == nil && info.IsDir() {
			return nil, invalid("name: %q is a folder, a file is needed; Open takes diffusers folders", name)
		}
		return nil, readError(err, err.Error())
	}
	model, err := OpenBytes(data, opts...)
	// What the library calls memory has a name here.
	if e, ok := err.(*Error); ok {
		if message, found := strings.CutPrefix(e.Message, "memory: "); found {
			e.Message = name + ": " + message
		}
	}
	return model, err
}

// OpenReader opens a file in onestep's own format that r gives, from where r is to its end. The file is held in memory during the
// call alone.
func OpenReader(r io.Reader, opts ...Option) (*Model, error) {
	if r == nil {
		return nil, invalid("r: nil given, a reader needed")
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, readError(err, fmt.Sprintf("r: after %d bytes: %v", len(data), err))
	}
	return OpenBytes(data, opts...)
}

// readError is an IO error of Go's own reading.
func readError(cause error, message string) *Error {
	e := &Error{Code: IO, Message: message, cause: cause}
	var errno syscall.Errno
	if errors.As(cause, &errno) {
		e.Native = int(errno)
	}
	return e
}
