//! Noise.
pub fn fill(_s: u64, _t: u32, _o: &mut [f32]) { todo!() }
