//! Record codecs against any bytes. What is read must be what was written: an accepted value is written back to
//! the same bytes, keys keep order and never meet, and memory is bounded by the input.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use keystead_fuzz::{Source, peak_bytes, target};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::delta::{Batch, Delta, EntityWrites, Forming, Op};
use super::message::{DeadLetter, Message, Origin, Queued};
use super::outcome::{Ending, OldOutcome, Outcome, Rejection, Remembered};
use super::{FORMAT, decode, encode, keys};
use crate::engine::Continuation;
use crate::ids::{EntityRef, MessageId};

/// A batch of these bytes is no larger than this in memory, for each of its bytes: a list of empty Deltas is what
/// grows most.
const GROWTH: u64 = 3 * size_of::<Delta>() as u64;
/// Room that a list is given before its items are read, and errors' texts.
const ROOM: u64 = 3 * 1024 * 1024;

/// Decodes what is accepted back to the same value, in bounded memory, and names what is refused.
fn holds<T: Serialize + DeserializeOwned + PartialEq + Debug>(record: &'static str, input: &[u8]) {
    let (decoded, peak) = peak_bytes(|| decode::<T>(record, input));
    let most = ROOM + GROWTH * input.len() as u64;
    assert!(peak <= most, "{record}: {peak} bytes of memory for {} bytes", input.len());
    match decoded {
        Ok(value) => {
            let written = encode(&value);
            // A number may be written longer than it needs; then it is shorter when it is written again.
            assert!(written.len() <= input.len(), "{record}: longer when written again");
            // One of an older format is written in this one.
            let same = written[1..] == input[1..];
            assert!(written.len() < input.len() || same, "{record}: {value:?}");
            assert_eq!(decode::<T>(record, &written).as_ref(), Ok(&value), "{record}");
        }
        Err(error) => {
            assert!(error.to_string().starts_with(&format!("corrupt {record}: ")), "{error}");
        }
    }
}

/// Any bytes as any record: a value that reads is written back as it was read, else the record is named.
#[test]
fn records() {
    let mut seeds = vec![];
    for number in 0..40_u8 {
        let noise: Vec<u8> =
            (0..200_u32).map(|at| (at * 7 + u32::from(number) * 31) as u8).collect();
        let source = &mut Source::new(&noise);
        let message = Arc::new(message(source));
        let value = match number % 5 {
            0 => encode(&batch(source)),
            1 => encode(&Queued { message, attempts: 1, not_before_ms: source.number() }),
            2 => {
                let reason = source.text(9);
                encode(&DeadLetter { message, reason, attempts: 3, parked_at_ms: 4, seq: 5 })
            }
            3 => encode(&outcome(source)),
            _ => encode(&remembered(source)),
        };
        seeds.push([&[number % 5][..], &value].concat());
    }
    target!(records).seeds(seeds).runs(20_000).check(|input| {
        let Some((kind, bytes)) = input.split_first() else { return };
        match kind % 6 {
            0 => holds::<Batch>("batch", bytes),
            1 => holds::<Queued>("message", bytes),
            2 => holds::<DeadLetter>("dead letter", bytes),
            3 => holds::<Outcome>("outcome", bytes),
            4 => holds::<Remembered>("idempotency key", bytes),
            _ => holds::<u64>("entity", bytes),
        }
    });
}

/// Any batch reads back, also when it is encoded Delta by Delta; a byte too many, one too few and another version
/// are refused.
#[test]
fn batches() {
    target!(batches).runs(7_500).check(|input| {
        let source = &mut Source::new(input);
        let batch = batch(source);
        let bytes = encode(&batch);
        let mut forming = Forming::default();
        batch.iter().for_each(|delta| forming.push(delta));
        let size = forming.bytes();
        assert_eq!(forming.len(), batch.len());
        assert_eq!(forming.finish().as_ref(), bytes);
        assert!(size < bytes.len() && bytes.len() <= size + 11, "{size} and a head");
        assert_eq!(decode::<Batch>("batch", &bytes).as_ref(), Ok(&batch));
        assert!(decode::<Batch>("batch", &bytes[..bytes.len() - 1]).is_err(), "cut");
        assert!(decode::<Batch>("batch", &[&bytes, &[0][..]].concat()).is_err(), "too long");
        let format = FORMAT ^ (1 << source.below(8));
        let other = [&[format], &bytes[1..]].concat();
        let read = decode::<Batch>("batch", &other).is_ok();
        assert_eq!(read, super::reads(format), "another version");
    });
}

/// Keys of the state file: two of them sort as what they are of, no two meet, no entity's rows are within
/// another's, and any bytes are one entity's key or refused.
#[test]
fn row_keys() {
    target!(row_keys).runs(40_000).check(|input| {
        let source = &mut Source::new(input);
        let (one, two) = (entity(source), entity(source));
        let (key, other) = (source.bytes(6), source.bytes(6));
        let (p, q) = (keys::entity_prefix(&one), keys::entity_prefix(&two));
        let (row, second) = (keys::row(&p, key), keys::row(&q, other));
        let sorted = one.cmp(&two).then_with(|| key.cmp(other));
        assert_eq!(row.cmp(&second), sorted, "{one} {key:?}, {two} {other:?}");
        assert_eq!(keys::entity_of(&row).as_ref(), Ok(&one));
        assert_eq!(keys::entity_of(&keys::meta(p.clone())).as_ref(), Ok(&one));
        assert!(keys::meta(p.clone()) < row && row < keys::rows_end(&p));
        let within =
            |row: &[u8]| keys::meta(q.clone()).as_slice() <= row && *row < *keys::rows_end(&q);
        assert_eq!(within(&row), one == two);
        let (text, more) = (source.text(4), source.text(4));
        let same = one == two && text == more;
        let (mark, second) = (keys::idempotency(&one, &text), keys::idempotency(&two, &more));
        assert_eq!(mark == second, same, "{one} {text:?}, {two} {more:?}");
        let starts = keys::kind_prefix(one.app(), one.kind(), &text);
        assert_eq!(row.starts_with(&starts), one.key().starts_with(&text));
        let (when, table) = (source.number(), source.byte());
        let expiry = keys::expiry(when, table, &mark);
        assert_eq!(keys::expiry_parts(&expiry), Some((when, table, &mark[..])));
        let bytes = source.clone().rest();
        if let Ok(entity) = keys::entity_of(bytes) {
            assert!(bytes.starts_with(&keys::entity_prefix(&entity)), "{entity} is not {bytes:?}");
        }
        let _ = keys::expiry_parts(bytes);
    });
}

/// Any entity whose parts are names and a key; keys are often near each other.
pub(crate) fn entity(source: &mut Source<'_>) -> EntityRef {
    let app = *source.pick(&["a", "ab", "a-b", "a_"]);
    let kind = *source.pick(&["t", "tt", "T0"]);
    let key = match source.text(6) {
        empty if empty.is_empty() => "\0".into(),
        key => key,
    };
    EntityRef::new(app, kind, &key).expect("valid")
}

fn message(source: &mut Source<'_>) -> Message {
    let origin = match source.below(4) {
        0 => Origin::Ingress { retention_s: source.number() },
        1 => Origin::Entity(entity(source)),
        2 => Origin::Timer(source.text(5)),
        _ => Origin::Callback { proof: [source.byte(); 32], context_bytes: source.number() as u32 },
    };
    let text = |source: &mut Source<'_>| source.flag().then(|| source.text(5));
    let then = source.flag().then(|| {
        let context = Bytes::copy_from_slice(source.bytes(9));
        Box::new(Continuation { handler: source.text(5), context, patient: source.flag() })
    });
    Message {
        id: MessageId(u128::from(source.number()) << 64 | u128::from(source.number())),
        target: entity(source),
        handler: source.text(5),
        input: Bytes::copy_from_slice(source.bytes(20)),
        content_type: text(source),
        trace: text(source),
        origin,
        then,
    }
}

fn outcome(source: &mut Source<'_>) -> Outcome {
    let ending = match source.below(3) {
        0 => Ending::Reply(Bytes::copy_from_slice(source.bytes(20))),
        1 => Ending::Rejected(Rejection {
            code: source.text(5),
            message: source.text(5),
            details: source.flag().then(|| Bytes::copy_from_slice(source.bytes(9))),
        }),
        _ => Ending::Settled { proof: [source.byte(); 32], fingerprint: [source.byte(); 16] },
    };
    let old = OldOutcome { ending, version: source.number(), expires_ms: source.number() };
    let app = source.flag().then(|| source.text(5).into());
    Outcome { app, ..old.into() }
}

fn remembered(source: &mut Source<'_>) -> Remembered {
    let id = MessageId(source.number().into());
    Remembered { id, fingerprint: [source.byte(); 16], expires_ms: source.number() }
}

fn op(source: &mut Source<'_>) -> Op {
    let (seq, due_ms) = (source.number(), source.number());
    let id = MessageId(seq.into());
    match source.below(12) {
        0 => Op::Enqueue { seq, message: Arc::new(message(source)) },
        1 => Op::Dequeue { seq },
        2 => Op::Schedule { due_ms, seq, message: Arc::new(message(source)) },
        3 => Op::Unschedule { due_ms, seq },
        4 => Op::Due { due_ms, seq, mailbox_seq: source.number() },
        5 => Op::BackOff { seq, attempts: source.number() as u32, not_before_ms: due_ms },
        6 => Op::Park { seq, attempts: 1, reason: source.text(9), at_ms: due_ms },
        7 => Op::Unpark { id, seq },
        8 => Op::DropDead { id },
        9 => Op::Outcome { id, outcome: Arc::new(outcome(source)) },
        10 => {
            let Outcome { ending, version, expires_ms, .. } = outcome(source);
            Op::OldOutcome { id, outcome: Arc::new(OldOutcome { ending, version, expires_ms }) }
        }
        _ => Op::Remember {
            entity: entity(source),
            key: source.text(5),
            mark: Arc::new(remembered(source)),
        },
    }
}

/// Any batch.
pub(crate) fn batch(source: &mut Source<'_>) -> Batch {
    let delta = |source: &mut Source<'_>| {
        let writes = source.flag().then(|| EntityWrites {
            entity: entity(source),
            version: source.number(),
            rows: (0..source.below(4))
                .map(|_| {
                    let key = Bytes::copy_from_slice(source.bytes(5));
                    (key, source.flag().then(|| Bytes::copy_from_slice(source.bytes(20))))
                })
                .collect(),
        });
        Delta { writes, ops: (0..source.below(5)).map(|_| op(source)).collect() }
    };
    (0..source.below(4)).map(|_| delta(source)).collect()
}
