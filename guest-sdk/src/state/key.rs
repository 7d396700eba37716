//! Map keys as bytes that sort as the keys do.

/// Something that can be looked up as a map's key: `str` for a map of `String`s.
pub trait KeyBytes {
    /// Appends bytes that compare as the keys do.
    fn write(&self, out: &mut Vec<u8>);
}

/// A map's key. Its bytes sort as it does.
pub trait OrderedKey: KeyBytes + Sized {
    /// The key of these bytes.
    fn read(bytes: &[u8]) -> Option<Self>;
}

impl KeyBytes for str {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

impl KeyBytes for String {
    fn write(&self, out: &mut Vec<u8>) {
        self.as_str().write(out);
    }
}

impl OrderedKey for String {
    fn read(bytes: &[u8]) -> Option<Self> {
        Self::from_utf8(bytes.to_vec()).ok()
    }
}

impl KeyBytes for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl OrderedKey for bool {
    fn read(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
}

macro_rules! unsigned_keys {
    ($($int:ty),*) => {$(
        impl KeyBytes for $int {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
        }

        impl OrderedKey for $int {
            fn read(bytes: &[u8]) -> Option<Self> {
                Some(Self::from_be_bytes(bytes.try_into().ok()?))
            }
        }
    )*};
}

macro_rules! signed_keys {
    ($($int:ty),*) => {$(
        // With the sign bit flipped, negative numbers sort before the others.
        impl KeyBytes for $int {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&(self ^ Self::MIN).to_be_bytes());
            }
        }

        impl OrderedKey for $int {
            fn read(bytes: &[u8]) -> Option<Self> {
                Some(Self::from_be_bytes(bytes.try_into().ok()?) ^ Self::MIN)
            }
        }
    )*};
}

unsigned_keys!(u8, u16, u32, u64);
signed_keys!(i8, i16, i32, i64);

#[cfg(test)]
mod tests {
    use super::*;

    fn check<K: OrderedKey + Ord + std::fmt::Debug>(mut keys: Vec<K>) {
        keys.sort();
        let bytes: Vec<_> = keys
            .iter()
            .map(|key| {
                let mut out = Vec::new();
                key.write(&mut out);
                out
            })
            .collect();
        assert!(bytes.is_sorted(), "{keys:?}");
        for (key, bytes) in keys.iter().zip(&bytes) {
            assert_eq!(K::read(bytes).as_ref(), Some(key));
        }
    }

    #[test]
    fn bytes_sort_as_keys_do_and_read_back() {
        check(vec![0u64, 1, 255, 256, 65_536, u64::MAX]);
        check(vec![0u8, 127, 128, 255]);
        check(vec![i64::MIN, -256, -1, 0, 1, 255, 256, i64::MAX]);
        check(vec![i32::MIN, -1, 0, i32::MAX]);
        check(vec![true, false]);
        check(["", "a", "a/b", "aa", "b", "é", "\u{10ffff}"].map(str::to_owned).to_vec());
    }

    #[test]
    fn other_bytes_are_no_key() {
        assert_eq!(u64::read(b"short"), None);
        assert_eq!(bool::read(&[2]), None);
        assert_eq!(String::read(&[0xff]), None);
    }
}
