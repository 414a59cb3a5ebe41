//! The C functions, called as a C program calls them.

#![allow(unsafe_code, dead_code)]

use crate::common::Golden;
use onestep::ffi::*;
use onestep::model::Role;
use onestep::sampler::{Kind, Sampler};
use onestep::{ClipSample, ExecutorKind, Named};
use std::ffi::{CStr, CString};
use std::path::Path;
use std::ptr::{null, null_mut};

/// A model and a session.
pub struct Door {
    model: *mut onestep_model,
    session: *mut onestep_session,
}

/// Calls a function with its error struct behind the arguments, and wants success.
macro_rules! ok {
    ($function:ident($($argument:expr),*)) => {{
        let mut error = onestep_error { code: -1, native_code: 0, message: [0; 504] };
        // SAFETY: every pointer comes from a reference, a slice with its length, or this library.
        let status = unsafe { $function($($argument,)* &mut error) };
        // SAFETY: the message is NUL-terminated.
        let message = unsafe { CStr::from_ptr(error.message.as_ptr()) };
        assert_eq!(status, ONESTEP_OK, "{}: {message:?}", stringify!($function));
        assert_eq!(error.code, ONESTEP_OK);
    }};
}

impl Door {
    pub fn open(path: &Path, executor: ExecutorKind, role: impl Into<Option<Role>>) -> Self {
        Self::open_with(path, executor, role.into(), ClipSample::File)
    }

    pub fn open_with(path: &Path, executor: ExecutorKind, role: Option<Role>, clip: ClipSample) -> Self {
        let path = CString::new(path.to_str().unwrap()).unwrap();
        let name = if executor == ExecutorKind::Fast { c"fast" } else { c"reference" };
        let clip = CString::new(clip.name()).unwrap();
        let role = match role {
            None => ONESTEP_ROLE_AUTO,
            Some(Role::Teacher) => ONESTEP_ROLE_TEACHER,
            Some(Role::Student) => ONESTEP_ROLE_STUDENT,
        };
        let options = onestep_options_new();
        ok!(onestep_options_set(options, c"executor".as_ptr(), name.as_ptr()));
        ok!(onestep_options_set(options, c"clip_sample".as_ptr(), clip.as_ptr()));
        ok!(onestep_options_set_role(options, role));
        ok!(onestep_options_set_device(options, c"cpu".as_ptr()));
        let mut door = Self { model: null_mut(), session: null_mut() };
        ok!(onestep_model_open_file(path.as_ptr(), options, &mut door.model));
        ok!(onestep_session_new(door.model, options, &mut door.session));
        // SAFETY: made above, and not used again.
        unsafe { onestep_options_free(options) };
        door
    }

    pub fn predict(&self, golden: &Golden, timesteps: &[i32]) -> Vec<f32> {
        let (x, labels) = (golden.f32("x"), golden.labels());
        let labels = labels.as_ref().map_or(null(), |labels| labels.as_ptr());
        let mut out = vec![0.0; x.len()];
        ok!(onestep_session_predict(
            self.session,
            x.as_ptr(),
            timesteps.as_ptr(),
            labels,
            timesteps.len(),
            out.as_mut_ptr(),
            out.len()
        ));
        out
    }

    /// The raw prediction at any times.
    pub fn predict_at(&self, x: &[f32], times: &[f32], labels: Option<&[i32]>) -> Vec<f32> {
        let labels = labels.map_or(null(), <[i32]>::as_ptr);
        let mut out = vec![0.0; x.len()];
        ok!(onestep_session_predict_at(
            self.session,
            x.as_ptr(),
            times.as_ptr(),
            labels,
            times.len(),
            out.as_mut_ptr(),
            out.len()
        ));
        out
    }

    /// From this noise, as `sampler` says of its kind and steps.
    pub fn draw(&self, x: &[f32], labels: Option<&[i32]>, sampler: &Sampler) -> Vec<f32> {
        let request = onestep_request_new();
        ok!(onestep_request_set_noise(request, x.as_ptr(), x.len()));
        if let Some(labels) = labels {
            ok!(onestep_request_set_labels(request, labels.as_ptr(), labels.len()));
        }
        let kind = match sampler.kind {
            Some(Kind::Euler) => ONESTEP_SAMPLER_EULER,
            Some(Kind::Heun) => ONESTEP_SAMPLER_HEUN,
            _ => ONESTEP_SAMPLER_DDIM,
        };
        if let Some(steps) = sampler.steps {
            ok!(onestep_request_set_sampler(request, kind, ONESTEP_SPACING_FILE, steps, sampler.eta));
        }
        let mut out = vec![0.0f32; x.len()];
        ok!(onestep_session_sample(self.session, request, null(), out.as_mut_ptr().cast(), 4 * out.len()));
        // SAFETY: made above, and not used again.
        unsafe { onestep_request_free(request) };
        out
    }

    /// From the golden noise; a teacher's DDIM steps, or none for a student.
    pub fn sample(&self, golden: &Golden, steps: Option<u32>) -> Vec<f32> {
        let x = golden.f32("x");
        let request = onestep_request_new();
        ok!(onestep_request_set_noise(request, x.as_ptr(), x.len()));
        if let Some(labels) = golden.labels() {
            ok!(onestep_request_set_labels(request, labels.as_ptr(), labels.len()));
        }
        if let Some(steps) = steps {
            ok!(onestep_request_set_ddim(request, steps, 0.0));
        }
        let mut out = vec![0.0f32; x.len()];
        ok!(onestep_session_sample(self.session, request, null(), out.as_mut_ptr().cast(), 4 * out.len()));
        // SAFETY: made above, and not used again.
        unsafe { onestep_request_free(request) };
        out
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // SAFETY: made by `open`, and not used again.
        unsafe {
            onestep_model_free(self.model);
            onestep_session_free(self.session);
        }
    }
}
