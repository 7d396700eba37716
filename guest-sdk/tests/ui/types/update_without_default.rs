//! `update` starts from the default.

use keystead_sdk::prelude::*;

#[derive(serde::Serialize, serde::Deserialize)]
pub enum Stage {
    New,
    Paid,
}

#[entity]
pub struct Orders {
    stages: Map<String, Stage>,
}

#[handlers]
impl Orders {
    pub fn pay(&mut self, id: String) {
        self.stages.update(id, |stage| *stage = Stage::Paid);
    }
}

fn main() {}
