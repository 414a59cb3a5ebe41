//! The C interface, called as the bytes say: in any order, with handles of the wrong kind, with NULL, with sizes and layouts of all
//! kinds, never with memory that is not the caller's: that the header leaves to the caller.
// What a call answers is not looked at: that it answers is the test.
#![allow(unsafe_code, unused_must_use)]

use onestep::ffi::*;
use std::ffi::{CString, c_void};
use std::ptr::{null, null_mut};

const KEYS: [&str; 8] = [
    "limits.batch",
    "limits.file_bytes",
    "limits.parameters",
    "limits.pixels",
    "memory",
    "executor",
    "clip_sample",
    "no.such.key",
];
const VALUES: [&str; 8] = ["0", "1", "low", "fast", "18446744073709551616", "-1", "true", "\u{1F600}"];
/// What a caller's arrays hold at most.
const ROOM: usize = 8192;

/// The rest of the input; zeros once it is used up.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn word(&mut self) -> u64 {
        // Small, near a power of two, or any.
        let (kind, value) = (self.byte(), u64::from(self.byte()));
        match kind % 4 {
            0 => value % 5,
            1 => value,
            2 => (1u64 << (value % 64)).wrapping_sub(u64::from(kind / 4 % 3)),
            _ => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    fn float(&mut self) -> f32 {
        [0.0, 1.0, -1.0, 0.5, f32::NAN, f32::INFINITY, 3e38, 1e-40][usize::from(self.byte() % 8)]
    }

    /// One of some handles, or NULL.
    fn of<T>(&mut self, handles: &[*mut T; 3]) -> *mut T {
        handles.get(usize::from(self.byte() % 4)).copied().unwrap_or(null_mut())
    }
}

/// A program of calls.
pub fn calls(data: &[u8]) {
    let mut input = Bytes(data);
    let mut options: [*mut onestep_options; 3] = [null_mut(); 3];
    let mut models: [*mut onestep_model; 3] = [null_mut(); 3];
    let mut sessions: [*mut onestep_session; 3] = [null_mut(); 3];
    let mut requests: [*mut onestep_request; 3] = [null_mut(); 3];
    let mut cancels: [*mut onestep_cancel; 3] = [null_mut(); 3];
    let (mut floats, mut others) = (vec![0.5f32; ROOM], vec![0.0f32; ROOM]);
    let seeds: Vec<u64> = (0..64).collect();
    let labels: Vec<i32> = (0..64).map(|i| i % 4 - 1).collect();
    let path = CString::new(super::network().display().to_string()).unwrap();
    // SAFETY: every pointer is NULL, a live handle, or memory of the size given; handles are forgotten once they are freed.
    unsafe {
        for _ in 0..48 {
            if input.0.is_empty() {
                break;
            }
            let slot = usize::from(input.byte() % 3);
            let n = (input.word() as usize).min(64);
            let mut err = std::mem::zeroed::<onestep_error>();
            let err = if input.byte() % 4 == 0 { null_mut() } else { &raw mut err };
            match input.byte() % 25 {
                0 => {
                    onestep_options_free(options[slot]);
                    options[slot] = onestep_options_new();
                    onestep_options_set_threads(options[slot], 1, err);
                }
                1 => {
                    onestep_options_free(options[slot]);
                    options[slot] = null_mut();
                }
                2 => {
                    let [key, value] = [KEYS[n % 8], VALUES[usize::from(input.byte() % 8)]]
                        .map(|text| CString::new(text).unwrap());
                    onestep_options_set(input.of(&options), key.as_ptr(), value.as_ptr(), err);
                }
                3 => {
                    onestep_options_set_precision(input.of(&options), n as i32 - 2, err);
                }
                4 => {
                    onestep_options_set_role(input.of(&options), n as i32 - 2, err);
                }
                5 => {
                    onestep_model_free(models[slot]);
                    let mut with = input.of(&options);
                    if with.is_null() {
                        // By default, as many threads as there are.
                        with = options[0];
                    }
                    onestep_model_open_file(path.as_ptr(), with, &raw mut models[slot], err);
                }
                6 => {
                    onestep_model_free(models[slot]);
                    let bytes = input.0.to_vec();
                    onestep_model_open_memory(
                        bytes.as_ptr().cast(),
                        bytes.len(),
                        input.of(&options),
                        &raw mut models[slot],
                        err,
                    );
                }
                7 => {
                    onestep_model_free(models[slot]);
                    models[slot] = null_mut();
                }
                8 if !input.of(&options).is_null() => {
                    onestep_session_free(sessions[slot]);
                    onestep_session_new(input.of(&models), options[0], &raw mut sessions[slot], err);
                }
                9 => {
                    onestep_session_free(sessions[slot]);
                    sessions[slot] = null_mut();
                }
                10 => {
                    onestep_request_free(requests[slot]);
                    requests[slot] = onestep_request_new();
                }
                11 => {
                    onestep_request_set_seeds(input.of(&requests), seeds.as_ptr(), n, err);
                }
                12 => {
                    onestep_request_set_labels(input.of(&requests), labels[1..].as_ptr(), n.min(63), err);
                }
                13 => {
                    floats[n] = input.float();
                    onestep_request_set_noise(
                        input.of(&requests),
                        floats.as_ptr(),
                        (input.word() as usize).min(ROOM),
                        err,
                    );
                    floats[n] = 0.5;
                }
                14 => {
                    let (kind, spacing) = (i32::from(input.byte() % 5) - 1, i32::from(input.byte() % 6) - 1);
                    onestep_request_set_sampler(
                        input.of(&requests),
                        kind,
                        spacing,
                        n as u32,
                        input.float(),
                        err,
                    );
                }
                15 => {
                    onestep_request_set_guidance(input.of(&requests), input.float(), err);
                }
                16 => {
                    onestep_cancel_free(cancels[slot]);
                    cancels[slot] = onestep_cancel_new();
                    onestep_request_set_cancel(input.of(&requests), cancels[slot], err);
                }
                17 => onestep_cancel_trigger(input.of(&cancels)),
                18 => onestep_cancel_reset(input.of(&cancels)),
                19 => {
                    let layout = onestep_layout {
                        struct_size: if input.byte() % 8 == 0 {
                            n as u32
                        } else {
                            size_of::<onestep_layout>() as u32
                        },
                        format: n as i32 % 8 - 1,
                        flags: u32::from(input.byte() % 8),
                        reserved: u32::from(input.byte() % 32 == 1),
                        row_stride: input.word(),
                        plane_stride: input.word(),
                        image_stride: input.word(),
                        columns: input.word(),
                        column_stride: input.word(),
                    };
                    let layout = if n == 3 { null() } else { &raw const layout };
                    let mut bytes = 0;
                    onestep_output_size(input.of(&models), input.word() as u32, layout, &raw mut bytes, err);
                    let size = (input.word() as usize).min(4 * ROOM);
                    let out: *mut c_void = others.as_mut_ptr().cast();
                    onestep_session_sample(input.of(&sessions), input.of(&requests), layout, out, size, err);
                }
                20 => {
                    floats[n] = input.float();
                    let times = [seeds[n % 64] as i32 * 100 - 200; 64];
                    let out = if input.byte() % 8 == 0 { floats.as_mut_ptr() } else { others.as_mut_ptr() };
                    let size = (input.word() as usize).min(ROOM);
                    onestep_session_predict(
                        input.of(&sessions),
                        floats.as_ptr(),
                        times.as_ptr(),
                        labels.as_ptr(),
                        n % 4,
                        out,
                        size,
                        err,
                    );
                    floats[n] = 0.5;
                }
                21 => {
                    let size = (input.word() as usize).min(ROOM);
                    onestep_noise_fill(input.of(&models), seeds.as_ptr(), n, others.as_mut_ptr(), size, err);
                }
                22 => {
                    let (t, len) = ([input.float(), input.float()], (input.word() as usize).min(ROOM));
                    let size = (input.word() as usize).min(ROOM);
                    let (a, b) = (floats.as_ptr(), floats.as_ptr());
                    onestep_noise_interpolate(
                        n as i32 - 1,
                        a,
                        b,
                        len,
                        t.as_ptr(),
                        n.min(2),
                        others.as_mut_ptr(),
                        size,
                        err,
                    );
                }
                23 => {
                    let mut needed = 0;
                    let size = (input.word() as usize).min(ROOM);
                    onestep_model_info_json(
                        input.of(&models),
                        others.as_mut_ptr().cast(),
                        size,
                        &raw mut needed,
                        err,
                    );
                    onestep_session_prepare(input.of(&sessions), input.word() as u32 % 70, err);
                }
                _ => {
                    // Handles of another kind are refused, and left alone.
                    let mut memory = std::mem::zeroed::<onestep_memory>();
                    memory.struct_size = size_of::<onestep_memory>() as u32;
                    onestep_model_estimate_memory(input.of(&requests).cast(), n as u32, &raw mut memory, err);
                    onestep_model_estimate_memory(
                        input.of(&models),
                        input.word() as u32,
                        &raw mut memory,
                        err,
                    );
                    onestep_session_free(input.of(&models).cast());
                    onestep_request_set_seeds(input.of(&cancels).cast(), seeds.as_ptr(), n, err);
                }
            }
        }
        options.into_iter().for_each(|handle| onestep_options_free(handle));
        models.into_iter().for_each(|handle| onestep_model_free(handle));
        sessions.into_iter().for_each(|handle| onestep_session_free(handle));
        requests.into_iter().for_each(|handle| onestep_request_free(handle));
        cancels.into_iter().for_each(|handle| onestep_cancel_free(handle));
    }
}
