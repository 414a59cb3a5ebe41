package onestep_test

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io/fs"
	"log"

	onestep "github.com/onestep/onestep/bindings/go"
)

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
