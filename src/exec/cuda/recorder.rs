//! Kernels noted one by one and launched together. A network call notes the same launches each time it is made for a
//! batch size, to the byte; the second call of a kind finds the graph that the first one made, and costs one launch.

use super::convolver::Convolver;
use super::cudnn::Pointers;
use super::driver::{Function, Graph, Launch, Stream};
use crate::error::{Error, Result};
use bytemuck::NoUninit;

/// Graphs kept a session. Each is some hundred nodes; a caller alternates between few batch sizes.
const KEPT: usize = 16;

/// What is noted of a launch; a kernel's arguments follow those of the one before.
#[derive(Clone, Copy, PartialEq)]
enum Noted {
    Kernel { function: Function, blocks: u32, threads: u32, shared: u32, argument_bytes: usize },
    Convolution { plan: usize, pointers: Pointers },
}

#[derive(Clone, Default, PartialEq)]
struct Launches {
    noted: Vec<Noted>,
    arguments: Vec<u8>,
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
        function: Function,
        blocks: u32,
        threads: u32,
        shared: u32,
        arguments: &A,
    ) {
        let arguments = bytemuck::bytes_of(arguments);
        let argument_bytes = arguments.len();
        self.now.noted.push(Noted::Kernel { function, blocks, threads, shared, argument_bytes });
        self.now.arguments.extend_from_slice(arguments);
    }

    /// Notes a plan of cuDNN's.
    pub fn note_convolution(&mut self, plan: usize, pointers: Pointers) {
        self.now.noted.push(Noted::Convolution { plan, pointers });
    }

    /// Forgets what was noted.
    pub fn clear(&mut self) {
        self.now.noted.clear();
        self.now.arguments.clear();
    }

    /// Forgets the graphs too: the memory that they work on is gone.
    pub fn forget(&mut self) {
        self.clear();
        self.graphs.clear();
    }

    /// Puts what was noted on the stream; the context is current.
    pub fn flush(&mut self, stream: &Stream, convolver: Option<&Convolver>) -> Result<()> {
        if self.now.noted.is_empty() {
            return Ok(());
        }
        match self.graphs.iter().position(|(launches, _)| *launches == self.now) {
            Some(place) => self.graphs[..=place].rotate_right(1),
            None => {
                let now = &self.now;
                let graph = stream.capture(|| now.launch(stream, convolver));
                let graph = graph.inspect_err(|_| self.now = Launches::default())?;
                self.graphs.truncate(KEPT - 1);
                self.graphs.insert(0, (self.now.clone(), graph));
            }
        }
        self.clear();
        stream.launch_graph(&self.graphs[0].1)
    }
}

impl Launches {
    fn launch(&self, stream: &Stream, convolver: Option<&Convolver>) -> Result<()> {
        let mut rest = &self.arguments[..];
        for noted in &self.noted {
            match *noted {
                Noted::Kernel { function, blocks, threads, shared, argument_bytes } => {
                    let (arguments, after) = rest.split_at(argument_bytes);
                    stream.launch(&Launch { function, blocks, threads, shared, arguments })?;
                    rest = after;
                }
                Noted::Convolution { plan, ref pointers } => {
                    let missing = || Error::Internal("a plan of cuDNN's without cuDNN".to_owned());
                    convolver.ok_or_else(missing)?.run(plan, pointers)?;
                }
            }
        }
        Ok(())
    }
}
