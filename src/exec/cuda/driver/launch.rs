//! Launches of kernels. A function knows what it takes, so that nothing else can be handed to it.

use super::Handle;
use bytemuck::NoUninit;
use std::marker::PhantomData;

/// A kernel of a module, which takes one structure of arguments, an `A`.
pub struct Function<A> {
    handle: Handle,
    takes: PhantomData<fn(&A)>,
}

impl<A> Clone for Function<A> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<A> Copy for Function<A> {}

// SAFETY: the driver's handles belong to no thread.
unsafe impl<A> Send for Function<A> {}
// SAFETY: as above.
unsafe impl<A> Sync for Function<A> {}

impl<A: NoUninit> Function<A> {
    /// Of a kernel that is known to take an `A`.
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle, takes: PhantomData }
    }

    /// A launch of it, with `shared` bytes of dynamic shared memory a block.
    pub fn launch(self, blocks: u32, threads: u32, shared: u32, arguments: &A) -> Launch<'_> {
        let grid = Grid { function: self.handle, blocks, threads, shared };
        Launch { grid, arguments: bytemuck::bytes_of(arguments) }
    }
}

/// A kernel, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Grid {
    pub function: Handle,
    pub blocks: u32,
    pub threads: u32,
    pub shared: u32,
}

// SAFETY: as for `Function`.
unsafe impl Send for Grid {}

/// One kernel's launch; made by [`Function::launch`] alone, so that its arguments are the kernel's.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    pub(super) grid: Grid,
    pub(super) arguments: &'a [u8],
}

/// Launches that are kept, one after the other.
#[derive(Clone, Default, PartialEq)]
pub struct Launches {
    /// Each with the bytes of its arguments.
    grids: Vec<(Grid, usize)>,
    arguments: Vec<u8>,
}

impl Launches {
    /// Keeps one more.
    pub fn push(&mut self, launch: &Launch) {
        self.grids.push((launch.grid, launch.arguments.len()));
        self.arguments.extend_from_slice(launch.arguments);
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.grids.clear();
        self.arguments.clear();
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Launch<'_>> {
        let mut rest = &self.arguments[..];
        self.grids.iter().map(move |&(grid, bytes)| {
            let (arguments, after) = rest.split_at(bytes);
            rest = after;
            Launch { grid, arguments }
        })
    }
}
