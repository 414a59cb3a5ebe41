//! The C functions, called as a C program calls them.

#![allow(unsafe_code)]

use crate::common::Golden;
use onestep::ExecutorKind;
use onestep::ffi::*;
use onestep::model::Role;
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
        let path = CString::new(path.to_str().unwrap()).unwrap();
        let name = if executor == ExecutorKind::Fast { c"fast" } else { c"reference" };
        let role = match role.into() {
            None => ONESTEP_ROLE_AUTO,
            Some(Role::Teacher) => ONESTEP_ROLE_TEACHER,
            Some(Role::Student) => ONESTEP_ROLE_STUDENT,
        };
        let options = onestep_options_new();
        ok!(onestep_options_set(options, c"executor".as_ptr(), name.as_ptr()));
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
