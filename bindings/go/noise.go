package onestep

/*
#include <onestep.h>
*/
import "C"

import "unsafe"

// Interpolation is a way from one vector to another.
type Interpolation int32

const (
	Lerp  Interpolation = C.ONESTEP_INTERPOLATE_LERP  // (1 - t) a + t b
	Slerp Interpolation = C.ONESTEP_INTERPOLATE_SLERP // along the great circle: what keeps noise noise
)

// Interpolate is the vectors between a and b, which are of one length, one behind the other for each value of t: 0 gives
// a, 1 gives b. Slerp turns over the whole vector.
func Interpolate(mode Interpolation, a, b []float32, t ...float32) ([]float32, error) {
	if len(a) != len(b) {
		return nil, invalid("b: %d floats given, %d needed", len(b), len(a))
	}
	out := make([]float32, len(t)*len(a))
	err := attempt(func(e *C.onestep_error) C.int32_t {
		return C.onestep_noise_interpolate(C.int32_t(mode), (*C.float)(unsafe.SliceData(a)),
			(*C.float)(unsafe.SliceData(b)), C.size_t(len(a)), (*C.float)(unsafe.SliceData(t)), C.size_t(len(t)),
			(*C.float)(unsafe.SliceData(out)), C.size_t(len(out)), e)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
