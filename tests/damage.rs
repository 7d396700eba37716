//! Damage on disk: bits that flip, blocks that are lost, files that are cut, gone or another's. A real data folder
//! is damaged in one place, a host is started over it, and then either it says which file is damaged and serves
//! nothing of what that touches, or all that it serves is what the sound folder serves. A wrong answer, a panic
//! or a hang is a failure. `keystead doctor` must find the same damage, and mend it.
//!
//! `KEYSTEAD_DAMAGES` says how many (60), `KEYSTEAD_DAMAGE_SEED` where chance begins; a failure prints it.

#[path = "harness/mod.rs"]
mod harness;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use harness::sample::{self, Kept, Served};
use harness::{Host, PATIENCE, eventually, keystead};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

const BLOCK: usize = 4096;

/// A data folder in memory: paths from its root.
type Folder = BTreeMap<String, Vec<u8>>;

/// A sound folder and what is served of it; also of the same without the journal's last record, which damage to
/// that record cannot be told from.
struct Sound {
    folder: Folder,
    kept: Kept,
    served: Served,
    served_before: Served,
    last: (String, usize),
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_anywhere_is_named_and_never_served() {
    let damages = number("KEYSTEAD_DAMAGES").unwrap_or(60);
    let seed = number("KEYSTEAD_DAMAGE_SEED").unwrap_or(1);
    let sound = sound().await;
    let mut tally = BTreeMap::<String, [u32; 3]>::new();
    for seed in seed..seed + damages {
        let mut chance = StdRng::seed_from_u64(seed);
        let mut folder = sound.folder.clone();
        let damage = Damage::draw(&sound.folder, &mut chance);
        damage.apply(&mut folder);
        let what = format!("KEYSTEAD_DAMAGE_SEED={seed}: {damage:?}");
        let ending = judge(&sound, &folder, &damage, &what).await;
        let kind = damage.files[0].split('/').next_back().unwrap_or_default();
        let kind = kind.rsplit('.').next().unwrap_or(kind).split('-').next().unwrap_or(kind);
        tally.entry(kind.to_owned()).or_default()[ending as usize] += 1;
    }
    println!("file: not started, partly refused, all served as before\n{tally:#?}");
}

/// Each bit of redb's own head, which is written in place and has no checksum of its own but ours.
#[tokio::test(flavor = "multi_thread")]
async fn the_head_of_the_state_file_is_as_safe_as_the_rest() {
    let sound = sound().await;
    let file = "partitions/0/state.redb".to_owned();
    for bit in (0..320 * 8).step_by(number("KEYSTEAD_HEAD_STEP").unwrap_or(67) as usize) {
        let damage = Damage { files: vec![file.clone()], what: What::Flip(bit) };
        let mut folder = sound.folder.clone();
        damage.apply(&mut folder);
        judge(&sound, &folder, &damage, &format!("bit {bit} of the head")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_counts_what_is_there_and_changes_nothing() {
    let sound = sound().await;
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let data = scratch.path().join("data");
    write(&sound.folder, &data);
    let (code, report) = doctor(&data, &[]).await;
    assert_eq!((code, &report["healthy"]), (0, &json!(true)), "{report:#}");
    let census = &report["partitions"][0];
    // Each round leaves 3 delayed messages and 3 timers, one message that backs off, and one dead letter.
    for (what, count) in [("entities", 10), ("queued", 2), ("scheduled", 12), ("dead", 2)] {
        assert_eq!(census[what], count, "{what}: {report:#}");
    }
    assert_eq!(report["apps"][0]["app"], "app", "{report:#}");
    assert!(census["journal_last"].as_u64() > census["checkpoint"].as_u64(), "{report:#}");
    assert!(read(&data) == sound.folder, "looking changed something");
    let (code, report) = doctor(&data, &["--repair"]).await;
    assert_eq!((code, &report["repaired"]), (0, &json!([])), "nothing to mend: {report:#}");
    assert!(read(&data) == sound.folder, "a healthy folder was changed");
    assert_eq!(doctor(&scratch.path().join("none"), &[]).await.0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_keeps_away_from_a_folder_in_use() {
    let host = Host::start().await;
    for args in [&[][..], &["--repair"]] {
        assert_eq!(doctor(&host.data(), args).await.0, 2);
    }
    assert_eq!(host.totals().await.queued, 0, "the host goes on");
}

/// What a host refuses the doctor names; what it mends a host serves; and if it says that nothing is lost,
/// nothing is.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_doctor_mends_is_served_and_what_it_calls_lost_is_all_that_is() {
    let damages = number("KEYSTEAD_DAMAGES").unwrap_or(60);
    let seed = number("KEYSTEAD_DAMAGE_SEED").unwrap_or(1);
    let sound = sound().await;
    let (mut healthy, mut mended, mut beyond) = (0, 0, 0);
    for seed in seed..seed + damages {
        let mut folder = sound.folder.clone();
        let damage = Damage::draw(&sound.folder, &mut StdRng::seed_from_u64(seed));
        damage.apply(&mut folder);
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let data = scratch.path().join("data");
        write(&folder, &data);
        let (code, report) = doctor(&data, &[]).await;
        let what = format!("KEYSTEAD_DAMAGE_SEED={seed}: {damage:?}\n{report:#}");
        assert!(read(&data) == folder, "{what}\nlooking changed something");
        if code == 0 {
            let ending = judge(&sound, &folder, &damage, &what).await;
            assert!(matches!(ending, Ending::Unharmed), "{what}\nnot named");
            healthy += 1;
            continue;
        }
        assert!(code == 1 && damage.is_named(&report.to_string()), "{what}\nexit code {code}");
        let lossless = list(&report["problems"]).iter().all(loses_nothing);
        let (code, after) = doctor(&data, &["--repair"]).await;
        if code != 0 {
            let left = list(&after["problems"]);
            assert!(left.iter().all(|problem| problem["repair"].is_null()), "{what}\n{after:#}");
            beyond += 1;
            continue;
        }
        let kept = read(&data);
        for (name, bytes) in &folder {
            let stays = |other: &Vec<u8>| other == bytes;
            assert!(name == "lock" || kept.values().any(stays), "{what}\n{name} is not kept");
        }
        let host = Host::start_over(|at| write(&kept, at)).await;
        let found = sample::served(&host.client(), &sound.kept).await;
        if lossless && !damage.hits_last(&sound.last) {
            assert_eq!(differing(&sound.served, &found), [""; 0], "{what}\n{after:#}");
        }
        mended += 1;
    }
    println!("{healthy} healthy, {mended} mended, {beyond} beyond repair");
}

/// A journal that is damaged in the middle is cut there: what came before is served, exactly.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_is_cut_at_the_damage() {
    let sound = sound().await;
    let (file, last) = sound.last.clone();
    for block in [last - 1, last - 9, last - 20] {
        let mut folder = sound.folder.clone();
        Damage { files: vec![file.clone()], what: What::Flip(block * BLOCK * 8 + 77) }
            .apply(&mut folder);
        // The same journal, as it was when it ended there.
        let mut shorter = sound.folder.clone();
        for block in block..=last {
            Damage { files: vec![file.clone()], what: What::Zero(block) }.apply(&mut shorter);
        }
        let host = Host::start_over(|at| write(&shorter, at)).await;
        // What a message that was cut off has not done yet it does again: dead letters have another time then.
        let told = |mut served: Served| {
            served.retain(|question, _| question.starts_with("app/") || question.contains("/app/"));
            served
        };
        let expected = told(sample::served(&host.client(), &sound.kept).await);
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let data = scratch.path().join("data");
        write(&folder, &data);
        let (code, report) = doctor(&data, &["--repair"]).await;
        assert_eq!((code, list(&report["repaired"]).len()), (0, 1), "{report:#}");
        let host = Host::start_over(|at| write(&read(&data), at)).await;
        eventually(&format!("block {block}: what came before is served"), PATIENCE, || async {
            let found = told(sample::served(&host.client(), &sound.kept).await);
            let wrong = differing(&expected, &found);
            if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
        })
        .await;
    }
}

/// The questions that are answered otherwise.
fn differing(expected: &Served, found: &Served) -> Vec<String> {
    let differ = |(question, answer): &(&String, &(u16, Value))| found[*question] != **answer;
    expected.iter().filter(differ).map(|(question, _)| question.clone()).collect()
}

/// Runs `keystead doctor --json`; its exit code and what it printed.
async fn doctor(data: &Path, args: &[&str]) -> (i32, Value) {
    let mut command = tokio::process::Command::new(keystead());
    command.args(["doctor", "--json", "--data"]).arg(data).args(args);
    let output = command.output().await.expect("keystead doctor");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked at host"), "{stderr}");
    let code = output.status.code().unwrap_or_else(|| panic!("{stderr}"));
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| json!(stderr));
    (code, report)
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn loses_nothing(problem: &Value) -> bool {
    problem["lost"].as_str().is_some_and(|lost| lost.starts_with("nothing"))
}

/// How a host took a damage.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Refused = 0,
    Partly = 1,
    Unharmed = 2,
}

#[derive(Debug, Clone)]
struct Damage {
    files: Vec<String>,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    /// A bit, counted from the file's beginning.
    Flip(usize),
    /// A block of zeros.
    Zero(usize),
    /// A block of chance.
    Noise(usize, u8),
    /// Two blocks in each other's place.
    Blocks(usize, usize),
    Cut(usize),
    Remove,
    /// Two files in each other's place.
    Swap,
}

impl Damage {
    fn draw(folder: &Folder, chance: &mut StdRng) -> Self {
        let pick = |part: &str, chance: &mut StdRng| {
            let files: Vec<_> = folder.keys().filter(|name| name.contains(part)).collect();
            files[chance.random_range(0..files.len())].clone()
        };
        let part = match chance.random_range(0..100) {
            0..40 => "state.redb",
            40..65 => "journal-",
            65..75 => "state.sums",
            75..83 => "apps/apps/",
            83..88 => "components/",
            88..93 => "cache/",
            _ => "",
        };
        let file = pick(part, chance);
        let bytes = &folder[&file];
        // Mostly where something is: of a young folder's files most is zero.
        let used: Vec<usize> = bytes
            .chunks(BLOCK)
            .enumerate()
            .filter(|(_, block)| block.iter().any(|byte| *byte != 0))
            .map(|(number, _)| number)
            .collect();
        let blocks = bytes.len().div_ceil(BLOCK).max(1);
        let block = |chance: &mut StdRng| match chance.random_range(0..10) {
            0..8 if !used.is_empty() => used[chance.random_range(0..used.len())],
            _ => chance.random_range(0..blocks),
        };
        let number = block(chance);
        let within = (bytes.len() - number * BLOCK).clamp(1, BLOCK);
        let what = match chance.random_range(0..100) {
            0..55 if !bytes.is_empty() => {
                What::Flip(number * BLOCK * 8 + chance.random_range(0..within * 8))
            }
            55..67 => What::Zero(number),
            67..74 => What::Noise(number, chance.random()),
            74..80 => What::Blocks(number, block(chance)),
            80..88 => What::Cut(chance.random_range(0..=bytes.len())),
            88..95 => What::Remove,
            _ => {
                let files = vec![file, pick(part, chance)];
                return Self { files, what: What::Swap };
            }
        };
        Self { files: vec![file], what }
    }

    fn apply(&self, folder: &mut Folder) {
        let file = &self.files[0];
        if let What::Swap = self.what {
            let (one, other) = (folder[file].clone(), folder[&self.files[1]].clone());
            folder.insert(file.clone(), other);
            folder.insert(self.files[1].clone(), one);
            return;
        }
        if let What::Remove = self.what {
            folder.remove(file);
            return;
        }
        let bytes = folder.get_mut(file).expect("there");
        let block = |number: usize, bytes: &[u8]| {
            (number * BLOCK).min(bytes.len())..((number + 1) * BLOCK).min(bytes.len())
        };
        match self.what {
            What::Flip(bit) => bytes[bit / 8] ^= 1 << (bit % 8),
            What::Zero(number) => {
                let range = block(number, bytes);
                bytes[range].fill(0);
            }
            What::Noise(number, seed) => {
                let range = block(number, bytes);
                StdRng::seed_from_u64(seed.into()).fill(&mut bytes[range]);
            }
            What::Blocks(one, other) => {
                let (one, other) = (block(one, bytes), block(other, bytes));
                if one.len() == other.len() {
                    let held = bytes[one.clone()].to_vec();
                    bytes.copy_within(other.clone(), one.start);
                    bytes[other].copy_from_slice(&held);
                }
            }
            What::Cut(length) => bytes.truncate(length),
            What::Remove | What::Swap => {}
        }
    }

    fn is_named(&self, log: &str) -> bool {
        self.files.iter().any(|file| {
            let name = Path::new(file).file_name().expect("a name").to_string_lossy();
            // What is gone has no name but in the files beside it.
            let gone = name.starts_with("journal-")
                && (log.contains("journal: ") || log.contains("journal-…"));
            log.contains(&*name) || gone
        })
    }

    /// True when it is in, or takes away, the last record of the journal.
    fn hits_last(&self, (file, block): &(String, usize)) -> bool {
        self.files.contains(file)
            && match self.what {
                What::Flip(bit) => bit / 8 / BLOCK == *block,
                What::Zero(number) | What::Noise(number, _) => number == *block,
                What::Blocks(one, other) => one == *block || other == *block,
                What::Cut(_) | What::Remove | What::Swap => false,
            }
    }
}

/// Starts a host over `folder` and holds what it serves against what the sound one serves.
async fn judge(sound: &Sound, folder: &Folder, damage: &Damage, what: &str) -> Ending {
    let host = match Host::try_start_over(|at| write(folder, at)).await {
        Ok(host) => host,
        Err(log) => {
            assert!(damage.is_named(&log), "{what}: refused, but the file is not named:\n{log}");
            return Ending::Refused;
        }
    };
    let found = sample::served(&host.client(), &sound.kept).await;
    let log = host.log();
    let wrong = differing(&sound.served, &found);
    if wrong.is_empty() {
        return Ending::Unharmed;
    }
    if damage.hits_last(&sound.last) && differing(&sound.served_before, &found).is_empty() {
        return Ending::Unharmed;
    }
    // An app that is not served is missing from the list of apps too, and nobody else's answers change.
    let unserved = log.contains("cannot be served");
    for question in wrong {
        let (status, body) = &found[&question];
        let refused =
            *status == 503 || (unserved && *status == 404 && body["code"] == "unknown_app");
        let listed = unserved && question == "/admin/v1/apps";
        let expected = &sound.served[&question];
        assert!(
            refused || listed,
            "{what}\n{question}\n is {status} {body}\n not {expected:?}\n{log}"
        );
    }
    assert!(damage.is_named(&log), "{what}: partly refused, but the file is not named:\n{log}");
    Ending::Partly
}

/// A folder of which half is in a checkpoint, and half in the journal only.
async fn sound() -> Sound {
    let (host, kept) = sample::make().await;
    let folder = read(&host.data());
    let (name, bytes) = folder.iter().rfind(|(name, _)| name.contains("journal-")).expect("one");
    let block = bytes.chunks(BLOCK).rposition(|block| block.iter().any(|b| *b != 0)).expect("used");
    let last = (name.clone(), block);
    let mut before = folder.clone();
    Damage { files: vec![name.clone()], what: What::Zero(block) }.apply(&mut before);
    let mut served = Vec::new();
    for folder in [&folder, &before] {
        let host = Host::try_start_over(|at| write(folder, at)).await.expect("starts");
        served.push(sample::served(&host.client(), &kept).await);
    }
    let (served_before, served) = (served.pop().expect("two"), served.pop().expect("two"));
    assert_ne!(served, served_before, "the last record is one that matters");
    Sound { folder, kept, served, served_before, last }
}

fn read(root: &Path) -> Folder {
    let mut folder = Folder::new();
    let mut open: Vec<PathBuf> = vec![root.into()];
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(&at).expect("a folder") {
            let path = entry.expect("there").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(root).expect("within").to_string_lossy().into_owned();
                folder.insert(name, std::fs::read(&path).expect("reads"));
            }
        }
    }
    folder
}

fn write(folder: &Folder, root: &Path) {
    for (name, bytes) in folder {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, bytes).expect("written");
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}
