//! Types that a handler can't take or give, whatever serde says of them, found by the way they are written.
//! What only the compiler knows, such as a missing `Deserialize`, is the compiler's to report.

use syn::{GenericArgument, PathArguments, Type};

use crate::{Mistakes, schema};

/// Where a type stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Argument,
    Result,
}

/// Reports what is wrong with a type, and with the types within it.
pub(crate) fn check(ty: &Type, place: Place, mistakes: &mut Mistakes) {
    if let Some(text) = unfit(ty, place).or_else(|| unsized_(ty)) {
        mistakes.add(ty, text);
        return;
    }
    match ty {
        Type::Group(group) => check(&group.elem, place, mistakes),
        Type::Paren(paren) => check(&paren.elem, place, mistakes),
        Type::Array(array) => check(&array.elem, place, mistakes),
        Type::Tuple(tuple) => tuple.elems.iter().for_each(|ty| check(ty, place, mistakes)),
        Type::Path(path) => {
            for segment in &path.path.segments {
                let PathArguments::AngleBracketed(arguments) = &segment.arguments else { continue };
                let owns = ["Box", "Rc", "Arc", "Cow"].iter().any(|own| segment.ident == own);
                for argument in &arguments.args {
                    check_argument(argument, owns, place, mistakes);
                }
            }
        }
        _ => {}
    }
}

/// One between angle brackets; those of a type that `owns` what it points to need no size.
fn check_argument(argument: &GenericArgument, owns: bool, place: Place, mistakes: &mut Mistakes) {
    match argument {
        GenericArgument::Type(Type::Slice(slice)) if owns => check(&slice.elem, place, mistakes),
        GenericArgument::Type(ty) if owns && is_str(ty) => {}
        GenericArgument::Type(ty) => check(ty, place, mistakes),
        GenericArgument::Lifetime(lifetime) if lifetime.ident != "static" => {
            mistakes.add(lifetime, borrowed(place));
        }
        _ => {}
    }
}

fn unfit(ty: &Type, place: Place) -> Option<&'static str> {
    Some(match (ty, place) {
        (Type::Reference(_), place) => borrowed(place),
        (Type::ImplTrait(_), Place::Argument) => {
            "a handler can't be generic: its arguments come from outside"
        }
        (Type::ImplTrait(_), Place::Result) => "name the type that the handler returns",
        (Type::TraitObject(_), _) => {
            "nobody knows what type is behind `dyn`: name the type, or make an enum of yours"
        }
        (Type::BareFn(_), _) => "a function can't be sent: it has no JSON form",
        (Type::Ptr(_), _) => "a pointer means nothing outside of this call: use a value",
        (Type::Never(_), _) => "a handler that never returns never commits",
        (Type::Infer(_), _) => "name the type: it is what callers see",
        (Type::Path(path), _)
            if path.path.segments.first().is_some_and(|one| one.ident == "Self") =>
        {
            "an entity is not a value: name the type that is sent"
        }
        _ => return None,
    })
}

fn unsized_(ty: &Type) -> Option<&'static str> {
    match ty {
        Type::Slice(_) => Some("a slice has no size of its own: use `Vec<T>`"),
        ty if is_str(ty) => Some("`str` has no size of its own: use `String`"),
        _ => None,
    }
}

fn is_str(ty: &Type) -> bool {
    schema::last(ty).is_some_and(|last| last.ident == "str")
}

fn borrowed(place: Place) -> &'static str {
    match place {
        Place::Argument => "arguments come from outside: take an owned value, like `String`",
        Place::Result => "a handler returns an owned value: clone what you lend",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(ty: &str, place: Place) -> Vec<String> {
        let mut mistakes = Mistakes::default();
        check(&syn::parse_str(ty).expect(ty), place, &mut mistakes);
        mistakes.finish().err().into_iter().flatten().map(|one| one.to_string()).collect()
    }

    #[test]
    fn mistakes_are_found_at_any_depth() {
        for (ty, parts) in [
            ("Vec<Option<&str>>", &["owned value"][..]),
            ("Cow<'a, str>", &["owned value"]),
            ("str", &["`String`"]),
            ("(u8, [*const u8; 2], fn(u8))", &["pointer", "function"]),
            ("HashMap<String, Box<dyn Fn()>>", &["`dyn`"]),
            ("Vec<impl Copy>", &["generic"]),
            ("[u8]", &["slice"]),
            ("Vec<Box<[&u8]>>", &["owned value"]),
            ("Option<Self>", &["not a value"]),
            ("Vec<_>", &["what callers see"]),
            ("!", &["never commits"]),
        ] {
            let found = mistakes(ty, Place::Argument);
            assert_eq!(found.len(), parts.len(), "{ty}: {found:?}");
            for (message, part) in found.iter().zip(parts) {
                assert!(message.contains(part), "{ty}: {message:?} should speak of {part:?}");
            }
        }
        assert!(mistakes("Vec<&'static str>", Place::Result)[0].contains("clone"));
        assert!(mistakes("Vec<impl Copy>", Place::Result)[0].contains("name the type"));
    }

    #[test]
    fn owned_types_are_fine() {
        for ty in [
            "u8",
            "Vec<(String, [u8; 4])>",
            "shop::Order<'static>",
            "()",
            "Money<3>",
            "Cow<'static, str>",
            "Rc<[u8]>",
        ] {
            assert!(mistakes(ty, Place::Argument).is_empty(), "{ty}");
        }
    }
}
