//! serde's attributes, as far as they change the JSON of a type. Not all that serde knows: what is not known
//! here makes the type opaque. Invariant: an attribute is honoured exactly or the type is described as anything.

use proc_macro2::TokenStream;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Expr, LitStr, Token};

/// What serde's attributes say of a struct, an enum, a variant or a field.
#[derive(Debug, Default)]
pub(crate) struct Serde {
    pub(crate) rename: Option<String>,
    pub(crate) aliases: Vec<String>,
    pub(crate) rename_all: Option<Case>,
    pub(crate) rename_all_fields: Option<Case>,
    pub(crate) tag: Option<String>,
    pub(crate) content: Option<String>,
    pub(crate) is_untagged: bool,
    pub(crate) is_transparent: bool,
    pub(crate) denies_unknown: bool,
    /// Missing or left out at times.
    pub(crate) is_optional: bool,
    /// Neither read nor written.
    pub(crate) is_skipped: bool,
    pub(crate) is_flat: bool,
    /// Read or written by code of the author's.
    pub(crate) is_opaque: bool,
}

impl Serde {
    /// Reads the attributes. Mistakes in them are serde's to report.
    pub(crate) fn read(attributes: &[Attribute]) -> Self {
        let mut read = Self::default();
        let (mut skips_reading, mut skips_writing) = (false, false);
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
            let parsed = attribute.parse_nested_meta(|meta| {
                skips_reading |= meta.path.is_ident("skip_deserializing");
                skips_writing |= meta.path.is_ident("skip_serializing");
                read.argument(&meta)
            });
            read.is_opaque |= parsed.is_err();
        }
        read.is_optional |= skips_reading || skips_writing;
        read.is_skipped |= skips_reading && skips_writing;
        read
    }

    fn argument(&mut self, meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
        let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
        match name.as_str() {
            "rename" => self.rename = self.one_name(meta)?,
            "rename_all" => self.rename_all = self.one_case(meta)?,
            "rename_all_fields" => self.rename_all_fields = self.one_case(meta)?,
            "alias" => self.aliases.push(text(meta)?),
            "tag" => self.tag = Some(text(meta)?),
            "content" => self.content = Some(text(meta)?),
            "untagged" => self.is_untagged = true,
            "transparent" => self.is_transparent = true,
            "deny_unknown_fields" => self.denies_unknown = true,
            "flatten" => self.is_flat = true,
            "skip" => self.is_skipped = true,
            "default" | "skip_serializing_if" => {
                self.is_optional = true;
                pass_over(meta)?;
            }
            "skip_serializing" | "skip_deserializing" => {}
            "bound" | "borrow" | "crate" | "expecting" => pass_over(meta)?,
            _ => {
                self.is_opaque = true;
                pass_over(meta)?;
            }
        }
        Ok(())
    }

    /// A name that is the same both ways; other ones make the type opaque.
    fn one_name(&mut self, meta: &ParseNestedMeta<'_>) -> syn::Result<Option<String>> {
        if meta.input.peek(Token![=]) {
            return text(meta).map(Some);
        }
        let mut names = Vec::new();
        meta.parse_nested_meta(|side| {
            names.push(text(&side)?);
            Ok(())
        })?;
        match names.as_slice() {
            [one, other] if one == other => Ok(names.pop()),
            _ => {
                self.is_opaque = true;
                Ok(None)
            }
        }
    }

    fn one_case(&mut self, meta: &ParseNestedMeta<'_>) -> syn::Result<Option<Case>> {
        let name = self.one_name(meta)?;
        let case = name.as_deref().and_then(Case::of);
        self.is_opaque |= case.is_none();
        Ok(case)
    }
}

/// A way to write names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    Lower,
    Upper,
    Pascal,
    Camel,
    Snake,
    ScreamingSnake,
    Kebab,
    ScreamingKebab,
}

impl Case {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "lowercase" => Self::Lower,
            "UPPERCASE" => Self::Upper,
            "PascalCase" => Self::Pascal,
            "camelCase" => Self::Camel,
            "snake_case" => Self::Snake,
            "SCREAMING_SNAKE_CASE" => Self::ScreamingSnake,
            "kebab-case" => Self::Kebab,
            "SCREAMING-KEBAB-CASE" => Self::ScreamingKebab,
            _ => return None,
        })
    }

    /// A field's name, which is in snake_case, as serde writes it.
    pub(crate) fn field(self, name: &str) -> String {
        match self {
            Self::Lower | Self::Snake => name.to_owned(),
            Self::Upper | Self::ScreamingSnake => name.to_ascii_uppercase(),
            Self::Pascal => name.split('_').map(capitalised).collect(),
            Self::Camel => uncapitalised(&Self::Pascal.field(name)),
            Self::Kebab => name.replace('_', "-"),
            Self::ScreamingKebab => name.to_ascii_uppercase().replace('_', "-"),
        }
    }

    /// A variant's name, which is in PascalCase, as serde writes it.
    pub(crate) fn variant(self, name: &str) -> String {
        match self {
            Self::Pascal => name.to_owned(),
            Self::Lower => name.to_ascii_lowercase(),
            Self::Upper => name.to_ascii_uppercase(),
            Self::Camel => uncapitalised(name),
            Self::Snake => {
                let mut snake = String::new();
                for (at, letter) in name.char_indices() {
                    if at > 0 && letter.is_uppercase() {
                        snake.push('_');
                    }
                    snake.push(letter.to_ascii_lowercase());
                }
                snake
            }
            Self::ScreamingSnake => Self::Snake.variant(name).to_ascii_uppercase(),
            Self::Kebab => Self::Snake.variant(name).replace('_', "-"),
            Self::ScreamingKebab => Self::ScreamingSnake.variant(name).replace('_', "-"),
        }
    }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

fn uncapitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
}

fn text(meta: &ParseNestedMeta<'_>) -> syn::Result<String> {
    Ok(meta.value()?.parse::<LitStr>()?.value())
}

/// Reads an argument's value and forgets it.
fn pass_over(meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
    if meta.input.peek(Token![=]) {
        meta.value()?.parse::<Expr>()?;
    } else if meta.input.peek(syn::token::Paren) {
        let arguments;
        syn::parenthesized!(arguments in meta.input);
        arguments.parse::<TokenStream>()?;
    }
    Ok(())
}
