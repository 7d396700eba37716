//! Which entity types of an app have entities, also types that no version of it knows any more. Walks from type to type in
//! the state file, and over what memory holds beyond it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::core::Core;
use super::request::Answered;
use super::view::ReadError;
use crate::record::keys;
use crate::state::{Snapshot, Table};

/// An app's types at one moment.
pub(crate) struct Kinds {
    app: String,
    touched: BTreeSet<String>,
    base: Arc<Snapshot>,
}

impl Core {
    /// What is needed to list an app's types, without the walk itself.
    pub(crate) fn kinds(&mut self, app: String, reply: oneshot::Sender<Answered<Kinds>>) {
        let touched = self.view.touched().filter(|entity| entity.app() == app);
        let touched = touched.map(|entity| entity.kind().to_owned()).collect();
        let kinds = Kinds { app, touched, base: self.view.base().clone() };
        self.commit.reply(self.commit.applied(), kinds, reply);
    }
}

impl Kinds {
    /// The types, in order. One whose entities were all removed is among them as long as their versions are kept.
    pub(crate) fn walk(self) -> Result<BTreeSet<String>, ReadError> {
        let mut all = self.touched;
        let mut start = keys::app_prefix(&self.app);
        loop {
            let mut rows = self.base.range(Table::Rows, &start, None)?;
            let Some((key, _)) = rows.next().transpose()? else { return Ok(all) };
            let entity = keys::entity_of(&key)?;
            if entity.app() != self.app {
                return Ok(all);
            }
            start = keys::kind_end(&self.app, entity.kind());
            all.insert(entity.kind().to_owned());
        }
    }
}
