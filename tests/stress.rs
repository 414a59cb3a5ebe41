//! Sixteen threads that open, draw, cancel and free, on what they share and on what is their own: for ThreadSanitizer
//! (`scripts/tsan-checks.sh`), and for seconds in every run of the tests.

mod common;

use onestep::sampler::Sampler;
use onestep::{Cancel, Error, Layout, Model, Options, Request, Session};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Barrier, Mutex};

const THREADS: usize = 16;

fn request(model: &Model, cancel: Option<Cancel>) -> Request {
    Request {
        seeds: Some(vec![1, 2, 3]),
        labels: model.info().config.network.num_classes.map(|_| vec![0, 1, 2]),
        sampler: Some(Sampler { steps: Some(3), ..Sampler::default() }),
        cancel,
        ..Request::default()
    }
}

/// What a session draws, or nothing if it was cancelled.
fn draw(session: &mut Session, cancel: Option<Cancel>) -> Option<Vec<u8>> {
    let layout = Layout::default();
    let wanted = request(session.model(), cancel);
    let mut out = vec![0; session.model().output_size(3, &layout).unwrap() as usize];
    match session.sample(&wanted, &layout, &mut out) {
        Ok(()) => Some(out),
        Err(Error::Cancelled) => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn sixteen_threads_open_draw_cancel_and_free() {
    let case = common::golden("guided");
    let options = |threads| Options { threads, ..common::cpu() };
    let shared = Model::open(&case, &options(1)).unwrap();
    let expected = draw(&mut shared.session(&options(1)).unwrap(), None).unwrap();
    let (start, cancelled, drawn) = (Barrier::new(THREADS), AtomicUsize::new(0), AtomicUsize::new(0));
    // A token that anybody triggers, and a session that anybody uses who gets it.
    let (token, lent) = (Cancel::new(), Mutex::new(shared.session(&options(2)).unwrap()));
    std::thread::scope(|scope| {
        for number in 0..THREADS {
            let (case, shared, expected) = (&case, &shared, &expected);
            let (start, cancelled, drawn, token, lent) = (&start, &cancelled, &drawn, &token, &lent);
            scope.spawn(move || {
                start.wait();
                for turn in 0..6 {
                    let model = match number % 4 {
                        0 => Model::open(case, &options(2)).unwrap(),
                        _ => shared.clone(),
                    };
                    let mut session = model.session(&options(1 + (number % 3) as u32)).unwrap();
                    drop(model);
                    assert_eq!(draw(&mut session, None).as_ref(), Some(expected));
                    if number % 4 == 1 {
                        token.trigger();
                        std::thread::yield_now();
                        token.reset();
                    }
                    let seen = match turn % 2 {
                        0 => draw(&mut session, Some(token.clone())),
                        _ => draw(&mut lent.lock().unwrap(), Some(token.clone())),
                    };
                    match seen {
                        Some(images) => {
                            assert_eq!(images, *expected);
                            drawn.fetch_add(1, Relaxed);
                        }
                        None => _ = cancelled.fetch_add(1, Relaxed),
                    }
                }
            });
        }
    });
    assert_eq!(cancelled.into_inner() + drawn.into_inner(), THREADS * 6);
}
