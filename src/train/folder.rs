//! A run's folder: what was asked for, the log, and which of it still holds after an interruption.

use super::group::Group;
use super::run::MODEL;
use super::state::CHECKPOINT;
use crate::error::{Error, Result};
use crate::log::{Level, log};
use crate::weights::{write_file, write_text};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The name of a run's settings in its folder.
pub const SETTINGS: &str = "settings.json";
const LOG: &str = "log.csv";
const COLUMNS: &str = "step,loss,test_loss,rate,gradient_norm,images_per_second,score";

/// A run's folder. One process at a time writes into it.
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

/// One line of the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Steps made.
    pub step: u64,
    /// Mean loss of the steps since the last line.
    pub loss: f64,
    /// Loss on what is kept for tests, where it was measured here.
    pub test_loss: Option<f64>,
    /// The learning rate of this step.
    pub rate: f64,
    /// Norm of this step's gradient, before it was cut.
    pub gradient_norm: f64,
    /// Speed of this step.
    pub images_per_second: f64,
    /// How good the averaged model's images are, where that was asked for; lower is better.
    pub score: Option<f64>,
}

/// Which settings of a run that exists may be others when it goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Images that were added to, or taken from, what a run learns from.
    pub new_images: bool,
}

/// How long a run is; the learning rate then falls to another end.
const LENGTH: [&str; 4] = ["steps", "teacher.steps", "distill.steps", "distill.epochs"];
/// What tells images.
const NEW_IMAGES: [&str; 4] =
    ["images", "images_crc32", "pairs.halving.of.images", "pairs.halving.of.images_crc32"];

impl Changes {
    fn allow(self, key: &str) -> bool {
        LENGTH.contains(&key) || self.new_images && NEW_IMAGES.contains(&key)
    }
}

impl Folder {
    /// The folder of a run by several processes: process 0 opens it, once all were asked for the same.
    ///
    /// # Errors
    /// INVALID_ARGUMENT (`mpi`) for a process whose settings or data differ from those of process 0, naming the first
    /// difference; those of [`Self::open`] and [`Group::agree`].
    pub fn shared(path: &Path, settings: &Value, changes: Changes, group: &Group) -> Result<Option<Self>> {
        let internal = |e: serde_json::Error| Error::Internal(e.to_string());
        let text = settings.to_string();
        let firsts = group.firsts(text.clone().into_bytes())?;
        // Both from text: a number may be rounded on its way.
        let [mine, first] = [text.as_bytes(), &firsts].map(serde_json::from_slice::<Value>);
        let (mine, first) = (mine.map_err(internal)?, first.map_err(internal)?);
        group.agree(match difference(&first, &mine, "", &|_| false) {
            Some((key, first, mine)) => {
                let message = format!("{key} is {mine}, of process 0 it is {first}; all must have the same");
                Err(Error::argument("mpi", message))
            }
            None => Ok(()),
        })?;
        group.lead(|| Self::open(path, settings, changes))
    }

    /// Makes the folder, or opens that of a run under the same settings, which goes on, with another number of steps too; or of a run
    /// that has come to no checkpoint and no model, which begins anew under these.
    ///
    /// # Errors
    /// INVALID_ARGUMENT where the folder holds a run under other settings, naming the first that differs, or where another
    /// process is writing into it; IO.
    pub fn open(path: &Path, settings: &Value, changes: Changes) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(|e| Error::io(path, e))?;
        let lock_path = path.join(".lock");
        let lock = File::create(&lock_path).map_err(|e| Error::io(&lock_path, e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                let message = format!("another process is writing into {}", path.display());
                return Err(Error::argument("out", message));
            }
            // A file system without locks.
            Err(std::fs::TryLockError::Error(_)) => {}
        }
        let folder = Self { path: path.to_owned(), _lock: lock };
        let file = folder.file(SETTINGS);
        match std::fs::read_to_string(&file) {
            Ok(text) => {
                let found: Value = serde_json::from_str(&text)
                    .map_err(|e| Error::bad_model(file.display().to_string(), e.to_string()))?;
                let difference = difference(&found, settings, "", &|key| changes.allow(key));
                let kept = [CHECKPOINT, MODEL].iter().any(|name| folder.file(name).exists());
                if difference.is_some() && !kept {
                    folder.settle(settings)?;
                } else if let Some((key, found, asked)) = difference {
                    let way = match key.as_str() {
                        key if NEW_IMAGES.contains(&key) => "--accept-new-images goes on with these",
                        _ => "name another folder, or give the same",
                    };
                    let message = format!(
                        "{} holds a run under other settings: {key} was {found}, now {asked}; {way}",
                        path.display()
                    );
                    return Err(Error::argument("out", message));
                } else if found != *settings {
                    // What may change has changed: the run goes on under these.
                    folder.settle(settings)?;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if folder.file(CHECKPOINT).exists() {
                    let message = format!("{} has a checkpoint without {SETTINGS}", path.display());
                    return Err(Error::argument("out", message));
                }
                folder.settle(settings)?;
            }
            Err(error) => return Err(Error::io(file, error)),
        }
        Ok(folder)
    }

    fn settle(&self, settings: &Value) -> Result<()> {
        let text = serde_json::to_string_pretty(settings).map_err(|e| Error::Internal(e.to_string()))?;
        write_text(&self.file(SETTINGS), &(text + "\n"))
    }

    /// A file of the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Opens the log after step `step`: lines beyond it, which an interrupted session left, go. Damaged ones stay as they are, and are
    /// warned of.
    ///
    /// # Errors
    /// IO.
    pub fn log(&self, step: u64) -> Result<Log> {
        let path = self.file(LOG);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::io(path, error)),
        };
        let mut kept = format!("{COLUMNS}\n").into_bytes();
        for (number, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate().skip(1) {
            // A line that was being written ends without its newline.
            let Some(text) = line.strip_suffix(b"\n") else { break };
            let parsed = parse(text);
            if parsed.is_none() {
                let what =
                    format!("{}: line {} is damaged, and left out of the curves", path.display(), number + 1);
                log(Level::Warn, || what);
            }
            if parsed.is_none_or(|line| line.step <= step) {
                kept.extend_from_slice(line);
            }
        }
        write_file(&path, &[&kept])?;
        let file = OpenOptions::new().append(true).open(&path).map_err(|e| Error::io(&path, e))?;
        Ok(Log { path, file })
    }
}

/// The first key at which two settings differ, and what they have there.
fn difference<'a>(
    found: &'a Value,
    asked: &'a Value,
    at: &str,
    passes: &dyn Fn(&str) -> bool,
) -> Option<(String, &'a Value, &'a Value)> {
    match (found, asked) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            keys.into_iter().find_map(|key| {
                let place = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                let [a, b] = [a, b].map(|object| object.get(key).unwrap_or(&Value::Null));
                difference(a, b, &place, passes)
            })
        }
        _ if found == asked || passes(at) => None,
        _ => Some((at.to_owned(), found, asked)),
    }
}

/// The log of a run: comma-separated, a header first.
pub struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Appends a line.
    ///
    /// # Errors
    /// IO.
    pub fn write(&mut self, line: &Line) -> Result<()> {
        let Line { step, loss, test_loss, rate, gradient_norm, images_per_second, score } = line;
        let [test_loss, score] =
            [test_loss, score].map(|value| value.map_or(String::new(), |value| format!("{value:?}")));
        let text = format!(
            "{step},{loss:?},{test_loss},{rate:.6e},{gradient_norm:.6e},{images_per_second:.2},{score}\n"
        );
        self.file.write_all(text.as_bytes()).map_err(|e| Error::io(&self.path, e))
    }
}

/// Reads a run's log; damaged lines are left out.
///
/// # Errors
/// IO.
pub fn read_log(run: &Path) -> Result<Vec<Line>> {
    let path = run.join(LOG);
    let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
    Ok(bytes.split(|&byte| byte == b'\n').skip(1).filter_map(parse).collect())
}

/// A line of the log, unless it is damaged.
fn parse(line: &[u8]) -> Option<Line> {
    let parts: Vec<&str> = std::str::from_utf8(line).ok()?.split(',').collect();
    // A log that was begun by a version without scores has no column of them.
    let ([step, loss, test_loss, rate, norm, speed] | [step, loss, test_loss, rate, norm, speed, _]) =
        parts[..]
    else {
        return None;
    };
    let float = |text: &str| text.parse::<f64>().ok();
    let some = |text: &str| if text.is_empty() { Some(None) } else { float(text).map(Some) };
    Some(Line {
        step: step.parse().ok()?,
        loss: float(loss)?,
        test_loss: some(test_loss)?,
        rate: float(rate)?,
        gradient_norm: float(norm)?,
        images_per_second: float(speed)?,
        score: some(parts.get(6).unwrap_or(&""))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_folder_belongs_to_its_settings() {
        let place = tempfile::tempdir().unwrap();
        let run = place.path().join("run");
        let settings = json!({"batch": 4, "rate": {"peak": 1e-3}, "teacher": {"steps": 5}});
        drop(Folder::open(&run, &settings, Changes::default()).unwrap());
        let open = Folder::open(&run, &settings, Changes::default()).unwrap();
        let busy = Folder::open(&run, &settings, Changes::default()).err().unwrap().to_string();
        assert!(busy.contains("another process"), "{busy}");
        drop(open);
        let other = json!({"batch": 4, "rate": {"peak": 2e-3}, "teacher": {"steps": 5}});
        for kept in [CHECKPOINT, MODEL] {
            let kept = run.join(kept);
            std::fs::write(&kept, "").unwrap();
            let error = Folder::open(&run, &other, Changes::default()).err().unwrap().to_string();
            assert!(error.contains("rate.peak was 0.001, now 0.002"), "{error}");
            std::fs::remove_file(&kept).unwrap();
        }
        // Nothing came of them.
        drop(Folder::open(&run, &other, Changes::default()).unwrap());
        std::fs::write(run.join(CHECKPOINT), "").unwrap();
        let error = Folder::open(&run, &settings, Changes::default()).err().unwrap().to_string();
        assert!(error.contains("rate.peak was 0.002, now 0.001"), "{error}");
        // Its length may change, and its images where that is asked for.
        let mut longer = other.clone();
        longer["teacher"]["steps"] = 9.into();
        drop(Folder::open(&run, &longer, Changes::default()).unwrap());
        longer["images"] = 7.into();
        let error = Folder::open(&run, &longer, Changes::default()).err().unwrap().to_string();
        assert!(error.contains("images was null, now 7; --accept-new-images"), "{error}");
        drop(Folder::open(&run, &longer, Changes { new_images: true }).unwrap());
        drop(Folder::open(&run, &longer, Changes::default()).unwrap());
    }

    #[test]
    fn a_log_forgets_what_came_after_the_checkpoint() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path(), &json!({}), Changes::default()).unwrap();
        let line = |step: u64, test_loss: Option<f64>| Line {
            step,
            loss: 0.1 + step as f64 / 3.0,
            test_loss,
            rate: 1e-3,
            gradient_norm: 2.0,
            images_per_second: 10.0,
            score: test_loss.map(|loss| loss * 8.0),
        };
        let mut log = folder.log(0).unwrap();
        for step in 1..=5 {
            log.write(&line(step, (step == 2).then_some(0.125))).unwrap();
        }
        drop(log);
        // Half a line, as a kill leaves it.
        let path = folder.file(LOG);
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("3,0.2");
        std::fs::write(&path, text).unwrap();
        let mut log = folder.log(3).unwrap();
        log.write(&line(4, None)).unwrap();
        let lines = read_log(place.path()).unwrap();
        assert_eq!(lines, [line(1, None), line(2, Some(0.125)), line(3, None), line(4, None)]);
        // Damaged lines stay, and keep nobody from going on.
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.iter().position(|&byte| byte == b'2').unwrap();
        bytes[at] = 0xFF;
        std::fs::write(&path, &bytes).unwrap();
        drop(folder.log(4).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        assert_eq!(read_log(place.path()).unwrap().len(), 3);
        // As before there were scores.
        std::fs::write(&path, "step,loss\n7,0.5,,1e-3,2.0,10.0\n").unwrap();
        assert_eq!(read_log(place.path()).unwrap()[0].score, None);
    }
}
