//! Keys of the `pauses` table: a row for each scope that is paused, with nothing as its value.

use super::Corrupt;
use crate::partition::request::Scope;

/// The key of a scope.
#[must_use]
pub fn key(scope: &Scope) -> Vec<u8> {
    super::encode(scope)
}

/// The scope of a key.
///
/// # Errors
/// [`Corrupt`] when it was not made here.
pub fn of_key(key: &[u8]) -> Result<Scope, Corrupt> {
    super::decode("pause", key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::message::tests::entity;
    use super::*;

    proptest! {
        #[test]
        fn scopes_read_back_and_hold_their_own(one in entity(), other in entity()) {
            let (app, kind) = (one.app().to_owned(), one.kind().to_owned());
            let of_kind = Scope::Kind { app: app.clone(), kind };
            let all = [Scope::All, Scope::App(app), of_kind, Scope::Entity(one.clone())];
            for scope in &all {
                prop_assert_eq!(of_key(&key(scope)), Ok(scope.clone()));
                prop_assert!(scope.holds(&one));
            }
            prop_assert_eq!(all[1].holds(&other), one.app() == other.app());
            let same = (one.app(), one.kind()) == (other.app(), other.kind());
            prop_assert_eq!(all[2].holds(&other), same);
            prop_assert_eq!(all[3].holds(&other), one == other);
        }
    }
}
