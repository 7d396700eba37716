//! New inputs out of known ones: bits, bytes and numbers changed, ranges copied, moved, cut and joined. Knows
//! nothing of what they mean. Invariant: one seed and one pool give one sequence.

/// Numbers at which things change.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    i64::MAX as u64,
    u64::MAX,
];
/// Changes made to one input at most.
const CHANGES_MAX: usize = 8;

/// Makes inputs.
pub(crate) struct Mutator {
    chance: fastrand::Rng,
    bytes_max: usize,
}

impl Mutator {
    pub(crate) fn new(seed: u64, bytes_max: usize) -> Self {
        Self { chance: fastrand::Rng::with_seed(seed), bytes_max }
    }

    /// One that is made of some of `pool`, or of chance alone.
    pub(crate) fn next(&mut self, pool: &[Vec<u8>]) -> Vec<u8> {
        let Some(known) = self.chance.choice(pool) else { return self.noise() };
        if self.chance.u8(..) < 16 {
            return self.noise();
        }
        let mut input = known.clone();
        let changes = self.chance.usize(1..=CHANGES_MAX);
        for _ in 0..self.chance.usize(1..=changes) {
            let other = self.chance.choice(pool).map_or(&[][..], Vec::as_slice);
            self.change(&mut input, other);
        }
        input.truncate(self.bytes_max);
        input
    }

    /// Bytes of chance alone.
    pub(crate) fn noise(&mut self) -> Vec<u8> {
        let most = self.bytes_max.min(1 << self.chance.u32(0..11));
        let count = self.chance.usize(0..=most);
        (0..count).map(|_| self.chance.u8(..)).collect()
    }

    fn change(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        let at = self.chance.usize(0..=input.len());
        let length = self.length(input.len() - at);
        match self.chance.u8(0..12) {
            0 if at < input.len() => input[at] ^= 1 << self.chance.u32(0..8),
            1 if at < input.len() => input[at] = self.chance.u8(..),
            2 if at < input.len() => {
                let by = self.chance.u8(1..=16);
                let up = self.chance.bool();
                input[at] =
                    if up { input[at].wrapping_add(by) } else { input[at].wrapping_sub(by) };
            }
            3 => self.edge(input, at),
            4 => drop(input.drain(at..at + length)),
            5 => {
                let copy = input[at..at + length].to_vec();
                let to = self.chance.usize(0..=input.len());
                input.splice(to..to, copy);
            }
            6 => {
                let copy = input[at..at + length].to_vec();
                let to = self.chance.usize(0..=input.len() - length);
                input[to..to + length].copy_from_slice(&copy);
            }
            7 | 8 => {
                let from = self.chance.usize(0..=other.len());
                let taken = self.length(other.len() - from);
                let replaced = if self.chance.bool() { length } else { 0 };
                input.splice(at..at + replaced, other[from..from + taken].iter().copied());
            }
            9 => {
                let fresh: Vec<u8> =
                    (0..self.chance.usize(1..=8)).map(|_| self.chance.u8(..)).collect();
                input.splice(at..at, fresh);
            }
            10 => {
                let byte = self.chance.u8(..);
                let count = 1 << self.chance.u32(0..10);
                input.splice(at..at, std::iter::repeat_n(byte, count));
            }
            _ => input.truncate(at),
        }
    }

    /// Writes a number at which things change, in one of the ways that numbers are written.
    fn edge(&mut self, input: &mut Vec<u8>, at: usize) {
        let number = self.chance.choice(EDGES).unwrap_or_default();
        let number = number.wrapping_add(self.chance.u64(0..3)).wrapping_sub(1);
        let width = 1 << self.chance.u32(0..4);
        let mut bytes = number.to_le_bytes()[..width].to_vec();
        match self.chance.u8(0..4) {
            0 => bytes.reverse(),
            1 => bytes = varint(number),
            2 => bytes = number.to_string().into_bytes(),
            _ => {}
        }
        let end = if self.chance.bool() { (at + bytes.len()).min(input.len()) } else { at };
        input.splice(at..end, bytes);
    }

    /// Mostly short.
    fn length(&mut self, max: usize) -> usize {
        let short = self.chance.u8(..) < 200;
        self.chance.usize(0..=if short { max.min(16) } else { max })
    }
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = vec![];
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
