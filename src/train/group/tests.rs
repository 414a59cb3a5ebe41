//! Groups whose processes are threads: what is agreed, and that several train as one does.

use super::{Group, Link};
use crate::error::{Code, Error, Result};
use crate::options::{Cancel, Options};
use crate::pictures::testing::write_png;
use crate::sampler::Sampler;
use crate::train::*;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier, Mutex};

struct Thread {
    rank: usize,
    barrier: Arc<Barrier>,
    places: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Thread {
    fn gather(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.places.lock().unwrap()[self.rank] = bytes.to_vec();
        self.barrier.wait();
        let all = self.places.lock().unwrap().clone();
        self.barrier.wait();
        all
    }

    fn sum<T: bytemuck::Pod + std::ops::Add<Output = T>>(&self, values: &mut [T]) {
        let all = self.gather(bytemuck::cast_slice(values));
        for (i, value) in values.iter_mut().enumerate() {
            let parts = all.iter().map(|bytes| {
                assert_eq!(bytes.len(), all[0].len(), "processes that do not exchange the same");
                bytemuck::pod_read_unaligned::<T>(&bytes[i * size_of::<T>()..][..size_of::<T>()])
            });
            *value = parts.reduce(|a, b| a + b).unwrap();
        }
    }
}

impl Link for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.places.lock().unwrap().len()
    }

    fn sum_f32(&self, values: &mut [f32]) {
        self.sum(values);
    }

    fn sum_f64(&self, values: &mut [f64]) {
        self.sum(values);
    }

    fn broadcast(&self, from: usize, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.gather(bytes)[from]);
    }
}

/// What each of `size` processes comes to.
fn processes<T: Send>(size: usize, work: impl Fn(Group) -> T + Sync) -> Vec<T> {
    let (barrier, places) = (Arc::new(Barrier::new(size)), Arc::new(Mutex::new(vec![Vec::new(); size])));
    std::thread::scope(|scope| {
        let start = |rank| {
            let link = Thread { rank, barrier: barrier.clone(), places: places.clone() };
            let work = &work;
            scope.spawn(move || {
                let group = Group::over(link);
                group.close(Ok(work(group.clone()))).unwrap()
            })
        };
        let threads: Vec<_> = (0..size).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn shares_are_all_items_once() {
    for size in 1..6 {
        for count in 0..20 {
            let all = processes(size, |group| group.share(count));
            assert_eq!(all.concat_ranges(), (0..count).collect::<Vec<_>>());
            assert!(all.iter().all(|share| share.len().abs_diff(count / size) <= 1));
        }
    }
}

trait Ranges {
    fn concat_ranges(&self) -> Vec<usize>;
}

impl Ranges for Vec<std::ops::Range<usize>> {
    fn concat_ranges(&self) -> Vec<usize> {
        self.iter().cloned().flatten().collect()
    }
}

#[test]
fn batches_are_divided_evenly_or_refused() {
    assert!(Group::alone().check_batch(6, 3).is_ok());
    for error in processes(3, |group| {
        group.check_batch(12, 2).unwrap();
        group.check_batch(12, 3).unwrap_err()
    }) {
        assert_eq!(error.code(), Code::InvalidArgument);
        let error = error.to_string();
        assert!(error.contains("12 images") && error.contains("3 processes in 3 parts"), "{error}");
    }
}

#[test]
fn a_process_alone_exchanges_nothing() {
    let group = Group::alone();
    assert_eq!((group.rank(), group.size(), group.share(7)), (0, 1, 0..7));
    let mut gradients = [1.0, f32::NAN];
    // Bits, so that not even a NaN's change.
    let loss = group.sum(Ok(-0.0), &mut gradients).unwrap();
    assert_eq!((loss.to_bits(), gradients[1].to_bits()), ((-0.0f64).to_bits(), f32::NAN.to_bits()));
    assert!(group.agree::<()>(Err(Error::Busy)).is_err() && group.close(group.agree(Ok(()))).is_ok());
}

#[test]
fn numbers_are_summed_and_items_completed() {
    let all = processes(3, |group| {
        let rank = group.rank();
        let mut gradients = [rank as f32, 1.0];
        let loss = group.sum(Ok(rank as f64), &mut gradients).unwrap();
        let any = (group.any(rank == 2).unwrap(), group.any(false).unwrap());
        let mut items = [0u8; 8];
        let mine = group.share(4);
        items[2 * mine.start..2 * mine.end].fill(rank as u8 + 1);
        group.exchange(Ok(()), 4, &mut items).unwrap();
        let firsts = group.firsts(vec![rank as u8; 2 + rank]).unwrap();
        let led = group.lead(|| Ok(rank)).unwrap();
        (loss, gradients, any, items, firsts, led)
    });
    for (rank, found) in all.into_iter().enumerate() {
        let led = (rank == 0).then_some(0);
        assert_eq!(found, (3.0, [3.0, 3.0], (true, false), [1, 1, 2, 2, 3, 3, 3, 3], vec![0, 0], led));
    }
}

#[test]
fn all_end_with_the_error_of_the_first_that_failed() {
    let all = processes(4, |group| {
        let work = || -> Result<()> {
            group.agree(Ok(()))?;
            if group.rank() == 2 {
                // Between two exchanges; the others are on their way to the sum.
                return Err(Error::bad_model("pairs", "damaged"));
            }
            group.sum(Ok(1.0), &mut [0.0; 5])?;
            Ok(())
        };
        let error = group.close(work()).unwrap_err();
        // Nobody is waited for any more.
        assert!(group.agree(Ok(())).is_err());
        (error.code(), error.to_string())
    });
    for (rank, (code, message)) in all.into_iter().enumerate() {
        let own = if rank == 2 { "" } else { "process 2: " };
        assert_eq!((code, message), (Code::BadModel, format!("{own}pairs: damaged")));
    }
}

/// A folder of pictures, a little lighter where asked.
fn images(place: &Path, lighter: u8) -> PathBuf {
    let folder = place.join(format!("images-{lighter}"));
    std::fs::create_dir_all(&folder).unwrap();
    for i in 0..8u32 {
        write_png(folder.join(format!("{i}.png")), (8, 8), |x, y| {
            [if x == i { 250 } else { 8 * y as u8 } + lighter]
        });
    }
    folder
}

fn teacher(place: &Path, images: PathBuf, group: &Group, steps: u64) -> TeacherRun {
    TeacherRun {
        settings: TeacherSettings {
            size: [8, 8],
            channels: 1,
            widths: vec![8],
            attention: vec![],
            groups: 4,
            steps,
            batch: 12,
            accumulate: 2,
            warmup: 2,
            flip: true,
            dropout: 0.2,
            ..TeacherSettings::default()
        },
        images,
        out: place.join(format!("teacher-{}", group.size())),
        init: None,
        threads: 1,
        run_options: run_options(group),
    }
}

fn run_options(group: &Group) -> RunOptions {
    RunOptions {
        log_every: 1,
        sample_every: 0,
        checkpoint_every: 4,
        group: group.clone(),
        ..RunOptions::default()
    }
}

/// As `onestep` does: a run's error is taken to the others.
fn learn(group: &Group, run: &TeacherRun) -> Result<Outcome> {
    group.close(run.run(&mut |_| (), &mut |_| Ok(())))
}

/// That two logs have the same losses, but for the order of sums.
fn assert_alike(run: &Path, other: &Path) {
    let [lines, others] = [run, other].map(|run| read_log(run).unwrap());
    assert!(!lines.is_empty() && lines.len() == others.len());
    for (line, other) in lines.iter().zip(&others) {
        // A halving's loss is small beside the images whose difference it is.
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-5 * b.abs() + 1e-7;
        assert!(line.step == other.step && near(line.loss, other.loss), "{line:?} {other:?}");
        assert_eq!(line.test_loss.is_some(), other.test_loss.is_some());
        assert!(line.test_loss.zip(other.test_loss).is_none_or(|(a, b)| near(a, b)), "{line:?} {other:?}");
    }
}

#[test]
fn several_processes_learn_what_one_learns() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let images = images(place, 0);
    let alone = Group::alone();
    learn(&alone, &teacher(place, images.clone(), &alone, 12)).unwrap();
    for size in [2, 3] {
        let outcomes = processes(size, |group| {
            // In two sessions: the second begins with what process 0 has kept.
            let mut run = teacher(place, images.clone(), &group, 12);
            let cancel = Cancel::new();
            run.run_options.cancel = Some(cancel.clone());
            let stop = &mut |event: Event| {
                if matches!(event, Event::Step(line) if line.step == 6) {
                    cancel.trigger();
                }
                Ok(())
            };
            assert!(matches!(run.run(&mut |_| (), stop), Err(Error::Cancelled)));
            run.run_options.cancel = None;
            learn(&group, &run).unwrap()
        });
        assert!(outcomes.iter().all(|outcome| outcome.steps == 12));
        assert_alike(&place.join(format!("teacher-{size}")), &place.join("teacher-1"));
    }

    let model = place.join("teacher-1").join(MODEL);
    let sampler = Sampler { steps: Some(3), ..Sampler::default() };
    let pairs = PairsRun {
        teacher: model.clone(),
        out: place.join("pairs"),
        count: 50,
        first_seed: 7,
        sampler: sampler.clone(),
        student_steps: 1,
        pixels: PixelType::U8,
        shard_len: 16,
        part: (0, 1),
        batch: 5,
        options: Options::default(),
    };
    pairs.run(&mut |_| Ok(())).unwrap();
    let sources = [
        PairsFrom::Folder { path: pairs.out.clone(), verify: true, student_steps: None },
        PairsFrom::Online { sampler: sampler.clone(), student_steps: 2, ring: 21, fresh: 4, batch: 5 },
        PairsFrom::Halving {
            sampler: Sampler { steps: Some(4), ..sampler },
            images: ImagesFrom::Pairs(pairs.out.clone()),
            batch: 5,
        },
    ];
    let stored = &sources[0];
    let beside = [("matched", stored), ("judged", stored)];
    let ways = ["stored", "online", "halving"].into_iter().zip(&sources).chain(beside);
    for (name, from) in ways {
        let run = |group: &Group| DistillRun {
            settings: DistillSettings {
                batch: 12,
                accumulate: 2,
                steps: 8,
                test: 5,
                test_every: 3,
                loss: if name == "matched" { Loss::Paired } else { Loss::L1 },
                dmd: if name == "matched" { 0.1 } else { 0.0 },
                adversarial: if name == "judged" { 0.1 } else { 0.0 },
                ..DistillSettings::default()
            },
            teacher: model.clone(),
            init: None,
            real: Some(images.clone()),
            pairs: from.clone(),
            out: place.join(format!("{name}-{}", group.size())),
            threads: 1,
            drawing: Options::default(),
            run_options: run_options(group),
        };
        let alone = Group::alone();
        run(&alone).run(&mut |_| Ok(())).unwrap();
        for size in [2, 3] {
            processes(size, |group| group.close(run(&group).run(&mut |_| Ok(()))).unwrap());
            assert_alike(&place.join(format!("{name}-{size}")), &place.join(format!("{name}-1")));
        }
    }
}

#[test]
fn processes_with_other_data_are_named() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let folders = [images(place, 0), images(place, 5)];
    let errors = processes(2, |group| {
        learn(&group, &teacher(place, folders[group.rank()].clone(), &group, 4)).unwrap_err().to_string()
    });
    assert!(errors[0].starts_with("process 1: mpi: images_crc32 is "), "{errors:?}");
    assert!(errors[1].starts_with("mpi: images_crc32 is "), "{errors:?}");
    assert!(!place.join("teacher-2").exists());
}

#[test]
fn parameters_that_came_apart_are_found() {
    let place = tempfile::tempdir().unwrap();
    let images = images(place.path(), 0);
    // As no network does it: one process' sums are others.
    struct Faulty(Thread);
    impl Link for Faulty {
        fn rank(&self) -> usize {
            self.0.rank()
        }
        fn size(&self) -> usize {
            self.0.size()
        }
        fn sum_f32(&self, values: &mut [f32]) {
            self.0.sum_f32(values);
            values[0] += self.0.rank as f32;
        }
        fn sum_f64(&self, values: &mut [f64]) {
            self.0.sum_f64(values);
        }
        fn broadcast(&self, from: usize, bytes: &mut [u8]) {
            self.0.broadcast(from, bytes);
        }
    }
    let (barrier, places) = (Arc::new(Barrier::new(2)), Arc::new(Mutex::new(vec![Vec::new(); 2])));
    let errors: Vec<Error> = std::thread::scope(|scope| {
        let threads = [0, 1].map(|rank| {
            let link = Faulty(Thread { rank, barrier: barrier.clone(), places: places.clone() });
            let (place, images) = (place.path(), images.clone());
            scope.spawn(move || {
                let group = Group::over(link);
                learn(&group, &teacher(place, images, &group, 12)).unwrap_err()
            })
        });
        threads.map(|thread| thread.join().unwrap()).into()
    });
    assert!(errors.iter().all(|error| error.code() == Code::DeviceFailed), "{errors:?}");
    assert!(errors[0].to_string().contains("after step 4"), "{errors:?}");
    assert!(!place.path().join("teacher-2").join(CHECKPOINT).exists());
}
