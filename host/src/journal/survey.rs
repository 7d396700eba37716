//! Looking at a journal that may be damaged, without changing it: which records are there, which of them follow
//! a checkpoint without a gap, and what stands in the way of the others. Invariant: nothing here writes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use bytes::Bytes;

use super::disk::{Disk, Machine};
use super::local::{PREFIX, name_of};
use super::segment::{self, BLOCK, Head, room};
use super::{Chain, Mark};
use crate::ids::Position;

/// A segment on this machine's disk.
type Segment = segment::Segment<<Machine as Disk>::File>;

/// What a journal holds.
#[derive(Debug, Default)]
pub struct Survey {
    /// Its files' names, the oldest first.
    pub files: Vec<String>,
    /// The first position whose record is there.
    pub first: Option<Position>,
    /// The last position that follows the checkpoint without a gap.
    pub end: Position,
    /// The last position whose record is there, behind damage or not.
    pub last: Position,
    /// What is wrong.
    pub troubles: Vec<Trouble>,
    /// The last record is incomplete, as a crash leaves it.
    pub torn: Option<Trouble>,
}

/// One thing that is wrong.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// In which file.
    pub file: String,
    /// Where.
    pub place: String,
    /// What it is.
    pub what: String,
    /// Nobody can say what it held.
    pub unknown: bool,
}

type Found = BTreeMap<u64, Vec<(usize, u64, Head)>>;

/// Surveys the journal in `folder` and hands the records after `from` that follow it to `each`.
///
/// # Errors
/// The file system's, and that of `each`.
pub fn survey(
    folder: &Path,
    from: Mark,
    each: &mut dyn FnMut(Position, Bytes) -> io::Result<()>,
) -> io::Result<Survey> {
    let mut survey = Survey { end: from.position, ..Survey::default() };
    let segments = open(folder, &mut survey)?;
    let mut found = Found::new();
    let mut reaches = vec![];
    for (number, segment) in segments.iter().enumerate() {
        let mut end = BLOCK;
        let mut at = BLOCK;
        while at < segment.size {
            if let Some(head) = segment.at(at)? {
                found.entry(head.position.0).or_default().push((number, at, head));
                end = at + room(head.bytes as usize);
            }
            at += BLOCK;
        }
        reaches.push(end);
    }
    survey.first = found.keys().next().copied().map(Position);
    // A file that was just begun says by its name alone how far the others reached.
    let begun = segments.last().map_or(0, |segment| segment.first.0.saturating_sub(1));
    survey.last = Position(found.keys().next_back().copied().unwrap_or(0).max(begun));
    before(&mut survey, &segments, &found, from)?;
    follow(&mut survey, &segments, &found, (from, each))?;
    seals(&mut survey, segments, &reaches)?;
    Ok(survey)
}

fn open(folder: &Path, survey: &mut Survey) -> io::Result<Vec<Segment>> {
    let mut segments = vec![];
    let mut names: Vec<String> = vec![];
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| name.starts_with(PREFIX));
    names.sort();
    for name in &names {
        match Segment::open(&Machine, &folder.join(name))? {
            Some(segment) if name_of(segment.first) == *name => segments.push(segment),
            _ => {
                let number = name[PREFIX.len()..].parse().unwrap_or_default();
                let (segment, cut) =
                    Segment::salvage(&Machine, &folder.join(name), Position(number))?;
                let mut empty = true;
                for at in (BLOCK..segment.size).step_by(BLOCK as usize) {
                    empty &= segment.at(at)?.is_none();
                }
                survey.troubles.push(Trouble {
                    file: name.clone(),
                    place: "its first block, or its length".into(),
                    what: "it is not the whole file that its name and head say".into(),
                    unknown: empty || cut,
                });
                segments.push(segment);
            }
        }
    }
    survey.files = names;
    Ok(segments)
}

/// What the checkpoint holds need not be there, but what is there must be in its place, and of the same history.
fn before(survey: &mut Survey, segments: &[Segment], found: &Found, from: Mark) -> io::Result<()> {
    let mut next = segments.first().map_or(from.position.next(), |segment| segment.first);
    for (number, segment) in segments.iter().enumerate() {
        let follower = segments.get(number + 1).map(|segment| segment.first);
        let mut at = BLOCK;
        while let Some(head) = segment.at(at)? {
            if head.position != next || follower == Some(next) {
                break;
            }
            at += room(head.bytes as usize);
            next = next.next();
        }
        if next <= survey.last && follower != Some(next) {
            survey.troubles.push(Trouble {
                file: name_of(segment.first),
                place: format!("position {}, at byte {at}", next.0),
                what: "what is there is not the record of that position, and others follow".into(),
                unknown: false,
            });
            break;
        }
    }
    let at = found.get(&from.position.0).into_iter().flatten();
    let mut at = at.peekable();
    if let Some((number, ..)) = at.peek().copied()
        && at.all(|(.., head)| head.chain != from.chain)
    {
        survey.troubles.push(Trouble {
            file: name_of(segments[*number].first),
            place: format!("position {}", from.position.0),
            what: "it is not the record that the state file was written after".into(),
            unknown: true,
        });
    }
    Ok(())
}

type Each<'e> = &'e mut dyn FnMut(Position, Bytes) -> io::Result<()>;

fn follow(
    survey: &mut Survey,
    segments: &[Segment],
    found: &Found,
    (from, each): (Mark, Each<'_>),
) -> io::Result<()> {
    let mut chain: Chain = from.chain;
    loop {
        let next = survey.end.next();
        let mut payload = None;
        // Of a torn one and the one that took its place only one follows.
        for (number, at, head) in found.get(&next.0).into_iter().flatten() {
            let bytes = segments[*number].payload(*at, *head)?;
            if chain.link(next, &bytes) == head.chain {
                payload = Some((bytes, head.chain));
            }
        }
        let Some((bytes, linked)) = payload else { break };
        each(next, bytes.into())?;
        (survey.end, chain) = (next, linked);
    }
    let next = survey.end.next();
    let stands = found.get(&next.0).and_then(|places| places.last());
    let trouble = Trouble {
        file: match stands {
            Some((number, ..)) => name_of(segments[*number].first),
            None => survey.files.last().cloned().unwrap_or_else(|| PREFIX.into()),
        },
        place: match stands {
            Some((_, at, _)) => format!("position {}, at byte {at}", next.0),
            None => format!("position {}", next.0),
        },
        what: match stands {
            Some(_) => "the record is not what was appended".into(),
            None => "the record is missing".into(),
        },
        unknown: false,
    };
    if survey.last > next {
        // Named already when the head is damaged, too.
        if survey.troubles.iter().all(|other| !other.place.starts_with(&trouble.place)) {
            survey.troubles.push(trouble);
        }
    } else if survey.last == next {
        survey.torn = Some(trouble);
    }
    if survey.last < from.position {
        survey.troubles.push(Trouble {
            file: format!("{PREFIX}…"),
            place: format!("positions {} to {} at least", survey.last.next().0, from.position.0),
            what: "files are missing: the journal does not reach the checkpoint".into(),
            unknown: true,
        });
    }
    Ok(())
}

/// A file that another says was there.
fn seals(survey: &mut Survey, segments: Vec<Segment>, reaches: &[u64]) -> io::Result<()> {
    let firsts: Vec<_> = segments.iter().map(|segment| segment.first).collect();
    for (mut segment, end) in segments.into_iter().zip(reaches) {
        segment.end = *end;
        let Some(next) = segment.sealed()? else { continue };
        if !firsts.contains(&next) && !survey.files.contains(&name_of(next)) {
            survey.troubles.push(Trouble {
                file: name_of(next),
                place: "the whole file".into(),
                what: "it is missing; the file before it says that it was there".into(),
                unknown: true,
            });
        }
    }
    Ok(())
}
