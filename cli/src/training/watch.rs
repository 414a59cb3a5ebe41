//! A run as people see it: a bar, lines for machines, pictures in its folder, a report at its end.

use super::curves;
use super::events::Events;
use super::judge::Judge;
use super::standing::Standing;
use crate::args::resolve_labels;
use crate::draw::{self, Item, Job};
use crate::meter::{Meter, bar};
use crate::output::picture;
use crate::report::{io_error, print, say};
use crate::sample;
use indicatif::ProgressBar;
use onestep::train::{Best, CHECKPOINT, Event, Line, MODEL, Outcome, SETTINGS, read_log};
use onestep::weights::{Checkpoint, write_text};
use onestep::{Cancel, Error, Model, Options, Result};
use serde_json::json;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Images of a picture of an unconditional model, and of each class of a conditional one.
const SAMPLES: usize = 36;
const A_CLASS: usize = 6;
/// Of which so many are drawn at a time.
const BATCH: usize = 16;
/// Steps over which the speed shown is taken.
const RECENT: usize = 20;

/// The losses in the run's folder.
const CURVES: &str = "curves.png";

/// Sees a run.
pub struct Watcher {
    out: PathBuf,
    bar: ProgressBar,
    json: bool,
    quiet: bool,
    threads: u32,
    speeds: VecDeque<f64>,
    judge: Option<Judge>,
    standing: Option<Standing>,
    events: Option<Events>,
    /// The steps of the last checkpoint, and of the last picture.
    saved: Option<u64>,
    sampled: Option<u64>,
    begun: Option<(u64, Instant)>,
}

impl Watcher {
    /// Of the run in this folder.
    pub fn new(out: &Path, json: bool, quiet: bool, threads: u32) -> Self {
        let bar = bar(!quiet && !json, None, "{pos}/{len} {wide_bar} {msg}");
        Self {
            out: out.to_owned(),
            bar,
            json,
            quiet,
            threads,
            speeds: VecDeque::new(),
            judge: None,
            standing: None,
            events: None,
            saved: None,
            sampled: None,
            begun: None,
        }
    }

    /// The same, which scores models by this judge.
    pub fn judged(mut self, judge: Option<Judge>) -> Self {
        self.judge = judge;
        self
    }

    /// Finds how the run's student stands to the teacher that drew these pairs. What cannot be compared is said, and the run is as good
    /// as without.
    pub fn compare(&mut self, pairs: &Path, cancel: Option<&Cancel>) {
        let (threads, cancel) = (self.threads, cancel.cloned());
        let options = Options { device: "cpu".into(), threads, cancel, ..Options::default() };
        match Standing::of(&self.out, pairs, self.judge.as_ref(), &options) {
            Ok(standing) => self.standing = Some(standing),
            Err(error) => self.say(&format!("note: student and teacher were not compared: {error}")),
        }
    }

    /// A line for people, above the bar.
    pub fn say(&self, text: &str) {
        if !self.quiet && !self.json {
            self.bar.suspend(|| say(text));
        }
    }

    /// One event.
    pub fn see(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Begun { step, steps } => {
                std::fs::create_dir_all(self.out.join("samples"))
                    .map_err(|error| io_error(&self.out, error))?;
                if step > 0 {
                    self.say(&format!(
                        "going on after step {step}, from {}",
                        self.out.join(CHECKPOINT).display()
                    ));
                }
                self.bar.set_length(steps);
                self.bar.set_position(step);
                self.events = Some(Events::new(&self.out, step)?);
                self.begun = Some((step, Instant::now()));
                self.machine(json!({"event": "begun", "step": step, "steps": steps}))
            }
            Event::Measured { parameters, bytes, images_per_second, seconds } => {
                self.say(&format!(
                    "{parameters} parameters, {} MiB, {images_per_second:.1} images/s; the run would take {}",
                    bytes >> 20,
                    duration(seconds)
                ));
                self.machine(json!({
                    "event": "measured", "parameters": parameters, "bytes": bytes,
                    "images_per_second": images_per_second, "seconds": seconds,
                }))
            }
            Event::Noted(note) => {
                self.say(&format!("note: {note}"));
                self.machine(json!({"event": "note", "note": note}))
            }
            Event::Step(line) => {
                self.step(line);
                Ok(())
            }
            Event::Logged(line) => {
                self.events.as_mut().map_or(Ok(()), |events| events.log(line))?;
                self.machine(json!({
                "event": "step", "step": line.step, "loss": line.loss, "test_loss": line.test_loss, "rate": line.rate,
                "gradient_norm": line.gradient_norm, "images_per_second": line.images_per_second, "score": line.score,
            }))
            }
            Event::Tested { step, loss, best } => {
                let mark = if best { ", the best so far" } else { "" };
                self.say(&format!("step {step}: test loss {loss:.6}{mark}"));
                self.machine(json!({"event": "test", "step": step, "loss": loss, "best": best}))
            }
            // Images of other channel counts are no pictures.
            Event::Sample { model, .. } if !matches!(channels(model)?, 1 | 3 | 4) => Ok(()),
            Event::Sample { step, model } => {
                let path = self.out.join(samples_name(step));
                self.draw(model, &path)?;
                self.sampled = Some(step);
                self.machine(json!({"event": "samples", "step": step, "path": path.display().to_string()}))
            }
            Event::Score { model, score, .. } => {
                if let Some(judge) = &self.judge {
                    self.bar.set_message("scoring");
                    *score = judge.score(model)?;
                }
                Ok(())
            }
            Event::Scored { step, score, best } => {
                let mark = if best { ", the best so far" } else { "" };
                self.say(&format!("step {step}: score {score:.4}{mark}"));
                self.machine(json!({"event": "score", "step": step, "score": score, "best": best}))
            }
            Event::Saved(outcome) => {
                self.saved = Some(outcome.steps);
                self.report(outcome)?;
                self.machine(json!({"event": "checkpoint", "step": outcome.steps}))
            }
        }
    }

    fn machine(&self, value: serde_json::Value) -> Result<()> {
        if self.json { print(value) } else { Ok(()) }
    }

    fn step(&mut self, line: &Line) {
        if self.speeds.len() == RECENT {
            self.speeds.pop_front();
        }
        self.speeds.push_back(line.images_per_second);
        let speed = self.speeds.iter().sum::<f64>() / self.speeds.len() as f64;
        let left = self.begun.map_or(0.0, |(first, start)| {
            let done = line.step.saturating_sub(first).max(1) as f64;
            let rest = self.bar.length().unwrap_or(0).saturating_sub(line.step) as f64;
            start.elapsed().as_secs_f64() / done * rest
        });
        self.bar.set_position(line.step);
        self.bar.set_message(format!("loss {:.5}, {speed:.1} images/s, {} left", line.loss, duration(left)));
    }

    /// The same seeds every time, so that pictures of different steps can be compared.
    fn draw(&self, model: &Checkpoint<'static>, path: &Path) -> Result<()> {
        // Beside a training run, on its own threads; its pictures are the same bytes on every machine of its kind.
        let options = Options { device: "cpu".into(), threads: self.threads, ..Options::default() };
        let model = Model::from_checkpoint(model, &options)?;
        let labels = resolve_labels(&[], &model.info().config.network)?;
        let count = labels.as_ref().map_or(SAMPLES, |labels| sample::count_of(labels, A_CLASS));
        let label = |index: usize| labels.as_ref().map(|labels| labels[index % labels.len()]);
        let job = Job {
            count,
            item: &|index| Item { name: String::new(), seed: index as u64, label: label(index), noise: None },
        };
        let sink = picture(path, &model, sample::sheet(count, labels.as_deref()))?;
        draw::fill(&[model], &options, (BATCH, None), &job, sink, &Meter::new(true)).map(drop)
    }

    /// Takes the bar away, and says how the run ended: where it is cancelled, how it goes on.
    ///
    /// # Errors
    /// The run's own.
    pub fn end(&self, result: Result<Outcome>) -> Result<()> {
        self.bar.finish_and_clear();
        match result {
            Ok(outcome) if outcome.steps == 0 => Ok(()),
            Ok(outcome) => self.finish(&outcome),
            Err(error) => {
                if let (Error::Cancelled, Some(step)) = (&error, self.saved) {
                    let place = self.out.join(CHECKPOINT);
                    self.say(&format!(
                        "stopped after step {step}, which is saved in {}; the same command goes on",
                        place.display()
                    ));
                }
                Err(error)
            }
        }
    }

    /// Curves, and a report, of what the run has come to.
    fn report(&self, outcome: &Outcome) -> Result<()> {
        let scored = self.judge.is_some();
        let lines = read_log(&self.out)?;
        let drawn = curves::draw(&lines, &self.out.join(CURVES))?;
        let samples = samples_name(self.sampled.unwrap_or(outcome.steps));
        let pictures = [
            ("losses", drawn.then(|| CURVES.to_owned())),
            ("samples", self.out.join(&samples).exists().then_some(samples)),
        ];
        let path = self.out.join("report.md");
        let settings = self.out.join(SETTINGS);
        let settings = std::fs::read_to_string(&settings).map_err(|error| io_error(&settings, error))?;
        let best = outcome
            .best
            .map(|best| format!("The model is of step {}: {}.\n\n", best.step, best_of(&best, scored)));
        let standing = self.standing.as_ref().map(|standing| standing.text() + ".\n\n");
        let said = [best, standing].into_iter().flatten().collect::<String>();
        write_text(&path, &report(outcome, &said, &lines, &pictures, settings.trim_end()))
    }

    /// The report, and a line for people, of a run that came to its end.
    fn finish(&self, outcome: &Outcome) -> Result<()> {
        self.report(outcome)?;
        let scored = self.judge.is_some();
        let best = outcome
            .best
            .map_or(String::new(), |best| format!(", {} after step {}", best_of(&best, scored), best.step));
        if let Some(standing) = &self.standing {
            self.say(&standing.text());
        }
        let place = self.out.join(MODEL);
        self.say(&format!(
            "{} steps in {}{best}: {}",
            outcome.steps,
            duration(outcome.seconds),
            place.display()
        ));
        self.machine(json!({
            "event": "done", "steps": outcome.steps, "seconds": outcome.seconds, "model": place.display().to_string(),
            "best_test_loss": outcome.best.filter(|_| !scored).map(|best| best.loss),
            "best_score": outcome.best.filter(|_| scored).map(|best| best.loss),
            "student": self.standing.as_ref().map(|standing| standing.student),
            "teacher": self.standing.as_ref().map(|standing| standing.teacher),
        }))
    }
}

impl Drop for Watcher {
    /// On errors: the message must not land in the middle of a bar.
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The picture after a step.
fn samples_name(step: u64) -> String {
    format!("samples/step_{step:06}.png")
}

/// What a run came to, in Markdown.
fn report(
    outcome: &Outcome,
    said: &str,
    lines: &[Line],
    pictures: &[(&str, Option<String>)],
    settings: &str,
) -> String {
    let steps = outcome.steps.max(1) as f64;
    let mut text = format!(
        "# Training run\n\n`{MODEL}`: {} steps, {} spent in them ({:.1} ms a step).\n\n",
        outcome.steps,
        duration(outcome.seconds),
        1e3 * outcome.seconds / steps
    );
    text += said;
    text += "| step | loss | test loss | score | rate | images/s |\n|--:|--:|--:|--:|--:|--:|\n";
    let every = lines.len().div_ceil(20).max(1);
    let shown = lines
        .iter()
        .enumerate()
        .filter(|(i, line)| (i + 1) % every == 0 || i + 1 == lines.len() || line.score.is_some());
    for (_, line) in shown {
        let test = line.test_loss.map_or(String::new(), |loss| format!("{loss:.6}"));
        let score = line.score.map_or(String::new(), |score| format!("{score:.4}"));
        text += &format!(
            "| {} | {:.6} | {test} | {score} | {:.3e} | {:.1} |\n",
            line.step, line.loss, line.rate, line.images_per_second
        );
    }
    for (name, picture) in pictures.iter().filter_map(|(name, picture)| Some((name, picture.as_ref()?))) {
        text += &format!("\n![{name}]({picture})\n");
    }
    text + &format!("\n## Settings\n\n```json\n{settings}\n```\n")
}

/// What the best model is the best by.
fn best_of(best: &Best, scored: bool) -> String {
    match scored {
        true => format!("best score {:.4}", best.loss),
        false => format!("best test loss {:.6}", best.loss),
    }
}

/// `1 h 02 min`, `3 min 20 s`, `4.2 s`.
fn duration(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

/// Of a model's images.
fn channels(model: &Checkpoint) -> Result<usize> {
    Ok(model.config(None)?.network.channels)
}
