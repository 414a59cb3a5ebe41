package onestep

/*
#cgo noescape onestep_request_set_seeds
#cgo nocallback onestep_request_set_seeds
#cgo noescape onestep_request_set_labels
#cgo nocallback onestep_request_set_labels
#cgo noescape onestep_request_set_noise
#cgo nocallback onestep_request_set_noise
#cgo noescape onestep_request_set_guidance
#cgo nocallback onestep_request_set_guidance
#cgo noescape onestep_request_set_schedule
#cgo nocallback onestep_request_set_schedule
#include "progress.h"
*/
import "C"

import "unsafe"

// Request is what to sample. Its batch is the number of seeds, or of images in Noise where there are none.
type Request struct {
	// Seeds, one an image.
	Seeds []uint64
	// Labels, one an image, 0 to NumClasses - 1, for conditional models.
	Labels []int32
	// Noise is x_T itself, (n, c, h, w), in place of the seeds' own; Seeds beside it are for the fresh noise of
	// stochastic samplers.
	Noise []float32

	// How a teacher samples; a student refuses what is not zero here.

	// Sampler is the way from noise to image.
	Sampler Sampler
	// Spacing says which timesteps are taken.
	Spacing Spacing
	// Steps is the number of network calls; 0: the model's default.
	Steps int
	// Eta of DDIM, 0 to 1.
	Eta float32
	// Guidance of a conditional model that was taught without labels too; 0 and 1: none.
	Guidance float32
	// Timesteps, descending, in place of Spacing and Steps.
	Timesteps []int32

	// Progress of the call, in place of the session's.
	Progress ProgressFunc
}

// Sampler is a teacher's way from noise to image.
type Sampler int32

const (
	DDIM Sampler = C.ONESTEP_SAMPLER_DDIM // deterministic where eta is 0 (Song et al. 2021)
	DDPM Sampler = C.ONESTEP_SAMPLER_DDPM // ancestral (Ho et al. 2020)
	// Consistency is a consistency model's own, of one step or of several (Song et al. 2023).
	Consistency Sampler = C.ONESTEP_SAMPLER_CONSISTENCY
	Euler       Sampler = C.ONESTEP_SAMPLER_EULER // EDM's (Karras et al. 2022)
	Heun        Sampler = C.ONESTEP_SAMPLER_HEUN  // EDM's, two network calls a step but the last
)

// Spacing says which K of the T timesteps a teacher takes.
type Spacing int32

const (
	SpacingFile      Spacing = C.ONESTEP_SPACING_FILE      // as the model's file says
	SpacingLeading   Spacing = C.ONESTEP_SPACING_LEADING   // i (T / K) + offset
	SpacingTrailing  Spacing = C.ONESTEP_SPACING_TRAILING  // round(T - i T / K) - 1
	SpacingQuadratic Spacing = C.ONESTEP_SPACING_QUADRATIC // floor(linspace(0, sqrt(0.8 T), K)^2), the paper's
	SpacingLinspace  Spacing = C.ONESTEP_SPACING_LINSPACE  // round(linspace(0, T - 1, K))
)

// batch is the number of images, each of so many floats.
func (r *Request) batch(floats int) int {
	if len(r.Seeds) > 0 {
		return len(r.Seeds)
	}
	return len(r.Noise) / floats
}

// part is the request for images i to j-1; labels, seeds and noise are there for them, or not at all.
func (r Request) part(i, j, floats int) Request {
	if len(r.Seeds) > 0 {
		r.Seeds = r.Seeds[i:j]
	}
	if len(r.Labels) > 0 {
		r.Labels = r.Labels[i:j]
	}
	if len(r.Noise) > 0 {
		r.Noise = r.Noise[i*floats : j*floats]
	}
	return r
}

func (r *Request) samples() bool {
	return r.Sampler != DDIM || r.Spacing != SpacingFile || r.Steps != 0 || r.Eta != 0 || r.Guidance != 0 || len(r.Timesteps) > 0
}

// fill makes the native request that of r and l. One of seeds and labels alone serves again and again; what else may be
// set cannot be told apart from its absence afterwards, and so goes with the request that it was set on.
func (n *native) fill(r *Request, l *listener) C.int32_t {
	if n.special {
		C.onestep_request_free(n.request)
		n.request = C.onestep_request_new()
	}
	n.special = l != nil || len(r.Noise) > 0 || r.samples()

	status := C.onestep_request_set_seeds(n.request, (*C.uint64_t)(unsafe.SliceData(r.Seeds)), C.size_t(len(r.Seeds)), &n.err)
	if status == C.ONESTEP_OK {
		status = C.onestep_request_set_labels(n.request, (*C.int32_t)(unsafe.SliceData(r.Labels)), C.size_t(len(r.Labels)), &n.err)
	}
	if status == C.ONESTEP_OK && len(r.Noise) > 0 {
		status = C.onestep_request_set_noise(n.request, (*C.float)(unsafe.SliceData(r.Noise)), C.size_t(len(r.Noise)), &n.err)
	}
	if status == C.ONESTEP_OK && r.samples() {
		// Session.draw has checked that Steps fits.
		status = C.onestep_request_set_sampler(n.request, C.int32_t(r.Sampler), C.int32_t(r.Spacing), C.uint32_t(r.Steps),
			C.float(r.Eta), &n.err)
	}
	if status == C.ONESTEP_OK && r.Guidance != 0 {
		status = C.onestep_request_set_guidance(n.request, C.float(r.Guidance), &n.err)
	}
	if status == C.ONESTEP_OK && len(r.Timesteps) > 0 {
		status = C.onestep_request_set_schedule(n.request, (*C.int32_t)(unsafe.SliceData(r.Timesteps)),
			C.size_t(len(r.Timesteps)), &n.err)
	}
	if status == C.ONESTEP_OK && l != nil {
		status = C.onestep_go_request_progress(n.request, C.uintptr_t(l.handle), &n.err)
	}
	return status
}
