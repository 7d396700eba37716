//! What hostile components do and how each one ends, a row each. A row says how the component is made, and where
//! the host must stop it: at its deploy or in its call, with which code, and whether another attempt could help.

mod bombs;
mod boundary;
mod documents;
mod floods;
mod running;
mod values;

/// One attack.
pub(crate) struct Attack {
    /// What it does.
    pub(crate) name: &'static str,
    /// Makes the component.
    pub(crate) make: fn() -> Vec<u8>,
    /// Makes what it is called with.
    pub(crate) input: fn() -> String,
    /// How it must end.
    pub(crate) ends: Ends,
}

/// How an attack ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ends {
    /// The deploy is refused with this status, code and words.
    Refused(u16, &'static str, &'static str),
    /// It is deployed; each call ends with this status, code, answer to `retryable`, and words.
    Fails(u16, &'static str, bool, &'static str),
    /// It is deployed and does itself no good, or what it does is allowed: calls are answered with this status.
    Answers(u16),
    /// It is deployed; its calls run into their deadline or into the limit with these words, whichever is first on
    /// this machine.
    Stopped(&'static str),
}

/// A fault that the same call would meet again.
const fn misuse(words: &'static str) -> Ends {
    Ends::Fails(500, "handler_trapped", false, words)
}

/// A trap that a fresh instance, or other state, might not meet.
const fn trapped(words: &'static str) -> Ends {
    Ends::Fails(500, "handler_trapped", true, words)
}

const fn late() -> Ends {
    Ends::Fails(504, "deadline_exceeded", true, "deadline")
}

const fn bad(words: &'static str) -> Ends {
    Ends::Refused(422, "bad_component", words)
}

const fn too_large(words: &'static str) -> Ends {
    Ends::Refused(413, "too_large", words)
}

const fn row(name: &'static str, ends: Ends, make: fn() -> Vec<u8>) -> Attack {
    Attack { name, make, input: || "{}".into(), ends }
}

/// One whose client is in league with it.
const fn called(
    name: &'static str,
    ends: Ends,
    make: fn() -> Vec<u8>,
    input: fn() -> String,
) -> Attack {
    Attack { name, make, input, ends }
}

/// All of them.
pub(crate) fn all() -> Vec<Attack> {
    let mut all = vec![running::rows(), floods::rows(), values::rows(), boundary::rows()];
    all.extend([documents::rows(), bombs::rows()]);
    if std::env::var_os("KEYSTEAD_HOSTILE_LONG").is_some() {
        all.push(bombs::long_rows());
    }
    all.into_iter().flatten().collect()
}
