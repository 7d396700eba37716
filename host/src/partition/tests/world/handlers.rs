//! What nodes do, in plain Rust: each command follows a plan that came with it, and leaves a row for itself, so that
//! what happened can be counted afterwards. Invariant: a node never does the same message twice; it fails the run.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::engine::{Continuation, Due, Failure, Trap};
use crate::ids::{CallbackToken, EntityRef, MessageId};
use crate::partition::callback;
use crate::partition::executor::{Job, Verdict};
use crate::partition::request::CallFailure;
use crate::partition::transaction::Draft;
use crate::partition::view::ReadError;
use crate::record::keys;
use crate::record::message::{Message, Origin};

/// Attempts that a flaky handler fails.
const FLAKY_ATTEMPTS: u32 = 2;
/// Takes room, so that a state has many pages and is read from the disk.
const ROOM: &str = match std::str::from_utf8(&[b'.'; 200]) {
    Ok(text) => text,
    Err(_) => "",
};

/// One call of a handler.
struct Turn<'j> {
    job: &'j Job,
    clock: &'j dyn Clock,
    prefix: Vec<u8>,
    draft: Draft,
    tokens: Vec<String>,
    /// Leaves no rows: what it does to others is all that it does.
    silent: bool,
}

/// Runs a handler.
pub(super) fn handle(job: &Job, calm: bool, clock: &dyn Clock) -> Result<Verdict, ReadError> {
    let prefix = keys::entity_prefix(&job.message.target);
    let current = job.view.get(&prefix, b"current")?.is_some();
    let (draft, tokens, silent) = (Draft::default(), vec![], false);
    let mut turn = Turn { job, clock, prefix, draft, tokens, silent };
    match job.message.handler.as_str() {
        "peek" if !current => {
            let why = failure("state_outdated", true);
            return Ok(Verdict::Outdated("migrate".into(), why));
        }
        "peek" => return Ok(Verdict::Done(turn.pending(), turn.draft)),
        "migrate" if current => return Ok(Verdict::Done(Bytes::new(), turn.draft)),
        "migrate" => turn.write("current", "yes"),
        _ => {}
    }
    let input: Value = serde_json::from_slice(&job.message.input).expect("JSON");
    match input["mode"].as_str().unwrap_or("ok") {
        "poison" => panic!("another body was run under a key that was used"),
        "reject" => return Ok(Verdict::Rejected(failure("no", false))),
        "never" if !calm => {
            return Ok(Verdict::Failed(CallFailure::Error(failure("broken", true))));
        }
        "flaky" if !calm && job.attempt <= FLAKY_ATTEMPTS => {
            return Ok(Verdict::Failed(CallFailure::Trap(Trap::Deadline(5_000))));
        }
        "silent" => turn.silent = true,
        _ => {}
    }
    turn.act(&input)?;
    let answer = json!({"id": job.message.id.to_string(), "tokens": turn.tokens}).to_string();
    Ok(Verdict::Done(answer.into(), turn.draft))
}

fn failure(code: &str, retryable: bool) -> Failure {
    Failure { code: code.into(), message: "no".into(), details: None, retryable }
}

impl Turn<'_> {
    fn act(&mut self, input: &Value) -> Result<(), ReadError> {
        let message = &self.job.message;
        let me = message.target.to_string();
        let mark = format!("did/{}", message.id);
        assert_eq!(self.read(&mark)?, None, "{} took effect twice", message.id);
        let owner = self.read("me")?;
        assert!(owner.is_none_or(|owner| owner == me), "{me} sees another's state");
        if !self.silent {
            self.write("me", &me);
            self.write(&mark, ROOM);
        }
        if let Some(edit) = input["edited"].as_u64() {
            self.write(&format!("edited/{}/{edit}", message.id), "");
        }
        if let (Some(of), false) = (input["of"].as_str(), self.silent) {
            let heard = format!("heard/{of}");
            assert_eq!(self.read(&heard)?, None, "the end of {of} was told twice");
            self.write(&heard, &input["reply"].to_string());
        }
        for step in input["plan"].as_array().into_iter().flatten() {
            self.step(step)?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Value) -> Result<(), ReadError> {
        let name = step["name"].as_str().unwrap_or_default();
        match step["do"].as_str().expect("a step") {
            "send" => self.send(step)?,
            "timer" => {
                let due_ms = self.job.now_ms + step["delay"].as_u64().unwrap_or(0);
                let me = self.job.message.target.clone();
                let origin = Origin::Timer(name.to_owned());
                let timer = self.message(me, step["act"].clone(), origin);
                self.draft.timers.insert(name.to_owned(), Some((Arc::new(timer), due_ms)));
            }
            "untimer" if !self.silent => {
                let set = self.job.pending.as_ref().and_then(|pending| pending.timers.get(name));
                // A timer that is in its mailbox and not running can be taken back too.
                for timer in set.into_iter().flatten() {
                    self.draft.timers.insert(name.to_owned(), None);
                    self.write(&format!("cancelled/{}", timer.message.id), "");
                    self.write(&format!("untimed/{name}"), "");
                }
            }
            "recall" if !self.silent => {
                let delayed = self.job.pending.iter().flat_map(|pending| pending.delayed.keys());
                self.cancel(delayed.copied().next());
            }
            "withdraw" => {
                let open = self.job.pending.iter().flat_map(|pending| pending.callbacks.keys());
                self.cancel(open.copied().next());
            }
            "callback" => {
                let me = self.job.message.target.clone();
                let mut secret = [0; 16];
                self.clock.fill(&mut secret);
                let id = MessageId::new(self.job.now_ms, &me, self.clock.chance());
                let token = CallbackToken::new(id, secret);
                let context = json!({"of": id.to_string()}).to_string();
                let heard = ("heard".to_owned(), context.as_bytes());
                let message = callback::expiry(&token, me, heard, None);
                let due_ms = self.job.now_ms + 1 + step["delay"].as_u64().unwrap_or(0);
                self.draft.sends.push((Arc::new(message), Due::AtMs(due_ms)));
                self.tokens.push(token.to_string());
            }
            _ => {}
        }
        Ok(())
    }

    fn send(&mut self, step: &Value) -> Result<(), ReadError> {
        let from = self.job.message.target.clone();
        let key = step["to"].as_str().expect("a key");
        let target = EntityRef::new(from.app(), from.kind(), key).expect("valid");
        let delay = step["delay"].as_u64().unwrap_or(0);
        let mut input = step["act"].clone();
        // What goes at once is numbered for its receiver, who can tell order.
        if delay == 0 && !self.silent {
            let row = format!("sent/{key}");
            let written = self.draft.writes.get(row.as_bytes()).cloned().flatten();
            let before = match written {
                Some(value) => Some(text(&value)),
                None => self.read(&row)?,
            };
            let nth = before.map_or(0, |nth| nth.parse::<u64>().expect("a number")) + 1;
            self.write(&row, &nth.to_string());
            input["nth"] = nth.into();
        }
        let mut message = self.message(target, input, Origin::Entity(from));
        if let Some(patient) = step["then"].as_bool() {
            let context = json!({"of": message.id.to_string()}).to_string().into();
            let handler = "heard".to_owned();
            message.then = Some(Box::new(Continuation { handler, context, patient }));
        }
        let due = if delay == 0 { Due::Now } else { Due::AtMs(self.job.now_ms + delay) };
        self.draft.sends.push((Arc::new(message), due));
        Ok(())
    }

    fn cancel(&mut self, id: Option<MessageId>) {
        if let Some(id) = id
            && self.draft.cancels.insert(id)
        {
            self.write(&format!("cancelled/{id}"), "");
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "a message is made of them")]
    fn message(&self, target: EntityRef, input: Value, origin: Origin) -> Message {
        Message {
            id: MessageId::new(self.job.now_ms, &target, self.clock.chance()),
            target,
            handler: "act".into(),
            input: input.to_string().into(),
            content_type: None,
            trace: None,
            origin,
            then: None,
        }
    }

    /// What waits elsewhere and may be taken back, as a query sees it.
    fn pending(&self) -> Bytes {
        let pending = self.job.pending.as_deref().cloned().unwrap_or_default();
        let timers = pending.timers.values().flatten().map(|timer| timer.message.id);
        let ids = timers.chain(pending.delayed.into_keys()).chain(pending.callbacks.into_keys());
        let ids: Vec<_> = ids.map(|id| id.to_string()).collect();
        json!(ids).to_string().into()
    }

    fn read(&self, row: &str) -> Result<Option<String>, ReadError> {
        Ok(self.job.view.get(&self.prefix, row.as_bytes())?.map(|value| text(&value)))
    }

    fn write(&mut self, row: &str, value: &str) {
        if !self.silent {
            let value = Some(value.to_owned().into());
            self.draft.writes.insert(row.to_owned().into(), value);
        }
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8(value.to_vec()).expect("text")
}
