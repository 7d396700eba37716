//! What ran lately: the last turns of a partition in memory, bounded, for people who ask what happened. Nothing is
//! decided by it and a restart forgets it. A turn is noted where it commits, by shared handles; texts are made when
//! somebody asks, of chunks that do not change any more, outside the machine. Invariant: what is handed out waits, as
//! every answer does, until it is durable.

use std::collections::{HashSet, VecDeque};
use std::mem::{size_of, size_of_val};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::core::{Core, Entry};
use super::request::{Answered, CauseInfo, SentInfo, TurnInfo};
use crate::ids::{EntityRef, MessageId};
use crate::limits;
use crate::record::delta::{Delta, Op};
use crate::record::message::{Message, Origin};

/// One attempt at a command.
pub(crate) struct Turn {
    pub(crate) id: MessageId,
    pub(crate) entity: EntityRef,
    pub(crate) handler: Arc<str>,
    pub(crate) cause: Cause,
    pub(crate) attempt: u32,
    pub(crate) ended: Ended,
    /// The entity's version afterwards.
    pub(crate) version: u64,
    pub(crate) at_ms: u64,
    pub(crate) took: Duration,
    pub(crate) sent: Box<[Sent]>,
}

/// Where a turn's message came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    Ingress,
    Entity(EntityRef),
    Timer(Box<str>),
    Callback,
}

/// What a turn came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It committed, and cancelled these.
    Done(Box<[MessageId]>),
    Rejected(Box<str>),
    /// A call failed, and is its caller's to make again.
    Failed(Box<str>),
    /// A message's attempt failed, and another one follows.
    Retried(Box<str>),
    Parked(Box<str>),
}

/// What a turn sent, as far as it tells who got it.
pub(crate) struct Sent {
    pub(crate) id: MessageId,
    pub(crate) entity: EntityRef,
    pub(crate) handler: Arc<str>,
    pub(crate) cause: Cause,
    pub(crate) due_ms: Option<u64>,
}

/// Turns that do not change any more, numbered from `first`.
pub(crate) struct Chunk {
    first: u64,
    turns: Vec<Turn>,
    bytes: usize,
}

/// The turns as they happen.
pub(crate) struct History {
    sealed: VecDeque<Arc<Chunk>>,
    open: Chunk,
    /// Of all that are kept.
    turns: usize,
    bytes: usize,
    /// Names of handlers, shared by turns; forgotten when guests made up too many.
    names: HashSet<Arc<str>>,
    since_ms: u64,
}

/// The turns that were kept at one moment.
pub(crate) struct Past {
    chunks: Vec<Arc<Chunk>>,
    /// Since when nothing is missing.
    pub(crate) since_ms: u64,
}

impl History {
    /// An empty one that begins now.
    pub(crate) fn new(now_ms: u64) -> Self {
        Self {
            sealed: VecDeque::new(),
            open: Chunk::from(1),
            turns: 0,
            bytes: 0,
            names: HashSet::new(),
            since_ms: now_ms,
        }
    }

    /// All that is kept. Turns that come later begin another chunk.
    pub(crate) fn past(&mut self) -> Past {
        self.seal();
        Past { chunks: self.sealed.iter().cloned().collect(), since_ms: self.since_ms }
    }

    fn note(&mut self, turn: Turn) {
        self.open.bytes += turn.bytes();
        self.open.turns.push(turn);
        self.turns += 1;
        let is_full = self.open.turns.len() >= limits::HISTORY_CHUNK_TURNS
            || self.open.bytes >= limits::HISTORY_CHUNK_BYTES;
        if is_full {
            self.seal();
        }
    }

    fn seal(&mut self) {
        if self.open.turns.is_empty() {
            return;
        }
        let next = self.open.first + self.open.turns.len() as u64;
        let chunk = std::mem::replace(&mut self.open, Chunk::from(next));
        self.bytes += chunk.bytes;
        self.sealed.push_back(Arc::new(chunk));
        while self.turns > limits::HISTORY_TURNS_MAX || self.bytes > limits::HISTORY_BYTES_MAX {
            let Some(oldest) = self.sealed.pop_front() else { break };
            self.turns -= oldest.turns.len();
            self.bytes -= oldest.bytes;
            self.since_ms = oldest.turns.last().map_or(self.since_ms, |turn| turn.at_ms);
        }
    }

    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        if self.names.len() >= limits::HISTORY_NAMES_MAX {
            self.names.clear();
        }
        let name: Arc<str> = name.into();
        self.names.insert(name.clone());
        name
    }

    fn sent(&mut self, ops: &[Op]) -> Box<[Sent]> {
        let sends = ops.iter().filter_map(|op| match op {
            Op::Enqueue { message, .. } => Some((message, None)),
            Op::Schedule { message, due_ms, .. } => Some((message, Some(*due_ms))),
            _ => None,
        });
        let sent = sends.map(|(message, due_ms)| Sent {
            id: message.id,
            entity: message.target.clone(),
            handler: self.name(&message.handler),
            cause: Cause::of(message),
            due_ms,
        });
        // Nothing sent takes no memory.
        sent.collect()
    }
}

impl Chunk {
    fn from(first: u64) -> Self {
        Self { first, turns: Vec::new(), bytes: 0 }
    }
}

impl Turn {
    fn bytes(&self) -> usize {
        let reason = match &self.ended {
            Ended::Done(cancelled) => size_of_val(&**cancelled),
            Ended::Rejected(why)
            | Ended::Failed(why)
            | Ended::Retried(why)
            | Ended::Parked(why) => why.len(),
        };
        let address = |entity: &EntityRef| ADDRESS_BYTES + entity.key().len();
        let sent = |sent: &Sent| size_of::<Sent>() + address(&sent.entity);
        let sent: usize = self.sent.iter().map(sent).sum();
        size_of::<Self>() + address(&self.entity) + reason + sent
    }
}

/// What stands for an address but for its key, and for a timer's name.
const ADDRESS_BYTES: usize = 192;

impl Cause {
    pub(crate) fn of(message: &Message) -> Self {
        match &message.origin {
            Origin::Ingress { .. } => Self::Ingress,
            Origin::Entity(sender) => Self::Entity(sender.clone()),
            Origin::Timer(name) => Self::Timer(name.as_str().into()),
            Origin::Callback { .. } => Self::Callback,
        }
    }

    /// For people; `message` is what was handled when it was sent, where that is known.
    pub(crate) fn info(&self, message: Option<MessageId>) -> CauseInfo {
        let (kind, entity, timer) = match self {
            Self::Ingress => ("ingress", None, None),
            Self::Entity(sender) => ("entity", Some(sender.to_string()), None),
            Self::Timer(name) => ("timer", None, Some(name.to_string())),
            Self::Callback => ("callback", None, None),
        };
        CauseInfo { kind, entity, timer, message: message.map(|id| id.to_string()) }
    }
}

impl Ended {
    /// Makes one of the reason's first bytes.
    pub(crate) fn because(kind: fn(Box<str>) -> Self, reason: &str) -> Self {
        let end = reason.floor_char_boundary(limits::HISTORY_REASON_BYTES_MAX);
        kind(reason[..end].into())
    }

    /// For people: a word, and why.
    pub(crate) fn info(&self) -> (&'static str, Option<String>) {
        match self {
            Self::Done(_) => ("done", None),
            Self::Rejected(why) => ("rejected", Some(why.to_string())),
            Self::Failed(why) => ("failed", Some(why.to_string())),
            Self::Retried(why) => ("retried", Some(why.to_string())),
            Self::Parked(why) => ("parked", Some(why.to_string())),
        }
    }
}

impl Core {
    /// Notes what an attempt came to. `delta` is what it changed, before it is applied.
    pub(crate) fn note_turn(&mut self, entry: &Entry, ended: Ended, version: u64, delta: &Delta) {
        let sent = self.history.sent(&delta.ops);
        let message = &entry.message;
        let turn = Turn {
            id: message.id,
            entity: message.target.clone(),
            handler: self.history.name(&message.handler),
            cause: Cause::of(message),
            attempt: entry.attempts + 1,
            ended,
            version,
            at_ms: self.clock.now_ms(),
            took: self.clock.monotonic().saturating_sub(entry.began),
            sent,
        };
        self.history.note(turn);
    }

    /// The turns that are kept, to be looked through outside the machine.
    pub(crate) fn past(&mut self, reply: oneshot::Sender<Answered<Past>>) {
        let past = self.history.past();
        self.commit.reply(self.commit.applied(), past, reply);
    }
}

impl Past {
    /// Every turn with its number, the newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = (u64, &Turn)> {
        self.chunks.iter().rev().flat_map(|chunk| {
            let numbers = chunk.first..;
            let turns: Vec<_> = numbers.zip(&chunk.turns).collect();
            turns.into_iter().rev()
        })
    }

    /// A page of the turns that are wanted, the newest first, below the number `after`.
    pub(crate) fn page(
        &self,
        wanted: impl Fn(&Turn) -> bool,
        after: Option<u64>,
        limit: usize,
    ) -> Vec<TurnInfo> {
        let below = |number| after.is_none_or(|after| number < after);
        let turns = self.newest_first().filter(|(number, turn)| below(*number) && wanted(turn));
        let turns: Vec<_> = turns.take(limit.min(limits::PAGE_ROWS_MAX)).collect();
        let asked: HashSet<MessageId> = turns.iter().map(|(_, turn)| turn.id).collect();
        let mut senders = std::collections::HashMap::new();
        for (_, turn) in self.newest_first() {
            for sent in turn.sent.iter().filter(|sent| asked.contains(&sent.id)) {
                senders.insert(sent.id, turn.id);
            }
        }
        let info = |(number, turn): (u64, &Turn)| turn.info(number, senders.get(&turn.id).copied());
        turns.into_iter().map(info).collect()
    }
}

impl Turn {
    fn info(&self, number: u64, cause: Option<MessageId>) -> TurnInfo {
        let (outcome, reason) = self.ended.info();
        let sent = self.sent.iter().map(|sent| SentInfo {
            id: sent.id.to_string(),
            entity: sent.entity.to_string(),
            handler: sent.handler.to_string(),
            timer: sent.timer(),
            due_ms: sent.due_ms,
        });
        TurnInfo {
            number,
            id: self.id.to_string(),
            entity: self.entity.to_string(),
            handler: self.handler.to_string(),
            cause: self.cause.info(cause),
            attempt: self.attempt,
            outcome,
            reason,
            version: self.version,
            at_ms: self.at_ms,
            took_us: self.took.as_micros() as u64,
            sent: sent.collect(),
        }
    }
}

impl Sent {
    fn timer(&self) -> Option<String> {
        match &self.cause {
            Cause::Timer(name) => Some(name.to_string()),
            Cause::Ingress | Cause::Entity(_) | Cause::Callback => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A turn that sent these.
    pub(crate) fn turn(id: u128, key: &str, cause: Cause, sent: &[(u128, &str)]) -> Turn {
        let entity = |key: &str| EntityRef::new("app", "thing", key).expect("valid");
        let sent = sent.iter().map(|(id, to)| Sent {
            id: MessageId(*id),
            entity: entity(to),
            handler: "work".into(),
            cause: Cause::Entity(entity(key)),
            due_ms: None,
        });
        Turn {
            id: MessageId(id),
            entity: entity(key),
            handler: "work".into(),
            cause,
            attempt: 1,
            ended: Ended::Done([].into()),
            version: 1,
            at_ms: id as u64,
            took: Duration::from_micros(5),
            sent: sent.collect(),
        }
    }

    /// What is kept of these turns.
    pub(crate) fn past(turns: impl IntoIterator<Item = Turn>) -> Past {
        let mut history = History::new(0);
        turns.into_iter().for_each(|turn| history.note(turn));
        history.past()
    }

    #[test]
    fn pages_go_from_the_newest_to_the_oldest_and_name_their_causes() {
        let mut turns = vec![turn(1, "a", Cause::Ingress, &[(2, "b")])];
        let from_a = Cause::Entity(turns[0].entity.clone());
        turns.push(turn(2, "b", from_a, &[]));
        turns.extend((3..700).map(|n| turn(n, "c", Cause::Ingress, &[])));
        let past = past(turns);
        let all = past.page(|_| true, None, 1_000);
        assert_eq!(all.len(), 699);
        assert!(all.windows(2).all(|two| two[0].number == two[1].number + 1));
        let of_b = past.page(|turn| turn.entity.key() == "b", None, 10);
        assert_eq!(of_b.len(), 1);
        assert_eq!(of_b[0].cause.entity.as_deref(), Some("app/thing/a"));
        assert_eq!(of_b[0].cause.message, Some(MessageId(1).to_string()));
        let next = past.page(|_| true, Some(all[9].number), 10);
        assert_eq!(next[0].number, all[10].number);
        assert!(past.page(|_| true, Some(1), 10).is_empty());
    }

    #[test]
    fn the_oldest_turns_go_beyond_each_bound_and_it_says_since_when() {
        let mut history = History::new(7);
        assert_eq!(history.past().since_ms, 7);
        let turns = limits::HISTORY_TURNS_MAX as u128 + 2;
        (0..turns).for_each(|n| history.note(turn(n, "a", Cause::Ingress, &[])));
        let past = history.past();
        let kept = past.newest_first().count();
        assert!(kept <= limits::HISTORY_TURNS_MAX, "{kept}");
        assert!(kept > limits::HISTORY_TURNS_MAX - limits::HISTORY_CHUNK_TURNS, "{kept}");
        assert_eq!(past.since_ms, turns as u64 - kept as u64 - 1);

        let key = "k".repeat(limits::KEY_BYTES_MAX);
        let many: Vec<_> = (0..1_000).map(|n| (n, key.as_str())).collect();
        (0..100).for_each(|n| history.note(turn(n, &key, Cause::Ingress, &many)));
        let past = history.past();
        let bytes: usize = past.newest_first().map(|(_, turn)| turn.bytes()).sum();
        assert!(bytes <= limits::HISTORY_BYTES_MAX, "{bytes}");
        assert!(bytes > limits::HISTORY_BYTES_MAX / 2, "{bytes}");
    }

    #[test]
    fn names_are_shared_and_not_collected_for_ever() {
        let mut history = History::new(0);
        let one = history.name("add");
        assert!(Arc::ptr_eq(&one, &history.name("add")));
        for n in 0..2 * limits::HISTORY_NAMES_MAX {
            history.name(&n.to_string());
        }
        assert!(history.names.len() <= limits::HISTORY_NAMES_MAX);
    }

    #[test]
    fn reasons_are_cut_between_characters() {
        let long = "é".repeat(limits::HISTORY_REASON_BYTES_MAX);
        let (word, reason) = Ended::because(Ended::Parked, &long).info();
        assert_eq!(word, "parked");
        assert!(reason.expect("one").len() <= limits::HISTORY_REASON_BYTES_MAX);
    }
}
