//! Who may do what. Knows no HTTP: the edge asks, and decides the status.

use serde::{Deserialize, Serialize};

/// What a route asks of who calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Calls handlers, sends messages, asks for their outcome.
    Invoke,
    /// Looks at apps, entities, messages and logs.
    Read,
    /// Changes what is in flight and what entities hold: pauses, retries, cancels, edits.
    Operate,
    /// Deploys, and says who may do what.
    Admin,
}
