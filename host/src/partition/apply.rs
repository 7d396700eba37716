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
        apply_op(position, op, view, ledger);
    }
    view.table.through = position;
}

/// Applies what the journal holds beyond the state file. Stops at what speaks of a message that is not there.
pub(crate) fn replay(
    position: Position,
    batch: Batch,
    view: &mut View,
    ledger: &mut Ledger,
) -> Result<(), Op> {
    for Delta { writes, ops } in batch {
        apply_delta(position, writes, &[], view, ledger);
        for op in ops {
            if !ledger.applies(&op) {
                return Err(op);
            }
            apply_op(position, &op, view, ledger);
        }
    }
    view.table.through = position;
    // Everything that is replayed is durable.
    drop(ledger.changed());
    Ok(())
}

fn apply_op(position: Position, op: &Op, view: &mut View, ledger: &mut Ledger) {
    if let Op::Rewrite { entity, version, rows, removed } = op {
        view.rewrite(position, entity, (*version, *removed), rows);
    }
    ledger.apply(position, op, &mut view.table);
}
