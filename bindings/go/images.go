package onestep

/*
#include <onestep.h>
*/
import "C"

import (
	"context"
	"fmt"
	"image"
	"iter"
	"unsafe"
)

// imagesBatch is how many images Images draws at a time: most of what a batch gains, for little memory.
const imagesBatch = 8

// NewImages makes n images of the model's size in one array, for [Session.SampleInto].
func (s *Session) NewImages(n int) []*image.RGBA {
	w, h := s.info.Width, s.info.Height
	size := 4 * w * h
	pix := make([]uint8, n*size)
	all := make([]image.RGBA, n)
	images := make([]*image.RGBA, n)
	for i := range images {
		// Slices that reach to the array's end: span sees by it that they are of one array.
		all[i] = image.RGBA{Pix: pix[i*size:][:size], Stride: 4 * w, Rect: image.Rect(0, 0, w, h)}
		images[i] = &all[i]
	}
	return images
}

// NewSheet makes a picture with room for n images of the model's size, columns of them (1 at least) side by side in each row, and
// gives its tiles beside it, row by row, for [Session.SampleInto]: an atlas in one call.
func (s *Session) NewSheet(n, columns int) (sheet *image.RGBA, tiles []*image.RGBA) {
	w, h := s.info.Width, s.info.Height
	columns = max(columns, 1)
	sheet = image.NewRGBA(image.Rect(0, 0, columns*w, (n+columns-1)/columns*h))
	tiles = make([]*image.RGBA, n)
	for i := range tiles {
		x, y := i%columns*w, i/columns*h
		tiles[i] = sheet.SubImage(image.Rect(x, y, x+w, y+h)).(*image.RGBA)
	}
	return sheet, tiles
}

// Sample draws a batch, into one array. Models of one channel are drawn in grey; colours of those with
// alpha are multiplied by it, as [color.RGBA] wants.
func (s *Session) Sample(ctx context.Context, req Request) ([]*image.RGBA, error) {
	n := req.batch(s.info.floats())
	if err := s.check(ctx, &req, 4*n*s.info.Width*s.info.Height); err != nil {
		return nil, err
	}
	images := s.NewImages(n)
	if err := s.SampleInto(ctx, req, images...); err != nil {
		return nil, err
	}
	return images, nil
}

// SampleInto draws a batch into images of the model's size, which may be parts of others. A single image, those of
// [Session.NewImages] and [Session.NewSheet], and tiles of one image at equal distances, in one row or in several, are drawn where
// they are; others are copied. After an error their pixels are unspecified.
func (s *Session) SampleInto(ctx context.Context, req Request, images ...*image.RGBA) error {
	if n := req.batch(s.info.floats()); len(images) != n {
		return invalid("images: %d given, %d needed", len(images), n)
	}
	for i, img := range images {
		if found := s.misfit(img); found != "" {
			return invalid("image %d: %s", i, found)
		}
	}
	layout := newLayout(C.ONESTEP_FORMAT_RGBA8)
	layout.flags = C.ONESTEP_FLAG_PREMULTIPLIED // as color.RGBA is
	if out, g, ok := s.span(images); ok {
		if len(images) > 0 {
			layout.row_stride = C.uint64_t(images[0].Stride)
			layout.image_stride = C.uint64_t(g.step)
			layout.columns = C.uint64_t(g.columns)
			layout.column_stride = C.uint64_t(g.column)
		}
		return s.draw(ctx, &req, layout, out)
	}
	drawn := s.NewImages(len(images))
	if err := s.SampleInto(ctx, req, drawn...); err != nil {
		return err
	}
	for i, img := range images {
		row := 4 * s.info.Width
		for y := range s.info.Height {
			copy(img.Pix[y*img.Stride:][:row], drawn[i].Pix[y*row:])
		}
	}
	return nil
}

// Images draws the images of req one after another, a few at a time: memory stays as it is however many seeds there are.
// An error ends the sequence. The images are the caller's to keep; neighbours share an array.
func (s *Session) Images(ctx context.Context, req Request) iter.Seq2[*image.RGBA, error] {
	return func(yield func(*image.RGBA, error) bool) {
		floats := s.info.floats()
		n := req.batch(floats)
		if len(req.Labels) != 0 && len(req.Labels) != n {
			yield(nil, invalid("labels: %d given, %d needed", len(req.Labels), n))
			return
		}
		if len(req.Noise) != 0 && len(req.Noise) != n*floats {
			yield(nil, invalid("noise: %d floats given, %d needed", len(req.Noise), n*floats))
			return
		}
		// Once at least: the library says what is wrong with a batch of none.
		for i := 0; i == 0 || i < n; i += imagesBatch {
			images, err := s.Sample(ctx, req.part(i, min(i+imagesBatch, n), floats))
			if err != nil {
				yield(nil, err)
				return
			}
			for _, img := range images {
				if !yield(img, nil) {
					return
				}
			}
		}
	}
}

// misfit says why img cannot hold an image of the model; "" if it can.
func (s *Session) misfit(img *image.RGBA) string {
	if img == nil {
		return "nil"
	}
	w, h := s.info.Width, s.info.Height
	bytes := (h-1)*img.Stride + 4*w
	switch {
	case img.Rect.Dx() != w || img.Rect.Dy() != h:
		return fmt.Sprintf("%d x %d, the model draws %d x %d", img.Rect.Dx(), img.Rect.Dy(), w, h)
	case img.Stride < 4*w:
		return fmt.Sprintf("stride %d, at least %d are needed", img.Stride, 4*w)
	case len(img.Pix) < bytes:
		return fmt.Sprintf("%d bytes, %d are needed", len(img.Pix), bytes)
	}
	return ""
}

// grid is where images lie in one array: each step bytes behind the one before; or columns of them, column bytes apart, in each
// of several rows, which are step bytes apart.
type grid struct{ step, columns, column int }

// at is the place of image i.
func (g grid) at(i int) int {
	if g.columns == 0 {
		return i * g.step
	}
	return i/g.columns*g.step + i%g.columns*g.column
}

// span is the memory from the first byte of images to the last, where they lie in one array as a grid does.
func (s *Session) span(images []*image.RGBA) (out []byte, g grid, ok bool) {
	if len(images) == 0 {
		return nil, g, true
	}
	first := images[0]
	w, h := s.info.Width, s.info.Height
	size := (h-1)*first.Stride + 4*w
	if len(images) == 1 {
		return first.Pix[:size], g, true
	}
	// What an address within the first slice's capacity points to is of that slice's array.
	start := uintptr(unsafe.Pointer(unsafe.SliceData(first.Pix)))
	at := func(i int) (place int, ok bool) {
		place = int(uintptr(unsafe.Pointer(unsafe.SliceData(images[i].Pix))) - start)
		return place, place > 0 && place <= cap(first.Pix)-size
	}
	g.step, ok = at(1)
	if !ok {
		return nil, g, false
	}
	for i := 1; i < len(images); i++ {
		place, inside := at(i)
		if !inside || images[i].Stride != first.Stride {
			return nil, g, false
		}
		if place == g.at(i) {
			continue
		}
		// The first one out of line begins a new row of images, if those before it are side by side.
		if g.columns != 0 || g.step < 4*w || (i-1)*g.step+4*w > first.Stride || place < h*first.Stride {
			return nil, g, false
		}
		g = grid{step: place, columns: i, column: g.step}
	}
	size += g.at(len(images) - 1)
	return first.Pix[:size], g, true
}
