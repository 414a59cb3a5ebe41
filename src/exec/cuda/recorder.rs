//! Kernels noted one by one and launched together. A network call notes the same launches each time it is made for a
//! batch size, to the byte; the second call of a kind finds the graph that the first one made, and costs one launch.

use super::convolver::Convolver;
use super::cudnn::Pointers;
use super::driver::{self, Function, Gpu, Graph, Launch, Stream};
use crate::error::{Error, Result};
use bytemuck::NoUninit;
use std::sync::Arc;

/// Graphs kept a session. Each is some hundred nodes; a caller alternates between few batch sizes.
const KEPT: usize = 8;

/// What is noted of a launch.
#[derive(Clone, Copy, PartialEq)]
enum Noted {
    /// The next of the kernels.
    Kernel,
    Convolution {
        plan: usize,
        pointers: Pointers,
    },
}

#[derive(Clone, Default, PartialEq)]
struct Launches {
    noted: Vec<Noted>,
    kernels: driver::Launches,
}

/// The launches since the last flush, and the graphs of former ones.
#[derive(Default)]
pub struct Recorder {
    now: Launches,
    /// The last used first.
    graphs: Vec<(Launches, Graph)>,
}

impl Recorder {
    /// Notes a kernel.
    pub fn note<A: NoUninit>(
        &mut self,
        function: Function<A>,
        blocks: u32,
        threads: u32,
        shared: u32,
        arguments: &A,
    ) {
        self.now.noted.push(Noted::Kernel);
        self.now.kernels.push(&function.launch(blocks, threads, shared, arguments));
    }

    /// Notes a plan of cuDNN's.
    pub fn note_convolution(&mut self, plan: usize, pointers: Pointers) {
        self.now.noted.push(Noted::Convolution { plan, pointers });
    }

    /// Forgets what was noted.
    pub fn clear(&mut self) {
        self.now.noted.clear();
        self.now.kernels.clear();
    }

    /// Forgets the graphs too: the memory that they work on is gone.
    pub fn forget(&mut self) {
        self.clear();
        self.graphs.clear();
    }

    /// Puts what was noted on the stream; the context is current. Kernels of cuDNN's go there one by one, since none can
    /// say what it would launch.
    pub fn flush(&mut self, gpu: &Arc<Gpu>, stream: &Stream, convolver: Option<&Convolver>) -> Result<()> {
        if self.now.noted.is_empty() {
            return Ok(());
        }
        let known = self.graphs.iter().position(|(launches, _)| *launches == self.now);
        let done = if let Some(place) = known {
            self.graphs[..=place].rotate_right(1);
            stream.launch_graph(&self.graphs[0].1)
        } else {
            let graph = self.now.kernels().map(|kernels| Graph::chain(gpu, kernels));
            match graph {
                Some(graph) => graph.and_then(|graph| self.keep(graph, stream)),
                None => self.now.launch(stream, convolver),
            }
        };
        self.clear();
        done
    }

    /// Launches the graph of what was noted, and keeps it in place of the one that was not used for longest.
    fn keep(&mut self, graph: Graph, stream: &Stream) -> Result<()> {
        if self.graphs.len() == KEPT {
            // The stream may be running it.
            stream.wait()?;
            self.graphs.pop();
        }
        stream.launch_graph(&graph)?;
        self.graphs.insert(0, (self.now.clone(), graph));
        Ok(())
    }
}

/// A launch of what was noted.
enum Step<'a> {
    Kernel(Launch<'a>),
    Convolution(usize, &'a Pointers),
}

impl Launches {
    fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        let mut kernels = self.kernels.iter();
        self.noted.iter().filter_map(move |noted| match *noted {
            Noted::Kernel => kernels.next().map(Step::Kernel),
            Noted::Convolution { plan, ref pointers } => Some(Step::Convolution(plan, pointers)),
        })
    }

    /// All of it, if it is kernels of ours alone.
    fn kernels(&self) -> Option<impl Iterator<Item = Launch<'_>>> {
        let ours = self.noted.iter().all(|noted| *noted == Noted::Kernel);
        ours.then(|| self.kernels.iter())
    }

    fn launch(&self, stream: &Stream, convolver: Option<&Convolver>) -> Result<()> {
        let missing = || Error::Internal("a plan of cuDNN's without cuDNN".to_owned());
        self.steps().try_for_each(|step| match step {
            Step::Kernel(launch) => stream.launch(&launch),
            Step::Convolution(plan, pointers) => convolver.ok_or_else(missing)?.run(plan, pointers),
        })
    }
}
