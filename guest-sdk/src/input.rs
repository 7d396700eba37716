//! A handler's input: a JSON object of its arguments by name, read and written. What the macros call.
//! Each argument is decoded on its own, so that a mistake names it. Invariant: no argument is guessed:
//! unknown, repeated and missing ones are refused.

use std::fmt;

use serde::Serialize;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer as _, Error as _, MapAccess, Visitor,
};
use serde_json::value::RawValue;

use crate::{Bytes, Error, Result};

/// Reads the arguments of `input` into `slots`. An empty input stands for `{}`.
///
/// # Errors
/// A rejection with the code `invalid_input` that names the argument.
pub fn read(input: &[u8], slots: &mut [&mut dyn Slot]) -> Result<()> {
    let input = if input.trim_ascii().is_empty() { b"{}" } else { input };
    let mut problem = None;
    let mut json = serde_json::Deserializer::from_slice(input);
    let walk = Walk { slots: &mut *slots, problem: &mut problem };
    let walked = json.deserialize_map(walk).and_then(|()| json.end());
    if let Some(problem) = problem {
        return Err(Error::invalid_input(problem));
    }
    if let Err(error) = walked {
        let text = format!("the input is not a JSON object of arguments: {error}");
        return Err(Error::invalid_input(text));
    }
    for slot in slots {
        if !slot.settle() {
            let text = format!("argument `{}` is missing", slot.name());
            return Err(Error::invalid_input(text));
        }
    }
    Ok(())
}

/// The same for a reply handler. A reply comes once, so one that doesn't fit is no rejection, which nobody
/// would see, but becomes a dead letter that another version of the app may read.
///
/// # Errors
/// A failure worth another attempt, with the code `invalid_input`, that names the argument.
pub fn read_reply(input: &[u8], slots: &mut [&mut dyn Slot]) -> Result<()> {
    read(input, slots).map_err(Error::into_retryable)
}

/// The JSON object of these arguments.
///
/// # Panics
/// When a value has no JSON form, such as a map whose keys are not strings.
#[must_use]
pub fn object(arguments: &[(&str, &dyn Json)]) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (position, (name, value)) in arguments.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        let written = name.write(&mut out).and_then(|()| {
            out.push(b':');
            value.write(&mut out)
        });
        if let Err(error) = written {
            panic!("argument `{name}` has no JSON form: {error}");
        }
    }
    out.push(b'}');
    out
}

/// The input of a handler that takes bytes.
#[must_use]
pub fn bytes(body: impl Into<Bytes>) -> Vec<u8> {
    body.into().0
}

/// One argument of a handler, to be read.
#[derive(Debug)]
pub struct Arg<T> {
    name: &'static str,
    optional: bool,
    value: Option<T>,
}

impl<T> Arg<T> {
    /// An argument that has to be there.
    #[must_use]
    pub fn required(name: &'static str) -> Self {
        Self { name, optional: false, value: None }
    }

    /// An `Option` that is `None` when it is not there.
    #[must_use]
    pub fn optional(name: &'static str) -> Self {
        Self { name, optional: true, value: None }
    }

    /// Its value.
    ///
    /// # Panics
    /// Before [`read`] has succeeded.
    #[must_use]
    pub fn take(self) -> T {
        match self.value {
            Some(value) => value,
            None => panic!("argument `{}` was not read", self.name),
        }
    }
}

/// An [`Arg`] of any type.
pub trait Slot {
    /// The argument's name.
    fn name(&self) -> &'static str;
    /// Decodes the value; false when there is one already.
    fn fill(&mut self, json: &str) -> serde_json::Result<bool>;
    /// After the last argument: false when this one is missing.
    fn settle(&mut self) -> bool;
}

impl<T: DeserializeOwned> Slot for Arg<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn fill(&mut self, json: &str) -> serde_json::Result<bool> {
        if self.value.is_some() {
            return Ok(false);
        }
        self.value = Some(serde_json::from_str(json)?);
        Ok(true)
    }

    fn settle(&mut self) -> bool {
        if self.value.is_none() && self.optional {
            self.value = serde_json::from_str("null").ok();
        }
        self.value.is_some()
    }
}

/// Anything that serialises, of any type.
pub trait Json {
    /// Appends its JSON.
    fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()>;
}

impl<T: Serialize + ?Sized> Json for T {
    fn write(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        serde_json::to_writer(out, self)
    }
}

/// Walks the object's members. What is wrong with an argument goes to `problem`.
struct Walk<'w, 's> {
    slots: &'w mut [&'s mut dyn Slot],
    problem: &'w mut Option<String>,
}

impl<'de> Visitor<'de> for Walk<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        loop {
            let Some(found) = members.next_key_seed(Name(&*self.slots))? else { return Ok(()) };
            let slot = match found {
                Ok(position) => &mut self.slots[position],
                Err(unknown) => {
                    *self.problem = Some(unknown);
                    return Err(A::Error::custom("argument"));
                }
            };
            let filled = slot.fill(members.next_value::<&RawValue>()?.get());
            let name = slot.name();
            *self.problem = match filled {
                Ok(true) => continue,
                Ok(false) => Some(format!("argument `{name}` is given twice")),
                Err(error) => Some(format!("argument `{name}`: {}", without_position(&error))),
            };
            return Err(A::Error::custom("argument"));
        }
    }
}

/// Finds the slot of a member's name, or says what the handler takes.
struct Name<'n, 's>(&'n [&'s mut dyn Slot]);

impl<'de> DeserializeSeed<'de> for Name<'_, '_> {
    type Value = Result<usize, String>;

    fn deserialize<D: serde::Deserializer<'de>>(self, name: D) -> Result<Self::Value, D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_, '_> {
    type Value = Result<usize, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an argument's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        let position = self.0.iter().position(|slot| slot.name() == name);
        Ok(position.ok_or_else(|| {
            let names: Vec<_> = self.0.iter().map(|slot| format!("`{}`", slot.name())).collect();
            let takes = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            format!("unknown argument `{name}`; the handler takes {takes}")
        }))
    }
}

/// The error's text without a position, which would be one within the argument.
fn without_position(error: &serde_json::Error) -> String {
    let mut text = error.to_string();
    if let Some(at) = text.rfind(" at line ") {
        text.truncate(at);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transfer(input: &str) -> Result<(String, u64, Option<bool>)> {
        let mut to = Arg::<String>::required("to");
        let mut amount = Arg::<u64>::required("amount");
        let mut now = Arg::<Option<bool>>::optional("now");
        read(input.as_bytes(), &mut [&mut to, &mut amount, &mut now])?;
        Ok((to.take(), amount.take(), now.take()))
    }

    #[test]
    fn arguments_come_by_name_in_any_order() {
        let got = transfer(r#" {"amount":5,"\u0074o":"bob\n"} "#).expect("reads");
        assert_eq!(got, ("bob\n".to_owned(), 5, None));
        let got = transfer(r#"{"to":"","now":true,"amount":5}"#).expect("reads");
        assert_eq!(got, (String::new(), 5, Some(true)));
        assert_eq!(transfer(r#"{"to":"","now":null,"amount":5}"#).expect("reads").2, None);
    }

    #[test]
    fn mistakes_name_the_argument() {
        for (input, message) in [
            ("", "argument `to` is missing"),
            (r#"{"to":"bob"}"#, "argument `amount` is missing"),
            (
                r#"{"to":"bob","amount":"5"}"#,
                "argument `amount`: invalid type: string \"5\", expected u64",
            ),
            (
                r#"{"to":"bob","amount":-5}"#,
                "argument `amount`: invalid value: integer `-5`, expected u64",
            ),
            (
                r#"{"to":"bob","amount":5,"fee":1}"#,
                "unknown argument `fee`; the handler takes `to`, `amount`, `now`",
            ),
            (r#"{"to":"bob","amount":5,"to":"eve"}"#, "argument `to` is given twice"),
        ] {
            let error = transfer(input).expect_err(input);
            assert_eq!((error.code(), error.message()), ("invalid_input", message), "{input}");
            assert!(!error.is_retryable());
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for input in ["[1]", "5", "{", r#"{"to":"#, "{} {}", "nonsense", "\u{feff}{}"] {
            let error = transfer(input).expect_err(input);
            assert_eq!(error.code(), "invalid_input", "{input}");
            assert!(error.message().starts_with("the input is not a JSON object"), "{error:?}");
        }
        assert!(read(b"", &mut []).is_ok());
        let unknown = read(br#"{"x":1}"#, &mut []).expect_err("unknown");
        assert_eq!(unknown.message(), "unknown argument `x`; the handler takes none");
    }

    #[test]
    fn what_is_written_reads_back() {
        let input = object(&[("to", &"bob \"the\" ☃"), ("amount", &u64::MAX)]);
        let got = transfer(&String::from_utf8(input).expect("text")).expect("reads");
        assert_eq!(got, ("bob \"the\" ☃".to_owned(), u64::MAX, None));
        assert_eq!(object(&[]), b"{}");
    }
}
