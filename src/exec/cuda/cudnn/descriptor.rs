//! One backend descriptor: typed attributes in and out, destroyed when dropped.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::sync::Arc;

use super::sys::{ALLOCATION_FAILED, Api, Raw, Status, tag};
use crate::error::Error;

/// A call of cuDNN that did not succeed.
#[derive(Debug)]
pub(super) struct Failure {
    call: &'static str,
    status: Status,
    text: String,
}

impl Failure {
    /// `Ok` for status 0.
    pub fn check(api: &Api, call: &'static str, status: Status) -> Result<(), Self> {
        if status == 0 { Ok(()) } else { Err(Self { call, status, text: api.describe(status) }) }
    }

    /// The crate's error; `subject` is what was to be done, `bytes` how much memory that asks for, as far as known.
    pub fn into_error(self, device: &str, subject: &str, bytes: usize) -> Error {
        if ALLOCATION_FAILED.contains(&self.status) {
            return Error::OutOfMemory { what: "a convolution in cuDNN", bytes: bytes as u64 };
        }
        Error::DeviceFailed { device: device.into(), message: format!("{subject}: {self}") }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{} answered {} ({})", self.call, self.text, self.status)
    }
}

/// An attribute's value; each variant has the C type that its tag stands for.
#[derive(Debug)]
pub(super) enum Value<'a> {
    /// One of cuDNN's enumerations, and its tag.
    Enum(i32, i32),
    Int64(&'a [i64]),
    Float(f32),
    Boolean(bool),
    Handle(Raw),
    Descriptors(&'a [Raw]),
    /// Addresses on the device; of by-value tensors, on the host.
    Pointers(&'a [Raw]),
    #[cfg(test)]
    Text(&'a std::ffi::CStr),
}

impl Value<'_> {
    /// Tag, number of elements, first element.
    fn parts(&self) -> (i32, usize, *const c_void) {
        match self {
            Value::Enum(tag, value) => (*tag, 1, std::ptr::from_ref(value).cast()),
            Value::Int64(values) => (tag::INT64, values.len(), values.as_ptr().cast()),
            Value::Float(value) => (tag::FLOAT, 1, std::ptr::from_ref(value).cast()),
            Value::Boolean(value) => (tag::BOOLEAN, 1, std::ptr::from_ref(value).cast()),
            Value::Handle(value) => (tag::HANDLE, 1, std::ptr::from_ref(value).cast()),
            Value::Descriptors(values) => (tag::DESCRIPTOR, values.len(), values.as_ptr().cast()),
            Value::Pointers(values) => (tag::VOID_PTR, values.len(), values.as_ptr().cast()),
            #[cfg(test)]
            Value::Text(text) => (tag::CHAR, text.count_bytes() + 1, text.as_ptr().cast()),
        }
    }
}

/// A `cudnnBackendDescriptor_t` that is owned.
pub(super) struct Descriptor {
    api: Arc<Api>,
    raw: Raw,
}

// SAFETY: a descriptor is not bound to the thread that made it.
unsafe impl Send for Descriptor {}
// SAFETY: through a shared reference it is only read, or handed to calls that take it as finished and read it.
unsafe impl Sync for Descriptor {}

impl Descriptor {
    pub fn new(api: &Arc<Api>, kind: i32) -> Result<Self, Failure> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: `raw` is where the new descriptor's address goes.
        let status = unsafe { (api.create_descriptor)(kind, &mut raw) };
        Failure::check(api, "cudnnBackendCreateDescriptor", status)?;
        Ok(Self { api: api.clone(), raw })
    }

    /// For attributes of others; valid while `self` lives.
    pub fn raw(&self) -> Raw {
        self.raw
    }

    pub fn set(&mut self, name: i32, value: &Value) -> Result<(), Failure> {
        let (tag, count, first) = value.parts();
        // SAFETY: `first` points at `count` elements of the type that `tag` means, and cuDNN copies them.
        let status = unsafe { (self.api.set_attribute)(self.raw, name, tag, count as i64, first) };
        Failure::check(&self.api, "cudnnBackendSetAttribute", status)
    }

    pub fn finalize(&mut self) -> Result<(), Failure> {
        // SAFETY: `raw` is a live descriptor; what its attributes name is kept alive by who set them.
        let status = unsafe { (self.api.finalize)(self.raw) };
        Failure::check(&self.api, "cudnnBackendFinalize", status)
    }

    pub fn int64(&self, name: i32) -> Result<i64, Failure> {
        let mut values = [0];
        self.get(name, tag::INT64, &mut values)?;
        Ok(values[0])
    }

    /// At most `most` values of one of cuDNN's enumerations.
    pub fn enums(&self, name: i32, tag: i32, most: usize) -> Result<Vec<i32>, Failure> {
        let mut values = vec![0; most];
        let found = self.get(name, tag, &mut values)?;
        values.truncate(found);
        Ok(values)
    }

    /// The attribute's descriptor, written into a new one of `kind`.
    pub fn descriptor(&self, name: i32, kind: i32) -> Result<Self, Failure> {
        let found = Self::new(&self.api, kind)?;
        self.get(name, tag::DESCRIPTOR, &mut [found.raw])?;
        Ok(found)
    }

    /// All of the attribute's descriptors, written into new ones of `kind`.
    pub fn descriptors(&self, name: i32, kind: i32) -> Result<Vec<Self>, Failure> {
        let count = self.descriptor_count(name)?;
        let mut found =
            (0..count).map(|_| Self::new(&self.api, kind)).collect::<Result<Vec<_>, Failure>>()?;
        let mut raws: Vec<Raw> = found.iter().map(Self::raw).collect();
        found.truncate(self.get(name, tag::DESCRIPTOR, &mut raws)?);
        Ok(found)
    }

    fn descriptor_count(&self, name: i32) -> Result<usize, Failure> {
        let mut count = 0;
        // SAFETY: no element is asked for, so none is written; `count` receives how many there are.
        let status = unsafe {
            (self.api.get_attribute)(self.raw, name, tag::DESCRIPTOR, 0, &mut count, std::ptr::null_mut())
        };
        Failure::check(&self.api, "cudnnBackendGetAttribute", status)?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// Reads at most as many elements as `values` has; gives how many it wrote. Private, as `tag` must mean `T`.
    fn get<T>(&self, name: i32, tag: i32, values: &mut [T]) -> Result<usize, Failure> {
        let mut count = 0;
        // SAFETY: `values` has room for as many elements as are asked for, of the type that `tag` means.
        let status = unsafe {
            let first = values.as_mut_ptr().cast();
            (self.api.get_attribute)(self.raw, name, tag, values.len() as i64, &mut count, first)
        };
        Failure::check(&self.api, "cudnnBackendGetAttribute", status)?;
        Ok(usize::try_from(count).unwrap_or(0).min(values.len()))
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: `new` made it, and nobody else destroys it. There is nothing to do about a failure.
        unsafe { (self.api.destroy_descriptor)(self.raw) };
    }
}
