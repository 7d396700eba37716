//! A page that says in every reply, and in two places of its state, which build wrote it: a turn that ran on two
//! builds would show.

#![allow(clippy::needless_pass_by_value, reason = "handlers own their arguments")]

use std::hint::black_box;

use keystead_sdk::prelude::*;

use crate::EDITION;

/// Which builds wrote a page, and how often.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct Stamp {
    /// The build that answers.
    by: u64,
    /// The build that wrote the plain fields.
    plain: u64,
    /// The build that wrote the row.
    row: u64,
    /// How often it was stamped.
    count: u64,
    /// How many messages it got.
    heard: u64,
    /// How many messages came from a turn whose builds were not one.
    mixed: u64,
}

/// A page.
#[entity]
pub struct Page {
    plain: u64,
    count: u64,
    heard: u64,
    mixed: u64,
    row: Map<String, u64>,
}

#[handlers]
impl Page {
    /// Writes the edition twice, with work of so many rounds between, and tells another page.
    pub fn stamp(&mut self, ctx: &Ctx, rounds: u64, to: String) -> Stamp {
        self.plain = EDITION;
        self.count += 1;
        burn(rounds);
        self.row.insert("edition".into(), EDITION);
        let stamp = self.look();
        Page::at(to).hear(stamp.by, stamp.plain, stamp.row).send(ctx);
        stamp
    }

    /// Hears of another page's turn.
    pub fn hear(&mut self, by: u64, plain: u64, row: u64) {
        self.heard += 1;
        self.mixed += u64::from(by != plain || plain != row);
    }

    /// What is written.
    pub fn look(&self) -> Stamp {
        let row = self.row.get("edition").unwrap_or_default();
        let Self { plain, count, heard, mixed, .. } = *self;
        Stamp { by: EDITION, plain, row, count, heard, mixed }
    }

    /// Panics in one edition.
    pub fn fail_in(&mut self, edition: u64) -> u64 {
        assert!(EDITION != edition, "edition {edition} is broken");
        self.count += 1;
        EDITION
    }

    /// A value of the configuration.
    pub fn setting(&mut self, ctx: &Ctx, name: String) -> Option<String> {
        ctx.config(&name)
    }

    /// How many bytes a value or secret has.
    pub fn length_of(&mut self, ctx: &Ctx, name: String) -> Option<u64> {
        ctx.config(&name).map(|value| value.len() as u64)
    }
}

fn burn(rounds: u64) {
    for round in 0..rounds {
        black_box(round);
    }
}
