// Sample writes eight portraits, drawn by the model inside the library, side by side into portraits.png.
package main

import (
	"context"
	"image/png"
	"log"
	"os"

	onestep "github.com/onestep/onestep/bindings/go"
)

func main() {
	model := must(onestep.OpenDefault())
	defer model.Close()
	session := must(model.NewSession())
	defer session.Close()

	var req onestep.Request
	for i := range 8 {
		req.Seeds = append(req.Seeds, uint64(i))
		req.Labels = append(req.Labels, int32(i))
	}
	sheet, tiles := session.NewSheet(8, 8)
	must(0, session.SampleInto(context.Background(), req, tiles...))

	file := must(os.Create("portraits.png"))
	must(0, png.Encode(file, sheet))
	must(0, file.Close())
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
