package onestep

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"math"
	"testing"
)

// tile is the pixels of img, tight.
func tile(img *image.RGBA) []byte {
	var pix []byte
	for y := img.Rect.Min.Y; y < img.Rect.Max.Y; y++ {
		at := img.PixOffset(img.Rect.Min.X, y)
		pix = append(pix, img.Pix[at:at+4*img.Rect.Dx()]...)
	}
	return pix
}

func same(t *testing.T, got, want []*image.RGBA) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d images, want %d", len(got), len(want))
	}
	for i := range got {
		if !bytes.Equal(tile(got[i]), tile(want[i])) {
			t.Errorf("image %d is another", i)
		}
	}
}

func TestSampleInto(t *testing.T) {
	session := newSession(t, openStudent(t))
	want, err := session.Sample(t.Context(), digits(6))
	if err != nil {
		t.Fatal(err)
	}
	pink := color.RGBA{255, 0, 128, 255}
	sheet := image.NewRGBA(image.Rect(-3, -5, 97, 45))
	part := func(x, y int) *image.RGBA {
		return sheet.SubImage(image.Rect(x, y, x+16, y+16)).(*image.RGBA)
	}
	apart := func(n int) (images []*image.RGBA) {
		for range n {
			img := image.NewRGBA(image.Rect(0, 0, 16, 16))
			img.Pix = img.Pix[:len(img.Pix):len(img.Pix)]
			images = append(images, img)
		}
		return images
	}
	for name, c := range map[string]struct {
		images  []*image.RGBA
		inPlace bool
	}{
		"one":       {[]*image.RGBA{part(2, 3)}, true},
		"row":       {[]*image.RGBA{part(1, 3), part(17, 3), part(33, 3), part(49, 3), part(65, 3), part(81, 3)}, true},
		"column":    {[]*image.RGBA{part(0, -5), part(0, 12), part(0, 29)}, true},
		"grid":      {[]*image.RGBA{part(1, -4), part(20, -4), part(39, -4), part(1, 13), part(20, 13), part(39, 13)}, true},
		"ragged":    {[]*image.RGBA{part(1, -5), part(20, -5), part(1, 12), part(20, 12), part(1, 29)}, true},
		"shifted":   {[]*image.RGBA{part(1, -4), part(20, -4), part(1, 13), part(21, 13)}, false},
		"touching":  {[]*image.RGBA{part(0, -5), part(0, 12), part(16, -5), part(16, 12)}, false},
		"batch":     {session.NewImages(6), true},
		"backwards": {[]*image.RGBA{part(33, 3), part(17, 3), part(1, 3)}, false},
		"unequal":   {[]*image.RGBA{part(1, 3), part(17, 3), part(49, 3)}, false},
		"apart":     {apart(5), false},
		"strides":   {[]*image.RGBA{part(1, 3), apart(1)[0]}, false},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range sheet.Pix {
				sheet.Pix[i] = []byte{pink.R, pink.G, pink.B, pink.A}[i%4]
			}
			if _, _, ok := session.span(c.images); ok != c.inPlace {
				t.Errorf("drawn in place: %v", ok)
			}
			if err := session.SampleInto(t.Context(), digits(len(c.images)), c.images...); err != nil {
				t.Fatal(err)
			}
			same(t, c.images, want[:len(c.images)])
			drawn := 0
			for _, img := range c.images {
				if img.Stride == sheet.Stride {
					drawn += 16 * 16
				}
			}
			for i := 0; i < len(sheet.Pix); i += 4 {
				if sheet.Pix[i] != sheet.Pix[i+1] {
					drawn++
				}
			}
			if drawn != 100*50 {
				t.Errorf("%d pixels besides those of the images were changed", 100*50-drawn)
			}
		})
	}
}

// An atlas of 8 x 8 in one call is 64 images, each drawn alone.
func TestNewSheet(t *testing.T) {
	session := newSession(t, openStudent(t))
	sheet, tiles := session.NewSheet(64, 8)
	if sheet.Rect != image.Rect(0, 0, 128, 128) || len(tiles) != 64 {
		t.Fatalf("%v, %d tiles", sheet.Rect, len(tiles))
	}
	if _, _, ok := session.span(tiles); !ok {
		t.Error("not drawn in place")
	}
	req := digits(64)
	if err := session.SampleInto(t.Context(), req, tiles...); err != nil {
		t.Fatal(err)
	}
	for i, img := range tiles {
		alone, err := session.Sample(t.Context(), req.part(i, i+1, 256))
		if err != nil {
			t.Fatal(err)
		}
		same(t, []*image.RGBA{img}, alone)
		if at := image.Pt(i%8*16, i/8*16); img.Rect.Min != at {
			t.Fatalf("image %d is at %v", i, img.Rect.Min)
		}
	}
	if ragged, tiles := session.NewSheet(9, 4); ragged.Rect.Dy() != 48 || len(tiles) != 9 {
		t.Errorf("%v, %d tiles", ragged.Rect, len(tiles))
	}
}

// Colours are multiplied by alpha, as color.RGBA wants them.
func TestTransparency(t *testing.T) {
	session := newSession(t, openDefault(t))
	images, err := session.Sample(t.Context(), portraits(8))
	if err != nil {
		t.Fatal(err)
	}
	floats, err := session.SampleFloats(t.Context(), portraits(8))
	if err != nil {
		t.Fatal(err)
	}
	unit := func(x float32) float64 { return (max(-1, min(1, float64(x))) + 1) / 2 }
	clear := 0
	for i, img := range images {
		for at := range 256 {
			pixel := img.Pix[4*at:][:4]
			planes := floats[i*4*256+at:]
			alpha := unit(planes[3*256])
			for c, value := range pixel[:3] {
				if value > pixel[3] || math.Abs(float64(value)-255*alpha*unit(planes[c*256])) > 1.5 {
					t.Fatalf("image %d, pixel %d: %v", i, at, pixel)
				}
			}
			if pixel[3] < 16 {
				clear++
			}
		}
	}
	if clear < 8*256/10 {
		t.Errorf("%d of %d pixels are transparent", clear, 8*256)
	}
}

func TestSampleIntoMisfits(t *testing.T) {
	session := newSession(t, openStudent(t))
	fitting := func(change func(*image.RGBA)) []*image.RGBA {
		img := image.NewRGBA(image.Rect(0, 0, 16, 16))
		change(img)
		return []*image.RGBA{img}
	}
	for name, images := range map[string][]*image.RGBA{
		"none":         nil,
		"nil":          {nil},
		"two":          session.NewImages(2),
		"another size": fitting(func(img *image.RGBA) { img.Rect.Max.X = 17 }),
		"empty":        fitting(func(img *image.RGBA) { *img = image.RGBA{} }),
		"stride":       fitting(func(img *image.RGBA) { img.Stride = 63 }),
		"minus":        fitting(func(img *image.RGBA) { img.Stride = -64 }),
		"short":        fitting(func(img *image.RGBA) { img.Pix = img.Pix[:1023] }),
	} {
		t.Run(name, func(t *testing.T) {
			wantCode(t, session.SampleInto(t.Context(), digits(1), images...), InvalidArgument)
		})
	}
	wantCode(t, session.SampleInto(t.Context(), Request{}), InvalidArgument)
}

func TestImages(t *testing.T) {
	model := openStudent(t)
	session := newSession(t, model)
	req := digits(2*imagesBatch + 3)
	want, err := session.Sample(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	collect := func(req Request) (images []*image.RGBA) {
		for img, err := range session.Images(t.Context(), req) {
			if err != nil {
				t.Fatal(err)
			}
			images = append(images, img)
		}
		return images
	}
	same(t, collect(req), want)
	noise, err := model.Noise(req.Seeds...)
	if err != nil {
		t.Fatal(err)
	}
	same(t, collect(Request{Noise: noise, Labels: req.Labels}), want)

	for _, err := range session.Images(t.Context(), Request{Noise: noise[:len(noise)-1], Labels: req.Labels}) {
		wantCode(t, err, InvalidArgument)
	}
	for _, err := range session.Images(t.Context(), Request{Seeds: req.Seeds, Labels: req.Labels[1:]}) {
		wantCode(t, err, InvalidArgument)
	}
}

func TestImagesEnd(t *testing.T) {
	session := newSession(t, openStudent(t))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	drawn, failed := 0, 0
	for _, err := range session.Images(ctx, digits(100)) {
		if err != nil {
			failed++
			if err != context.Canceled {
				t.Error(err)
			}
			continue
		}
		if drawn++; drawn == imagesBatch {
			cancel()
		}
	}
	if drawn != imagesBatch || failed != 1 {
		t.Errorf("%d images, %d errors", drawn, failed)
	}
	for range session.Images(t.Context(), digits(100)) {
		break
	}
	if _, err := session.Sample(t.Context(), digits(1)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
