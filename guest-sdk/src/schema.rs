//! JSON Schemas of handlers' arguments, results and fields, for the describe document. They are constants made
//! of pieces, so that a component carries data and no code for them. Invariant: a schema accepts what serde
//! accepts and writes; what is not known for sure is `{}`, anything.

use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::{Bytes, CallbackToken, EntityRef, MessageId, PendingTimer, Timestamp};

/// A type whose values have a known JSON Schema. `#[derive(Schema)]` on a struct or enum that serde reads and
/// writes makes one of its fields and serde attributes; a type without it works too, and is described as
/// anything.
///
/// ```
/// use keystead_sdk::prelude::*;
/// use serde::{Deserialize, Serialize};
///
/// /// One line of an order.
/// #[derive(Serialize, Deserialize, Schema)]
/// pub struct Line {
///     item: String,
///     #[serde(default)]
///     gift: bool,
/// }
///
/// #[entity]
/// pub struct Order { lines: Vec<Line> }
///
/// #[handlers]
/// impl Order {
///     pub fn add(&mut self, line: Line) { self.lines.push(line); }
/// }
///
/// # use keystead_sdk::{EntityType, describe};
/// # let document = describe(&[EntityType::of::<Order>()]);
/// # assert!(document.contains(concat!(
/// #     r#""line":{"title":"Line","description":"One line of an order.","type":"object","#,
/// #     r#""properties":{"item":{"type":"string"},"gift":{"type":"boolean"}},"required":["item"]}"#
/// # )), "{document}");
/// ```
pub trait Schema: 'static {
    /// The schema.
    const SHAPE: Shape;
}

/// A schema's JSON, in pieces.
pub type Shape = &'static [Piece];

/// A piece of a schema's JSON.
#[derive(Debug, Clone, Copy)]
pub enum Piece {
    /// As it is.
    Text(&'static str),
    /// The schema of another type: a function, because types may contain themselves.
    Of(fn() -> (TypeId, Shape)),
}

impl Piece {
    /// The schema of `T`.
    #[must_use]
    pub const fn of<T: Schema>() -> Self {
        Self::Of(|| (TypeId::of::<T>(), T::SHAPE))
    }
}

/// Asks whether a type has a schema: `Probe::<T>::PIECE` is `T`'s where it has one, because the inherent
/// constant wins, and [`Anything`]'s where it has none. What the macros call.
#[doc(hidden)]
#[derive(Debug)]
pub struct Probe<T: ?Sized>(PhantomData<T>);

impl<T: Schema> Probe<T> {
    /// Its schema.
    pub const PIECE: Piece = Piece::of::<T>();
}

/// The schema of what has none.
#[doc(hidden)]
pub trait Anything {
    /// Anything.
    const PIECE: Piece = Piece::Text("{}");
}

impl<T: ?Sized> Anything for Probe<T> {}

/// Appends the schema's JSON. A type within itself is anything.
pub(crate) fn write(shape: Shape, out: &mut String) {
    write_within(shape, &mut Vec::new(), out);
}

fn write_within(shape: Shape, within: &mut Vec<TypeId>, out: &mut String) {
    for piece in shape {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Of(other) => {
                let (id, shape) = other();
                if within.contains(&id) {
                    out.push_str("{}");
                    continue;
                }
                within.push(id);
                write_within(shape, within, out);
                within.pop();
            }
        }
    }
}

macro_rules! schemas {
    ($($ty:ty => $json:expr),* $(,)?) => {$(
        impl Schema for $ty {
            const SHAPE: Shape = &[Piece::Text($json)];
        }
    )*};
}

// Guests have 32-bit pointers, whatever this runs on.
schemas! {
    () => r#"{"type":"null"}"#,
    bool => r#"{"type":"boolean"}"#,
    f32 => r#"{"type":"number"}"#,
    f64 => r#"{"type":"number"}"#,
    u8 => r#"{"type":"integer","minimum":0,"maximum":255}"#,
    u16 => r#"{"type":"integer","minimum":0,"maximum":65535}"#,
    u32 => r#"{"type":"integer","minimum":0,"maximum":4294967295}"#,
    usize => r#"{"type":"integer","minimum":0,"maximum":4294967295}"#,
    u64 => r#"{"type":"integer","minimum":0}"#,
    u128 => r#"{"type":"integer","minimum":0}"#,
    i8 => r#"{"type":"integer","minimum":-128,"maximum":127}"#,
    i16 => r#"{"type":"integer","minimum":-32768,"maximum":32767}"#,
    i32 => r#"{"type":"integer","minimum":-2147483648,"maximum":2147483647}"#,
    isize => r#"{"type":"integer","minimum":-2147483648,"maximum":2147483647}"#,
    i64 => r#"{"type":"integer"}"#,
    i128 => r#"{"type":"integer"}"#,
    char => r#"{"type":"string","minLength":1,"maxLength":1}"#,
    String => r#"{"type":"string"}"#,
    Duration => concat!(
        r#"{"type":"object","properties":{"secs":{"type":"integer","minimum":0},"#,
        r#""nanos":{"type":"integer","minimum":0,"maximum":4294967295}},"required":["secs","nanos"]}"#,
    ),
    Bytes => r#"{"type":"string","contentEncoding":"base64"}"#,
    CallbackToken => r#"{"type":"string"}"#,
    MessageId => r#"{"type":"string"}"#,
    Timestamp => r#"{"type":"integer","minimum":0}"#,
    EntityRef => concat!(
        r#"{"title":"EntityRef","type":"object","properties":{"kind":{"type":"string"},"#,
        r#""key":{"type":"string"}},"required":["kind","key"]}"#,
    ),
    PendingTimer => concat!(
        r#"{"title":"PendingTimer","type":"object","properties":{"name":{"type":"string"},"#,
        r#""handler":{"type":"string"},"due":{"type":"integer","minimum":0}},"#,
        r#""required":["name","handler","due"]}"#,
    ),
}

macro_rules! lists {
    ($($list:ident),*) => {$(
        impl<T: Schema> Schema for $list<T> {
            const SHAPE: Shape = &[
                Piece::Text(r#"{"type":"array","items":"#),
                Piece::of::<T>(),
                Piece::Text("}"),
            ];
        }
    )*};
}

lists!(Vec, VecDeque, BTreeSet);

impl<T: Schema, S: 'static> Schema for HashSet<T, S> {
    const SHAPE: Shape = Vec::<T>::SHAPE;
}

impl<K: 'static, V: Schema> Schema for BTreeMap<K, V> {
    const SHAPE: Shape = &[
        Piece::Text(r#"{"type":"object","additionalProperties":"#),
        Piece::of::<V>(),
        Piece::Text("}"),
    ];
}

impl<K: 'static, V: Schema, S: 'static> Schema for HashMap<K, V, S> {
    const SHAPE: Shape = BTreeMap::<K, V>::SHAPE;
}

impl<T: Schema> Schema for Option<T> {
    const SHAPE: Shape =
        &[Piece::Text(r#"{"anyOf":["#), Piece::of::<T>(), Piece::Text(r#",{"type":"null"}]}"#)];
}

impl<T: Schema> Schema for Box<T> {
    const SHAPE: Shape = T::SHAPE;
}

impl<T: Schema> Schema for Rc<T> {
    const SHAPE: Shape = T::SHAPE;
}

impl<T: Schema> Schema for Arc<T> {
    const SHAPE: Shape = T::SHAPE;
}
