//! `#[data]`: an author's own struct or enum becomes a value of arguments, results and state. It only adds the
//! derives that a reader could have typed, from this crate's serde. Invariant: what the author derives stays theirs.

use proc_macro2::TokenStream;
use quote::quote;
use syn::punctuated::Punctuated;
use syn::{DeriveInput, Path, Token, parse2};

use crate::Mistakes;

/// The item with what it derives.
pub(crate) fn expand(arguments: &TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let mut mistakes = Mistakes::default();
    if !arguments.is_empty() {
        mistakes.add(arguments, "#[data] takes no arguments");
    }
    let item: DeriveInput = parse2(item).map_err(|error| {
        syn::Error::new(
            error.span(),
            "#[data] goes on a struct or an enum: a value with a JSON form",
        )
    })?;
    mistakes.finish()?;
    let own = derived(&item)?;
    let missing = [
        ("Debug", quote!(::core::fmt::Debug)),
        ("Clone", quote!(::core::clone::Clone)),
        ("PartialEq", quote!(::core::cmp::PartialEq)),
        ("Serialize", quote!(::keystead_sdk::__private::serde::Serialize)),
        ("Deserialize", quote!(::keystead_sdk::__private::serde::Deserialize)),
        ("Schema", quote!(::keystead_sdk::Schema)),
    ];
    let missing = missing.into_iter().filter(|(name, _)| !own.iter().any(|own| own == name));
    let derives = missing.map(|(_, path)| path);
    Ok(quote! {
        #[derive(#(#derives),*)]
        #[serde(crate = "::keystead_sdk::__private::serde")]
        #item
    })
}

/// What the author derives already.
fn derived(item: &DeriveInput) -> syn::Result<Vec<String>> {
    let mut names = Vec::new();
    for attribute in item.attrs.iter().filter(|attribute| attribute.path().is_ident("derive")) {
        let paths = attribute.parse_args_with(Punctuated::<Path, Token![,]>::parse_terminated)?;
        let last = |path: &Path| path.segments.last().map(|segment| segment.ident.to_string());
        names.extend(paths.iter().filter_map(last));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(item: &str) -> syn::Result<String> {
        Ok(expand(&TokenStream::new(), item.parse().expect("tokens"))?.to_string())
    }

    #[test]
    fn what_the_author_derives_is_not_derived_again() {
        let all = expanded("pub struct Line { item: String }").expect("expands");
        for name in ["Debug", "Clone", "PartialEq", "Serialize", "Deserialize", "Schema"] {
            assert_eq!(all.matches(&format!(":: {name}")).count(), 1, "{name}: {all}");
        }
        let some =
            "#[derive(Clone, Copy, std::fmt::Debug)] #[derive(Default)] enum Size { #[default] S }";
        let some = expanded(some).expect("expands");
        assert!(
            !some.contains("clone :: Clone") && !some.contains("core :: fmt :: Debug"),
            "{some}"
        );
        assert!(some.contains("cmp :: PartialEq") && some.contains("enum Size"), "{some}");
    }

    #[test]
    fn only_types_are_data() {
        for item in ["fn f() {}", "impl Line {}", "type Line = u8;"] {
            let error = expanded(item).expect_err(item).to_string();
            assert!(error.contains("struct or an enum"), "{error}");
        }
        let error = expand(
            &quote!(json),
            quote!(
                struct Line;
            ),
        )
        .expect_err("arguments")
        .to_string();
        assert_eq!(error, "#[data] takes no arguments");
    }
}
