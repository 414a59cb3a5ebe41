//! `report.md`, and the lines on the terminal.

use super::pictures::Drawn;
use super::published::SYSTEMS;
use onestep::metrics::{Features, NEIGHBOUR, SPLITS, SUBSET, SUBSETS, Scores};
use std::fmt::Write;
use std::path::Path;

/// What a report is made of.
pub struct Report<'a> {
    pub scores: &'a Scores,
    pub features: &'a Features,
    /// What was scored.
    pub subject: String,
    pub reference: Option<&'a Path>,
    pub pictures: &'a [Drawn],
    /// Whether the scores are of pixels.
    pub pixel: bool,
    /// Images a second, if any were scored now.
    pub speed: Option<f64>,
    /// Network calls an image.
    pub calls: Option<usize>,
}

/// Name, value, and what it is.
fn rows(scores: &Scores) -> Vec<(&'static str, String, String)> {
    let rows = [
        ("FID", scores.fid.map(|fid| format!("{fid:.4}")), "lower is better".to_owned()),
        (
            "Inception Score",
            scores.inception_score.map(|score| format!("{:.4} ± {:.4}", score.mean, score.std)),
            format!("higher is better; over {SPLITS} parts"),
        ),
        (
            "KID",
            scores.kid.map(|kid| format!("{:.6} ± {:.6}", kid.mean, kid.std)),
            format!("lower is better; over {SUBSETS} subsets of {SUBSET}"),
        ),
        (
            "Frechet distance of pixels",
            scores.pixel_frechet.map(|distance| format!("{distance:.4}")),
            "lower is better; images averaged to 8 x 8, values from 0 to 16".to_owned(),
        ),
        (
            "precision",
            scores.precision.map(|share| format!("{share:.4}")),
            format!("higher is better; {NEIGHBOUR} neighbours"),
        ),
        ("recall", scores.recall.map(|share| format!("{share:.4}")), "higher is better".to_owned()),
    ];
    rows.into_iter().filter_map(|(name, value, what)| Some((name, value?, what))).collect()
}

/// The scores, a line each.
pub fn lines(scores: &Scores) -> String {
    rows(scores).iter().map(|(name, value, _)| format!("{name}: {value}")).collect::<Vec<_>>().join("\n")
}

impl Report<'_> {
    /// In Markdown.
    pub fn text(&self) -> String {
        let Self { scores, pixel, .. } = *self;
        let mut text = format!("# Evaluation of {}\n\n", self.subject);
        let reference = self.reference.map_or("none".to_owned(), |path| path.display().to_string());
        let count = scores.reference_images.map_or(String::new(), |count| format!(" ({count} images)"));
        // Writing to memory does not fail.
        let _ = writeln!(
            text,
            "{} images, {}.\nReference: {reference}{count}.\n",
            scores.images,
            self.protocol()
        );
        text += "| score | | |\n|---|--:|---|\n";
        for (name, value, what) in rows(scores) {
            let _ = writeln!(text, "| {name} | {value} | {what} |");
        }
        if pixel {
            text += "\nDistances of pixels averaged to 8 x 8 say whether colours, shapes and their variety are right, and nothing of \
                     detail. They are of this command alone: they cannot be compared with FID, nor with anybody else's figures.\n";
        }
        for note in &scores.notes {
            let _ = writeln!(text, "\n**Note:** {note}.");
        }
        if let Some(speed) = self.speed {
            let _ = writeln!(text, "\n{speed:.1} images a second, drawing or reading included.");
        }
        for Drawn { file, title, what } in self.pictures {
            let _ = writeln!(text, "\n## {title}\n\n{what}\n\n![{title}]({file})");
        }
        if !pixel {
            text += &self.table();
        }
        text
    }

    /// Under which custom the features were found.
    fn protocol(&self) -> String {
        let extractor = &self.features.manifest().extractor;
        match extractor["protocol"].as_str() {
            Some("tf") => {
                "Inception-v3 of 2015-12-05 as TensorFlow's graph saw images (protocol tf)".to_owned()
            }
            Some(protocol) => {
                format!("Inception-v3 of 2015-12-05 as {protocol} shows it images (protocol {protocol})")
            }
            None => "pixels averaged to 8 x 8 (no network)".to_owned(),
        }
    }

    /// What is published of CIFAR-10, with this row among it.
    fn table(&self) -> String {
        let Self { scores, .. } = *self;
        let mut text = "\n## Beside published systems\n\nCIFAR-10 without labels, as published: 50,000 images against the training set. \
                        None of these figures was measured here, and they can be compared with the measured row only where that is of the \
                        same data, count and protocol.\n\n| system | FID | IS | network calls | |\n|---|--:|--:|--:|---|\n"
            .to_owned();
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        for system in SYSTEMS {
            let (fid, score) = (number(Some(system.fid)), number(system.inception_score));
            let _ = writeln!(text, "| {} | {fid} | {score} | {} | published |", system.name, system.steps);
        }
        let calls = self.calls.map_or("-".to_owned(), |calls| calls.to_string());
        let _ = writeln!(
            text,
            "| **{}** | **{}** | **{}** | {calls} | **measured**: {} images, {} |",
            self.subject,
            number(scores.fid),
            number(scores.inception_score.map(|score| score.mean)),
            scores.images,
            self.protocol()
        );
        text
    }
}
