//! One file of the journal: a head block, then records that each begin at a block. It is filled with zeros when
//! it is made and never grows, so that a sync writes one piece of data and nothing else; no block that holds an
//! acknowledged record is ever written again. Knows nothing of what a record means or of other files.
//! Invariant: a record that [`Segment::at`] finds was written by this segment, in this use of its file.

use std::io;
use std::path::Path;

use super::Chain;
use super::disk::{Disk, DiskFile};
use crate::ids::Position;

/// Records and the head begin at multiples of this many bytes: the unit that file systems and disks write.
pub(super) const BLOCK: u64 = 4096;

const SEGMENT_MAGIC: [u8; 8] = *b"KSTJRNL1";
const RECORD_MAGIC: [u8; 4] = *b"KREC";
/// Of the block after a segment's last record, which says that the next segment has begun. Its position is that
/// segment's first.
const SEAL_MAGIC: [u8; 4] = *b"KEND";
/// Magic, first position, size, key, check.
const HEAD_BYTES: usize = 8 + 8 + 8 + 32 + 16;
/// Magic, length, position, chain, check.
const RECORD_HEAD_BYTES: usize = 4 + 4 + 8 + 16 + 16;
/// Searches read this many bytes at once.
const PIECE: usize = 1024 * 1024;

/// An open segment.
#[derive(Debug)]
pub(super) struct Segment<F> {
    file: F,
    /// The position of its first record.
    pub(super) first: Position,
    /// Makes the checks of its records: stale records of an earlier use of the file, and bytes that a guest
    /// wrote to look like a record, do not pass.
    key: [u8; 32],
    /// Bytes of the file.
    pub(super) size: u64,
    /// Where the next record goes.
    pub(super) end: u64,
}

/// What stands before a record's payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) position: Position,
    pub(super) chain: Chain,
    pub(super) bytes: u32,
}

/// Blocks of a record with a payload of so many bytes, as bytes.
pub(super) fn room(payload: usize) -> u64 {
    ((RECORD_HEAD_BYTES + payload) as u64).next_multiple_of(BLOCK)
}

/// Makes a file of `size` zeros at `path`, on stable storage; its name is not yet.
pub(super) fn make(disk: &impl Disk, path: &Path, size: u64) -> io::Result<()> {
    let file = disk.create(path)?;
    // Block by block: what is written at once the kernel may keep and write as one piece ever after.
    for at in (0..size).step_by(BLOCK as usize) {
        file.write_at(&[0; BLOCK as usize], at)?;
    }
    file.sync_all()
}

impl<F: DiskFile> Segment<F> {
    /// Takes the file at `spare` into use as the segment at `path`. It is on stable storage under that name
    /// when this returns.
    pub(super) fn begin(
        disk: &impl Disk<File = F>,
        (spare, path): (&Path, &Path),
        first: Position,
        key: [u8; 32],
    ) -> io::Result<Self> {
        // A file that was a segment must not have that name again after a power cut: its head would be another's.
        disk.sync_folder(spare)?;
        let file = disk.open(spare)?;
        let size = file.size()?;
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.extend_from_slice(&SEGMENT_MAGIC);
        head.extend_from_slice(&first.0.to_le_bytes());
        head.extend_from_slice(&size.to_le_bytes());
        head.extend_from_slice(&key);
        head.extend_from_slice(&blake3::hash(&head).as_bytes()[..16]);
        file.write_at(&head, 0)?;
        file.sync_all()?;
        disk.rename(spare, path)?;
        disk.sync_folder(path)?;
        Ok(Self { file, first, key, size, end: BLOCK })
    }

    /// Opens a segment; `None` when its head is not one.
    pub(super) fn open(disk: &impl Disk<File = F>, path: &Path) -> io::Result<Option<Self>> {
        let file = disk.open(path)?;
        let mut head = [0; HEAD_BYTES];
        if file.size()? < BLOCK {
            return Ok(None);
        }
        file.read_at(&mut head, 0)?;
        let (fields, check) = head.split_at(HEAD_BYTES - 16);
        let size = u64_at(fields, 16);
        if fields[..8] != SEGMENT_MAGIC
            || blake3::hash(fields).as_bytes()[..16] != *check
            || file.size()? != size
        {
            return Ok(None);
        }
        let mut key = [0; 32];
        key.copy_from_slice(&fields[24..56]);
        Ok(Some(Self { file, first: Position(u64_at(fields, 8)), key, size, end: BLOCK }))
    }

    /// Opens a segment whose head or length is damaged, to read what records its key still proves. Says whether
    /// some of the file may be missing.
    pub(super) fn salvage(
        disk: &impl Disk<File = F>,
        path: &Path,
        first: Position,
    ) -> io::Result<(Self, bool)> {
        let file = disk.open(path)?;
        let size = file.size()?;
        let mut head = [0; HEAD_BYTES];
        if size >= HEAD_BYTES as u64 {
            file.read_at(&mut head, 0)?;
        }
        let mut key = [0; 32];
        key.copy_from_slice(&head[24..56]);
        let cut = u64_at(&head, 16) != size;
        Ok((Self { file, first, key, size, end: BLOCK }, cut))
    }

    /// True when a record with a payload of so many bytes still fits, and the seal after it.
    pub(super) fn fits(&self, payload: usize) -> bool {
        payload <= u32::MAX as usize && self.end + room(payload) + BLOCK <= self.size
    }

    /// Says after the last record that the segment beginning at `next` holds records: without this, nobody
    /// would miss its file. IMPORTANT: only call this when the first of them is on stable storage.
    pub(super) fn seal(&self, next: Position) -> io::Result<()> {
        // One that an older build filled to the brim has no room for it.
        if self.end + BLOCK > self.size || self.sealed()? == Some(next) {
            return Ok(());
        }
        let mut block = Vec::with_capacity(BLOCK as usize);
        block.extend_from_slice(&SEAL_MAGIC);
        block.extend_from_slice(&0_u32.to_le_bytes());
        block.extend_from_slice(&next.0.to_le_bytes());
        block.extend_from_slice(&Chain::default().0);
        let check = self.check(&block);
        block.extend_from_slice(&check);
        block.resize(BLOCK as usize, 0);
        self.file.write_at(&block, self.end)?;
        self.file.sync_data()
    }

    /// The first position of the segment that follows, if there was one.
    pub(super) fn sealed(&self) -> io::Result<Option<Position>> {
        if self.end + BLOCK > self.size {
            return Ok(None);
        }
        let mut head = [0; RECORD_HEAD_BYTES];
        self.file.read_at(&mut head, self.end)?;
        Ok(self.read_any(&head, SEAL_MAGIC).map(|head| head.position))
    }

    /// Writes a record at the end and syncs it. `buffer` is scratch.
    pub(super) fn append(
        &mut self,
        (position, chain): (Position, Chain),
        payload: &[u8],
        buffer: &mut Vec<u8>,
    ) -> io::Result<()> {
        debug_assert!(self.fits(payload.len()));
        buffer.clear();
        buffer.extend_from_slice(&RECORD_MAGIC);
        buffer.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        buffer.extend_from_slice(&position.0.to_le_bytes());
        buffer.extend_from_slice(&chain.0);
        let check = self.check(buffer);
        buffer.extend_from_slice(&check);
        buffer.extend_from_slice(payload);
        buffer.resize(room(payload.len()) as usize, 0);
        self.file.write_at(buffer, self.end)?;
        self.file.sync_data()?;
        self.end += buffer.len() as u64;
        // What one large batch needed is not kept for ever.
        if buffer.capacity() > PIECE {
            *buffer = vec![];
        }
        Ok(())
    }

    /// The head of the record at `offset`, if there is one.
    pub(super) fn at(&self, offset: u64) -> io::Result<Option<Head>> {
        if offset + RECORD_HEAD_BYTES as u64 > self.size {
            return Ok(None);
        }
        let mut head = [0; RECORD_HEAD_BYTES];
        self.file.read_at(&mut head, offset)?;
        let found = self.read_head(&head);
        Ok(found.filter(|head| offset + room(head.bytes as usize) <= self.size))
    }

    /// The payload of the record at `offset`.
    pub(super) fn payload(&self, offset: u64, head: Head) -> io::Result<Vec<u8>> {
        let mut payload = vec![0; head.bytes as usize];
        self.file.read_at(&mut payload, offset + RECORD_HEAD_BYTES as u64)?;
        Ok(payload)
    }

    /// True when there is a record or a seal at or after `offset` whose position is beyond `position`.
    pub(super) fn holds_beyond(&self, offset: u64, position: Position) -> io::Result<bool> {
        let mut piece = vec![0; PIECE];
        let mut at = offset;
        while at < self.size {
            let length = PIECE.min((self.size - at) as usize);
            self.file.read_at(&mut piece[..length], at)?;
            for block in piece[..length].chunks(BLOCK as usize) {
                let head = block.get(..RECORD_HEAD_BYTES);
                let head = head.and_then(|head| {
                    self.read_head(head).or_else(|| self.read_any(head, SEAL_MAGIC))
                });
                if head.is_some_and(|head| head.position > position) {
                    return Ok(true);
                }
            }
            at += length as u64;
        }
        Ok(false)
    }

    /// Writes `from..end` again and syncs it: what was read may have come from memory after a sync failed.
    pub(super) fn rewrite(&self, from: u64) -> io::Result<()> {
        let mut bytes = vec![0; (self.end - from) as usize];
        self.file.read_at(&mut bytes, from)?;
        self.file.write_at(&bytes, from)?;
        self.file.sync_all()
    }

    fn read_head(&self, head: &[u8]) -> Option<Head> {
        self.read_any(head, RECORD_MAGIC)
    }

    fn read_any(&self, head: &[u8], magic: [u8; 4]) -> Option<Head> {
        let (fields, check) = head.split_at(RECORD_HEAD_BYTES - 16);
        if fields[..4] != magic || self.check(fields) != *check {
            return None;
        }
        let mut chain = [0; 16];
        chain.copy_from_slice(&fields[16..32]);
        let bytes = u32::from_le_bytes([fields[4], fields[5], fields[6], fields[7]]);
        Some(Head { position: Position(u64_at(fields, 8)), chain: Chain(chain), bytes })
    }

    fn check(&self, fields: &[u8]) -> [u8; 16] {
        let mut check = [0; 16];
        check.copy_from_slice(&blake3::keyed_hash(&self.key, fields).as_bytes()[..16]);
        check
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}
