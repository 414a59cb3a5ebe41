package onestep

import (
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestInfo(t *testing.T) {
	info := openStudent(t, WithDevice("cpu"), WithPrecision(F32), WithRole(Student)).Info()
	if info.Role != Student || info.Width != 16 || info.Height != 16 || info.Channels != 1 || info.NumClasses != 10 ||
		info.DefaultSteps != 1 || info.Arch != "unet2d" || info.Device != "cpu" || info.Precision != F32 {
		t.Errorf("%+v", info)
	}
	if portraits := openDefault(t).Info(); portraits.Channels != 4 || portraits.NumClasses != 8 || portraits.DefaultSteps != 1 {
		t.Errorf("%+v", portraits)
	}
	if teacher := openTeacher(t).Info(); teacher.Role != Teacher || teacher.DefaultSteps < 2 {
		t.Errorf("%+v", teacher)
	}
}

func TestInfoJSON(t *testing.T) {
	for model, kind := range map[*Model]string{openStudent(t): "student", openTeacher(t): "teacher"} {
		text, err := model.InfoJSON()
		if err != nil {
			t.Fatal(err)
		}
		var info struct {
			Generator, Prediction string
			Width                 int
			Schedule              struct {
				Timesteps int `json:"train_timesteps"`
			}
			Provenance any
			Notes      []string
		}
		if err := json.Unmarshal(text, &info); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if info.Generator != kind || info.Prediction != "epsilon" || info.Width != 16 || info.Schedule.Timesteps != 1000 ||
			info.Notes == nil {
			t.Errorf("%s", text)
		}
		if err := model.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := model.InfoJSON(); !errors.Is(err, ErrClosed) {
			t.Errorf("%v", err)
		}
	}
}

func TestEstimateMemory(t *testing.T) {
	model := openStudent(t)
	memory, err := model.EstimateMemory(4)
	if err != nil || memory.Weights == 0 || memory.Scratch == 0 || memory.HostPeak < memory.Weights {
		t.Errorf("%+v, %v", memory, err)
	}
	for _, batch := range []int{-1, 0, math.MaxInt} {
		_, err = model.EstimateMemory(batch)
		wantCode(t, err, InvalidArgument)
	}
}

func TestOpenMissing(t *testing.T) {
	_, err := Open("no/such.safetensors")
	wantCode(t, err, IO)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no/such.safetensors") {
		t.Errorf("%v", err)
	}
}

func TestOpenBytes(t *testing.T) {
	data, err := os.ReadFile("../../models/digits-student.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	model, err := OpenBytes(data)
	if err != nil {
		t.Fatal(err)
	}
	model.Close()
	for _, size := range []int{0, 7, 100, len(data) / 2, len(data) - 1} {
		_, err := OpenBytes(data[:size])
		wantCode(t, err, BadModel)
	}
	data[len(data)/2] ^= 1
	_, err = OpenBytes(data)
	wantCode(t, err, BadModel)
}

func TestOptionsRefused(t *testing.T) {
	for name, opt := range map[string]Option{
		"device":      WithDevice("toaster"),
		"device, NUL": WithDevice("cpu\x00"),
		"precision":   WithPrecision(99),
		"role":        WithRole(-1),
		"threads":     WithThreads(-1),
		"more":        WithThreads(1 << 20),
		"key":         WithSetting("no.such.key", "1"),
		"value":       WithSetting("memory", "none"),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := OpenDefault(opt)
			wantCode(t, err, InvalidArgument)
		})
	}
	_, err := Open("a\x00b")
	wantCode(t, err, InvalidArgument)
}

func TestOpenProgress(t *testing.T) {
	heard := 0
	model := openStudent(t, WithProgress(func(phase Phase, done, total int) bool {
		heard++
		if phase != PhaseOpen && phase != PhasePrepare || done > total {
			t.Errorf("phase %d: %d of %d", phase, done, total)
		}
		return true
	}))
	if heard == 0 || model.Info().Width != 16 {
		t.Errorf("heard %d times", heard)
	}
	_, err := OpenDefault(WithProgress(func(Phase, int, int) bool { return false }))
	wantCode(t, err, Cancelled)

	defer func() {
		if p := recover(); p != "enough" {
			t.Errorf("recovered %v", p)
		}
	}()
	OpenDefault(WithProgress(func(Phase, int, int) bool { panic("enough") }))
}

func TestInterpolate(t *testing.T) {
	a, b := []float32{1, 0}, []float32{0, 1}
	got, err := Interpolate(Lerp, a, b, 0, 0.25, 1)
	if err != nil || len(got) != 6 || got[0] != 1 || got[2] != 0.75 || got[3] != 0.25 || got[5] != 1 {
		t.Errorf("lerp %v, %v", got, err)
	}
	got, err = Interpolate(Slerp, a, b, 0.5)
	if err != nil || math.Abs(float64(got[0])-math.Sqrt(0.5)) > 1e-6 || math.Abs(float64(got[1])-math.Sqrt(0.5)) > 1e-6 {
		t.Errorf("slerp %v, %v", got, err)
	}
	_, err = Interpolate(Slerp, a, b[:1], 0.5)
	wantCode(t, err, InvalidArgument)
	_, err = Interpolate(7, a, b, 0.5)
	wantCode(t, err, InvalidArgument)
}

func TestModelClosed(t *testing.T) {
	model := openStudent(t)
	session := newSession(t, model)
	for range 2 {
		if err := model.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := model.Noise(1); err != ErrClosed {
		t.Error(err)
	}
	if _, err := model.EstimateMemory(1); err != ErrClosed {
		t.Error(err)
	}
	if _, err := model.NewSession(); err != ErrClosed {
		t.Error(err)
	}
	if model.Info().Width != 16 {
		t.Error("Info is gone")
	}
	if _, err := session.Sample(t.Context(), digits(1)); err != nil {
		t.Errorf("a session of a closed model: %v", err)
	}
}

func TestModelCloseRaces(t *testing.T) {
	for range 20 {
		model := openStudent(t)
		var group sync.WaitGroup
		for range 8 {
			group.Add(1)
			go func() {
				defer group.Done()
				for {
					noise, err := model.Noise(1, 2, 3)
					if err == ErrClosed {
						return
					}
					if err != nil || len(noise) != 3*256 {
						t.Errorf("%d floats, %v", len(noise), err)
						return
					}
				}
			}()
		}
		runtime.Gosched()
		model.Close()
		group.Wait()
	}
}

// What is forgotten is freed by the garbage collector, and not before its last call is over.
func TestForgotten(t *testing.T) {
	freed := make(chan string, 2)
	func() {
		model, err := OpenDefault()
		if err != nil {
			t.Fatal(err)
		}
		session, err := model.NewSession(WithThreads(1))
		if err != nil {
			t.Fatal(err)
		}
		for name, h := range map[string]*handle{"model": model.handle, "session": session.handle} {
			free := h.free
			h.free = func() { free(); freed <- name }
		}
		// The last use of the session, which the collector may take for dead while it runs.
		collecting := func(Phase, int, int) bool { runtime.GC(); return true }
		req := digits(1)
		req.Progress = collecting
		if _, err := session.Sample(t.Context(), req); err != nil {
			t.Error(err)
		}
	}()
	for deadline := time.Now().Add(10 * time.Second); len(freed) < 2; time.Sleep(time.Millisecond) {
		if runtime.GC(); time.Now().After(deadline) {
			t.Fatalf("%d of 2 freed", len(freed))
		}
	}
}
