package onestep

/*
#include <onestep.h>
*/
import "C"

import "unsafe"

// Device is a device of this machine that models can run on.
type Device struct {
	Kind  DeviceKind // a processor, or whose GPU
	Index int        // within its kind
	ID    string     // what [WithDevice] takes, as "cuda:0"
	Name  string     // its own, as the system or the driver says it
	// MemoryTotal and MemoryFree are in bytes; 0: unknown.
	MemoryTotal, MemoryFree uint64
}

// DeviceKind is what sort of device a [Device] is.
type DeviceKind int32

const (
	DeviceCPU   DeviceKind = C.ONESTEP_DEVICE_CPU   // the processor
	DeviceCUDA  DeviceKind = C.ONESTEP_DEVICE_CUDA  // an NVIDIA GPU
	DeviceMetal DeviceKind = C.ONESTEP_DEVICE_METAL // an Apple GPU
)

// Devices lists the devices that the library, as it was built, can use on this machine; the CPU is always one of them.
func Devices() ([]Device, error) {
	if err := checkABI(uint32(C.onestep_abi_version())); err != nil {
		return nil, err
	}
	var count C.uint32_t
	if err := attempt(func(e *C.onestep_error) C.int32_t { return C.onestep_device_count(&count, e) }); err != nil {
		return nil, err
	}
	devices := make([]Device, count)
	for i := range devices {
		var info C.onestep_device_info
		info.struct_size = C.uint32_t(unsafe.Sizeof(info))
		err := attempt(func(e *C.onestep_error) C.int32_t { return C.onestep_device_get(C.uint32_t(i), &info, e) })
		if err != nil {
			return nil, err
		}
		devices[i] = Device{
			Kind:        DeviceKind(info.kind),
			Index:       int(info.index),
			ID:          C.GoString(&info.id[0]),
			Name:        C.GoString(&info.name[0]),
			MemoryTotal: uint64(info.memory_total),
			MemoryFree:  uint64(info.memory_free),
		}
	}
	return devices, nil
}
