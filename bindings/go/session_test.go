package onestep

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"testing"
)

func TestSampleFloats(t *testing.T) {
	session := newSession(t, openStudent(t))
	floats, err := session.SampleFloats(t.Context(), digits(3))
	if err != nil {
		t.Fatal(err)
	}
	images, err := session.Sample(t.Context(), digits(3))
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range floats {
		grey := math.Round((max(-1, min(1, float64(x))) + 1) * 127.5)
		img := images[i/256]
		if at := img.Pix[4*(i%256):][:4]; math.Abs(float64(at[0])-grey) > 1 || at[0] != at[2] || at[3] != 255 {
			t.Fatalf("float %d is %v, its pixel %v", i, x, at)
		}
	}
}

func TestPrepare(t *testing.T) {
	model := openStudent(t)
	want, err := newSession(t, model).SampleFloats(t.Context(), digits(3))
	if err != nil {
		t.Fatal(err)
	}
	session := newSession(t, model)
	if err := session.Prepare(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	if floats, err := session.SampleFloats(t.Context(), digits(3)); err != nil || !slices.Equal(floats, want) {
		t.Errorf("a prepared session draws other images: %v", err)
	}
	for _, batch := range []int{-1, 0, 4097, math.MaxInt} {
		wantCode(t, session.Prepare(t.Context(), batch), InvalidArgument)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := session.Prepare(ended, 3); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// A student's image is x_T less its prediction at the last timestep.
func TestPredict(t *testing.T) {
	model := openStudent(t)
	session := newSession(t, model)
	noise, err := model.Noise(5, 6)
	if err != nil {
		t.Fatal(err)
	}
	last := int32(model.Info().TrainTimesteps - 1)
	eps, err := session.Predict(t.Context(), noise, []int32{last, last}, []int32{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	at, err := session.PredictAt(t.Context(), noise, []float32{float32(last), 998.5}, []int32{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(noise) / 2; !slices.Equal(at[:n], eps[:n]) || slices.Equal(at[n:], eps[n:]) {
		t.Error("PredictAt at whole timesteps is Predict, and between them is not")
	}
	drawn, err := session.SampleFloats(t.Context(), Request{Seeds: []uint64{5, 6}, Labels: []int32{1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range drawn {
		if math.Abs(float64(noise[i]-eps[i]-drawn[i])) > 1e-5 {
			t.Fatalf("float %d: %v - %v, drawn %v", i, noise[i], eps[i], drawn[i])
		}
	}

	_, err = session.Predict(t.Context(), noise[:300], []int32{last, last}, []int32{1, 2})
	wantCode(t, err, InvalidArgument)
	_, err = session.Predict(t.Context(), noise, []int32{last, last}, []int32{1})
	wantCode(t, err, InvalidArgument)
	_, err = session.Predict(t.Context(), noise, []int32{last, last}, nil)
	wantCode(t, err, InvalidArgument)
	nan := float32(math.NaN())
	_, err = session.PredictAt(t.Context(), noise, []float32{nan, nan}, []int32{1, 2})
	wantCode(t, err, InvalidArgument)
	_, err = session.Predict(t.Context(), nil, nil, nil)
	wantCode(t, err, InvalidArgument)
}

// Consistency models and EDM's draw by samplers of their own, and refuse others.
func TestSamplersOfOtherModels(t *testing.T) {
	draw := func(session *Session, labels []int32, sampler Sampler, steps int) ([]float32, error) {
		return session.SampleFloats(t.Context(), Request{Seeds: []uint64{7}, Labels: labels, Sampler: sampler, Steps: steps})
	}
	open := func(kind string) *Session {
		model, err := Open("../../tests/golden/" + kind + "/tiny")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { model.Close() })
		return newSession(t, model)
	}
	for _, c := range []struct {
		kind   string
		labels []int32
		a, b   Request
		same   bool
	}{
		{"edm", nil, Request{Sampler: Euler, Steps: 3}, Request{Sampler: Heun, Steps: 3}, false},
		{"edm", nil, Request{Sampler: Euler, Steps: 1}, Request{Sampler: Heun, Steps: 1}, true},
		{"consistency", []int32{1}, Request{}, Request{Sampler: Consistency, Steps: 1}, true},
		{"consistency", []int32{1}, Request{}, Request{Sampler: Consistency, Steps: 2}, false},
	} {
		session := open(c.kind)
		a, err := draw(session, c.labels, c.a.Sampler, c.a.Steps)
		if err != nil {
			t.Fatal(err)
		}
		b, err := draw(session, c.labels, c.b.Sampler, c.b.Steps)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Equal(a, b) != c.same {
			t.Errorf("%v: the same image is not %v", c, c.same)
		}
		_, err = draw(session, c.labels, DDPM, 2)
		wantCode(t, err, InvalidArgument)
	}
}

// Noise in place of seeds, then seeds again: nothing of an earlier request is left in a later one.
func TestRequestsInTurn(t *testing.T) {
	model := openStudent(t)
	session := newSession(t, model)
	noise, err := model.Noise(7)
	if err != nil {
		t.Fatal(err)
	}
	label := []int32{3}
	draw := func(req Request) []float32 {
		t.Helper()
		floats, err := session.SampleFloats(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		return floats
	}
	heard := 0
	counting := func(Phase, int, int) bool { heard++; return true }
	seven := draw(Request{Seeds: []uint64{7}, Labels: label})
	if !slices.Equal(seven, draw(Request{Noise: noise, Labels: label, Progress: counting})) || heard == 0 {
		t.Error("x_T of seed 7 gives another image than seed 7")
	}
	heard = 0
	eight := draw(Request{Seeds: []uint64{8}, Labels: label})
	if slices.Equal(seven, eight) || heard != 0 {
		t.Error("the noise or progress of the last request is still there")
	}
	_, err = session.SampleFloats(t.Context(), Request{Seeds: []uint64{8}, Labels: label, Steps: 10})
	wantCode(t, err, InvalidArgument)
	if !slices.Equal(eight, draw(Request{Seeds: []uint64{8}, Labels: label})) {
		t.Error("seed 8 gives another image after an error")
	}
}

func TestRequestsRefused(t *testing.T) {
	student, teacher := newSession(t, openStudent(t)), newSession(t, openTeacher(t))
	one := digits(1)
	with := func(change func(*Request)) Request { req := one; change(&req); return req }
	for name, c := range map[string]struct {
		session *Session
		req     Request
	}{
		"nothing":          {student, Request{}},
		"no labels":        {student, Request{Seeds: []uint64{1}}},
		"labels alone":     {student, Request{Labels: []int32{1}}},
		"two labels":       {student, Request{Seeds: []uint64{1}, Labels: []int32{1, 2}}},
		"label 10":         {student, Request{Seeds: []uint64{1}, Labels: []int32{10}}},
		"half an image":    {student, Request{Noise: make([]float32, 128), Labels: []int32{1}}},
		"noise and seeds":  {student, with(func(r *Request) { r.Noise = make([]float32, 512) })},
		"student's eta":    {student, with(func(r *Request) { r.Eta = 0.5 })},
		"student's times":  {student, with(func(r *Request) { r.Timesteps = []int32{900, 5} })},
		"eta NaN":          {teacher, with(func(r *Request) { r.Eta = float32(math.NaN()) })},
		"guidance":         {teacher, with(func(r *Request) { r.Guidance = 2 })},
		"guidance NaN":     {teacher, with(func(r *Request) { r.Guidance = float32(math.NaN()) })},
		"eta 2":            {teacher, with(func(r *Request) { r.Eta = 2 })},
		"steps -1":         {teacher, with(func(r *Request) { r.Steps = -1 })},
		"too many steps":   {teacher, with(func(r *Request) { r.Steps = math.MaxInt32 })},
		"sampler 9":        {teacher, with(func(r *Request) { r.Sampler = 9 })},
		"spacing 9":        {teacher, with(func(r *Request) { r.Spacing = 9 })},
		"ascending times":  {teacher, with(func(r *Request) { r.Timesteps = []int32{5, 900} })},
		"a million images": {student, Request{Seeds: make([]uint64, 1e6), Labels: make([]int32, 1e6)}},
	} {
		t.Run(name, func(t *testing.T) {
			images, err := c.session.Sample(t.Context(), c.req)
			wantCode(t, err, InvalidArgument)
			floats, err := c.session.SampleFloats(t.Context(), c.req)
			wantCode(t, err, InvalidArgument)
			if images != nil || floats != nil {
				t.Error("images beside an error")
			}
			for img, err := range c.session.Images(t.Context(), c.req) {
				if len(c.req.Seeds) < 4096 {
					wantCode(t, err, InvalidArgument)
				} else if err != nil || img == nil {
					t.Error(err)
				}
				break
			}
		})
	}
}

func TestTeacher(t *testing.T) {
	session := newSession(t, openTeacher(t))
	draw := func(change func(*Request)) []float32 {
		t.Helper()
		req := digits(1)
		change(&req)
		floats, err := session.SampleFloats(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		return floats
	}
	steps := map[int]bool{}
	fifty := draw(func(r *Request) {
		r.Steps = 50
		r.Progress = func(phase Phase, done, total int) bool { steps[total] = phase == PhaseSample; return true }
	})
	if len(steps) != 1 {
		t.Errorf("totals of progress: %v", steps)
	}
	if !slices.Equal(fifty, draw(func(r *Request) { r.Steps = 50 })) {
		t.Error("the same request gives another image")
	}
	given := draw(func(r *Request) { r.Timesteps = []int32{900, 600, 300, 0} })
	for name, other := range map[string][]float32{
		"eta":       draw(func(r *Request) { r.Timesteps, r.Eta = []int32{900, 600, 300, 0}, 1 }),
		"timesteps": draw(func(r *Request) { r.Timesteps = []int32{901, 600, 300, 0} }),
		"DDPM":      draw(func(r *Request) { r.Sampler, r.Steps = DDPM, 4 }),
		"trailing":  draw(func(r *Request) { r.Spacing, r.Steps = SpacingTrailing, 4 }),
		"quadratic": draw(func(r *Request) { r.Spacing, r.Steps = SpacingQuadratic, 4 }),
	} {
		if slices.Equal(given, other) {
			t.Errorf("%s changes nothing", name)
		}
	}
}

func TestBusy(t *testing.T) {
	session := newSession(t, openStudent(t))
	req := digits(1)
	var inside error
	req.Progress = func(Phase, int, int) bool {
		_, inside = session.Sample(context.Background(), digits(1))
		return inside == nil
	}
	_, err := session.Sample(t.Context(), req)
	wantCode(t, inside, Busy)
	wantCode(t, err, Cancelled)
	if _, err := session.Sample(t.Context(), digits(1)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestSessionClosed(t *testing.T) {
	session := newSession(t, openStudent(t))
	for range 2 {
		if err := session.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := session.Sample(t.Context(), digits(1)); err != ErrClosed {
		t.Error(err)
	}
	if _, err := session.Predict(t.Context(), make([]float32, 256), []int32{1}, []int32{1}); err != ErrClosed {
		t.Error(err)
	}
	for _, err := range session.Images(t.Context(), digits(1)) {
		if err != ErrClosed {
			t.Error(err)
		}
	}
}

func TestSessionErr(t *testing.T) {
	session := newSession(t, openStudent(t))
	_, err := session.Sample(t.Context(), Request{})
	wantCode(t, err, InvalidArgument)
	if err := session.Err(); err != nil {
		t.Errorf("after a request that was refused: %v", err)
	}
	// As if the library had panicked, which nothing makes it do.
	session.remember(&Error{Code: Panic, Message: "first"})
	session.remember(&Error{Code: Poisoned, Message: "second"})
	if err := session.Err(); !errors.Is(err, Panic) {
		t.Errorf("after a panic: %v", err)
	}
	session.Close()
	if err := session.Err(); err != ErrClosed {
		t.Errorf("after Close: %v", err)
	}
}

func TestSessionClosedInside(t *testing.T) {
	session := newSession(t, openStudent(t))
	req := digits(1)
	req.Progress = func(Phase, int, int) bool { session.Close(); return true }
	if images, err := session.Sample(t.Context(), req); err != nil || len(images) != 1 {
		t.Errorf("%d images, %v", len(images), err)
	}
	if _, err := session.Sample(t.Context(), digits(1)); err != ErrClosed {
		t.Error(err)
	}
}

func TestSessionCloseRaces(t *testing.T) {
	model := openStudent(t)
	for range 30 {
		session := newSession(t, model)
		drawn := make(chan struct{}, 4)
		var group sync.WaitGroup
		for range 4 {
			group.Add(1)
			go func() {
				defer group.Done()
				for first := true; ; {
					_, err := session.Sample(context.Background(), digits(1))
					switch {
					case errors.Is(err, ErrClosed):
						return
					case err == nil && first:
						first = false
						drawn <- struct{}{}
					case err != nil && !errors.Is(err, Busy):
						t.Error(err)
						return
					}
				}
			}()
		}
		<-drawn
		session.Close()
		group.Wait()
	}
}
