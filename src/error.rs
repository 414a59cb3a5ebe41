//! What can go wrong, one variant a thing, each with a stable code that the C interface returns.

use std::path::PathBuf;

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Stable numbers for errors, as the C interface returns them. Never reused; a retired one stays as a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Code {
    /// Success.
    Ok = 0,
    /// An argument, option or request that makes no sense; nothing was done.
    InvalidArgument = 1,
    /// The caller's buffer is smaller than the output.
    BufferTooSmall = 2,
    /// The operating system refused to read or write.
    Io = 3,
    /// A model file that is damaged, incomplete or contradicts itself, or is larger than the limits that were set.
    BadModel = 4,
    /// A sound model file of a kind that this library does not run.
    UnsupportedModel = 5,
    /// The device asked for is not on this machine.
    DeviceUnavailable = 6,
    /// The device gave an error while working.
    DeviceFailed = 7,
    /// Memory could not be had.
    OutOfMemory = 8,
    /// The caller cancelled.
    Cancelled = 9,
    /// Another thread is inside this session.
    Busy = 10,
    /// This build of the library was made without the part asked for.
    NotBuilt = 11,
    /// The caller was compiled against an incompatible header.
    AbiMismatch = 12,
    /// A bug in this library, caught at its edge.
    Panic = 13,
    /// A session on which an earlier call panicked.
    Poisoned = 14,
    /// A broken promise inside this library, found before it did harm.
    Internal = 15,
}

impl Code {
    /// All codes, in numeric order.
    pub const ALL: [Code; 16] = [
        Code::Ok,
        Code::InvalidArgument,
        Code::BufferTooSmall,
        Code::Io,
        Code::BadModel,
        Code::UnsupportedModel,
        Code::DeviceUnavailable,
        Code::DeviceFailed,
        Code::OutOfMemory,
        Code::Cancelled,
        Code::Busy,
        Code::NotBuilt,
        Code::AbiMismatch,
        Code::Panic,
        Code::Poisoned,
        Code::Internal,
    ];
}

/// One variant a thing that goes wrong. The message names the file, tensor or argument, what was found and
/// what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument, option or request that makes no sense.
    #[error("{argument}: {message}")]
    InvalidArgument {
        /// The argument's or option's name.
        argument: &'static str,
        /// What was found and what was expected.
        message: String,
    },
    /// The caller's buffer is too small.
    #[error("{argument}: {found} given, {expected} needed")]
    BufferTooSmall {
        /// The buffer's name.
        argument: &'static str,
        /// How many bytes (or floats, for a float buffer) the call writes or reads.
        expected: u64,
        /// How many the caller gave.
        found: u64,
    },
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A file that is damaged, incomplete or contradicts itself.
    #[error("{file}: {message}")]
    BadModel {
        /// The file's path, or `memory`.
        file: String,
        /// What is wrong with it.
        message: String,
    },
    /// A tensor that the network needs is not in the file.
    #[error("{file}: tensor {tensor} of shape {expected:?} is missing")]
    MissingTensor {
        /// The file's path, or `memory`.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
    },
    /// A tensor of another shape than the configuration asks for.
    #[error("{file}: tensor {tensor} has shape {found:?}, the configuration asks for {expected:?}")]
    WrongShape {
        /// The file's path, or `memory`.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A tensor that the network has no place for: file and configuration do not belong together.
    #[error("{file}: tensor {tensor} has no place in the network that the configuration describes")]
    UnexpectedTensor {
        /// The file's path, or `memory`.
        file: String,
        /// The tensor's name.
        tensor: String,
    },
    /// A sound configuration that this library does not run.
    #[error("{file}: {key} = {found} is not supported; supported: {supported}")]
    UnsupportedModel {
        /// The file's path, or `memory`.
        file: String,
        /// The configuration's key.
        key: String,
        /// The value found.
        found: String,
        /// The values that would do.
        supported: String,
    },
    /// The device asked for is not on this machine.
    #[error("device {device}: {message}")]
    DeviceUnavailable {
        /// The device's id as asked for.
        device: String,
        /// What is missing.
        message: String,
    },
    /// The device gave an error while working.
    #[error("device {device} failed: {message}")]
    DeviceFailed {
        /// The device's id.
        device: String,
        /// Its error.
        message: String,
    },
    /// Memory could not be had.
    #[error("out of memory: {bytes} bytes for {what}")]
    OutOfMemory {
        /// What the memory was for.
        what: &'static str,
        /// How much was asked for.
        bytes: u64,
    },
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
    /// Another thread is inside this session.
    #[error("the session is busy: another call is running on it")]
    Busy,
    /// This build was made without the part asked for.
    #[error("{what} is not in this build: {remedy}")]
    NotBuilt {
        /// The part.
        what: &'static str,
        /// How to get it.
        remedy: &'static str,
    },
    /// An earlier call on this session panicked.
    #[error("an earlier call on this session panicked; make a new session")]
    Poisoned,
    /// Another process of those that train together failed, and so all end.
    #[error("process {rank}: {message}")]
    Process {
        /// Its number, 0 the first.
        rank: usize,
        /// Its error's code.
        code: Code,
        /// Its error's message.
        message: String,
    },
    /// A broken promise inside this library.
    #[error("internal error: {0}")]
    Internal(String),
}

impl Error {
    /// The stable code of this error.
    pub fn code(&self) -> Code {
        match self {
            Error::InvalidArgument { .. } => Code::InvalidArgument,
            Error::BufferTooSmall { .. } => Code::BufferTooSmall,
            Error::Io { .. } => Code::Io,
            Error::BadModel { .. }
            | Error::MissingTensor { .. }
            | Error::WrongShape { .. }
            | Error::UnexpectedTensor { .. } => Code::BadModel,
            Error::UnsupportedModel { .. } => Code::UnsupportedModel,
            Error::DeviceUnavailable { .. } => Code::DeviceUnavailable,
            Error::DeviceFailed { .. } => Code::DeviceFailed,
            Error::OutOfMemory { .. } => Code::OutOfMemory,
            Error::Cancelled => Code::Cancelled,
            Error::Busy => Code::Busy,
            Error::NotBuilt { .. } => Code::NotBuilt,
            Error::Poisoned => Code::Poisoned,
            Error::Process { code, .. } => *code,
            Error::Internal(_) => Code::Internal,
        }
    }

    /// The operating system's number behind an I/O error, else 0.
    pub fn native_code(&self) -> i32 {
        match self {
            Error::Io { source, .. } => source.raw_os_error().unwrap_or(0),
            _ => 0,
        }
    }

    /// Whether another device might do what this one could not.
    pub(crate) fn is_of_device(&self) -> bool {
        matches!(
            self,
            Error::DeviceUnavailable { .. }
                | Error::DeviceFailed { .. }
                | Error::OutOfMemory { .. }
                | Error::NotBuilt { .. }
        )
    }

    pub(crate) fn argument(argument: &'static str, message: impl Into<String>) -> Self {
        Error::InvalidArgument { argument, message: message.into() }
    }

    pub(crate) fn bad_model(file: impl Into<String>, message: impl Into<String>) -> Self {
        Error::BadModel { file: file.into(), message: message.into() }
    }

    pub(crate) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Error::Io { path: path.into(), source }
    }
}

/// A zeroed vector whose size a file or a caller controls: OUT_OF_MEMORY instead of an abort.
pub(crate) fn try_zeroed<T: Copy + Default>(len: usize, what: &'static str) -> Result<Vec<T>> {
    let mut values = try_with_capacity(len, what)?;
    values.resize(len, T::default());
    Ok(values)
}

/// Gives a vector that is kept for its memory `len` values, new ones zero, or OUT_OF_MEMORY.
#[cfg(feature = "train")]
pub(crate) fn try_resize<T: Copy + Default>(
    values: &mut Vec<T>,
    len: usize,
    what: &'static str,
) -> Result<()> {
    let bytes = (len as u64).saturating_mul(size_of::<T>() as u64);
    let missing = len.saturating_sub(values.len());
    values.try_reserve_exact(missing).map_err(|_| Error::OutOfMemory { what, bytes })?;
    values.resize(len, T::default());
    Ok(())
}

/// An empty vector with room for `len` values, or OUT_OF_MEMORY.
pub(crate) fn try_with_capacity<T>(len: usize, what: &'static str) -> Result<Vec<T>> {
    let mut values = Vec::new();
    let bytes = (len as u64).saturating_mul(size_of::<T>() as u64);
    values.try_reserve_exact(len).map_err(|_| Error::OutOfMemory { what, bytes })?;
    Ok(values)
}
