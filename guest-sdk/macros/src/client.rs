//! The typed client of an entity: one method a command, each making a message or a timer.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{Ident, Type};

use crate::handlers::Handler;
use crate::{names, schema};

/// The client struct, its methods, and `at` and `timer` on the entity.
pub(crate) fn expand(entity: &Ident, handlers: &[Handler]) -> TokenStream {
    let client = format_ident!("{}At", entity);
    let about = format!("Messages to the commands of [`{entity}`].");
    let methods =
        handlers.iter().filter(|handler| handler.is_command).map(|handler| method(entity, handler));
    quote! {
        #[doc = #about]
        #[derive(Debug, Clone)]
        #[must_use = "name the command: .command(arguments).send(ctx)"]
        pub struct #client<T>(T);

        impl #entity {
            /// Messages to the entity with this key: `.command(arguments).send(ctx)`.
            pub fn at(
                key: impl ::core::convert::Into<::std::string::String>,
            ) -> #client<::keystead_sdk::AtKey> {
                #client(::keystead_sdk::AtKey::new(key))
            }

            /// A timer of this entity: `.command(arguments).after(delay).set(ctx)`.
            pub fn timer(
                name: impl ::core::convert::Into<::std::string::String>,
            ) -> #client<::keystead_sdk::AtTimer> {
                #client(::keystead_sdk::AtTimer::new(name))
            }
        }

        impl<T: ::keystead_sdk::Target> #client<T> {
            #(#methods)*
        }
    }
}

fn method(entity: &Ident, handler: &Handler) -> TokenStream {
    let Handler { attributes, ident, arguments, .. } = handler;
    let name = handler.name();
    let about = (!attributes.iter().any(|attribute| attribute.path().is_ident("doc"))).then(|| {
        let about = format!("Calls [`{entity}::{ident}`].");
        quote!(#[doc = #about])
    });
    let parameters = arguments.iter().map(|(ident, ty)| {
        let ty = parameter(ty);
        quote!(#ident: #ty)
    });
    let input = if let (true, [(body, _)]) = (handler.takes_bytes(), arguments.as_slice()) {
        quote!(::keystead_sdk::input::bytes(#body))
    } else {
        let members = arguments.iter().map(|(ident, ty)| {
            let name = names::plain(ident);
            let value = if is_string(ty) { quote!(#ident.into()) } else { quote!(#ident) };
            quote_spanned!(crate::at(ty)=> (#name, &{ let value: #ty = #value; value }))
        });
        quote!(::keystead_sdk::input::object(&[#(#members),*]))
    };
    quote! {
        #(#attributes)*
        #about
        pub fn #ident(&self, #(#parameters),*) -> T::Call {
            let input = #input;
            self.0.call(<#entity as ::keystead_sdk::Entity>::TYPE, #name, input)
        }
    }
}

/// What the client takes for an argument: a `String` may be given as a `&str`.
fn parameter(ty: &Type) -> TokenStream {
    if is_string(ty) {
        quote!(impl ::core::convert::Into<::std::string::String>)
    } else {
        quote!(#ty)
    }
}

fn is_string(ty: &Type) -> bool {
    schema::last(ty).is_some_and(|segment| segment.ident == "String")
}
