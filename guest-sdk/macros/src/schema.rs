//! JSON Schema from the way a type is written: exact for the types of std that have an exact JSON form, `{}`
//! (anything) for all others. It errs on the side of accepting: serde has the last word.

use syn::{Expr, ExprLit, GenericArgument, Lit, PathArguments, PathSegment, Type};

/// The schema of a value of this type.
pub(crate) fn of(ty: &Type) -> String {
    match ty {
        Type::Group(group) => of(&group.elem),
        Type::Paren(paren) => of(&paren.elem),
        Type::Tuple(tuple) if tuple.elems.is_empty() => r#"{"type":"null"}"#.to_owned(),
        Type::Tuple(tuple) => {
            let items: Vec<_> = tuple.elems.iter().map(of).collect();
            let (items, len) = (items.join(","), tuple.elems.len());
            format!(
                r#"{{"type":"array","prefixItems":[{items}],"minItems":{len},"maxItems":{len}}}"#
            )
        }
        Type::Array(array) => {
            let items = of(&array.elem);
            match &array.len {
                Expr::Lit(ExprLit { lit: Lit::Int(len), .. }) => {
                    let len = len.base10_digits();
                    format!(
                        r#"{{"type":"array","items":{items},"minItems":{len},"maxItems":{len}}}"#
                    )
                }
                _ => array_of(&items),
            }
        }
        Type::Path(path) => path.path.segments.last().map_or_else(any, of_segment),
        _ => any(),
    }
}

/// The schema of a `Reply<T>` of this `T`.
pub(crate) fn of_reply(ty: &Type) -> String {
    let ok = of(ty);
    format!(
        r#"{{"type":"object","properties":{{"ok":{ok},"rejected":{{"type":"object"}},"failed":{{"type":"object"}}}},"minProperties":1,"maxProperties":1,"additionalProperties":false}}"#
    )
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

fn of_segment(segment: &PathSegment) -> String {
    let name = segment.ident.to_string();
    match (name.as_str(), arguments(segment).as_slice()) {
        ("bool", []) => r#"{"type":"boolean"}"#.to_owned(),
        ("f32" | "f64", []) => r#"{"type":"number"}"#.to_owned(),
        ("String" | "str", []) => r#"{"type":"string"}"#.to_owned(),
        ("char", []) => r#"{"type":"string","minLength":1,"maxLength":1}"#.to_owned(),
        ("Option", [some]) => match of(some).as_str() {
            "{}" => any(),
            some => format!(r#"{{"anyOf":[{some},{{"type":"null"}}]}}"#),
        },
        ("Bytes", []) => BASE64.to_owned(),
        ("Box" | "Rc" | "Arc" | "Cow", [inner]) => of(inner),
        ("Result", [value] | [value, _]) => of(value),
        ("Vec" | "VecDeque" | "BTreeSet" | "HashSet", [item]) => array_of(&of(item)),
        ("BTreeMap" | "HashMap", [_, value]) => {
            format!(r#"{{"type":"object","additionalProperties":{}}}"#, of(value))
        }
        (int, []) => integer(int).unwrap_or_else(any),
        _ => any(),
    }
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

fn array_of(items: &str) -> String {
    match items {
        "{}" => r#"{"type":"array"}"#.to_owned(),
        items => format!(r#"{{"type":"array","items":{items}}}"#),
    }
}

fn any() -> String {
    "{}".to_owned()
}

/// Bytes inside of JSON.
const BASE64: &str = r#"{"type":"string","contentEncoding":"base64"}"#;

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
            assert_eq!(of(&parsed), schema, "{ty}");
        }
    }

    #[test]
    fn other_types_may_be_anything() {
        for ty in ["Order", "Option<Order>", "u64<T>", "impl Fn()", "Option", "HashMap<K>"] {
            assert_eq!(of(&syn::parse_str(ty).expect(ty)), "{}", "{ty}");
        }
        let orders: Type = syn::parse_str("Vec<Order>").expect("type");
        assert_eq!(of(&orders), r#"{"type":"array"}"#);
    }
}
