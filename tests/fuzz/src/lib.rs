//! Fuzzing under plain `cargo test`: each target is a test that replays its corpus and then tries inputs that it
//! makes of it, as many as say so or for as long as `KEYSTEAD_FUZZ_SECONDS`. `tests/fuzz/run.sh` compiles coverage in;
//! then inputs that reach something new are kept. Invariant: one seed gives one sequence of inputs.
//!
//! A failing input is made smaller, written to a file, and printed with the command that tries it again.

mod coverage;
mod mutate;
mod source;

use std::any::Any;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use coverage::Coverage;
use mutate::Mutator;
pub use source::Source;

/// Inputs that are tried when nothing says how many or how long.
const RUNS: u64 = 1_000;
/// Inputs of chance alone that a target without seeds begins with.
const NOISE: usize = 32;
/// Longest input.
const BYTES_MAX: usize = 4 * 1024;
/// One input takes less, on the busiest machine: more is a loop.
const TIME_MAX: Duration = Duration::from_secs(20);
/// Tries at making a failing input smaller.
const SHRINKS_MAX: usize = 400;

/// Makes a [`Target`] whose test function has its name.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        $crate::Target::new(stringify!($name), env!("CARGO_PKG_NAME"), module_path!())
    };
}

/// What is fuzzed: a name, which its corpus has too, and inputs to begin with.
pub struct Target {
    name: &'static str,
    /// `cargo test` with this runs it.
    command: String,
    seeds: Vec<Vec<u8>>,
    runs: u64,
    bytes_max: usize,
}

impl Target {
    /// See [`target!`].
    #[must_use]
    pub fn new(name: &'static str, package: &str, module: &str) -> Self {
        let module = module.split_once("::").map_or("", |(_, module)| module);
        let command = format!("cargo test -p {package} --lib {module}::{name} -- --nocapture");
        Self { name, command, seeds: vec![], runs: RUNS, bytes_max: BYTES_MAX }
    }

    /// Adds an input to begin with, such as a valid encoding.
    #[must_use]
    pub fn seed(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.seeds.push(input.into());
        self
    }

    /// Adds several.
    #[must_use]
    pub fn seeds<I: Into<Vec<u8>>>(mut self, inputs: impl IntoIterator<Item = I>) -> Self {
        self.seeds.extend(inputs.into_iter().map(Into::into));
        self
    }

    /// How many inputs are tried when nothing says how long.
    #[must_use]
    pub fn runs(self, runs: u64) -> Self {
        Self { runs, ..self }
    }

    /// The longest input that is made.
    #[must_use]
    pub fn bytes_max(self, bytes_max: usize) -> Self {
        Self { bytes_max, ..self }
    }

    /// Tries `property` with many inputs; it fails by a panic.
    ///
    /// # Panics
    /// When the property fails, after writing the input down.
    pub fn check(self, property: impl Fn(&[u8])) {
        if let Some(path) = std::env::var_os("KEYSTEAD_FUZZ_INPUT") {
            let input = fs::read(&path).expect("KEYSTEAD_FUZZ_INPUT is a file");
            return property(&input);
        }
        let folder = folder(self.name);
        fs::create_dir_all(&folder).expect("a folder for findings");
        Session::new(&self, &property, folder).run();
    }
}

/// Runs `work` and says how many bytes it held at once, beyond what was there.
pub fn peak_bytes<R>(work: impl FnOnce() -> R) -> (R, u64) {
    let mut result = None;
    // The counter does not survive an unwinding.
    let counted = allocation_counter::measure(|| {
        result = Some(catch_unwind(AssertUnwindSafe(work)));
    });
    match result {
        Some(Ok(result)) => (result, counted.bytes_max),
        Some(Err(panic)) => resume_unwind(panic),
        None => unreachable!("it was run"),
    }
}

/// One run of one target.
struct Session<'t> {
    target: &'t Target,
    property: &'t dyn Fn(&[u8]),
    /// Where failing inputs go.
    folder: PathBuf,
    /// The input that is tried, for when the process dies of it.
    last: File,
    last_path: PathBuf,
    coverage: Option<Coverage>,
    pool: Vec<Vec<u8>>,
    tried: u64,
}

impl<'t> Session<'t> {
    fn new(target: &'t Target, property: &'t dyn Fn(&[u8]), folder: PathBuf) -> Self {
        let last_path = folder.join(format!("last-{}", std::process::id()));
        let last = File::create(&last_path).expect("a file for the input that is tried");
        let coverage = Coverage::of_this_process();
        Self { target, property, folder, last, last_path, coverage, pool: vec![], tried: 0 }
    }

    #[expect(clippy::disallowed_methods, reason = "how long to fuzz is real time")]
    fn run(mut self) {
        let started = Instant::now();
        let mut inputs = corpus(self.target.name);
        inputs.extend(self.target.seeds.iter().cloned());
        inputs.push(vec![]);
        if self.coverage.is_some() {
            inputs.extend(files(&self.folder.join("found")));
            // So that of two that reach the same the smaller one is kept.
            inputs.sort_by_key(Vec::len);
        }
        for input in inputs {
            let new = self.attempt(&input);
            if new || self.coverage.is_none() {
                self.pool.push(input);
            }
        }
        if let Some(into) = std::env::var_os("KEYSTEAD_FUZZ_KEEP") {
            return self.keep(Path::new(&into));
        }
        let seed = number("KEYSTEAD_FUZZ_SEED").unwrap_or(1);
        let mut mutator = Mutator::new(seed, self.target.bytes_max);
        if self.target.seeds.is_empty() {
            // Decisions to begin with, for inputs that are nothing else.
            self.pool.extend((0..NOISE).map(|_| mutator.noise()));
        }
        let seconds = number("KEYSTEAD_FUZZ_SECONDS").map(Duration::from_secs);
        let more = |tried: u64| match seconds {
            Some(seconds) => started.elapsed() < seconds,
            None => tried < self.target.runs,
        };
        let begun = self.tried;
        while more(self.tried - begun) {
            let input = mutator.next(&self.pool);
            if self.attempt(&input) {
                let name = self.folder.join("found").join(name_of(&input));
                fs::create_dir_all(self.folder.join("found")).expect("a folder");
                fs::write(name, &input).expect("an input is kept");
                self.pool.push(input);
            }
        }
        let (name, tried, pool) = (self.target.name, self.tried, self.pool.len());
        let reached = self.coverage.as_ref().map_or(0, Coverage::reached);
        let took = started.elapsed().as_secs_f32();
        println!(
            "{name}: {tried} inputs in {took:.1} s, {pool} in the pool, {reached} places reached"
        );
        fs::remove_file(&self.last_path).expect("nothing is left");
    }

    /// Tries an input; true when it reached something new.
    fn attempt(&mut self, input: &[u8]) -> bool {
        self.tried += 1;
        if let Err(panic) = self.holds(input) {
            self.fail(input, &panic);
        }
        self.coverage.as_mut().is_some_and(Coverage::is_new)
    }

    #[expect(clippy::disallowed_methods, reason = "an input that takes for ever is a finding")]
    fn holds(&mut self, input: &[u8]) -> Result<(), String> {
        let written = self.last.set_len(0).and_then(|()| self.last.write_all_at(input, 0));
        written.expect("the input is written before it is tried");
        if let Some(coverage) = &mut self.coverage {
            coverage.clear();
        }
        let started = Instant::now();
        let property = self.property;
        catch_unwind(AssertUnwindSafe(|| property(input))).map_err(|panic| words(&*panic))?;
        match started.elapsed() {
            took if took > TIME_MAX => Err(format!("it took {} s", took.as_secs())),
            _ => Ok(()),
        }
    }

    /// Makes the input smaller as long as it fails, writes it down, and ends the test.
    fn fail(&mut self, input: &[u8], panic: &str) -> ! {
        let mut smallest = input.to_vec();
        let mut tries = 0;
        let mut step = smallest.len().div_ceil(2);
        while step > 0 && tries < SHRINKS_MAX {
            let mut at = 0;
            while at < smallest.len() && tries < SHRINKS_MAX {
                let mut smaller = smallest.clone();
                smaller.drain(at..(at + step).min(smallest.len()));
                tries += 1;
                if self.holds(&smaller).is_err() {
                    smallest = smaller;
                } else {
                    at += step;
                }
            }
            step /= 2;
        }
        let path = self.folder.join(format!("failing-{}", name_of(&smallest)));
        fs::write(&path, &smallest).expect("the failing input is written");
        let _ = fs::remove_file(&self.last_path);
        let Target { name, command, .. } = self.target;
        panic!(
            "{name}: input {} fails: {panic}\nit is \"{}\"\ntry it again with\n  KEYSTEAD_FUZZ_INPUT={} {command}\n\
             and keep it in tests/fuzz/corpus/{name}/ once it is mended",
            self.tried,
            smallest.escape_ascii(),
            path.display()
        );
    }

    /// Writes the pool as the target's corpus: each input reaches what no smaller one does.
    fn keep(self, into: &Path) {
        assert!(self.coverage.is_some(), "without coverage nobody knows what to keep");
        let into = into.join(self.target.name);
        fs::create_dir_all(&into).expect("a folder for the corpus");
        for input in &self.pool {
            fs::write(into.join(name_of(input)), input).expect("an input is kept");
        }
        let bytes: usize = self.pool.iter().map(Vec::len).sum();
        println!(
            "{}: {} of {} inputs kept, {bytes} bytes",
            self.target.name,
            self.pool.len(),
            self.tried
        );
        fs::remove_file(&self.last_path).expect("nothing is left");
    }
}

/// The inputs of a target's corpus, in the order of their names.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name))
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder) else { return vec![] };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("an input is readable")).collect()
}

/// Beside the test program, so that a checkout stays as it is.
fn folder(name: &str) -> PathBuf {
    let program = std::env::current_exe().expect("this program has a path");
    program.ancestors().nth(2).expect("it is in target/PROFILE/deps").join("fuzz").join(name)
}

/// A name that the same bytes always have.
fn name_of(input: &[u8]) -> String {
    let hash = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".into())
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    fn failure(property: impl Fn(&[u8])) -> String {
        let target = target!(failure).seed(*b"seed").runs(200_000).bytes_max(64);
        let panic = catch_unwind(AssertUnwindSafe(|| target.check(property)));
        words(&*panic.expect_err("it fails"))
    }

    #[test]
    fn a_failing_input_is_found_made_small_and_can_be_tried_again() {
        let text = failure(|input| assert!(!input.windows(2).any(|two| two == b"!?"), "both"));
        assert!(text.contains("fails: both\nit is \"!?\""), "{text}");
        let path =
            text.split("KEYSTEAD_FUZZ_INPUT=").nth(1).and_then(|text| text.split(' ').next());
        assert_eq!(fs::read(path.expect("a path")).expect("written"), b"!?");
        assert!(text.contains("cargo test -p keystead-fuzz --lib tests::failure"), "{text}");
    }

    #[test]
    fn one_seed_gives_one_sequence() {
        let inputs = |seed| {
            let mut mutator = Mutator::new(seed, 100);
            let pool = [b"one".to_vec(), b"another".to_vec()];
            (0..500).map(|_| mutator.next(&pool)).collect::<Vec<_>>()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
        assert!(inputs(1).iter().all(|input| input.len() <= 100));
    }

    #[test]
    fn memory_is_counted_and_survives_a_panic() {
        let (_, bytes) = peak_bytes(|| drop(black_box(Vec::<u8>::with_capacity(1_000_000))));
        assert!((1_000_000..1_001_000).contains(&bytes), "{bytes}");
        for _ in 0..100 {
            let panics = || peak_bytes(|| panic!("on purpose"));
            assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        }
        assert_eq!(peak_bytes(|| ()).1, 0);
    }
}
