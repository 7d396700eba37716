//! JSON Schema from the way a type is written: exact for the types of std that have an exact JSON form. All
//! others are asked for theirs when the author's crate compiles. It errs on the side of accepting: serde has
//! the last word.

use std::fmt;

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Expr, ExprLit, GenericArgument, Lit, PathArguments, PathSegment, Type};

/// JSON that holds the schemas of types that only the compiler knows.
#[derive(Clone, Default)]
pub(crate) struct Json(Vec<Part>);

#[derive(Clone)]
enum Part {
    Text(String),
    Of(Box<Type>),
}

impl Json {
    /// This text.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self(vec![Part::Text(text.into())])
    }

    /// The same, and this behind it.
    pub(crate) fn then(mut self, other: impl Into<Self>) -> Self {
        for part in other.into().0 {
            match (self.0.last_mut(), part) {
                (Some(Part::Text(before)), Part::Text(text)) => before.push_str(&text),
                (_, part) => self.0.push(part),
            }
        }
        self
    }

    /// All of these with commas between them.
    pub(crate) fn list(all: impl IntoIterator<Item = Self>) -> Self {
        let comma = |list: Self, next: Self| list.then(",").then(next);
        all.into_iter().reduce(comma).unwrap_or_default()
    }

    /// The text, when it holds no type's schema.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// An expression of a constant of the type `keystead_sdk::schema::Shape`. It needs
    /// `keystead_sdk::schema::Anything` in scope.
    pub(crate) fn pieces(&self) -> TokenStream {
        let pieces = self.0.iter().map(|part| match part {
            Part::Text(text) => quote!(::keystead_sdk::schema::Piece::Text(#text)),
            Part::Of(ty) => {
                quote_spanned!(crate::at(ty)=> ::keystead_sdk::schema::Probe::<#ty>::PIECE)
            }
        });
        quote!(&[#(#pieces),*])
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            match part {
                Part::Text(text) => f.write_str(text)?,
                Part::Of(ty) => write!(f, "<{}>", quote!(#ty))?,
            }
        }
        Ok(())
    }
}

/// The schema of a value of this type.
pub(crate) fn of(ty: &Type) -> Json {
    match ty {
        Type::Group(group) => of(&group.elem),
        Type::Paren(paren) => of(&paren.elem),
        Type::Tuple(tuple) if tuple.elems.is_empty() => Json::text(r#"{"type":"null"}"#),
        Type::Tuple(tuple) => of_tuple(tuple.elems.iter().map(of).collect()),
        Type::Array(array) => {
            let items = of(&array.elem);
            match &array.len {
                Expr::Lit(ExprLit { lit: Lit::Int(len), .. }) => {
                    let len = len.base10_digits();
                    Json::text(r#"{"type":"array","items":"#)
                        .then(items)
                        .then(format!(r#","minItems":{len},"maxItems":{len}}}"#))
                }
                _ => array_of(items),
            }
        }
        Type::Path(path) => {
            let known = path.path.segments.last().and_then(of_segment);
            known.unwrap_or_else(|| Json(vec![Part::Of(Box::new(ty.clone()))]))
        }
        _ => any(),
    }
}

/// The schema of values one after the other.
pub(crate) fn of_tuple(items: Vec<Json>) -> Json {
    let len = items.len();
    Json::text(r#"{"type":"array","prefixItems":["#)
        .then(Json::list(items))
        .then(format!(r#"],"minItems":{len},"maxItems":{len}}}"#))
}

/// The schema of a `Reply<T>` of this `T`.
pub(crate) fn of_reply(ty: &Type) -> Json {
    Json::text(r#"{"type":"object","properties":{"ok":"#).then(of(ty)).then(concat!(
        r#","rejected":{"type":"object"},"failed":{"type":"object"}},"#,
        r#""minProperties":1,"maxProperties":1,"additionalProperties":false}"#
    ))
}

/// The schema of whatever there is.
pub(crate) fn any() -> Json {
    Json::text("{}")
}

/// The `T` of a `Reply<T>`.
pub(crate) fn reply(ty: &Type) -> Option<&Type> {
    let segment = last(ty).filter(|segment| segment.ident == "Reply")?;
    match arguments(segment).as_slice() {
        [value] => Some(value),
        _ => None,
    }
}

/// Whether this is an `Option`, which an input may leave out.
pub(crate) fn is_option(ty: &Type) -> bool {
    last(ty).is_some_and(|segment| segment.ident == "Option")
}

/// Whether this is the SDK's `Bytes`.
pub(crate) fn is_bytes(ty: &Type) -> bool {
    last(ty).is_some_and(|segment| segment.ident == "Bytes")
}

/// The `T` of a `Result<T>` or `Result<T, E>`; the type itself when it is none.
pub(crate) fn success(ty: &Type) -> &Type {
    match last(ty) {
        Some(segment) if segment.ident == "Result" => {
            arguments(segment).first().copied().unwrap_or(ty)
        }
        _ => ty,
    }
}

/// The last segment of a type's path.
pub(crate) fn last(ty: &Type) -> Option<&PathSegment> {
    match ty {
        Type::Group(group) => last(&group.elem),
        Type::Paren(paren) => last(&paren.elem),
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

/// The types between its angle brackets.
pub(crate) fn arguments(segment: &PathSegment) -> Vec<&Type> {
    let PathArguments::AngleBracketed(angle) = &segment.arguments else { return Vec::new() };
    let types = angle.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    });
    types.collect()
}

/// None for a type that is not of std, as far as its name tells.
fn of_segment(segment: &PathSegment) -> Option<Json> {
    let name = segment.ident.to_string();
    Some(match (name.as_str(), arguments(segment).as_slice()) {
        ("bool", []) => Json::text(r#"{"type":"boolean"}"#),
        ("f32" | "f64", []) => Json::text(r#"{"type":"number"}"#),
        ("String" | "str", []) => Json::text(r#"{"type":"string"}"#),
        ("char", []) => Json::text(r#"{"type":"string","minLength":1,"maxLength":1}"#),
        ("Bytes", []) => Json::text(r#"{"type":"string","contentEncoding":"base64"}"#),
        ("Option", [some]) => match of(some) {
            some if some.as_text() == Some("{}") => any(),
            some => Json::text(r#"{"anyOf":["#).then(some).then(r#",{"type":"null"}]}"#),
        },
        ("Box" | "Rc" | "Arc" | "Cow", [inner]) => of(inner),
        ("Result", [value] | [value, _]) => of(value),
        ("Vec" | "VecDeque" | "BTreeSet" | "HashSet", [item]) => array_of(of(item)),
        ("BTreeMap" | "HashMap", [_, value]) => {
            Json::text(r#"{"type":"object","additionalProperties":"#).then(of(value)).then("}")
        }
        (int, []) => Json::text(integer(int)?),
        _ => return None,
    })
}

/// Guests have 32-bit pointers, whatever the macro runs on.
fn integer(name: &str) -> Option<String> {
    let (min, max) = match name {
        "u8" => (Some(0), Some(i64::from(u8::MAX))),
        "u16" => (Some(0), Some(i64::from(u16::MAX))),
        "u32" | "usize" => (Some(0), Some(i64::from(u32::MAX))),
        "u64" | "u128" => (Some(0), None),
        "i8" => (Some(i64::from(i8::MIN)), Some(i64::from(i8::MAX))),
        "i16" => (Some(i64::from(i16::MIN)), Some(i64::from(i16::MAX))),
        "i32" | "isize" => (Some(i64::from(i32::MIN)), Some(i64::from(i32::MAX))),
        "i64" | "i128" => (None, None),
        _ => return None,
    };
    let min = min.map(|min| format!(r#","minimum":{min}"#)).unwrap_or_default();
    let max = max.map(|max| format!(r#","maximum":{max}"#)).unwrap_or_default();
    Some(format!(r#"{{"type":"integer"{min}{max}}}"#))
}

fn array_of(items: Json) -> Json {
    if items.as_text() == Some("{}") {
        return Json::text(r#"{"type":"array"}"#);
    }
    Json::text(r#"{"type":"array","items":"#).then(items).then("}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_std_have_exact_schemas() {
        for (ty, schema) in [
            ("u64", r#"{"type":"integer","minimum":0}"#),
            ("u8", r#"{"type":"integer","minimum":0,"maximum":255}"#),
            ("i32", r#"{"type":"integer","minimum":-2147483648,"maximum":2147483647}"#),
            ("i64", r#"{"type":"integer"}"#),
            ("std::string::String", r#"{"type":"string"}"#),
            ("()", r#"{"type":"null"}"#),
            ("Option<bool>", r#"{"anyOf":[{"type":"boolean"},{"type":"null"}]}"#),
            ("Vec<f64>", r#"{"type":"array","items":{"type":"number"}}"#),
            (
                "[u8; 4]",
                r#"{"type":"array","items":{"type":"integer","minimum":0,"maximum":255},"minItems":4,"maxItems":4}"#,
            ),
            (
                "(String, i64)",
                r#"{"type":"array","prefixItems":[{"type":"string"},{"type":"integer"}],"minItems":2,"maxItems":2}"#,
            ),
            (
                "BTreeMap<String, Vec<bool>>",
                r#"{"type":"object","additionalProperties":{"type":"array","items":{"type":"boolean"}}}"#,
            ),
            ("Result<u64>", r#"{"type":"integer","minimum":0}"#),
            ("Result<(), MyError>", r#"{"type":"null"}"#),
        ] {
            let parsed: Type = syn::parse_str(ty).expect(ty);
            assert_eq!(of(&parsed).to_string(), schema, "{ty}");
        }
    }

    #[test]
    fn other_types_are_asked_for_theirs() {
        for (ty, schema) in [
            ("Order", "<Order>"),
            ("shop::Order<u8>", "<shop :: Order < u8 >>"),
            ("Option<Order>", r#"{"anyOf":[<Order>,{"type":"null"}]}"#),
            ("Vec<Order>", r#"{"type":"array","items":<Order>}"#),
            ("HashMap<K>", "<HashMap < K >>"),
            ("impl Fn()", "{}"),
            ("Option<fn()>", "{}"),
            ("Vec<fn()>", r#"{"type":"array"}"#),
        ] {
            assert_eq!(of(&syn::parse_str(ty).expect(ty)).to_string(), schema, "{ty}");
        }
        let orders = of(&syn::parse_str("(u8, Order)").expect("type"));
        let pieces = orders.pieces().to_string().replace(' ', "");
        assert!(pieces.contains("schema::Probe::<Order>::PIECE"), "{pieces}");
        assert_eq!(pieces.matches("Piece::Text").count(), 2, "{pieces}");
    }
}
