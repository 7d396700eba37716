//! Keys of the state file's tables. Invariant: byte order of a key is the order its table is read in, and no
//! bytes inside an entity's key or a state key can make two different addresses meet.

use crate::ids::{EntityRef, MessageId};

use super::Corrupt;

/// What follows an entity's prefix in the `rows` table.
const META: u8 = 0;
const ROW: u8 = 1;

/// `app 0 type 0 key' 0 1`, where `key'` has 0 escaped as `0 255`: entities sort by app, type and key, and no
/// prefix is a prefix of another.
#[must_use]
pub fn entity_prefix(entity: &EntityRef) -> Vec<u8> {
    let mut bytes = kind_prefix(entity.app(), entity.kind(), entity.key());
    bytes.extend_from_slice(&[0, 1]);
    bytes
}

/// Where entities of a type whose key starts with `key_prefix` begin.
#[must_use]
pub fn kind_prefix(app: &str, kind: &str, key_prefix: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(app.len() + kind.len() + key_prefix.len() + 48);
    bytes.extend_from_slice(app.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(kind.as_bytes());
    bytes.push(0);
    for &byte in key_prefix.as_bytes() {
        bytes.push(byte);
        if byte == 0 {
            bytes.push(0xff);
        }
    }
    bytes
}

/// Where an entity's metadata is.
#[must_use]
pub fn meta(mut prefix: Vec<u8>) -> Vec<u8> {
    prefix.push(META);
    prefix
}

/// Where it stands at which version an entity was removed last; right behind its metadata.
#[must_use]
pub fn removed(prefix: Vec<u8>) -> Vec<u8> {
    let mut bytes = meta(prefix);
    bytes.push(0);
    bytes
}

/// Where a state key of an entity is.
#[must_use]
pub fn row(prefix: &[u8], key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(prefix.len() + 1 + key.len());
    bytes.extend_from_slice(prefix);
    bytes.push(ROW);
    bytes.extend_from_slice(key);
    bytes
}

/// The first key after all of an entity's rows.
#[must_use]
pub fn rows_end(prefix: &[u8]) -> Vec<u8> {
    let mut bytes = prefix.to_vec();
    bytes.push(ROW + 1);
    bytes
}

/// Where an app's entities begin.
#[must_use]
pub fn app_prefix(app: &str) -> Vec<u8> {
    [app.as_bytes(), &[0]].concat()
}

/// Where the entities of a type have ended.
#[must_use]
pub fn kind_end(app: &str, kind: &str) -> Vec<u8> {
    [app.as_bytes(), &[0], kind.as_bytes(), &[1]].concat()
}

/// The entity that a key of the `rows` table belongs to.
///
/// # Errors
/// [`Corrupt`] when the key was not made here.
pub fn entity_of(bytes: &[u8]) -> Result<EntityRef, Corrupt> {
    let corrupt = |problem: &str| Corrupt { record: "row key", problem: problem.into() };
    let mut parts = bytes.splitn(3, |&b| b == 0);
    let (Some(app), Some(kind), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(corrupt("too few parts"));
    };
    let mut key = Vec::with_capacity(rest.len());
    let mut at = 0;
    loop {
        match (rest.get(at), rest.get(at + 1)) {
            (Some(0), Some(1)) => break,
            (Some(0), Some(0xff)) => {
                key.push(0);
                at += 2;
            }
            (Some(0), _) | (None, _) => return Err(corrupt("the key does not end")),
            (Some(&byte), _) => {
                key.push(byte);
                at += 1;
            }
        }
    }
    let text = |part: &[u8]| String::from_utf8(part.to_vec()).map_err(|_| corrupt("not UTF-8"));
    EntityRef::new(&text(app)?, &text(kind)?, &text(&key)?)
        .map_err(|error| Corrupt { record: "row key", problem: error.to_string() })
}

/// Key of the `mailbox` table.
#[must_use]
pub fn mailbox(seq: u64) -> [u8; 8] {
    seq.to_be_bytes()
}

/// Key of the `scheduled` table.
#[must_use]
pub fn scheduled(due_ms: u64, seq: u64) -> [u8; 16] {
    (u128::from(due_ms) << 64 | u128::from(seq)).to_be_bytes()
}

/// Key of the `dead` and `outcomes` tables.
#[must_use]
pub fn message(id: MessageId) -> [u8; 16] {
    id.0.to_be_bytes()
}

/// Key of the `idempotency` table.
#[must_use]
pub fn idempotency(entity: &EntityRef, key: &str) -> Vec<u8> {
    let mut bytes = entity_prefix(entity);
    bytes.extend_from_slice(key.as_bytes());
    bytes
}

/// Key of the `expiry` table: when, then which table, then that table's key.
#[must_use]
pub fn expiry(expires_ms: u64, table: u8, key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(9 + key.len());
    bytes.extend_from_slice(&expires_ms.to_be_bytes());
    bytes.push(table);
    bytes.extend_from_slice(key);
    bytes
}

/// Reads an `expiry` key: when, which table, which key.
#[must_use]
pub fn expiry_parts(bytes: &[u8]) -> Option<(u64, u8, &[u8])> {
    let (when, rest) = bytes.split_first_chunk::<8>()?;
    let (&table, key) = rest.split_first()?;
    Some((u64::from_be_bytes(*when), table, key))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn entity_keys_read_back_and_keep_their_order(
            a in "[a-c\u{0}\u{1}\u{7f}\u{e9}]{1,6}",
            b in "[a-c\u{0}\u{1}\u{7f}\u{e9}]{1,6}",
            row_key in proptest::collection::vec(any::<u8>(), 0..5),
        ) {
            let one = EntityRef::new("app", "kind", &a).expect("valid");
            let two = EntityRef::new("app", "kind", &b).expect("valid");
            let (p, q) = (entity_prefix(&one), entity_prefix(&two));
            prop_assert_eq!(entity_of(&row(&p, &row_key)).expect("reads"), one.clone());
            prop_assert_eq!(p.cmp(&q), one.cmp(&two));
            prop_assert!(one == two || !row(&p, &row_key).starts_with(&q));
            prop_assert!(meta(p.clone()) < row(&p, &row_key) && row(&p, &row_key) < rows_end(&p));
            prop_assert!(meta(p.clone()) < removed(p.clone()) && removed(p.clone()) < row(&p, b""));
            prop_assert_eq!(entity_of(&removed(p.clone())).expect("reads"), one.clone());
            let end = kind_end(one.app(), one.kind());
            prop_assert!(app_prefix(one.app()) < meta(p.clone()) && row(&p, &[0xff; 9]) < end);
            let longer = [one.kind(), "0"].concat();
            prop_assert!(end < kind_prefix(one.app(), &longer, ""));
        }
    }

    #[test]
    fn expiry_reads_back() {
        assert_eq!(expiry_parts(&expiry(9, 1, b"k")), Some((9, 1, b"k".as_slice())));
        assert_eq!(expiry_parts(b"short"), None);
    }
}
