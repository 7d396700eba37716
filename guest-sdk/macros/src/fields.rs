//! A struct's fields as state: where each one is stored, how it is loaded, and what the describe document
//! says of it. Not the code that does it: that is `entity`.

use proc_macro2::TokenStream;
use quote::ToTokens as _;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Expr, Field, LitStr, Token, Type};

use crate::schema::Json;
use crate::{Mistakes, docs, names, schema};

/// How a field is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// In the one value of the plain fields.
    Plain,
    /// Loaded on touch.
    Map,
    List,
    Value,
    Activities,
    Reservations,
    Saga,
}

impl Kind {
    /// A type is one of the SDK's when it is written on its own, or with a path into keystead_sdk.
    /// `serde_json::Value` is a plain field.
    pub(crate) fn of(ty: &Type) -> Self {
        let Type::Path(path) = ty else { return Self::Plain };
        let Some(segment) = schema::last(ty) else { return Self::Plain };
        if path.path.segments.len() > 1 && path.path.segments[0].ident != "keystead_sdk" {
            return Self::Plain;
        }
        match (segment.ident.to_string().as_str(), schema::arguments(segment).len()) {
            ("Map", 2) => Self::Map,
            ("List", 1) => Self::List,
            ("Value", 1) => Self::Value,
            ("Activities", 1) => Self::Activities,
            ("Reservations", 1) => Self::Reservations,
            ("Saga", 0) => Self::Saga,
            _ => Self::Plain,
        }
    }

    /// As the describe document names it.
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Map => "map",
            Self::List => "list",
            Self::Value => "value",
            Self::Activities => "activities",
            Self::Reservations => "reservations",
            Self::Saga => "saga",
        }
    }
}

/// One field.
pub(crate) struct StateField<'f> {
    pub(crate) field: &'f Field,
    pub(crate) kind: Kind,
    /// The name it is stored under.
    pub(crate) stored: String,
    /// Whether the author says what a missing one is.
    pub(crate) has_default: bool,
    /// Its members stand among the others, or it is not stored: it has no name of its own.
    pub(crate) nameless: bool,
    /// serde writes it in a form of its own.
    any_form: bool,
}

impl<'f> StateField<'f> {
    /// Reads the field's attributes; what it finds wrong goes to `mistakes`.
    pub(crate) fn read(field: &'f Field, mistakes: &mut Mistakes) -> Self {
        let stored = field.ident.as_ref().map(names::plain).unwrap_or_default();
        let kind = Kind::of(&field.ty);
        let (has_default, nameless, any_form) = (false, false, false);
        let mut read = Self { field, kind, stored, has_default, nameless, any_form };
        for attribute in &field.attrs {
            read.attribute(attribute, mistakes);
        }
        read.check_type(mistakes);
        read
    }

    /// Its serde attributes.
    pub(crate) fn serde(&self) -> impl Iterator<Item = &'f Attribute> {
        self.field.attrs.iter().filter(|attribute| attribute.path().is_ident("serde"))
    }

    /// Its member of the describe document's `fields`; none when it has no name.
    pub(crate) fn described(&self) -> Option<Json> {
        if self.nameless {
            return None;
        }
        let arguments = schema::last(&self.field.ty).map(schema::arguments).unwrap_or_default();
        let (key, value) = match (self.kind, arguments.as_slice()) {
            (Kind::Plain, _) if self.any_form => (None, schema::any()),
            (Kind::Plain, _) => (None, schema::of(&self.field.ty)),
            (Kind::Map, [key, value]) => (Some(schema::of(key)), schema::of(value)),
            (_, [value]) => (None, schema::of(value)),
            _ => (None, schema::any()),
        };
        let (name, kind) = (docs::quoted(&self.stored), self.kind.name());
        let key = key.map(|key| Json::text(r#""key":"#).then(key).then(",")).unwrap_or_default();
        let start = format!(r#"{name}:{{"kind":"{kind}","#);
        Some(Json::text(start).then(key).then(r#""schema":"#).then(value).then("}"))
    }

    fn attribute(&mut self, attribute: &Attribute, mistakes: &mut Mistakes) {
        let path = attribute.path();
        if path.is_ident("cfg") || path.is_ident("cfg_attr") {
            mistakes
                .add(attribute, "state can't depend on how the crate is built: no cfg on a field");
        } else if path.is_ident("serde") && self.kind == Kind::Plain {
            // What serde does not understand it reports itself.
            let _ = attribute.parse_nested_meta(|meta| self.serde_argument(&meta));
        } else if path.is_ident("serde") {
            let text = "a field that is loaded on touch takes no serde attributes; \
                        `#[state(rename = \"…\")]` says where it is stored";
            mistakes.add(attribute, text);
        } else if path.is_ident("state") && self.kind == Kind::Plain {
            mistakes.add(attribute, "a plain field is renamed with `#[serde(rename = \"…\")]`");
        } else if path.is_ident("state") {
            match renamed(attribute) {
                Some(name) => self.stored = name,
                None => mistakes.add(
                    attribute,
                    "write `#[state(rename = \"name\")]`, of letters, digits, `_` and `-`",
                ),
            }
        }
    }

    fn serde_argument(&mut self, meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
        let is = |name: &str| meta.path.is_ident(name);
        if is("rename") && meta.input.peek(Token![=]) {
            self.stored = meta.value()?.parse::<LitStr>()?.value();
            return Ok(());
        }
        if is("rename") {
            return meta.parse_nested_meta(|side| {
                let name: LitStr = side.value()?.parse()?;
                if side.path.is_ident("serialize") {
                    self.stored = name.value();
                }
                Ok(())
            });
        }
        self.has_default |= is("default");
        self.nameless |= is("flatten") || is("skip") || is("skip_serializing");
        self.any_form |= is("with") || is("serialize_with") || is("getter");
        if meta.input.peek(Token![=]) {
            meta.value()?.parse::<Expr>()?;
        } else if meta.input.peek(syn::token::Paren) {
            let arguments;
            syn::parenthesized!(arguments in meta.input);
            arguments.parse::<TokenStream>()?;
        }
        Ok(())
    }

    fn check_type(&self, mistakes: &mut Mistakes) {
        let ty = &self.field.ty;
        if let Type::Reference(reference) = ty {
            mistakes.add(reference, "state is owned: a field can't be a reference");
        }
        let parts = schema::last(ty).map(schema::arguments).unwrap_or_default();
        if let Some(inner) = parts.into_iter().find_map(lazy_within) {
            let name = inner.to_token_stream().to_string().replace(' ', "");
            let text = format!("`{name}` is a field of its own: it has its own place in the state");
            mistakes.add(inner, &text);
        }
    }
}

/// The first type in there that is loaded on touch.
fn lazy_within(ty: &Type) -> Option<&Type> {
    if Kind::of(ty) != Kind::Plain {
        return Some(ty);
    }
    schema::last(ty).map(schema::arguments).unwrap_or_default().into_iter().find_map(lazy_within)
}

/// The name in `#[state(rename = "name")]`.
fn renamed(attribute: &Attribute) -> Option<String> {
    let mut name = None;
    let read = attribute.parse_nested_meta(|meta| {
        if !meta.path.is_ident("rename") {
            return Err(meta.error("only rename"));
        }
        name = Some(meta.value()?.parse::<LitStr>()?.value());
        Ok(())
    });
    let fits = |name: &String| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        !name.is_empty() && name.len() <= names::NAME_BYTES_MAX && name.bytes().all(plain)
    };
    read.ok().and(name).filter(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_sdks_types_are_loaded_on_touch() {
        for (ty, kind) in [
            ("Map<String, u64>", Kind::Map),
            ("keystead_sdk::state::List<u8>", Kind::List),
            ("Value<u64>", Kind::Value),
            ("Activities<u64>", Kind::Activities),
            ("Reservations<u64>", Kind::Reservations),
            ("Saga", Kind::Saga),
            ("keystead_sdk::Saga", Kind::Saga),
            ("norse::Saga", Kind::Plain),
            ("Value", Kind::Plain),
            ("serde_json::Value", Kind::Plain),
            ("serde_json::Map<String, Value>", Kind::Plain),
            ("Vec<u8>", Kind::Plain),
        ] {
            assert_eq!(Kind::of(&syn::parse_str(ty).expect(ty)), kind, "{ty}");
        }
    }

    #[test]
    fn fields_are_described_under_the_name_they_are_stored_under() {
        let item: syn::ItemStruct = syn::parse_str(
            "struct S {
                a: Option<bool>,
                #[serde(rename = \"b\\\"c\", default = \"one\")] b: u8,
                #[serde(rename(serialize = \"x\", deserialize = \"y\"), alias = \"z\")] c: bool,
                #[serde(with = \"own\")] d: bool,
                #[serde(flatten)] e: Rest,
                #[serde(skip)] f: Cache,
                #[state(rename = \"old\")] g: Map<(String, i64), bool>,
                r#type: Value<String>,
                h: Saga,
            }",
        )
        .expect("parses");
        let mut mistakes = Mistakes::default();
        let fields: Vec<_> =
            item.fields.iter().map(|field| StateField::read(field, &mut mistakes)).collect();
        mistakes.finish().expect("no mistakes");
        let described: Vec<_> = fields
            .iter()
            .filter_map(|field| field.described().map(|json| json.to_string()))
            .collect();
        assert_eq!(
            described,
            [
                r#""a":{"kind":"plain","schema":{"anyOf":[{"type":"boolean"},{"type":"null"}]}}"#,
                r#""b\"c":{"kind":"plain","schema":{"type":"integer","minimum":0,"maximum":255}}"#,
                r#""x":{"kind":"plain","schema":{"type":"boolean"}}"#,
                r#""d":{"kind":"plain","schema":{}}"#,
                concat!(
                    r#""old":{"kind":"map","key":{"type":"array","prefixItems":[{"type":"string"},"#,
                    r#"{"type":"integer"}],"minItems":2,"maxItems":2},"schema":{"type":"boolean"}}"#
                ),
                r#""type":{"kind":"value","schema":{"type":"string"}}"#,
                r#""h":{"kind":"saga","schema":{}}"#,
            ]
        );
        let defaults: Vec<_> = fields.iter().map(|field| field.has_default).collect();
        assert_eq!(defaults.iter().filter(|default| **default).count(), 1);
        assert!(defaults[1]);
    }
}
