//! Consistent cuts: a view of the state file that holds everything up to a position, for whoever copies it while
//! the partition goes on. Invariant: what is handed out holds everything that was applied when it was asked for,
//! at a batch's edge, and nothing waits for the copying.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::core::Core;
use super::request::Answered;
use crate::ids::Position;
use crate::state::Snapshot;

/// Whoever waits for a cut.
#[derive(Default)]
pub(crate) struct Cuts(Vec<(Position, oneshot::Sender<Answered<Arc<Snapshot>>>)>);

impl Core {
    /// Answers with a view of the state file once a checkpoint holds everything that is applied now.
    pub(crate) fn cut(&mut self, reply: oneshot::Sender<Answered<Arc<Snapshot>>>) {
        if let Err(refusal) = self.open() {
            return drop(reply.send(Err(refusal)));
        }
        self.cuts.0.push((self.commit.applied(), reply));
        self.hand_out_cuts();
    }

    /// After each checkpoint: who has waited for it is answered, and who waits for the next gets it soon.
    pub(crate) fn hand_out_cuts(&mut self) {
        let holds = self.checkpointed();
        for (position, reply) in self.cuts.0.extract_if(.., |cut| cut.0 <= holds) {
            let base = self.view.base().clone();
            self.commit.reply(position, base, reply);
        }
        if !self.cuts.0.is_empty() {
            self.checkpoint_by(Duration::ZERO);
        }
    }
}
