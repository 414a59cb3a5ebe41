package onestep

import "testing"

func TestDevices(t *testing.T) {
	devices, err := Devices()
	if err != nil || len(devices) == 0 {
		t.Fatalf("%v, %v", devices, err)
	}
	cpus := 0
	for _, device := range devices {
		if device.ID == "" || device.Name == "" || device.Index < 0 || device.MemoryFree > device.MemoryTotal {
			t.Errorf("%+v", device)
		}
		if device.Kind == DeviceCPU {
			cpus++
			if model := openDefault(t, WithDevice(device.ID)); model.Info().Device != device.ID {
				t.Errorf("opened on %s: %+v", device.ID, model.Info())
			}
		}
	}
	if cpus != 1 {
		t.Errorf("%d CPUs: %+v", cpus, devices)
	}
}
