//! Every mistake of a struct is reported at once.

use keystead_sdk::prelude::*;

#[entity(name = "account")]
pub struct Account<T> {
    owner: &'static str,
    #[serde(skip)]
    history: List<T>,
}

fn main() {}
