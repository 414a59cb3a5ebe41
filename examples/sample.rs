//! Ten handwritten digits, drawn by the student inside the library, side by side in a PGM picture.
//!
//!     cargo run --release --example sample -- digits.pgm

use onestep::{Layout, Model, Options, Request};

const DIGITS: usize = 10;
const SIDE: usize = 16;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = Model::open_default(&Options::default())?;
    let mut session = model.session(&Options::default())?;
    let request = Request {
        seeds: Some((0..DIGITS as u64).collect()),
        labels: Some((0..DIGITS as i32).collect()),
        ..Request::default()
    };
    let mut bytes = vec![0; model.output_size(DIGITS, &Layout::default())? as usize];
    session.sample(&request, &Layout::default(), &mut bytes)?;
    let images: Vec<f32> = bytes.as_chunks().0.iter().map(|b| f32::from_ne_bytes(*b)).collect();

    let mut picture = format!("P5\n{} {SIDE}\n255\n", DIGITS * SIDE).into_bytes();
    for y in 0..SIDE {
        for image in images.chunks_exact(SIDE * SIDE) {
            let row = &image[y * SIDE..][..SIDE];
            picture.extend(row.iter().map(|value| ((value.clamp(-1.0, 1.0) + 1.0) * 127.5 + 0.5) as u8));
        }
    }
    std::fs::write(std::env::args_os().nth(1).unwrap_or("digits.pgm".into()), picture)?;
    Ok(())
}
