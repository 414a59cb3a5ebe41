//! Eight portraits with transparency, drawn by the student inside the library, side by side in a TGA picture.
//!
//!     cargo run --release --example sample -- portraits.tga

use onestep::image::Format;
use onestep::{Layout, Model, Options, Request};

const PORTRAITS: usize = 8;
const SIDE: usize = 16;
const WIDTH: usize = PORTRAITS * SIDE;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = Model::open_default(&Options::default())?;
    let mut session = model.session(&Options::default())?;
    let request = Request {
        seeds: Some((0..PORTRAITS as u64).collect()),
        labels: Some((0..PORTRAITS as i32).collect()),
        ..Request::default()
    };
    // Pixels as they are, 32 bits each, eight of them alpha, top row first.
    let mut picture = vec![0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, WIDTH as u8, 0, SIDE as u8, 0, 32, 0x28];
    let header = picture.len();
    picture.resize(header + SIDE * WIDTH * 4, 0);
    let layout = Layout { format: Format::Bgra8, columns: PORTRAITS as u64, ..Layout::default() };
    session.sample(&request, &layout, &mut picture[header..])?;
    std::fs::write(std::env::args_os().nth(1).unwrap_or("portraits.tga".into()), picture)?;
    Ok(())
}
