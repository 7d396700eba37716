//! Applies a Delta to the view and the ledger, live and in recovery alike. Decides nothing. Invariant: the same
//! Deltas in the same order give the same view, whoever applies them.

use super::ledger::Ledger;
use super::view::View;
use crate::ids::Position;
use crate::record::delta::{Batch, Delta, EntityWrites, Op};

/// Applies a Delta to the view, live and in recovery alike.
pub(crate) fn apply_delta(
    position: Position,
    writes: Option<EntityWrites>,
    ops: &[Op],
    view: &mut View,
    ledger: &mut Ledger,
) {
    if let Some(writes) = writes {
        view.write(position, writes);
    }
    for op in ops {
        if let Op::Rewrite { entity, version, rows, removed } = op {
            view.rewrite(position, entity, (*version, *removed), rows);
        }
        ledger.apply(position, op, &mut view.table);
    }
    view.table.through = position;
}

/// Applies what the journal holds beyond the state file.
pub(crate) fn replay(position: Position, batch: Batch, view: &mut View, ledger: &mut Ledger) {
    for Delta { writes, ops } in batch {
        apply_delta(position, writes, &ops, view, ledger);
    }
    view.table.through = position;
    // Everything that is replayed is durable.
    drop(ledger.changed());
}
