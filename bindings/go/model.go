package onestep

/*
#include "progress.h"
#include <stdlib.h>
*/
import "C"

import (
	"runtime"
	"unsafe"
)

// Model is an opened model: immutable, and safe to use from any number of goroutines.
type Model struct {
	c      *C.onestep_model
	handle *handle
	info   Info
}

// Info is what a model is.
type Info struct {
	Role          Role // in how many network calls it draws
	Width, Height int  // pixels
	Channels      int  // 1: grey, 3: RGB, 4: RGB and alpha
	// NumClasses is the number of labels, which are 0 to NumClasses - 1; 0: unconditional, takes no labels.
	NumClasses     int
	TrainTimesteps int       // timesteps are 0 to TrainTimesteps - 1
	DefaultSteps   int       // where a request names none; 1 for a student
	Parameters     uint64    // of the network
	WeightBytes    uint64    // in the file
	Arch           string    // "unet2d"
	Device         string    // the one chosen, as "cpu"
	Precision      Precision // the one chosen
}

// floats of an image.
func (i *Info) floats() int { return i.Channels * i.Height * i.Width }

// Memory is what a model takes, in bytes.
type Memory struct {
	Weights  uint64 // prepared, shared by all sessions
	Scratch  uint64 // of a session
	HostPeak uint64 // both, and what opening needs beside them for a moment
}

// Open opens a file in onestep's own format, or a diffusers folder.
func Open(path string, opts ...Option) (*Model, error) {
	c, err := cString("path", path)
	if err != nil {
		return nil, err
	}
	defer C.free(unsafe.Pointer(c))
	return open(opts, func(o *C.onestep_options, out **C.onestep_model, e *C.onestep_error) C.int32_t {
		return C.onestep_model_open_file(c, o, out, e)
	})
}

// OpenBytes opens the bytes of a file in onestep's own format, which are needed during the call alone.
func OpenBytes(data []byte, opts ...Option) (*Model, error) {
	size := len(data)
	if size == 0 {
		data = make([]byte, 1)
	}
	return open(opts, func(o *C.onestep_options, out **C.onestep_model, e *C.onestep_error) C.int32_t {
		return C.onestep_model_open_memory(unsafe.Pointer(&data[0]), C.size_t(size), o, out, e)
	})
}

// OpenDefault opens the student inside the library: portraits of pixels, 16 x 16 with transparency, of eight
// kinds.
func OpenDefault(opts ...Option) (*Model, error) {
	return open(opts, func(o *C.onestep_options, out **C.onestep_model, e *C.onestep_error) C.int32_t {
		return C.onestep_model_open_default(o, out, e)
	})
}

// Info says what the model is; after Close too.
func (m *Model) Info() Info { return m.info }

// EstimateMemory says what calls of batch images take.
func (m *Model) EstimateMemory(batch int) (Memory, error) {
	var memory C.onestep_memory
	memory.struct_size = C.uint32_t(unsafe.Sizeof(memory))
	n, err := toUint32("batch", batch)
	if err != nil {
		return Memory{}, err
	}
	err = m.call(func(e *C.onestep_error) C.int32_t { return C.onestep_model_estimate_memory(m.c, n, &memory, e) })
	return Memory{uint64(memory.weights), uint64(memory.scratch), uint64(memory.host_peak)}, err
}

// InfoJSON is all that is known of the model, as one JSON object: what `onestep info --json` prints, but for its name and memory.
// It has, beside what [Info] has, the kind of generator, the prediction, the schedule, where the weights come from, and notes of
// what was assumed or left out. Keys are added, and none is taken away.
func (m *Model) InfoJSON() ([]byte, error) {
	var needed C.size_t
	err := m.call(func(e *C.onestep_error) C.int32_t { return C.onestep_model_info_json(m.c, nil, 0, &needed, e) })
	if err != nil {
		return nil, err
	}
	text := make([]byte, needed)
	err = m.call(func(e *C.onestep_error) C.int32_t {
		return C.onestep_model_info_json(m.c, (*C.char)(unsafe.Pointer(&text[0])), needed, &needed, e)
	})
	if err != nil {
		return nil, err
	}
	// C's strings end with a NUL.
	return text[:needed-1], nil
}

// Noise is x_T of each seed, one (c, h, w) behind the other: what sampling starts from, the same bits on every machine.
func (m *Model) Noise(seeds ...uint64) ([]float32, error) {
	x := make([]float32, len(seeds)*m.info.floats())
	err := m.call(func(e *C.onestep_error) C.int32_t {
		return C.onestep_noise_fill(m.c, (*C.uint64_t)(unsafe.SliceData(seeds)), C.size_t(len(seeds)),
			(*C.float)(unsafe.SliceData(x)), C.size_t(len(x)), e)
	})
	if err != nil {
		return nil, err
	}
	return x, nil
}

// Close frees the model, once the calls that are inside it are over; sessions stay usable. Closing again does nothing.
func (m *Model) Close() error {
	m.handle.close()
	return nil
}

// call lets do use m.c.
func (m *Model) call(do func(*C.onestep_error) C.int32_t) error {
	// Else the cleanup might come before acquire, where this is the model's last use.
	defer runtime.KeepAlive(m)
	if err := m.handle.acquire(); err != nil {
		return err
	}
	defer m.handle.release()
	return attempt(do)
}

func open(opts []Option, do func(*C.onestep_options, **C.onestep_model, *C.onestep_error) C.int32_t) (*Model, error) {
	if err := checkABI(uint32(C.onestep_abi_version())); err != nil {
		return nil, err
	}
	s, err := newSettings(opts)
	if err != nil {
		return nil, err
	}
	defer s.free()
	if l := newListener(s.progress); l != nil {
		defer l.done()
		err := attempt(func(e *C.onestep_error) C.int32_t {
			return C.onestep_go_options_progress(s.c, C.uintptr_t(l.handle), e)
		})
		if err != nil {
			return nil, err
		}
	}
	var c *C.onestep_model
	if err := attempt(func(e *C.onestep_error) C.int32_t { return do(s.c, &c, e) }); err != nil {
		return nil, err
	}
	m := &Model{c: c, handle: &handle{free: func() { C.onestep_model_free(c) }}}
	runtime.AddCleanup(m, (*handle).close, m.handle)
	m.info, err = readInfo(c)
	if err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

func readInfo(c *C.onestep_model) (Info, error) {
	var info C.onestep_model_info
	info.struct_size = C.uint32_t(unsafe.Sizeof(info))
	if err := attempt(func(e *C.onestep_error) C.int32_t { return C.onestep_model_get_info(c, &info, e) }); err != nil {
		return Info{}, err
	}
	return Info{
		Role:           Role(info.role),
		Width:          int(info.width),
		Height:         int(info.height),
		Channels:       int(info.channels),
		NumClasses:     int(info.num_classes),
		TrainTimesteps: int(info.train_timesteps),
		DefaultSteps:   int(info.default_steps),
		Parameters:     uint64(info.parameters),
		WeightBytes:    uint64(info.weight_bytes),
		Arch:           C.GoString(&info.arch[0]),
		Device:         C.GoString(&info.device[0]),
		Precision:      Precision(info.precision),
	}, nil
}
