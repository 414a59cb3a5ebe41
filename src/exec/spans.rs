//! First fit: which parts of a line of units are taken. Arenas hand out memory by it; where work repeats, so do the
//! places, and a rehearsal measures how much there must be.

/// The parts taken, and the most that were.
#[derive(Default)]
pub struct Spans {
    /// (offset, length), by offset.
    live: Vec<(usize, usize)>,
    most: usize,
    peak: usize,
}

impl Spans {
    /// None taken, with room to note `most` without allocating.
    pub fn with_capacity(most: usize) -> Self {
        Self { live: Vec::with_capacity(most), ..Self::default() }
    }

    /// Takes the first gap of `len` units that ends within `capacity`; none if there is no such gap.
    pub fn take(&mut self, len: usize, capacity: usize) -> Option<usize> {
        let (mut place, mut offset) = (0, 0);
        for &(start, taken) in &self.live {
            if start - offset >= len {
                break;
            }
            (place, offset) = (place + 1, start + taken);
        }
        let end = offset.checked_add(len).filter(|&end| end <= capacity)?;
        self.live.insert(place, (offset, len));
        self.most = self.most.max(self.live.len());
        self.peak = self.peak.max(end);
        Some(offset)
    }

    /// Gives back what was taken at `offset`.
    pub fn give_back(&mut self, offset: usize) {
        if let Ok(place) = self.live.binary_search_by_key(&offset, |span| span.0) {
            self.live.remove(place);
        }
    }

    /// Most parts at a time so far.
    pub fn most(&self) -> usize {
        self.most
    }

    /// The highest end so far.
    pub fn peak(&self) -> usize {
        self.peak
    }

    /// Room to note `most` parts without allocating.
    pub fn reserve(&mut self, most: usize) {
        self.live.reserve(most.saturating_sub(self.live.len()));
    }
}
