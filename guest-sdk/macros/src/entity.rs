//! `#[entity]`: a struct's fields become state.

use std::collections::HashSet;

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::parse::Parser as _;
use syn::{Attribute, Fields, ItemStruct, LitInt, parse2};

use crate::fields::{Kind, StateField};
use crate::schema::Json;
use crate::{Mistakes, names};

/// The struct as it is, and its implementation of `Entity`.
pub(crate) fn expand(arguments: &TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let mut mistakes = Mistakes::default();
    let version = version(arguments, &mut mistakes);
    let mut item: ItemStruct = parse2(item).map_err(|error| {
        syn::Error::new(error.span(), "#[entity] goes on a struct: its fields are the state")
    })?;
    check(&item, &mut mistakes);
    let fields: Vec<_> =
        item.fields.iter().map(|field| StateField::read(field, &mut mistakes)).collect();
    let mut seen = HashSet::new();
    for field in fields.iter().filter(|field| !field.nameless) {
        if !seen.insert(&field.stored) {
            let text = format!("another field is stored as `{}` already", field.stored);
            mistakes.add(field.field, &text);
        }
    }
    mistakes.finish()?;

    let implementation = implementation(&item, version, &fields);
    // These attributes went to the structs in there; the author's struct derives nothing of serde.
    for field in &mut item.fields {
        field.attrs.retain(|attribute| !is_ours(attribute));
    }
    Ok(quote!(#item #implementation))
}

/// The `2` of `#[entity(version = 2)]`.
fn version(arguments: &TokenStream, mistakes: &mut Mistakes) -> Option<u32> {
    let mut version = None;
    let parser = syn::meta::parser(|meta| {
        if !meta.path.is_ident("version") || version.is_some() {
            return Err(meta.error("#[entity] takes `version = 2` or nothing"));
        }
        let number: LitInt = meta.value()?.parse()?;
        let value = number.base10_parse::<u32>()?;
        if value == 0 {
            return Err(syn::Error::new(number.span(), "versions count from 1"));
        }
        version = Some(value);
        Ok(())
    });
    if let Err(error) = parser.parse2(arguments.clone()) {
        mistakes.add_error(error);
    }
    version
}

fn check(item: &ItemStruct, mistakes: &mut Mistakes) {
    let generics = &item.generics;
    if !generics.params.is_empty() {
        mistakes.add(generics, "an entity can't be generic: its type's name stands for one type");
    }
    if let Fields::Unnamed(fields) = &item.fields {
        mistakes.add(fields, "an entity's fields have names: they are stored under them");
    }
    if let Some(text) = names::unfit(&names::snake_case(&item.ident)) {
        mistakes.add(&item.ident, &format!("an entity type's name, in snake_case, {text}"));
    }
    for attribute in item.attrs.iter().filter(|attribute| is_ours(attribute)) {
        mistakes.add(attribute, "these attributes go on the fields, one by one");
    }
}

fn implementation(
    item: &ItemStruct,
    version: Option<u32>,
    fields: &[StateField<'_>],
) -> TokenStream {
    let entity = &item.ident;
    let name = names::snake_case(entity);
    let (plain, lazy): (Vec<_>, Vec<_>) =
        fields.iter().partition(|field| field.kind == Kind::Plain);
    let has_plain = !plain.is_empty();
    let version = version.map(|version| quote!(const VERSION: u32 = #version;));
    let described: Vec<_> = fields.iter().filter_map(StateField::described).collect();
    let described = Json::text("{").then(Json::list(described)).then("}").pieces();
    let sagas = sagas(&lazy);
    let (structs, load, encode) = plain_state(&plain);
    let plain = plain.iter().map(|field| &field.field.ident);
    let lazy = lazy.iter().map(|field| {
        let (ident, ty, stored) = (&field.field.ident, &field.field.ty, &field.stored);
        quote!(#ident: <#ty>::field(#stored))
    });
    quote! {
        const _: () = {
            use ::keystead_sdk::__private::{serde, serde_json};

            #structs

            impl ::keystead_sdk::Entity for #entity {
                const TYPE: &'static str = #name;
                const PLAIN: bool = #has_plain;
                #version
                const FIELDS: ::keystead_sdk::schema::Shape = {
                    use ::keystead_sdk::schema::Anything as _;
                    #described
                };

                fn load(plain: &[u8]) -> serde_json::Result<Self> {
                    #load
                    ::core::result::Result::Ok(Self { #(#plain,)* #(#lazy),* })
                }

                fn plain(&self) -> serde_json::Result<::std::vec::Vec<u8>> {
                    #encode
                }

                #sagas
            }
        };
    }
}

/// The structs that serde reads and writes the plain fields with, and the code that uses them.
fn plain_state(plain: &[&StateField<'_>]) -> (TokenStream, TokenStream, TokenStream) {
    if plain.is_empty() {
        let nothing = quote!(::core::result::Result::Ok(::std::vec::Vec::new()));
        return (quote!(), quote!(let _ = plain;), nothing);
    }
    let idents: Vec<_> = plain.iter().map(|field| &field.field.ident).collect();
    let stored = plain.iter().map(|field| {
        let (serde, ident, ty) = (field.serde(), &field.field.ident, &field.field.ty);
        let default =
            (!field.has_default).then(|| quote_spanned!(crate::at(ty)=> #[serde(default)]));
        quote!(#(#serde)* #default #ident: #ty)
    });
    let borrowed = plain.iter().map(|field| {
        let (serde, ident, ty) = (field.serde(), &field.field.ident, &field.field.ty);
        quote!(#(#serde)* #ident: &'a #ty)
    });
    let structs = quote! {
        #[derive(serde::Deserialize)]
        #[serde(crate = "::keystead_sdk::__private::serde")]
        struct Stored { #(#stored),* }

        #[derive(serde::Serialize)]
        #[serde(crate = "::keystead_sdk::__private::serde")]
        struct Plain<'a> { #(#borrowed),* }
    };
    let load = quote!(let Stored { #(#idents),* } = serde_json::from_slice(plain)?;);
    let encode = quote!(serde_json::to_vec(&Plain { #(#idents: &self.#idents),* }));
    (structs, load, encode)
}

/// How a saga's replies find their field.
fn sagas(lazy: &[&StateField<'_>]) -> TokenStream {
    let sagas: Vec<_> = lazy.iter().filter(|field| field.kind == Kind::Saga).collect();
    if sagas.is_empty() {
        return quote!();
    }
    let arms = sagas.iter().map(|field| {
        let (ident, stored) = (&field.field.ident, &field.stored);
        quote!(#stored => ::core::option::Option::Some(&mut self.#ident))
    });
    quote! {
        const SAGAS: bool = true;

        fn saga(&mut self, field: &str) -> ::core::option::Option<&mut ::keystead_sdk::Saga> {
            match field {
                #(#arms,)*
                _ => ::core::option::Option::None,
            }
        }
    }
}

/// Whether the attribute is for the stored form: serde's or `#[state]`.
fn is_ours(attribute: &Attribute) -> bool {
    attribute.path().is_ident("serde") || attribute.path().is_ident("state")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(item: &str) -> Vec<String> {
        let error = expand(&TokenStream::new(), item.parse().expect("tokens")).expect_err(item);
        error.into_iter().map(|one| one.to_string()).collect()
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let found = mistakes("struct Account<T> { name: &'static str, #[serde(skip)] l: List<T> }");
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].contains("generic") && found[1].contains("owned"), "{found:?}");
        let found = mistakes(
            "#[serde(rename_all = \"x\")] struct Account {
                #[state(rename = \"b\")] a: u64,
                #[state(rename = \"b/c\")] b: Map<u8, u8>,
                #[state(name = \"b\")] c: Map<u8, u8>,
                #[state(rename = \"b\")] d: Map<u8, u8>,
                #[cfg(test)] e: u8,
                f: Option<Vec<List<u8>>>,
                #[serde(rename = \"f\")] g: u8,
                f2: List<Map<u8, u8>>,
            }",
        );
        let expected = [
            "one by one",
            "with `#[serde(rename",
            "`_` and `-`",
            "`_` and `-`",
            "no cfg",
            "`List<u8>` is a field of its own",
            "`Map<u8,u8>` is a field of its own",
            "stored as `b`",
            "stored as `f`",
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (message, part) in found.iter().zip(expected) {
            assert!(message.contains(part), "{message:?} should speak of {part:?}");
        }
        assert!(mistakes("struct Account(u64);")[0].contains("have names"));
        assert!(mistakes("enum Account { A }")[0].contains("goes on a struct"));
    }

    #[test]
    fn the_arguments_are_a_version_or_nothing() {
        let expand = |arguments: &str| {
            let item = "struct Account { a: u64 }".parse().expect("tokens");
            expand(&arguments.parse().expect("tokens"), item).map(|output| output.to_string())
        };
        assert!(!expand("").expect("expands").contains("VERSION"));
        assert!(expand("version = 7").expect("expands").contains("const VERSION : u32 = 7u32"));
        for (arguments, part) in [
            ("version = 0", "count from 1"),
            ("version = \"2\"", "integer"),
            ("version = 5000000000", "too large"),
            ("name = 2", "takes `version = 2`"),
            ("version = 2, version = 3", "takes `version = 2`"),
        ] {
            let error = expand(arguments).expect_err(arguments).to_string();
            assert!(error.contains(part), "{arguments}: {error}");
        }
    }

    #[test]
    fn the_expansion_keeps_the_struct_and_its_defaults() {
        let item =
            "pub struct Account { #[serde(default = \"one\")] a: u64, b: u64, c: Map<u8, u8> }";
        let output = expand(&TokenStream::new(), item.parse().expect("tokens")).expect("expands");
        let output = output.to_string();
        assert!(
            output.starts_with("pub struct Account { a : u64 , b : u64 , c : Map < u8 , u8 > }")
        );
        assert_eq!(output.matches("# [serde (default)]").count(), 1, "{output}");
        assert!(output.contains("c : < Map < u8 , u8 > > :: field (\"c\")"), "{output}");
    }
}
