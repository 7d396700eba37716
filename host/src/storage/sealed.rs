//! Small files that replace each other whole: JSON whose first member is the hash of all that follows its line, so
//! that damage is noticed, and readable with any editor. Invariant: after a crash either the old file or all of the
//! new one is there.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{StorageError, sync_name};

/// The text begins with the hash of what follows its first line.
const CHECK: (&[u8], &[u8]) = (b"{\"check\":\"", b"\",");

/// Writes `value`, an object, in place of the file at `path`, which only its owner may read.
///
/// # Errors
/// [`StorageError`]; the old file is still there then, or all of the new one.
pub fn write(path: &Path, value: &impl Serialize) -> Result<(), StorageError> {
    let failed = |error: io::Error| StorageError::new(&name(path), error);
    let text = print(value).map_err(|error| failed(error.into()))?;
    replace(path, &text).map_err(failed)
}

/// Reads the file at `path`; `None` when there is none.
///
/// # Errors
/// [`StorageError`] when it cannot be read or is not what was written.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StorageError> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::new(&name(path), error)),
        Ok(text) => parse(&text)
            .map(Some)
            .map_err(|problem| StorageError::new(&name(path), format!("is damaged: {problem}"))),
    }
}

/// Puts `bytes` in place of the file at `path`, private to the owner.
///
/// # Errors
/// The file system's.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_name(path)
}

fn print(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let text = serde_json::to_vec_pretty(value)?;
    let rest = text.strip_prefix(b"{\n").unwrap_or(&text);
    let hash = blake3::hash(rest).to_hex();
    Ok([CHECK.0, hash.as_bytes(), CHECK.1, b"\n", rest, b"\n"].concat())
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    let split = || {
        let text = text.strip_suffix(b"\n")?.strip_prefix(CHECK.0)?;
        let end = text.iter().position(|byte| *byte == b'\n')?;
        Some((text[..end].strip_suffix(CHECK.1)?, &text[end + 1..]))
    };
    let (hash, rest) = split().ok_or("its checksum is gone")?;
    if blake3::hash(rest).to_hex().as_bytes() != hash {
        return Err("its text is not what was written".into());
    }
    serde_json::from_slice(text).map_err(|error| error.to_string())
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Record {
        names: Vec<String>,
    }

    #[test]
    fn what_is_written_reads_back_and_every_flipped_bit_is_noticed() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("names.json");
        assert_eq!(read::<Record>(&path).expect("none"), None);
        let record = Record { names: vec!["bank".into()] };
        write(&path, &record).expect("written");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let text = fs::read(&path).expect("there");
        assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok(), "any tool reads it");
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &flipped).expect("flipped");
            let error = read::<Record>(&path).expect_err("damaged").to_string();
            assert!(error.starts_with("names.json: is damaged"), "bit {bit}: {error}");
        }
        fs::write(&path, text).expect("as it was");
        assert_eq!(read(&path).expect("sound"), Some(record));
    }
}
