//! What clients, operators and users of callbacks are told, and what must be true of it by then: it is durable, and
//! nothing that was said before is taken back. An answer that never comes says nothing.

use std::collections::BTreeSet;

use serde_json::Value;
use tokio::sync::oneshot;

use super::{Sim, Told, Wait};
use crate::engine::Failure;
use crate::ids::{CallbackToken, EntityRef, MessageId};
use crate::partition::request::{
    Accepted, Answer, CallFailure, CallResult, CallbackUsed, Cancelled, DeadSettled, MessageStatus,
    Refusal,
};

impl Sim {
    pub(super) fn listen(&mut self) {
        for wait in std::mem::take(&mut self.waits) {
            if let Some(wait) = self.hear(wait) {
                self.waits.push(wait);
            }
        }
    }

    /// Takes an answer that is there; gives back what is to be waited for.
    fn hear(&mut self, wait: Wait) -> Option<Wait> {
        macro_rules! heard {
            ($again:expr, $answer:ident) => {
                match $answer.try_recv() {
                    Err(oneshot::error::TryRecvError::Empty) => return Some($again),
                    Err(oneshot::error::TryRecvError::Closed) => None,
                    Ok(Err(refusal)) => {
                        self.machine.count(name(&refusal));
                        None
                    }
                    Ok(Ok(said)) => Some(said.into_inner()),
                }
            };
        }
        match wait {
            Wait::Call(n, mut answer) => {
                let said = heard!(Wait::Call(n, answer), answer);
                self.asks[n].waiting -= 1;
                said.into_iter().for_each(|answer| self.hear_call(n, answer));
            }
            Wait::Send(n, mut answer) => {
                let said = heard!(Wait::Send(n, answer), answer);
                self.asks[n].waiting -= 1;
                said.into_iter().for_each(|accepted| self.hear_send(n, &accepted));
            }
            Wait::Query(entity, known, mut answer) => {
                let said = heard!(Wait::Query(entity, known, answer), answer);
                said.into_iter().for_each(|answer| self.hear_query(&entity, &known, &answer));
            }
            Wait::Status(id, mut status) => {
                let said = heard!(Wait::Status(id, status), status);
                said.into_iter().for_each(|status| self.hear_status(id, &status));
            }
            Wait::Cancel(id, mut cancelled) => {
                if heard!(Wait::Cancel(id, cancelled), cancelled) == Some(Cancelled::Yes) {
                    self.machine.count("cancelled from outside");
                    self.audit.never.insert(id);
                    assert!(!self.audit.did.contains(&id), "{id} ran and was cancelled");
                    assert!(!self.machine.model.waits(id), "{id} was cancelled and waits");
                }
            }
            Wait::Callback(id, reply, mut used) => {
                let said = heard!(Wait::Callback(id, reply, used), used);
                said.into_iter().for_each(|used| self.hear_used(id, &reply, used));
            }
            Wait::Operated(operated) => return self.hear_operated(operated),
            Wait::Settled(id, place, final_, mut settled) => {
                let said = heard!(Wait::Settled(id, place, final_, settled), settled);
                if said == Some(DeadSettled::Yes) {
                    assert!(!final_, "{id} may happen after all");
                    let dead = self.machine.model.dead.get(&id);
                    let settled = dead.is_none_or(|dead| dead.seq != place);
                    assert!(settled, "{id} is said to be settled and is where it was");
                }
            }
            Wait::Mismatch(asked_ms, mut answer) => match answer.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => {
                    return Some(Wait::Mismatch(asked_ms, answer));
                }
                Ok(Err(Refusal::MailboxFull { .. } | Refusal::Overloaded { .. })) => {}
                Ok(Err(Refusal::OverQuota { .. } | Refusal::Paused | Refusal::Removed)) => {}
                Ok(Err(Refusal::IdempotencyMismatch)) => self.machine.count("key refused"),
                Ok(Err(Refusal::Unavailable(_))) => {}
                Err(oneshot::error::TryRecvError::Closed) => {}
                said => panic!("a key that was used took another body: {said:?}"),
            },
        }
        None
    }

    fn hear_call(&mut self, n: usize, answer: Answer) {
        let ask = &mut self.asks[n];
        let keyed = ask.invocation.idempotency_key.is_some();
        self.audit.told(&self.machine, &ask.invocation.entity, keyed, &answer);
        if let CallResult::Failed(failure) = &answer.result {
            // What it came to was removed with its entity; there is no other answer to this key.
            if let CallFailure::Error(Failure { code, .. }) = failure
                && code == "removed"
            {
                assert!(keyed && answer.replayed, "{} never was", answer.id);
                let removed = &self.machine.model.operated.removed;
                assert!(removed.contains_key(&ask.invocation.entity), "its entity is not removed");
                let (id, result) = (answer.id, Some(answer.result));
                ask.told.get_or_insert(Told { id, result, expires_ms: None });
            }
            return;
        }
        if let CallResult::Reply(body) = &answer.result {
            let body: Value = serde_json::from_slice(body).expect("JSON");
            assert_eq!(body["id"], answer.id.to_string(), "another's answer");
            let tokens = body["tokens"].as_array().into_iter().flatten();
            let tokens = tokens.filter_map(|token| token.as_str()?.parse::<CallbackToken>().ok());
            self.tokens.extend(tokens);
        }
        if answer.replayed {
            self.machine.count("answered again");
        }
        self.ids.push(answer.id);
        let Answer { id, result, expires_ms, .. } = answer;
        ask.hears(Told { id, result: Some(result), expires_ms }, self.machine.latest_ms);
    }

    fn hear_send(&mut self, n: usize, accepted: &Accepted) {
        let (id, expires_ms) = (accepted.id, accepted.expires_ms);
        assert!(self.machine.model.born.contains(&id), "{id} was accepted and is not durable");
        self.ids.push(id);
        self.asks[n].hears(Told { id, result: None, expires_ms }, self.machine.latest_ms);
    }

    fn hear_query(&mut self, entity: &EntityRef, known: &BTreeSet<MessageId>, answer: &Answer) {
        let version = self.machine.model.versions.get(entity).copied().unwrap_or(0);
        assert!(answer.version <= version, "a query shows what is not durable");
        let CallResult::Reply(body) = &answer.result else { return };
        self.machine.count("query answered");
        let shown: Vec<String> = serde_json::from_slice(body).expect("JSON");
        let shown: BTreeSet<MessageId> =
            shown.iter().map(|id| id.parse().expect("an id")).collect();
        for id in &shown {
            let durable = self.machine.model.born.contains(id);
            assert!(durable, "{id} is shown and not durable");
        }
        let still = self.machine.model.pending(entity);
        // A timer that an operator sent again stands behind the one that took its name since.
        let gone = known.difference(&shown).filter(|id| !self.audit.dead_once.contains(id));
        for id in gone {
            assert!(!still.contains(id), "{id} is said to be gone and is not, durably");
            self.audit.gone.insert(*id);
        }
    }

    pub(super) fn hear_status(&self, id: MessageId, said: &MessageStatus) {
        match said {
            MessageStatus::Done(answer) => {
                assert_eq!(answer.id, id, "another's outcome");
                let failed = matches!(answer.result, CallResult::Failed(_));
                let ended = self.audit.did.contains(&id) || self.machine.excused.contains(&id);
                assert!(ended || failed, "{id} is said to be done and is not");
            }
            MessageStatus::Pending(_) => {
                assert!(self.machine.model.born.contains(&id), "{id} is said to wait");
            }
            MessageStatus::Dead(_) => {
                assert!(self.audit.dead_once.contains(&id), "{id} is said to be dead");
            }
            MessageStatus::Unknown => self.check_gone(id),
        }
    }

    fn hear_used(&mut self, id: MessageId, reply: &[u8], used: CallbackUsed) {
        let before = self.accepted.get(&id);
        let same = before.is_none_or(|before| before == reply);
        let kept = self.machine.model.outcomes.get(&id).cloned();
        match used {
            CallbackUsed::Now | CallbackUsed::Before => {
                assert!(used == CallbackUsed::Before || before.is_none(), "{id} was used twice");
                self.machine.count("callback used");
                assert!(same, "{id} was used otherwise");
                assert!(kept.is_some(), "{id} was used and nothing of it is durable");
                self.accepted.insert(id, reply.to_vec());
            }
            CallbackUsed::Otherwise => assert!(before.is_none() || !same, "{id} was used so"),
            CallbackUsed::Unknown => {
                let kept = kept.is_some_and(|kept| kept.expires_ms > self.machine.latest_ms);
                assert!(before.is_none() || !kept, "{id} was forgotten");
            }
        }
    }
}

/// What a client counts.
fn name(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::MailboxFull { .. } => "mailbox full",
        Refusal::Overloaded { what } => what,
        Refusal::OverQuota { .. } => "backlog full",
        Refusal::Unavailable(_) => "unavailable",
        Refusal::IdempotencyMismatch => "key refused",
        Refusal::TimedOut { .. } => "timed out",
        Refusal::Paused => "call to what is paused",
        Refusal::Removed => "removed while it waited",
    }
}
