//! What a disk may hold after a power cut. Reads the trace that `recorded_disk.c` writes and makes images of the
//! folder as it may be found: what was synced is there; of what was not, any part is, sector by sector; a
//! new, changed or removed name is sure only after its folder was synced, and names change in order.
//! Knows nothing of what the files mean.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// What a disk writes as a whole.
const SECTOR: usize = 512;
const HEAD_BYTES: usize = 48;

/// Everything that a process did to its files, in order.
pub(crate) struct Trace {
    bytes: Vec<u8>,
    events: Vec<Event>,
}

struct Event {
    /// Where the next begins: the length of the trace once this was noted.
    end: usize,
    what: What,
}

#[derive(Clone)]
enum What {
    Create {
        inode: u64,
        path: PathBuf,
    },
    /// The bytes are in the trace, at `from..to`.
    Write {
        inode: u64,
        offset: usize,
        from: usize,
        to: usize,
    },
    Size {
        inode: u64,
        size: usize,
    },
    /// All that was noted before `upto` of this file is stable.
    Sync {
        inode: u64,
        upto: usize,
    },
    Folder {
        path: PathBuf,
        upto: usize,
    },
    Name(Name),
}

#[derive(Debug, Clone)]
enum Name {
    New { path: PathBuf, file: usize },
    Folder { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf },
    Link { from: PathBuf, to: PathBuf },
    Unlink { path: PathBuf },
}

impl Name {
    fn is_in(&self, folder: &Path) -> bool {
        let within = |path: &Path| path.parent() == Some(folder);
        match self {
            Self::New { path, .. } | Self::Folder { path } | Self::Unlink { path } => within(path),
            Self::Rename { from, to } | Self::Link { from, to } => within(from) || within(to),
        }
    }
}

/// A file's bytes: what is stable, and what was done since.
#[derive(Default, Clone)]
struct File {
    stable: Vec<u8>,
    /// When it was noted, and what it was.
    since: Vec<(usize, What)>,
}

/// A disk that runs along a trace.
pub(crate) struct Disk<'t> {
    trace: &'t Trace,
    next: usize,
    files: Vec<File>,
    inodes: HashMap<u64, usize>,
    /// Changes of names, when each was noted, and whether it is stable.
    names: Vec<(usize, Name, bool)>,
}

/// A folder as it may be found.
#[derive(Default)]
pub(crate) struct Image {
    folders: Vec<PathBuf>,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Trace {
    /// Reads a trace. The last record may be cut off: its process was killed.
    pub(crate) fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).expect("the trace");
        let (mut events, mut at) = (vec![], 0);
        while let Some((what, end)) = event(&bytes, at) {
            events.push(Event { end, what });
            at = end;
        }
        Self { bytes, events }
    }

    /// Its moments: how long it was after each change.
    pub(crate) fn moments(&self) -> Vec<usize> {
        self.events.iter().map(|event| event.end).collect()
    }

    /// Those around a change of a name or a size: right after it, and after each of the two events before.
    pub(crate) fn turning_points(&self) -> Vec<usize> {
        let turns = |event: &Event| !matches!(event.what, What::Write { .. } | What::Sync { .. });
        let around = self.events.windows(3).filter(|events| turns(&events[2]));
        around.flat_map(|events| events.iter().map(|event| event.end)).collect()
    }
}

fn event(bytes: &[u8], at: usize) -> Option<(What, usize)> {
    let head = bytes.get(at..at + HEAD_BYTES)?;
    let number = |n: usize| {
        let field = head[8 + n * 8..16 + n * 8].try_into().expect("8 bytes");
        u64::from_le_bytes(field)
    };
    let (inode, offset, size) = (number(0), number(1) as usize, number(2) as usize);
    let from = at + HEAD_BYTES;
    let middle = from + number(3) as usize;
    let end = middle + number(4) as usize;
    let path = |from: usize, to: usize| {
        PathBuf::from(String::from_utf8_lossy(bytes.get(from..to)?).into_owned()).into()
    };
    let first = || -> Option<PathBuf> { path(from, middle) };
    bytes.get(from..end)?;
    let what = match head[..8].split(|byte| *byte == 0).next()? {
        b"create" => What::Create { inode, path: first()? },
        b"write" => What::Write { inode, offset, from, to: middle },
        b"size" => What::Size { inode, size },
        b"sync" => What::Sync { inode, upto: offset },
        b"folder" => What::Folder { path: first()?, upto: offset },
        b"mkdir" => What::Name(Name::Folder { path: first()? }),
        b"unlink" => What::Name(Name::Unlink { path: first()? }),
        b"rename" => What::Name(Name::Rename { from: first()?, to: path(middle, end)? }),
        b"link" => What::Name(Name::Link { from: first()?, to: path(middle, end)? }),
        other => panic!("no such record: {}", other.escape_ascii()),
    };
    Some((what, end))
}

impl<'t> Disk<'t> {
    /// An empty one at the trace's beginning.
    pub(crate) fn new(trace: &'t Trace) -> Self {
        Self { trace, next: 0, files: vec![], inodes: HashMap::new(), names: vec![] }
    }

    /// Goes on until the trace was `moment` long.
    pub(crate) fn run_to(&mut self, moment: usize) {
        let trace = self.trace;
        while let Some(event) = trace.events.get(self.next).filter(|event| event.end <= moment) {
            self.next += 1;
            self.take(event);
        }
    }

    fn take(&mut self, event: &Event) {
        match &event.what {
            What::Create { inode, path } => {
                let file = self.files.len();
                self.files.push(File::default());
                self.inodes.insert(*inode, file);
                let name = Name::New { path: path.clone(), file };
                self.names.push((event.end, name, false));
            }
            What::Name(name) => self.names.push((event.end, name.clone(), false)),
            what @ (What::Write { inode, .. } | What::Size { inode, .. }) => {
                let Some(file) = self.inodes.get(inode) else { return };
                self.files[*file].since.push((event.end, what.clone()));
            }
            What::Sync { inode, upto } => {
                let Some(file) = self.inodes.get(inode) else { return };
                let file = &mut self.files[*file];
                for (end, what) in std::mem::take(&mut file.since) {
                    if end <= *upto {
                        apply(&mut file.stable, &what, &self.trace.bytes, &mut |_| true);
                    } else {
                        file.since.push((end, what));
                    }
                }
            }
            What::Folder { path, upto } => {
                for (end, name, stable) in &mut self.names {
                    *stable |= *end <= *upto && name.is_in(path);
                }
            }
        }
    }

    /// One of the many things that may be found after a power cut now.
    pub(crate) fn image(&self, seed: u64) -> Image {
        let mut chance = StdRng::seed_from_u64(seed);
        let unsure = self.names.iter().filter(|(.., stable)| !stable).count();
        // Often all or none of it: what a disk does when it had much time, or little.
        let mut lucky = match chance.random_range(0..4) {
            0 => 0,
            1 => unsure,
            _ => chance.random_range(0..=unsure),
        };
        let (mut image, mut found) = (Image::default(), BTreeMap::<PathBuf, usize>::new());
        for (_, name, stable) in &self.names {
            if !stable {
                if lucky == 0 {
                    continue;
                }
                lucky -= 1;
            }
            match name {
                Name::New { path, file } => drop(found.insert(path.clone(), *file)),
                Name::Folder { path } => image.folders.push(path.clone()),
                Name::Unlink { path } => drop(found.remove(path)),
                Name::Rename { from, to } => {
                    if let Some(file) = found.remove(from) {
                        found.insert(to.clone(), file);
                    }
                }
                Name::Link { from, to } => {
                    if let Some(file) = found.get(from).copied() {
                        found.insert(to.clone(), file);
                    }
                }
            }
        }
        let mut contents = HashMap::new();
        for (path, file) in found {
            let bytes = contents.entry(file).or_insert_with(|| self.contents(file, &mut chance));
            image.files.insert(path, bytes.clone());
        }
        image
    }

    fn contents(&self, file: usize, chance: &mut StdRng) -> Vec<u8> {
        let File { stable, since } = &self.files[file];
        let mut bytes = stable.clone();
        let lucky = chance.random_range(0..4);
        for (_, what) in since {
            let mode = if lucky < 2 { lucky } else { chance.random_range(0..3) };
            let mut keeps = |_: usize| match mode {
                0 => false,
                1 => true,
                _ => chance.random(),
            };
            apply(&mut bytes, what, &self.trace.bytes, &mut keeps);
        }
        bytes
    }
}

/// Does to `bytes` what reached the disk: the sectors that `keeps` says.
fn apply(bytes: &mut Vec<u8>, what: &What, trace: &[u8], keeps: &mut dyn FnMut(usize) -> bool) {
    match what {
        What::Size { size, .. } if keeps(0) => bytes.resize(*size, 0),
        What::Write { offset, from, to, .. } => {
            let mut at = *offset;
            let mut rest = &trace[*from..*to];
            while !rest.is_empty() {
                let until = (at / SECTOR + 1) * SECTOR;
                let (piece, after) = rest.split_at(rest.len().min(until - at));
                if keeps(at / SECTOR) {
                    let end = at + piece.len();
                    if bytes.len() < end {
                        bytes.resize(end, 0);
                    }
                    bytes[at..end].copy_from_slice(piece);
                }
                (at, rest) = (at + piece.len(), after);
            }
        }
        _ => {}
    }
}

impl Image {
    /// Writes it, with `from` in all paths replaced by `to`.
    pub(crate) fn write(&self, from: &Path, to: &Path) {
        let place = |path: &Path| path.strip_prefix(from).map(|rest| to.join(rest));
        std::fs::create_dir_all(to).expect("made");
        for folder in &self.folders {
            let folder = place(folder).expect("within");
            // Without the folder around it, nobody would find it.
            if folder.parent().is_some_and(Path::is_dir) && !folder.is_dir() {
                std::fs::create_dir(folder).expect("made");
            }
        }
        for (path, bytes) in &self.files {
            let path = place(path).expect("within");
            if path.parent().is_some_and(Path::is_dir) {
                std::fs::write(path, bytes).expect("written");
            }
        }
    }
}
