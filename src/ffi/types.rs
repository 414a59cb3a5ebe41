//! The flat structs. Each begins with `struct_size`, which the caller sets to `sizeof` it; `min(struct_size, sizeof)`
//! bytes are read or written, so either side may be older. New fields go to the end.

use crate::error::{Error, Result};
use crate::image::{Format, Layout};
use std::ffi::{c_char, c_void};

/// 32-bit floats, (n, c, h, w).
pub const ONESTEP_FORMAT_F32_NCHW: i32 = 0;
/// 32-bit floats, (n, h, w, c).
pub const ONESTEP_FORMAT_F32_NHWC: i32 = 1;
/// 8 bits a channel; models of one channel are written as grey, a fourth channel is left out.
pub const ONESTEP_FORMAT_RGB8: i32 = 2;
/// 8 bits a channel; alpha is the fourth channel of a model of four, not multiplied in, else 255.
pub const ONESTEP_FORMAT_RGBA8: i32 = 3;
/// As RGBA8, blue first.
pub const ONESTEP_FORMAT_BGRA8: i32 = 4;

/// Bottom row first, as textures of OpenGL and Unity are.
pub const ONESTEP_FLAG_FLIP_Y: u32 = 1;
/// Floats in [0, 1]; else [-1, 1] as the network gave them. Neither clamps. 8-bit formats ignore it.
pub const ONESTEP_FLAG_F32_UNIT_RANGE: u32 = 2;
/// Colours times alpha, for who blends so. RGBA8 and BGRA8 alone; other formats ignore it.
pub const ONESTEP_FLAG_PREMULTIPLIED: u32 = 4;

/// The role that the file names, else teacher.
pub const ONESTEP_ROLE_AUTO: i32 = 0;
/// Draws in several network calls.
pub const ONESTEP_ROLE_TEACHER: i32 = 1;
/// Draws in one network call.
pub const ONESTEP_ROLE_STUDENT: i32 = 2;

/// The device's default: f32 on the CPU and on Metal, bf16 on CUDA.
pub const ONESTEP_PRECISION_AUTO: i32 = 0;
/// 32-bit floats throughout.
pub const ONESTEP_PRECISION_F32: i32 = 1;
/// Weights are rounded to bfloat16, and what they are multiplied with too where the processor multiplies pairs of
/// bfloat16 fast; sums stay f32, and on the CPU activations do. Results differ from f32's by 1 % or so (relative RMS), and prepared
/// weights take half the memory.
pub const ONESTEP_PRECISION_BF16: i32 = 2;
/// Weights and activations in half precision: CUDA, Metal, and `executor=reference`. NOT_BUILT elsewhere.
pub const ONESTEP_PRECISION_F16: i32 = 3;

/// Reading a file.
pub const ONESTEP_PHASE_OPEN: i32 = 0;
/// Packing weights; counted in tensors.
pub const ONESTEP_PHASE_PREPARE: i32 = 1;
/// Sampling; counted in network blocks, all steps together.
pub const ONESTEP_PHASE_SAMPLE: i32 = 2;
/// Writing a file.
pub const ONESTEP_PHASE_WRITE: i32 = 3;

/// The processor.
pub const ONESTEP_DEVICE_CPU: i32 = 0;
/// An NVIDIA GPU.
pub const ONESTEP_DEVICE_CUDA: i32 = 1;
/// An Apple GPU.
pub const ONESTEP_DEVICE_METAL: i32 = 2;

/// Called on the thread that made the call, with (user, ONESTEP_PHASE_*, done, total). A return other than 0 cancels.
/// It must not unwind or longjmp through the library, and must not use the session that is calling.
pub type onestep_progress_fn =
    Option<unsafe extern "C" fn(user: *mut c_void, phase: i32, done: u32, total: u32) -> i32>;
/// Called on the thread that has something to say; `utf8` has `len` bytes and is NUL-terminated.
pub type onestep_log_fn =
    Option<unsafe extern "C" fn(user: *mut c_void, level: i32, utf8: *const c_char, len: usize)>;
/// Called exactly once, when borrowed memory is no longer needed.
pub type onestep_release_fn = Option<unsafe extern "C" fn(user: *mut c_void)>;

/// How pixels lie in the caller's buffer. Zero but for `struct_size` and `format` is a tight batch.
///
/// Images lie one behind the other, `image_stride` apart; or on a sheet, as in an atlas: `columns` of them side by side,
/// `column_stride` apart, in each of its rows, which are `image_stride` apart. `row_stride` is the sheet's then, from one row of
/// pixels to the next. With `columns` alone the sheet is one tight picture, `columns` images wide; under F32_NCHW each row of
/// images has planes of its own, unless `plane_stride` says otherwise. The last row of images may be shorter. Nothing may
/// overlap. ONESTEP_FLAG_FLIP_Y flips each image where it is.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct onestep_layout {
    /// sizeof(onestep_layout)
    pub struct_size: u32,
    /// ONESTEP_FORMAT_*
    pub format: i32,
    /// ONESTEP_FLAG_*, or-ed
    pub flags: u32,
    /// 0
    pub reserved: u32,
    /// Bytes from one row to the next; 0 = tight.
    pub row_stride: u64,
    /// Bytes from one channel plane to the next (F32_NCHW alone); 0 = tight.
    pub plane_stride: u64,
    /// Bytes from one image to the next, on a sheet from one row of images to the next; 0 = tight.
    pub image_stride: u64,
    /// Images side by side in each row of a sheet; 0: no sheet. Programs compiled before it was there have none.
    pub columns: u64,
    /// Bytes from one image to the next in its row of a sheet; 0 = tight, and where `columns` is 0.
    pub column_stride: u64,
}

/// A device of this machine.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct onestep_device_info {
    /// sizeof(onestep_device_info)
    pub struct_size: u32,
    /// ONESTEP_DEVICE_*
    pub kind: i32,
    /// Index within its kind.
    pub index: i32,
    /// 0
    pub flags: u32,
    /// Bytes; 0 unknown.
    pub memory_total: u64,
    /// Bytes; 0 unknown.
    pub memory_free: u64,
    /// What `onestep_options_set_device` takes.
    pub id: [c_char; 32],
    /// The device's own name.
    pub name: [c_char; 128],
}

/// What a model is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct onestep_model_info {
    /// sizeof(onestep_model_info)
    pub struct_size: u32,
    /// ONESTEP_ROLE_TEACHER or ONESTEP_ROLE_STUDENT
    pub role: i32,
    /// Pixels.
    pub width: i32,
    /// Pixels.
    pub height: i32,
    /// Channels of an image.
    pub channels: i32,
    /// Labels are 0 to num_classes - 1; 0: unconditional, takes no labels.
    pub num_classes: i32,
    /// Timesteps are 0 to train_timesteps - 1.
    pub train_timesteps: i32,
    /// Steps where the caller names none; 1 for a student.
    pub default_steps: i32,
    /// Parameters of the network.
    pub parameters: u64,
    /// Bytes of the weights in the file.
    pub weight_bytes: u64,
    /// "unet2d"
    pub arch: [c_char; 32],
    /// The device chosen, as "cpu".
    pub device: [c_char; 32],
    /// The precision chosen; never AUTO.
    pub precision: i32,
    /// 0
    pub reserved: i32,
}

/// Memory in bytes.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct onestep_memory {
    /// sizeof(onestep_memory)
    pub struct_size: u32,
    /// 0
    pub reserved: u32,
    /// Prepared weights, shared by all sessions of the model.
    pub weights: u64,
    /// Scratch of a session at the batch asked for; 0 for the reference executor, which does not plan.
    pub scratch: u64,
    /// Both, and what opening needs beside them for a moment.
    pub host_peak: u64,
}

/// Reads a layout; NULL is a tight F32_NCHW batch.
///
/// # Safety
/// `layout` is NULL or points to `struct_size` readable bytes.
pub unsafe fn read_layout(layout: *const onestep_layout) -> Result<Layout> {
    let mut known = onestep_layout::default();
    if !layout.is_null() {
        super::args::check_pointer(layout, "layout")?;
        // SAFETY: not NULL and aligned; `struct_size` is the struct's first field, always there.
        let size = unsafe { layout.cast::<u32>().read() } as usize;
        let least = std::mem::offset_of!(onestep_layout, flags);
        if size < least {
            let message =
                format!("struct_size is {size}; set it to sizeof(onestep_layout), {least} at least");
            return Err(Error::argument("layout", message));
        }
        // SAFETY: the caller says that `size` bytes are there, `known` has its own size, and they do not overlap.
        unsafe {
            let to = (&raw mut known).cast::<u8>();
            std::ptr::copy_nonoverlapping(layout.cast::<u8>(), to, size.min(size_of::<onestep_layout>()));
        }
    }
    let flags = known.flags;
    const FLAGS: u32 = ONESTEP_FLAG_FLIP_Y | ONESTEP_FLAG_F32_UNIT_RANGE | ONESTEP_FLAG_PREMULTIPLIED;
    if flags & !FLAGS != 0 || known.reserved != 0 {
        let message = format!("flags {flags:#x} or reserved {} have bits that mean nothing", known.reserved);
        return Err(Error::argument("layout", message));
    }
    Ok(Layout {
        format: Format::from_i32(known.format)?,
        flip_y: flags & ONESTEP_FLAG_FLIP_Y != 0,
        unit_range: flags & ONESTEP_FLAG_F32_UNIT_RANGE != 0,
        premultiplied: flags & ONESTEP_FLAG_PREMULTIPLIED != 0,
        row_stride: known.row_stride,
        plane_stride: known.plane_stride,
        image_stride: known.image_stride,
        columns: known.columns,
        column_stride: known.column_stride,
    })
}

/// Writes as much of `value` as the caller's `struct_size` has room for, and leaves that field as it is.
///
/// # Safety
/// `T` is one of this module's structs; `out` is NULL or points to `struct_size` writable bytes.
pub unsafe fn write_struct<T: Copy>(out: *mut T, value: &T, name: &'static str) -> Result<()> {
    super::args::check_pointer(out, name)?;
    // SAFETY: not NULL and aligned; `struct_size` is the struct's first field, always there.
    let size = unsafe { out.cast::<u32>().read() } as usize;
    const FIRST: usize = size_of::<u32>();
    if size <= FIRST {
        return Err(Error::argument(name, format!("struct_size is {size}; set it to sizeof the struct")));
    }
    // SAFETY: the caller says that `size` bytes are there; `value` has its own size; they do not overlap.
    unsafe {
        let from = (value as *const T).cast::<u8>().add(FIRST);
        std::ptr::copy_nonoverlapping(from, out.cast::<u8>().add(FIRST), size.min(size_of::<T>()) - FIRST);
    }
    Ok(())
}

/// Copies a message into a fixed array, NUL-terminated. Of one that is too long the middle is left out: it begins with what
/// it is about, often a path, and ends with what is wrong.
pub fn copy_message(to: &mut [c_char], message: &str) {
    const GAP: &str = " ... ";
    let Some(room) = to.len().checked_sub(1 + GAP.len()).filter(|_| message.len() >= to.len()) else {
        return copy_text(to, message);
    };
    let head = message.floor_char_boundary(room / 2);
    let tail = message.ceil_char_boundary(message.len() - room / 2);
    copy_text(to, &[&message[..head], GAP, &message[tail..]].concat());
}

/// Copies a text into a fixed array, cut at a character, NUL-terminated.
pub fn copy_text(to: &mut [c_char], text: &str) {
    let end = text.floor_char_boundary(to.len() - 1);
    to.fill(0);
    for (to, from) in to.iter_mut().zip(&text.as_bytes()[..end]) {
        // A NUL inside would end the text early; messages quote what files say.
        *to = if *from == 0 { b' ' as c_char } else { *from as c_char };
    }
}
