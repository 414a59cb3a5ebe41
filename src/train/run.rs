//! The loop that all training shares: a step, the log, tests, pictures, checkpoints.

use super::event::{Event, Watch};
use super::folder::{Changes, Folder, Line, Log};
use super::group::Group;
use super::objective::Objective;
use super::optim::{AdamOptions, Rate, average, clip_factor, norm};
use super::state::{Best, CHECKPOINT, State};
use crate::error::{Error, Result};
use crate::options::Cancel;
use crate::weights::Description;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

/// The averaged network of the best test, or of the last step where nothing is tested.
pub const MODEL: &str = "model.safetensors";

/// How steps are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optimization {
    /// Steps of the whole run.
    pub steps: u64,
    /// The learning rate.
    pub rate: Rate,
    /// The optimiser.
    pub adam: AdamOptions,
    /// Largest norm of a step's gradient; longer ones are shortened to it.
    pub clip: Option<f64>,
    /// Decay of the moving average.
    pub ema: f64,
    /// Begin the average with (1 + step) / (10 + step) where that is less than its decay.
    pub ema_warmup: bool,
}

/// What a run does beside its steps; none of it changes what they learn.
#[derive(Clone)]
pub struct RunOptions {
    /// Steps from one checkpoint to the next.
    pub checkpoint_every: u64,
    /// Steps from one line of the log to the next.
    pub log_every: u64,
    /// Steps from one picture of samples to the next; 0 for none.
    pub sample_every: u64,
    /// Judges the run's model by its images; none: by its loss on what is kept for tests.
    pub scoring: Option<Scoring>,
    /// Which of its settings may be others than when the run began.
    pub changes: Changes,
    /// Makes a few steps to say what the run would take, and writes nothing.
    pub dry_run: bool,
    /// Ends the run after the step it is in, with a checkpoint.
    pub cancel: Option<Cancel>,
    /// The processes among which a step's images are divided.
    pub group: Group,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            checkpoint_every: 500,
            log_every: 10,
            sample_every: 1000,
            scoring: None,
            changes: Changes::default(),
            dry_run: false,
            cancel: None,
            group: Group::alone(),
        }
    }
}

/// How a run is judged by images: who watches it answers [`Event::Score`]. The model that is kept is the one of the least score.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scoring {
    /// Steps from one score to the next; the last step has one too.
    pub every: u64,
    /// What the score is, for the settings: a run that goes on must be judged alike.
    pub by: String,
}

impl RunOptions {
    /// The run's folder, of process 0, with how the run is judged among the settings; none of a dry run.
    ///
    /// # Errors
    /// Those of [`Folder::shared`].
    pub fn folder(&self, out: &Path, settings: &mut Value) -> Result<Option<Folder>> {
        if let Some(scoring) = &self.scoring {
            settings["scoring"] = json!(scoring);
        }
        if self.dry_run {
            return Ok(None);
        }
        Folder::shared(out, settings, self.changes, &self.group)
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Steps made.
    pub steps: u64,
    /// The best test, where there were any.
    pub best: Option<Best>,
    /// Seconds spent in steps, over all sessions.
    pub seconds: f64,
}

/// Runs a objective to its end in a folder, from its checkpoint if there is one. Of several processes, the first has the
/// folder and the watch; its checkpoint counts, and all make the same steps.
///
/// # Errors
/// Those of the objective; IO; CANCELLED, with a checkpoint; INVALID_ARGUMENT (`rate`) where the loss or its gradient is no
/// number any more, with the last checkpoint untouched; DEVICE_FAILED where the processes' parameters have come apart, the
/// same. Those of [`Group::agree`].
pub fn run(
    objective: &mut dyn Objective,
    mut state: State,
    optimization: &Optimization,
    run_options: &RunOptions,
    folder: Option<&Folder>,
    description: &Description,
    watch: Watch,
) -> Result<Outcome> {
    if run_options.dry_run {
        return measure(objective, state, optimization, &run_options.group, watch);
    }
    let group = &run_options.group;
    let mut unseen = |_: Event| Ok(());
    let watch: Watch = if group.leads() { watch } else { &mut unseen };
    group.agree(match folder.map(|folder| folder.file(CHECKPOINT)) {
        Some(checkpoint) if checkpoint.exists() => state.load(&checkpoint, objective.beside()),
        _ => Ok(()),
    })?;
    state.follow(group, objective.beside());
    // Process 0's, should they not be the same: all stop for a checkpoint.
    let every = if group.leads() { run_options.checkpoint_every.max(1) } else { 0 };
    let checkpoint_every = group.total(Ok(every as f64))? as u64;
    let mut records = match folder {
        Some(folder) => Some(Records { folder, log: folder.log(state.step)?, description }),
        None => None,
    };
    if let Some(records) = &records
        && let Some(note) = restore_model(records, &mut state)?
    {
        watch(Event::Noted(&note))?;
    }
    let mut saved = state.step;
    watch(Event::Begun { step: state.step, steps: optimization.steps })?;
    while state.step < optimization.steps {
        let mut line = step(objective, &mut state, optimization, group, saved)?;
        watch(Event::Step(&line))?;
        let last = state.step == optimization.steps;
        let scoring = run_options.scoring.as_ref();
        let score_due =
            scoring.is_some_and(|scoring| last || state.step.is_multiple_of(scoring.every.max(1)));
        let due = state.step.is_multiple_of(run_options.log_every.max(1)) || objective.test_due(state.step);
        if score_due {
            line.score = Some(score(&mut records, &mut state, description, group, watch)?);
        }
        if due || score_due {
            look_back(&mut records, objective, &mut state, &mut line, (group, scoring.is_some()), watch)?;
        }
        let sample_due =
            run_options.sample_every > 0 && (last || state.step.is_multiple_of(run_options.sample_every));
        if group.leads() && sample_due {
            let model = state.averaged("samples", description)?;
            watch(Event::Sample { step: state.step, model: &model })?;
        }
        let cancelled = group.any(run_options.cancel.as_ref().is_some_and(Cancel::is_triggered))?;
        if last || cancelled || state.step.is_multiple_of(checkpoint_every) {
            check_together(&mut state, group)?;
            if let Some(records) = &records {
                // The newest, while there is no best one.
                if state.best.is_none() {
                    records.save_model(&state)?;
                }
                state.save(&records.folder.file(CHECKPOINT), description, objective.beside())?;
            }
            saved = state.step;
            watch(Event::Saved(&Outcome { steps: state.step, best: state.best, seconds: state.seconds }))?;
        }
        if cancelled && !last {
            return Err(Error::Cancelled);
        }
    }
    Ok(Outcome { steps: state.step, best: state.best, seconds: state.seconds })
}

/// Steps that are made to measure, after a first one that plans memory.
const MEASURED: u64 = 3;

/// A few steps, and what they took.
fn measure(
    objective: &mut dyn Objective,
    mut state: State,
    optimization: &Optimization,
    group: &Group,
    watch: Watch,
) -> Result<Outcome> {
    let mut speed = 0.0;
    for made in 0..=MEASURED {
        let line = step(objective, &mut state, optimization, group, 0)?;
        speed += if made > 0 { line.images_per_second / MEASURED as f64 } else { 0.0 };
    }
    let parameters = state.ema.len();
    // Values, gradients, two moments and the average.
    let bytes = 5 * 4 * parameters as u64 + state.learner.scratch_bytes() + objective.bytes();
    if group.leads() {
        let seconds = optimization.steps as f64 * objective.batch() as f64 / speed;
        watch(Event::Measured { parameters, bytes, images_per_second: speed, seconds })?;
    }
    Ok(Outcome { steps: 0, best: None, seconds: state.seconds })
}

/// One step; its line has the loss of this step alone.
fn step(
    objective: &mut dyn Objective,
    state: &mut State,
    optimization: &Optimization,
    group: &Group,
    saved: u64,
) -> Result<Line> {
    let start = Instant::now();
    let State { learner, adam, ema, .. } = state;
    learner.gradients().0.fill(0.0);
    let taught = objective.accumulate(state.step, learner);
    let (gradients, parameters) = learner.gradients();
    let loss = group.sum(taught, gradients)?;
    let gradient_norm = norm(gradients);
    if !loss.is_finite() || !gradient_norm.is_finite() {
        let whole = match saved {
            0 => String::new(),
            saved => format!(" (the checkpoint of step {saved} is whole)"),
        };
        let message = format!(
            "step {}: the loss is {loss}, its gradient's norm {gradient_norm}; a lower rate or a clip keeps them \
             finite{whole}",
            state.step + 1
        );
        return Err(Error::argument("rate", message));
    }
    let rate = optimization.rate.at(state.step, optimization.steps);
    adam.step(parameters, gradients, clip_factor(gradient_norm, optimization.clip) as f32, rate);
    let decay = if optimization.ema_warmup {
        optimization.ema.min((state.step + 1) as f64 / (state.step + 10) as f64)
    } else {
        optimization.ema
    };
    average(ema, parameters, decay);
    state.step += 1;
    state.tally.0 += loss;
    state.tally.1 += 1;
    let seconds = start.elapsed().as_secs_f64();
    state.seconds += seconds;
    let images_per_second = objective.batch() as f64 / seconds.max(1e-9);
    let line =
        Line { step: state.step, loss, test_loss: None, rate, gradient_norm, images_per_second, score: None };
    Ok(line)
}

/// What process 0 writes.
struct Records<'a> {
    folder: &'a Folder,
    log: Log,
    description: &'a Description,
}

impl Records<'_> {
    fn save_model(&self, state: &State) -> Result<()> {
        let path = self.folder.file(MODEL);
        state.averaged(&path.display().to_string(), self.description)?.save(&path, None)
    }
}

/// Of a run that goes on without its model, which was removed: the newest is written again, and a best one that is no longer known
/// makes room for the next.
fn restore_model(records: &Records, state: &mut State) -> Result<Option<String>> {
    let path = records.folder.file(MODEL);
    if state.step == 0 || path.exists() {
        return Ok(None);
    }
    let lost = state.best.take_if(|best| best.step != state.step);
    records.save_model(state)?;
    Ok(lost.map(|best| {
        let step = best.step;
        format!("{}: the best model, of step {step}, is gone; the newest takes its place", path.display())
    }))
}

/// Keeps the model if its loss, or score, is the least so far.
fn keep_if_best(records: &mut Option<Records>, state: &mut State, loss: f64) -> Result<bool> {
    let best = state.best.is_none_or(|best| loss < best.loss);
    if best {
        state.best = Some(Best { loss, step: state.step });
        if let Some(records) = records {
            records.save_model(state)?;
        }
    }
    Ok(best)
}

/// The averaged network's score, by whoever watches process 0.
fn score(
    records: &mut Option<Records>,
    state: &mut State,
    description: &Description,
    group: &Group,
    watch: Watch,
) -> Result<f64> {
    let step = state.step;
    let scored = group.lead(|| {
        let mut score = f64::NAN;
        let model = state.averaged("scores", description)?;
        watch(Event::Score { step, model: &model, score: &mut score })?;
        Ok(score)
    })?;
    let score = group.total(Ok(scored.unwrap_or(0.0)))?;
    let best = keep_if_best(records, state, score)?;
    watch(Event::Scored { step, score, best })?;
    Ok(score)
}

/// A line of the log, after a test if one is due.
fn look_back(
    records: &mut Option<Records>,
    objective: &mut dyn Objective,
    state: &mut State,
    line: &mut Line,
    (group, scored): (&Group, bool),
    watch: Watch,
) -> Result<()> {
    if objective.test_due(state.step) {
        // The average stands in for the parameters as long as the test takes.
        state.learner.values().swap_with_slice(&mut state.ema);
        let tested = objective.test(&mut state.learner);
        state.learner.values().swap_with_slice(&mut state.ema);
        let loss = group.total(tested)?;
        line.test_loss = Some(loss);
        let best = !scored && objective.keeps_best() && keep_if_best(records, state, loss)?;
        watch(Event::Tested { step: state.step, loss, best })?;
    }
    let (sum, count) = std::mem::take(&mut state.tally);
    line.loss = sum / count.max(1) as f64;
    if let Some(records) = records {
        records.log.write(line)?;
    }
    watch(Event::Logged(line))
}

/// That this process has process 0's parameters: all have made the same steps on the same sums, so others mean a fault of
/// a machine or of what connects them.
fn check_together(state: &mut State, group: &Group) -> Result<()> {
    if group.size() == 1 {
        return Ok(());
    }
    let mine = crc32fast::hash(bytemuck::cast_slice(state.learner.values())).to_le_bytes();
    let first = group.firsts(mine.to_vec())?;
    group.agree(if first == mine {
        Ok(())
    } else {
        let message = format!("after step {} this process has other parameters than process 0", state.step);
        Err(Error::DeviceFailed { device: "mpi".to_owned(), message })
    })
}
