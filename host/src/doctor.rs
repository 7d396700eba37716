//! Looks at a data folder that no host has open, says in plain words what is there and what is damaged, and
//! mends what can be mended, from copies that it keeps. Invariants: looking changes nothing; mending does what
//! was explained before and nothing else, and whatever it replaces stays beside, under a name that it tells.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use serde::Serialize;

use crate::clock::Clock;
use crate::engine;
use crate::partition::mend::{self, Examined};
pub use crate::partition::mend::{Census, Problem};
use crate::record;
use crate::registry::Keyring;
use crate::registry::check::{self, AppFiles};
use crate::storage;

/// Beside the partitions' folders: one that is being made.
const UNFINISHED: &str = "unfinished-repair";

/// The list of apps.
const LIST: &str = "apps/apps/names";

/// What a data folder holds.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The folder.
    pub data: PathBuf,
    /// The format that this build reads and writes.
    pub format: u8,
    /// Its apps.
    pub apps: Vec<AppFiles>,
    /// Its partitions, in order of their names.
    pub partitions: Vec<Census>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What is worth knowing and no problem.
    pub remarks: Vec<String>,
}

/// Called with what is being done and how many rows so far.
pub type Watch<'w> = &'w dyn Fn(&str, u64);

/// A data folder that no host can open meanwhile.
pub struct Doctor {
    data: PathBuf,
    keys: Option<Keyring>,
    _lock: Option<File>,
}

impl Doctor {
    /// Takes the folder. Changes nothing in it. With `keys` it sees whether sealed secrets open.
    ///
    /// # Errors
    /// When there is none, or a host has it.
    pub fn open(data: &Path, keys: Option<Keyring>) -> anyhow::Result<Self> {
        let shown = data.display();
        if !data.is_dir() {
            bail!("there is no data folder at {shown}; name one with --data");
        }
        let known = ["lock", "apps", "partitions"].iter().any(|name| data.join(name).exists());
        if !known {
            bail!("{shown} is not a data folder: no host has ever opened it");
        }
        let lock = File::open(data.join("lock")).ok();
        if let Some(lock) = &lock
            && flock(lock, FlockOperation::NonBlockingLockExclusive).is_err()
        {
            bail!(
                "a host uses the data folder {shown}; stop it first, for what it writes changes meanwhile"
            );
        }
        Ok(Self { data: data.into(), keys, _lock: lock })
    }

    /// Looks at everything.
    ///
    /// # Errors
    /// When a folder cannot be read; damage is in the report.
    pub fn examine(&self, watch: Watch<'_>) -> anyhow::Result<Report> {
        let mut report = Report {
            data: self.data.clone(),
            format: record::FORMAT,
            apps: vec![],
            partitions: vec![],
            problems: vec![],
            remarks: vec![],
        };
        watch("the apps", 0);
        self.apps(&mut report)?;
        self.code(&mut report)?;
        for name in self.partitions()? {
            let watched = format!("partition {name}");
            let named = format!("partitions/{name}");
            let found =
                mend::examine(&self.data.join(&named), &named, &|rows| watch(&watched, rows));
            let found = found.with_context(|| format!("{named} cannot be read"))?;
            let Examined { census, problems, remarks } = found;
            report.partitions.push(Census { partition: name, ..census });
            report.problems.extend(problems);
            report.remarks.extend(remarks);
        }
        Ok(report)
    }

    /// Does what the problems of `report` say. Gives what it did, with the names of what it kept.
    ///
    /// # Errors
    /// When the folder cannot be changed; what was done until then is whole.
    pub fn repair(
        &self,
        report: &Report,
        clock: &dyn Clock,
        watch: Watch<'_>,
    ) -> anyhow::Result<Vec<String>> {
        let mut done = vec![];
        let apps = self.data.join("apps");
        for problem in report.problems.iter().filter(|problem| problem.repair.is_some()) {
            let path = Path::new(&problem.file);
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            if problem.file == LIST {
                let kept = check::list_anew(&apps)?;
                done.push(format!("wrote {LIST} anew; kept {}", shown(kept.as_slice())));
            } else if problem.file.starts_with("apps/") && problem.file.ends_with(".secrets") {
                let kept = check::set_secrets_aside(&apps, &name)?;
                done.push(format!(
                    "set the secrets of app {name} aside; kept {}",
                    shown(kept.as_slice())
                ));
            } else if problem.file.starts_with("apps/") {
                let kept = check::set_aside(&apps, &name)?;
                done.push(format!("set the record of app {name} aside; kept {}", shown(&kept)));
            } else if problem.file.starts_with("cache/") {
                let at = self.data.join(path);
                let kept = at.with_extension("damaged");
                fs::rename(&at, &kept)
                    .with_context(|| format!("cannot rename {}", at.display()))?;
                done.push(format!("renamed {} to {}", problem.file, kept.display()));
            }
        }
        for Census { partition: name, .. } in &report.partitions {
            let named = format!("partitions/{name}/");
            let mut of = report.problems.iter().filter(|problem| problem.file.starts_with(&named));
            if of.clone().next().is_some() && of.all(|problem| problem.repair.is_some()) {
                done.push(self.rebuild(name, clock, watch)?);
            }
        }
        Ok(done)
    }

    fn apps(&self, report: &mut Report) -> anyhow::Result<()> {
        let (apps, list) = check::look(&self.data.join("apps"), self.keys.as_ref())?;
        report.problems.extend(list.map(|what| Problem {
            file: LIST.into(),
            place: "the whole file".into(),
            what,
            lost: "nothing, unless a record is missing too: this list would have said so".into(),
            repair: Some("keep it beside and write it anew from the records that are there".into()),
        }));
        for app in &apps {
            let name = &app.app;
            report.problems.extend(app.record.clone().map(|what| Problem {
                file: format!("apps/apps/{name}.json"),
                place: "the whole file".into(),
                what,
                lost: format!(
                    "which version of {name} is live, its configuration, and what state its entities may be in; \
                     the entities are there. Until it is deployed again it is not served"
                ),
                repair: Some("set the record aside, so that the next deploy begins a new one".into()),
            }));
            report.remarks.extend(app.sealed.iter().map(|key| {
                let seen = match (app.opened, &app.secrets) {
                    (true, None) => "they open with it",
                    (true, Some(_)) => "and it is there",
                    (false, _) => "without it (--secrets-key) nobody can tell whether they open",
                };
                format!("the secrets of {name} are sealed with the key {key}; {seen}")
            }));
            report.problems.extend(app.secrets.clone().map(|what| Problem {
                file: format!("apps/apps/{name}.secrets"),
                place: "the whole file".into(),
                what,
                lost: format!("the secrets of {name}, which is not served until this is mended"),
                repair: Some("set the file aside, so that they can be set anew".into()),
            }));
            report.problems.extend(app.component.clone().map(|what| Problem {
                file: "apps/components".into(),
                place: "the whole file".into(),
                what,
                lost: format!("the live component of {name}: deploy it again, which mends this"),
                repair: None,
            }));
        }
        report.apps = apps;
        Ok(())
    }

    fn code(&self, report: &mut Report) -> anyhow::Result<()> {
        let folder = self.data.join("cache");
        if !folder.is_dir() {
            return Ok(());
        }
        for (name, what) in engine::unusable_code(&folder)? {
            report.problems.push(Problem {
                file: format!("cache/{name}"),
                place: "the whole file".into(),
                what,
                lost: "nothing: it is compiled code, and a start compiles again".into(),
                repair: Some("rename it, so that no host looks at it".into()),
            });
        }
        Ok(())
    }

    /// Partitions by name; those that a repair left are not among them.
    fn partitions(&self) -> anyhow::Result<Vec<String>> {
        let folder = self.data.join("partitions");
        if !folder.is_dir() {
            return Ok(vec![]);
        }
        let mut names = vec![];
        for entry in fs::read_dir(&folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            names.extend(name.parse::<u32>().is_ok().then_some(name));
        }
        names.sort();
        Ok(names)
    }

    /// Makes a partition of what can be read, and puts it into the old one's place in one step.
    fn rebuild(&self, name: &str, clock: &dyn Clock, watch: Watch<'_>) -> anyhow::Result<String> {
        let folder = self.data.join("partitions");
        let (old, new) = (folder.join(name), folder.join(UNFINISHED));
        if new.exists() {
            fs::remove_dir_all(&new).context("a repair that was cut off cannot be cleared away")?;
        }
        let watched = format!("making partition {name} anew");
        let dropped = mend::rebuild(&old, &new, clock.now_ms(), &|rows| watch(&watched, rows))?;
        storage::make_folder(&new)?;
        let kept = (1..)
            .map(|number| folder.join(format!("{name}-before-repair-{number}")))
            .find(|path| !path.exists())
            .context("no free name for the old folder")?;
        // IMPORTANT: at no moment may the partition's name be free: a host would begin an empty one.
        renameat_with(CWD, &old, CWD, &new, RenameFlags::EXCHANGE)
            .context("the new folder cannot take the old one's place; nothing has changed")?;
        fs::rename(&new, &kept)?;
        File::open(&folder)?.sync_all()?;
        let dropped = match dropped {
            0 => String::new(),
            _ => format!("; {dropped} changes of lost messages were left out"),
        };
        Ok(format!(
            "made partition {name} anew; the old one, whole, is {}{dropped}",
            kept.display()
        ))
    }
}

fn shown(kept: &[PathBuf]) -> String {
    let kept: Vec<_> = kept.iter().map(|path| path.display().to_string()).collect();
    if kept.is_empty() { "nothing, for nothing was there".into() } else { kept.join(" and ") }
}
