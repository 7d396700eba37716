//! What a test tells `faulty_disk.c`, and hears from it: a page of numbers in a file that both have open. The
//! host that is started with it has a disk that fails, or that kills it, when the test says so.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Numbers of the page, and bytes of the word behind them.
const NUMBERS: usize = 10;
const WORD_BYTES: usize = 64;

/// Calls that a rule is for; they add up.
pub(crate) const READ: i64 = 1;
pub(crate) const WRITE: i64 = 2;
pub(crate) const SYNC: i64 = 4;
/// Renaming, linking, removing, making a folder.
pub(crate) const NAME: i64 = 8;
/// Setting a file's length.
pub(crate) const SIZE: i64 = 16;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strike {
    KillBefore = 1,
    KillAfter = 2,
    /// Half of a write is done; any other call is.
    KillWithin = 3,
    /// EIO; half of a write is done.
    Fail = 4,
}

/// When and where it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) strike: Strike,
    pub(crate) kinds: i64,
    /// What the path has in it.
    pub(crate) word: &'static str,
    /// How many such calls are left alone first.
    pub(crate) after: i64,
    /// How many are struck.
    pub(crate) times: i64,
}

/// The page.
#[derive(Debug)]
pub(crate) struct Faults {
    path: PathBuf,
    file: File,
}

impl Faults {
    /// A page without faults in a new file.
    pub(crate) fn new(path: &Path) -> Self {
        let options = File::options().create(true).truncate(true).read(true).write(true).clone();
        let file = options.open(path).expect("the page of faults");
        file.write_all_at(&[0; NUMBERS * 8 + WORD_BYTES], 0).expect("written");
        Self { path: path.to_owned(), file }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// From now on this rule, counted anew.
    pub(crate) fn strike(&self, rule: Rule) {
        self.set(0, 0);
        let mut word = [0; WORD_BYTES];
        word[..rule.word.len()].copy_from_slice(rule.word.as_bytes());
        self.file.write_all_at(&word, NUMBERS as u64 * 8).expect("written");
        for (place, number) in [(1, rule.kinds), (2, rule.after), (3, rule.times), (7, 0)] {
            self.set(place, number);
        }
        self.set(0, rule.strike as i64);
    }

    /// Nothing goes wrong from now on.
    pub(crate) fn lift(&self) {
        for place in [0, 4, 6] {
            self.set(place, 0);
        }
    }

    /// There is room for this many more bytes of new data.
    pub(crate) fn fill_up(&self, room: u64) {
        self.set(8, 0);
        self.set(5, room.cast_signed());
        self.set(4, 1);
    }

    /// Each sync takes this long at least.
    pub(crate) fn slow_down(&self, sync_us: u64) {
        self.set(6, sync_us.cast_signed());
    }

    /// How many calls the rule struck.
    pub(crate) fn struck(&self) -> u64 {
        self.get(7)
    }

    /// How often there was no room.
    pub(crate) fn full(&self) -> u64 {
        self.get(8)
    }

    /// How many calls there were at all.
    pub(crate) fn seen(&self) -> u64 {
        self.get(9)
    }

    fn set(&self, place: u64, number: i64) {
        self.file.write_all_at(&number.to_le_bytes(), place * 8).expect("written");
    }

    fn get(&self, place: u64) -> u64 {
        let mut number = [0; 8];
        self.file.read_exact_at(&mut number, place * 8).expect("read");
        u64::from_le_bytes(number)
    }
}
