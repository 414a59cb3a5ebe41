//! `curves.png`: losses over steps, on a logarithmic scale, and scores, on one of their own.

use crate::output::pixels::Pixel;
use crate::output::staged::StagedFile;
use onestep::train::Line;
use onestep::{Error, Result};
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use std::path::Path;
use std::sync::Once;

const SIZE: (u32, u32) = (960, 540);
/// Points of a curve at most; longer logs are averaged.
const POINTS: usize = 600;

/// Draws the losses of a log, and whether it did: of fewer than two lines there is nothing to draw.
pub fn draw(lines: &[Line], path: &Path) -> Result<bool> {
    static FONT: Once = Once::new();
    FONT.call_once(|| {
        // A font that cannot be read leaves the curves without numbers.
        let _ = register_font("sans-serif", FontStyle::Normal, include_bytes!("font/DejaVuSans-ascii.ttf"));
    });
    if lines.len() < 2 {
        return Ok(false);
    }
    let mut pixels = vec![0; (SIZE.0 * SIZE.1 * 3) as usize];
    chart(lines, &mut pixels).map_err(|message| Error::Internal(format!("{}: {message}", path.display())))?;
    let bytes = Pixel::Rgb.encode(SIZE.0 as usize, SIZE.1 as usize, &pixels)?;
    let mut file = StagedFile::create(path)?;
    file.write(&bytes)?;
    file.commit()?;
    Ok(true)
}

fn chart(lines: &[Line], pixels: &mut [u8]) -> std::result::Result<(), String> {
    let losses = thinned(lines.iter().map(|line| (line.step, line.loss)).collect());
    let tests: Vec<(f64, f64)> =
        lines.iter().filter_map(|line| Some((line.step as f64, line.test_loss?))).collect();
    let scores: Vec<(f64, f64)> =
        lines.iter().filter_map(|line| Some((line.step as f64, line.score?))).collect();
    let highest = scores.iter().map(|point| point.1).fold(f64::MIN_POSITIVE, f64::max);
    let all = || losses.iter().chain(&tests).map(|point| point.1).filter(|loss| *loss > 0.0);
    let (least, most) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    if !least.is_finite() {
        return Ok(());
    }
    let last = lines[lines.len() - 1].step as f64;
    let root = BitMapBackend::with_buffer(pixels, SIZE).into_drawing_area();
    let drawn = || -> std::result::Result<(), DrawingAreaErrorKind<_>> {
        root.fill(&WHITE)?;
        let right = if scores.is_empty() { 0 } else { 60 };
        let mut chart = ChartBuilder::on(&root)
            .margin(16)
            .x_label_area_size(40)
            .y_label_area_size(80)
            .right_y_label_area_size(right)
            .build_cartesian_2d(0.0..last, (least * 0.9..most * 1.1).log_scale())?
            .set_secondary_coord(0.0..last, 0.0..highest * 1.1);
        chart
            .configure_mesh()
            .x_desc("step")
            .y_desc("loss")
            .x_label_formatter(&|step| format!("{step:.0}"))
            .y_label_formatter(&|loss| format!("{loss:.3e}"))
            .light_line_style(WHITE)
            .draw()?;
        let blue = RGBColor(31, 119, 180);
        chart
            .draw_series(LineSeries::new(losses.iter().copied(), blue.stroke_width(2)))?
            .label("training")
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], blue.stroke_width(2)));
        if !tests.is_empty() {
            let red = RGBColor(214, 39, 40);
            chart
                .draw_series(LineSeries::new(tests.iter().copied(), red.stroke_width(2)))?
                .label("test, averaged weights")
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], red.stroke_width(2)));
        }
        if !scores.is_empty() {
            let green = RGBColor(44, 160, 44);
            chart
                .configure_secondary_axes()
                .y_desc("score")
                .y_label_formatter(&|score| format!("{score:.2}"))
                .draw()?;
            chart
                .draw_secondary_series(LineSeries::new(scores.iter().copied(), green.stroke_width(2)))?
                .label("score, averaged weights")
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], green.stroke_width(2)));
        }
        chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
        root.present()
    };
    drawn().map_err(|error| error.to_string())
}

/// Means of neighbours, so that at most [`POINTS`] are left.
fn thinned(points: Vec<(u64, f64)>) -> Vec<(f64, f64)> {
    let run = points.len().div_ceil(POINTS).max(1);
    let mean = |points: &[(u64, f64)]| {
        let number = points.len() as f64;
        let sums = points.iter().fold((0.0, 0.0), |sums, point| (sums.0 + point.0 as f64, sums.1 + point.1));
        (sums.0 / number, sums.1 / number)
    };
    points.chunks(run).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_becomes_a_picture() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curves.png");
        let line = |step: u64| Line {
            step,
            loss: 1.0 / step as f64,
            test_loss: step.is_multiple_of(100).then_some(2.0 / step as f64),
            rate: 1e-3,
            gradient_norm: 1.0,
            images_per_second: 1.0,
            score: step.is_multiple_of(200).then_some(5.0 + 100.0 / step as f64),
        };
        assert!(!draw(&[line(1)], &path).unwrap());
        assert!(!path.exists());
        let lines: Vec<Line> = (1..2000).map(line).collect();
        assert!(draw(&lines, &path).unwrap());
        let file = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
        let mut reader = png::Decoder::new(file).read_info().unwrap();
        assert_eq!(reader.info().size(), SIZE);
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        for color in [[31, 119, 180], [214, 39, 40], [44, 160, 44]] {
            let count = pixels.as_chunks().0.iter().filter(|pixel| **pixel == color).count();
            assert!(count > 300, "{color:?}: {count}");
        }
        assert_eq!(thinned((1..2000).map(|step| (step, 1.0)).collect()).len(), 500);
    }
}
