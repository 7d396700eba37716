//! `#[entity]`: a struct's fields become state.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Attribute, Field, Fields, ItemStruct, Type, parse2};

use crate::{Mistakes, names, schema};

/// The struct as it is, and its implementation of `Entity`.
pub(crate) fn expand(arguments: &TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let mut mistakes = Mistakes::default();
    if !arguments.is_empty() {
        mistakes.add(arguments, "#[entity] takes no arguments");
    }
    let mut item: ItemStruct = parse2(item).map_err(|error| {
        syn::Error::new(error.span(), "#[entity] goes on a struct: its fields are the state")
    })?;
    check(&item, &mut mistakes);
    mistakes.finish()?;

    let implementation = implementation(&item);
    // serde's attributes went to the structs in there; the author's struct derives nothing of serde.
    for field in &mut item.fields {
        field.attrs.retain(|attribute| !is_serde(attribute));
    }
    Ok(quote!(#item #implementation))
}

fn check(item: &ItemStruct, mistakes: &mut Mistakes) {
    let generics = &item.generics;
    if !generics.params.is_empty() {
        mistakes.add(generics, "an entity can't be generic: its type's name stands for one type");
    }
    if let Fields::Unnamed(fields) = &item.fields {
        mistakes.add(fields, "an entity's fields have names: they are stored under them");
    }
    if names::snake_case(&item.ident).len() > names::NAME_BYTES_MAX {
        mistakes.add(&item.ident, "an entity type's name has at most 64 bytes in snake_case");
    }
    for field in &item.fields {
        if let Type::Reference(reference) = &field.ty {
            mistakes.add(reference, "state is owned: a field can't be a reference");
        }
        if is_lazy(&field.ty) {
            for attribute in field.attrs.iter().filter(|attribute| is_serde(attribute)) {
                mistakes.add(attribute, "Map, List and Value fields take no serde attributes");
            }
        }
    }
}

fn implementation(item: &ItemStruct) -> TokenStream {
    let entity = &item.ident;
    let name = names::snake_case(entity);
    let (lazy, plain): (Vec<&Field>, Vec<&Field>) =
        item.fields.iter().partition(|field| is_lazy(&field.ty));
    let has_plain = !plain.is_empty();
    let stored = plain.iter().map(|field| {
        let (serde, ident, ty) = (serde_attributes(field), &field.ident, &field.ty);
        let default = (!has_default(field)).then(|| quote!(#[serde(default)]));
        quote!(#(#serde)* #default #ident: #ty)
    });
    let borrowed = plain.iter().map(|field| {
        let (serde, ident, ty) = (serde_attributes(field), &field.ident, &field.ty);
        quote!(#(#serde)* #ident: &'a #ty)
    });
    let plain: Vec<_> = plain.iter().map(|field| &field.ident).collect();
    let lazy = lazy.iter().map(|field| {
        let (ident, ty) = (&field.ident, &field.ty);
        let name = ident.as_ref().map(names::plain);
        quote!(#ident: <#ty>::field(#name))
    });
    let used = if has_plain {
        quote! {
            let Stored { #(#plain),* } = serde_json::from_slice(plain)?;
        }
    } else {
        quote!(let _ = plain;)
    };
    let (stored, plain_struct, borrowed_value) = if has_plain {
        (
            quote! {
                #[derive(serde::Deserialize)]
                #[serde(crate = "::keystead_sdk::__private::serde")]
                struct Stored { #(#stored),* }
            },
            quote! {
                #[derive(serde::Serialize)]
                #[serde(crate = "::keystead_sdk::__private::serde")]
                struct Plain<'a> { #(#borrowed),* }
            },
            quote!(serde_json::to_vec(&Plain { #(#plain: &self.#plain),* })),
        )
    } else {
        (quote!(), quote!(), quote!(::core::result::Result::Ok(::std::vec::Vec::new())))
    };
    quote! {
        const _: () = {
            use ::keystead_sdk::__private::{serde, serde_json};

            #stored
            #plain_struct

            impl ::keystead_sdk::Entity for #entity {
                const TYPE: &'static str = #name;
                const PLAIN: bool = #has_plain;

                fn load(plain: &[u8]) -> serde_json::Result<Self> {
                    #used
                    ::core::result::Result::Ok(Self { #(#plain,)* #(#lazy),* })
                }

                fn plain(&self) -> serde_json::Result<::std::vec::Vec<u8>> {
                    #borrowed_value
                }
            }
        };
    }
}

/// Whether a field is loaded on touch: written `Map<K, V>`, `List<T>` or `Value<T>`, on its own or with a
/// path into keystead_sdk. `serde_json::Value` is a plain field.
fn is_lazy(ty: &Type) -> bool {
    let Some(segment) = schema::last(ty) else { return false };
    let Type::Path(path) = ty else { return false };
    let own = path.path.segments.len() == 1 || path.path.segments[0].ident == "keystead_sdk";
    let arguments = schema::arguments(segment).len();
    own && match segment.ident.to_string().as_str() {
        "Map" => arguments == 2,
        "List" | "Value" => arguments == 1,
        _ => false,
    }
}

fn is_serde(attribute: &Attribute) -> bool {
    attribute.path().is_ident("serde")
}

fn serde_attributes(field: &Field) -> Vec<&Attribute> {
    field.attrs.iter().filter(|attribute| is_serde(attribute)).collect()
}

/// Whether the author says what a missing field is.
fn has_default(field: &Field) -> bool {
    let says_default =
        |attribute: &&Attribute| attribute.meta.to_token_stream().to_string().contains("default");
    serde_attributes(field).iter().any(says_default)
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
        assert!(mistakes("struct Account(u64);")[0].contains("have names"));
        assert!(mistakes("enum Account { A }")[0].contains("goes on a struct"));
    }

    #[test]
    fn only_the_sdks_types_are_loaded_on_touch() {
        for (ty, lazy) in [
            ("Map<String, u64>", true),
            ("keystead_sdk::state::List<u8>", true),
            ("Value<u64>", true),
            ("Value", false),
            ("serde_json::Value", false),
            ("serde_json::Map<String, Value>", false),
            ("Vec<u8>", false),
        ] {
            assert_eq!(is_lazy(&syn::parse_str(ty).expect(ty)), lazy, "{ty}");
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
