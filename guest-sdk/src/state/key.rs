//! Map keys as bytes that sort as the keys do. Invariant: a key that another one follows says itself where it
//! ends, so the bytes of `("a", 2)` sort before those of `("ab", 1)`.

use crate::{EntityRef, Timestamp};

/// What ends a text that another key follows. Bytes up to [`ESCAPE`] are escaped, so it is in no text.
const END: u8 = 0;
/// Stands before a byte that is up to it, which follows increased by one.
const ESCAPE: u8 = 1;

/// Something that can be looked up as a map's key: `str` for a map of `String`s.
pub trait KeyBytes {
    /// Appends bytes that compare as the keys do.
    fn write(&self, out: &mut Vec<u8>);

    /// The same for a key that another one follows: nobody's bytes are the start of another's.
    fn write_part(&self, out: &mut Vec<u8>);
}

/// A map's key. Its bytes sort as it does. Text, integers, `bool`, `char`, [`Timestamp`], [`EntityRef`],
/// bytes, and tuples of two or three of these are keys; [`ordered_key!`](crate::ordered_key) makes one of a
/// type of your own.
pub trait OrderedKey: KeyBytes + Sized {
    /// The key of these bytes.
    fn read(bytes: &[u8]) -> Option<Self>;

    /// Takes the key off the front, as [`KeyBytes::write_part`] wrote it.
    fn read_part(bytes: &mut &[u8]) -> Option<Self>;
}

/// The start of a key `K`: a text for the `String`s that start with it, the first members for a tuple.
pub trait KeyPrefix<K> {
    /// Appends the bytes that all those keys start with.
    fn write_prefix(&self, out: &mut Vec<u8>);
}

/// Makes a struct a map's key: `ordered_key!(OrderId(u64))`, or with all of its fields in the order of the
/// declaration `ordered_key!(Seat { row: u32, place: char })`, which sorts as a derived `Ord` does.
///
/// ```
/// use keystead_sdk::prelude::*;
///
/// pub struct Seat { row: u32, place: char }
/// keystead_sdk::ordered_key!(Seat { row: u32, place: char });
///
/// #[entity]
/// pub struct Hall { taken: Map<Seat, String> }
///
/// #[handlers]
/// impl Hall {
///     pub fn first(&self) -> Option<String> { self.taken.first().map(|(_, who)| who) }
/// }
/// ```
#[macro_export]
macro_rules! ordered_key {
    ($key:ident($of:ty)) => {
        impl $crate::state::KeyBytes for $key {
            fn write(&self, out: &mut ::std::vec::Vec<u8>) {
                $crate::state::KeyBytes::write(&self.0, out);
            }

            fn write_part(&self, out: &mut ::std::vec::Vec<u8>) {
                $crate::state::KeyBytes::write_part(&self.0, out);
            }
        }

        impl $crate::state::OrderedKey for $key {
            fn read(bytes: &[u8]) -> ::core::option::Option<Self> {
                <$of as $crate::state::OrderedKey>::read(bytes).map(Self)
            }

            fn read_part(bytes: &mut &[u8]) -> ::core::option::Option<Self> {
                <$of as $crate::state::OrderedKey>::read_part(bytes).map(Self)
            }
        }
    };
    ($key:ident { $($field:ident: $of:ty),+ $(,)? }) => {
        impl $crate::state::KeyBytes for $key {
            fn write(&self, out: &mut ::std::vec::Vec<u8>) {
                $crate::state::KeyBytes::write_part(self, out);
            }

            fn write_part(&self, out: &mut ::std::vec::Vec<u8>) {
                $(<$of as $crate::state::KeyBytes>::write_part(&self.$field, out);)+
            }
        }

        impl $crate::state::OrderedKey for $key {
            fn read(mut bytes: &[u8]) -> ::core::option::Option<Self> {
                let key = $crate::state::OrderedKey::read_part(&mut bytes)?;
                bytes.is_empty().then_some(key)
            }

            fn read_part(bytes: &mut &[u8]) -> ::core::option::Option<Self> {
                $(let $field = <$of as $crate::state::OrderedKey>::read_part(bytes)?;)+
                ::core::option::Option::Some(Self { $($field),+ })
            }
        }
    };
}

impl KeyBytes for [u8] {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn write_part(&self, out: &mut Vec<u8>) {
        for byte in self {
            if *byte <= ESCAPE {
                out.extend_from_slice(&[ESCAPE, byte + 1]);
            } else {
                out.push(*byte);
            }
        }
        out.push(END);
    }
}

impl KeyBytes for Vec<u8> {
    fn write(&self, out: &mut Vec<u8>) {
        self.as_slice().write(out);
    }

    fn write_part(&self, out: &mut Vec<u8>) {
        self.as_slice().write_part(out);
    }
}

impl OrderedKey for Vec<u8> {
    fn read(bytes: &[u8]) -> Option<Self> {
        Some(bytes.to_vec())
    }

    fn read_part(bytes: &mut &[u8]) -> Option<Self> {
        let mut own = Self::new();
        loop {
            let (byte, rest) = bytes.split_first()?;
            *bytes = rest;
            match *byte {
                END => return Some(own),
                ESCAPE => {
                    let (escaped, rest) = bytes.split_first()?;
                    *bytes = rest;
                    own.push(escaped.checked_sub(1).filter(|byte| *byte <= ESCAPE)?);
                }
                byte => own.push(byte),
            }
        }
    }
}

impl KeyBytes for str {
    fn write(&self, out: &mut Vec<u8>) {
        self.as_bytes().write(out);
    }

    fn write_part(&self, out: &mut Vec<u8>) {
        self.as_bytes().write_part(out);
    }
}

impl KeyBytes for String {
    fn write(&self, out: &mut Vec<u8>) {
        self.as_bytes().write(out);
    }

    fn write_part(&self, out: &mut Vec<u8>) {
        self.as_bytes().write_part(out);
    }
}

impl OrderedKey for String {
    fn read(bytes: &[u8]) -> Option<Self> {
        Self::from_utf8(bytes.to_vec()).ok()
    }

    fn read_part(bytes: &mut &[u8]) -> Option<Self> {
        Self::from_utf8(Vec::read_part(bytes)?).ok()
    }
}

impl KeyPrefix<String> for str {
    fn write_prefix(&self, out: &mut Vec<u8>) {
        self.write(out);
    }
}

/// Keys that all have the same number of bytes.
macro_rules! sized_key {
    ($(const $len:ident)? $key:ty, |$own:ident| $write:expr, |$bytes:ident| $read:expr) => {
        impl $(<const $len: usize>)? KeyBytes for $key {
            fn write(&self, out: &mut Vec<u8>) {
                let $own = self;
                out.extend_from_slice(&$write);
            }

            fn write_part(&self, out: &mut Vec<u8>) {
                self.write(out);
            }
        }

        impl $(<const $len: usize>)? OrderedKey for $key {
            fn read(mut bytes: &[u8]) -> Option<Self> {
                let key = Self::read_part(&mut bytes)?;
                bytes.is_empty().then_some(key)
            }

            fn read_part(bytes: &mut &[u8]) -> Option<Self> {
                let ($bytes, rest) = bytes.split_first_chunk()?;
                *bytes = rest;
                $read
            }
        }
    };
}

macro_rules! unsigned_keys {
    ($($int:ty),*) => {$(
        sized_key!($int, |own| own.to_be_bytes(), |bytes| Some(Self::from_be_bytes(*bytes)));
    )*};
}

macro_rules! signed_keys {
    ($($int:ty),*) => {$(
        // With the sign bit flipped, negative numbers sort before the others.
        sized_key!(
            $int,
            |own| (own ^ Self::MIN).to_be_bytes(),
            |bytes| Some(Self::from_be_bytes(*bytes) ^ Self::MIN)
        );
    )*};
}

unsigned_keys!(u8, u16, u32, u64, u128);
signed_keys!(i8, i16, i32, i64, i128);
sized_key!(bool, |own| [u8::from(*own)], |bytes| match bytes {
    [0] => Some(false),
    [1] => Some(true),
    _ => None,
});
sized_key!(char, |own| u32::from(*own).to_be_bytes(), |bytes| {
    Self::from_u32(u32::from_be_bytes(*bytes))
});
sized_key!(Timestamp, |own| own.as_ms().to_be_bytes(), |bytes| {
    Some(Self::from_ms(u64::from_be_bytes(*bytes)))
});
sized_key!(const N [u8; N], |own| *own, |bytes| Some(*bytes));

impl KeyBytes for EntityRef {
    fn write(&self, out: &mut Vec<u8>) {
        self.kind.write_part(out);
        self.key.write(out);
    }

    fn write_part(&self, out: &mut Vec<u8>) {
        self.kind.write_part(out);
        self.key.write_part(out);
    }
}

impl OrderedKey for EntityRef {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (kind, key) = OrderedKey::read(bytes)?;
        Some(Self { kind, key })
    }

    fn read_part(bytes: &mut &[u8]) -> Option<Self> {
        let (kind, key) = OrderedKey::read_part(bytes)?;
        Some(Self { kind, key })
    }
}

macro_rules! tuple_keys {
    ($(($($first:ident $at:tt),+; $last:ident $end:tt)),*) => {$(
        impl<$($first: KeyBytes,)+ $last: KeyBytes> KeyBytes for ($($first,)+ $last) {
            fn write(&self, out: &mut Vec<u8>) {
                $(self.$at.write_part(out);)+
                self.$end.write(out);
            }

            fn write_part(&self, out: &mut Vec<u8>) {
                $(self.$at.write_part(out);)+
                self.$end.write_part(out);
            }
        }

        impl<$($first: OrderedKey,)+ $last: OrderedKey> OrderedKey for ($($first,)+ $last) {
            fn read(mut bytes: &[u8]) -> Option<Self> {
                Some(($($first::read_part(&mut bytes)?,)+ $last::read(bytes)?))
            }

            fn read_part(bytes: &mut &[u8]) -> Option<Self> {
                Some(($($first::read_part(bytes)?,)+ $last::read_part(bytes)?))
            }
        }
    )*};
}

tuple_keys!((A 0; B 1), (A 0, B 1; C 2));

macro_rules! first_members {
    ($($rest:ident),+) => {
        impl<A: KeyBytes, $($rest),+> KeyPrefix<(A, $($rest),+)> for A {
            fn write_prefix(&self, out: &mut Vec<u8>) {
                self.write_part(out);
            }
        }

        impl<$($rest),+> KeyPrefix<(String, $($rest),+)> for str {
            fn write_prefix(&self, out: &mut Vec<u8>) {
                self.write_part(out);
            }
        }
    };
}

first_members!(B);
first_members!(B, C);

impl<A: KeyBytes, B: KeyBytes, C> KeyPrefix<(A, B, C)> for (A, B) {
    fn write_prefix(&self, out: &mut Vec<u8>) {
        self.write_part(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
    struct OrderId(String);
    crate::ordered_key!(OrderId(String));

    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
    struct Seat {
        hall: String,
        row: i16,
    }
    crate::ordered_key!(Seat { hall: String, row: i16 });

    fn check<K: OrderedKey + Ord + std::fmt::Debug>(mut keys: Vec<K>) {
        keys.sort();
        for part in [false, true] {
            let bytes: Vec<_> = keys.iter().map(|key| written(key, part)).collect();
            assert!(bytes.is_sorted(), "{keys:?}");
            for (key, bytes) in keys.iter().zip(&bytes) {
                let mut followed = [bytes, b"rest".as_slice()].concat();
                if part {
                    let mut left = followed.as_slice();
                    assert_eq!(K::read_part(&mut left).as_ref(), Some(key));
                    assert_eq!(left, b"rest");
                    followed.truncate(bytes.len() - 1);
                    assert_eq!(K::read_part(&mut followed.as_slice()), None, "cut short");
                } else {
                    assert_eq!(K::read(bytes).as_ref(), Some(key));
                }
            }
        }
    }

    fn written(key: &(impl KeyBytes + ?Sized), part: bool) -> Vec<u8> {
        let mut out = Vec::new();
        if part {
            key.write_part(&mut out);
        } else {
            key.write(&mut out);
        }
        out
    }

    fn texts() -> Vec<String> {
        let texts = ["", "\0", "\0\0", "\0\u{1}", "\u{1}", "\u{1}\0", "a", "a\0", "a\0b", "a\u{1}"];
        let more = ["a/b", "aa", "b", "é", "\u{10ffff}"];
        texts.into_iter().chain(more).map(str::to_owned).collect()
    }

    #[test]
    fn bytes_sort_as_keys_do_and_read_back() {
        check(vec![0u64, 1, 255, 256, 65_536, u64::MAX]);
        check(vec![0u8, 127, 128, 255]);
        check(vec![u128::MAX, 0, 1 << 64]);
        check(vec![i64::MIN, -256, -1, 0, 1, 255, 256, i64::MAX]);
        check(vec![i32::MIN, -1, 0, i32::MAX]);
        check(vec![true, false]);
        check(vec!['\0', 'a', 'é', char::MAX]);
        check(vec![[0u8; 4], [0, 0, 1, 0], [255; 4]]);
        check(vec![vec![], vec![0u8], vec![0, 0], vec![1], vec![255], vec![255, 0]]);
        check([0, 5, u64::MAX].map(Timestamp::from_ms).to_vec());
        check(texts());
        check(texts().into_iter().map(OrderId).collect());
    }

    #[test]
    fn composite_keys_sort_by_their_members_in_turn() {
        let pairs =
            || texts().into_iter().flat_map(|text| [(text.clone(), 0u64), (text, u64::MAX)]);
        check(pairs().collect());
        check(pairs().map(|(text, number)| (number, text)).collect());
        check(pairs().map(|(text, number)| (text.clone(), number, text)).collect());
        check(pairs().map(|(text, number)| (text, number as i8, true)).collect());
        check(pairs().map(|(text, number)| ((number, text.clone()), text)).collect());
        check(pairs().map(|(hall, row)| Seat { hall, row: row as i16 }).collect());
        check(pairs().map(|(kind, key)| EntityRef { kind, key: format!("{key}") }).collect());
        let texts = texts();
        check(texts.iter().flat_map(|a| texts.iter().map(|b| (a.clone(), b.clone()))).collect());
    }

    #[test]
    fn a_prefix_starts_the_bytes_of_its_keys_and_of_no_others() {
        fn prefix<K>(prefix: &(impl KeyPrefix<K> + ?Sized)) -> Vec<u8> {
            let mut out = Vec::new();
            prefix.write_prefix(&mut out);
            out
        }
        let ann = prefix::<(String, u64)>("ann");
        for (key, under) in [(("ann", 7), true), (("anna", 7), false), (("an", 7), false)] {
            let bytes = written(&(key.0.to_owned(), key.1), false);
            assert_eq!(bytes.starts_with(&ann), under, "{key:?}");
        }
        assert_eq!(prefix::<(u8, u8, u8)>(&7), [7]);
        assert_eq!(prefix::<(u8, u8, u8)>(&(7, 8)), [7, 8]);
        assert_eq!(prefix::<String>("20"), b"20");
    }

    #[test]
    fn other_bytes_are_no_key() {
        assert_eq!(u64::read(b"short"), None);
        assert_eq!(u8::read(b"ab"), None);
        assert_eq!(bool::read(&[2]), None);
        assert_eq!(String::read(&[0xff]), None);
        assert_eq!(char::read(&0xD800u32.to_be_bytes()), None);
        assert_eq!(Vec::<u8>::read_part(&mut [ESCAPE, 9, END].as_slice()), None);
        assert_eq!(<(String, u8)>::read(b"no end"), None);
        assert_eq!(Seat::read(b"a\0\x80\x01more"), None);
    }
}
