package onestep_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io/fs"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	onestep "github.com/onestep/onestep/bindings/go"
)

// A portrait into a file.
func Example() {
	model, err := onestep.OpenDefault()
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	session, err := model.NewSession()
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()
	images, err := session.Sample(context.Background(), onestep.Request{Seeds: []uint64{1}, Labels: []int32{5}})
	if err != nil {
		log.Fatal(err)
	}
	file, err := os.Create(filepath.Join(os.TempDir(), "portrait.png"))
	if err != nil {
		log.Fatal(err)
	}
	defer os.Remove(file.Name())
	if err := png.Encode(file, images[0]); err != nil {
		log.Fatal(err)
	}
	fmt.Println(images[0].Bounds(), file.Close())
	// Output: (0,0)-(16,16) <nil>
}

func ExampleOpenDefault() {
	model, err := onestep.OpenDefault()
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	info := model.Info()
	fmt.Println(info.Width, info.Height, info.Channels, info.NumClasses)
	// Output: 16 16 4 8
}

func ExampleOpen() {
	_, err := onestep.Open("faces.safetensors")
	fmt.Println(errors.Is(err, onestep.IO), errors.Is(err, fs.ErrNotExist))
	// Output: true true
}

// A file system may be the system's, as here, one inside the program (embed.FS), or an archive (zip.Reader).
func ExampleOpenFS() {
	model, err := onestep.OpenFS(os.DirFS("../../models"), "digits-student.safetensors")
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	fmt.Println(model.Info().Width, model.Info().NumClasses)
	// Output: 16 10
}

// What gives the bytes may be a response's body, a decompressor, a decryptor.
func ExampleOpenReader() {
	file, err := os.Open("../../models/digits-student.safetensors")
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	model, err := onestep.OpenReader(bufio.NewReader(file), onestep.WithPrecision(onestep.BF16))
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	fmt.Println(model.Info().Precision == onestep.BF16)
	// Output: true
}

func ExampleDevices() {
	devices, err := onestep.Devices()
	if err != nil {
		log.Fatal(err)
	}
	for _, device := range devices {
		if device.Kind == onestep.DeviceCPU {
			fmt.Println(device.ID)
		}
	}
	// Output: cpu
}

func ExampleSetLogger() {
	var text strings.Builder
	onestep.SetLogger(slog.New(slog.NewTextHandler(&text, nil)).With("part", "onestep"))
	defer onestep.SetLogger(nil)
	model, err := onestep.OpenDefault(onestep.WithDevice("cpu"))
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	fmt.Println(strings.Contains(text.String(), "level=INFO"), strings.Contains(text.String(), "part=onestep"))
	// Output: true true
}

func ExampleError() {
	session := newSession()
	defer session.Close()
	_, err := session.Sample(context.Background(), onestep.Request{Seeds: []uint64{1}, Labels: []int32{8}})
	var told *onestep.Error
	fmt.Println(errors.Is(err, onestep.InvalidArgument), errors.As(err, &told))
	fmt.Println(err)
	// Output:
	// true true
	// onestep: labels: label 8 of image 0 is not one of 0 to 7
}

func ExampleWithProgress() {
	heard := 0
	model, err := onestep.OpenDefault(onestep.WithProgress(func(phase onestep.Phase, done, total int) bool {
		heard++
		return true // go on
	}))
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	fmt.Println(heard > 0)
	// Output: true
}

func ExampleSession_Sample() {
	session := newSession()
	defer session.Close()
	images, err := session.Sample(context.Background(), onestep.Request{
		Seeds:  []uint64{1, 2, 3},
		Labels: []int32{0, 5, 7},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, img := range images {
		fmt.Println(img.Bounds())
	}
	// Output:
	// (0,0)-(16,16)
	// (0,0)-(16,16)
	// (0,0)-(16,16)
}

// A call that misses its deadline returns the context's error and no images; the session can be used again.
func ExampleSession_Sample_deadline() {
	session := newSession()
	defer session.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
	defer cancel()
	req := onestep.Request{Seeds: []uint64{1}, Labels: []int32{5}}
	images, err := session.Sample(ctx, req)
	fmt.Println(len(images), errors.Is(err, context.DeadlineExceeded))
	images, err = session.Sample(context.Background(), req)
	fmt.Println(len(images), err)
	// Output:
	// 0 true
	// 1 <nil>
}

// The network alone, for a sampler of your own: a student's image is its noise less what it predicts at the last timestep.
func ExampleSession_Predict() {
	model, err := onestep.Open("../../models/digits-student.safetensors")
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	session, err := model.NewSession()
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()
	noise, err := model.Noise(1)
	if err != nil {
		log.Fatal(err)
	}
	last := int32(model.Info().TrainTimesteps - 1)
	eps, err := session.Predict(context.Background(), noise, []int32{last}, []int32{7})
	fmt.Println(len(eps), err)
	// Output: 256 <nil>
}

// Tiles of one image are drawn where they are.
func ExampleSession_SampleInto() {
	session := newSession()
	defer session.Close()
	column := image.NewRGBA(image.Rect(0, 0, 16, 48))
	var tiles []*image.RGBA
	for y := 0; y < 48; y += 16 {
		tiles = append(tiles, column.SubImage(image.Rect(0, y, 16, y+16)).(*image.RGBA))
	}
	err := session.SampleInto(context.Background(), onestep.Request{
		Seeds:  []uint64{1, 2, 3},
		Labels: []int32{0, 5, 7},
	}, tiles...)
	fmt.Println(err, column.RGBAAt(0, 0).A < 16, column.RGBAAt(8, 47).A > 239)
	// Output: <nil> true true
}

func ExampleSession_Images() {
	session := newSession()
	defer session.Close()
	req := onestep.Request{Seeds: make([]uint64, 100), Labels: make([]int32, 100)}
	for i := range req.Seeds {
		req.Seeds[i] = uint64(i)
	}
	drawn := 0
	for img, err := range session.Images(context.Background(), req) {
		if err != nil {
			log.Fatal(err)
		}
		if drawn++; img.Bounds().Dx() != 16 || drawn == 20 {
			break
		}
	}
	fmt.Println(drawn)
	// Output: 20
}

// What lies between two images is between their noise.
func ExampleInterpolate() {
	model, err := onestep.OpenDefault()
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	a, err := model.Noise(1)
	if err != nil {
		log.Fatal(err)
	}
	b, err := model.Noise(2)
	if err != nil {
		log.Fatal(err)
	}
	between, err := onestep.Interpolate(onestep.Slerp, a, b, 0, 0.5, 1)
	if err != nil {
		log.Fatal(err)
	}
	session, err := model.NewSession()
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()
	images, err := session.Sample(context.Background(), onestep.Request{Noise: between, Labels: []int32{3, 3, 3}})
	fmt.Println(len(images), err)
	// Output: 3 <nil>
}

func newSession() *onestep.Session {
	model, err := onestep.OpenDefault()
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	session, err := model.NewSession()
	if err != nil {
		log.Fatal(err)
	}
	return session
}
