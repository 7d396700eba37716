//! The typed clients of an entity: one method a command, each making a message or a timer, and one method a
//! reply handler, each making what hears of a message.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{Ident, Type};

use crate::handlers::{Handler, Kind};
use crate::{names, schema};

/// The clients, and `at`, `timer` and `reply` on the entity.
pub(crate) fn expand(entity: &Ident, handlers: &[Handler]) -> TokenStream {
    let (replies, others): (Vec<_>, Vec<_>) =
        handlers.iter().partition(|handler| handler.reply.is_some());
    let commands = others.into_iter().filter(|handler| handler.kind != Kind::Query);
    let (at, reply) = (at(entity, commands), reply(entity, &replies));
    quote!(#at #reply)
}

fn at<'h>(entity: &Ident, commands: impl Iterator<Item = &'h Handler>) -> TokenStream {
    let client = format_ident!("{}At", entity);
    let about = format!("Messages to the commands of [`{entity}`].");
    let methods = commands.map(|handler| {
        let (name, result) = (handler.name(), handler.success());
        let (signature, input) = (signature(entity, handler), input(handler));
        quote! {
            #signature -> T::Call<#result> {
                let input = #input;
                self.0.call::<#result>(<#entity as ::keystead_sdk::Entity>::TYPE, #name, input)
            }
        }
    });
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

/// Nothing for an entity without reply handlers, which may have a handler of the name `reply`.
fn reply(entity: &Ident, handlers: &[&Handler]) -> TokenStream {
    if handlers.is_empty() {
        return TokenStream::new();
    }
    let client = format_ident!("{}Reply", entity);
    let about = format!("The reply handlers of [`{entity}`].");
    let methods = handlers.iter().map(|handler| {
        let (name, value) = (handler.name(), &handler.reply);
        let (signature, input) = (signature(entity, handler), input(handler));
        quote! {
            #signature -> ::keystead_sdk::Then<#value> {
                let input = #input;
                ::keystead_sdk::Then::new(<#entity as ::keystead_sdk::Entity>::TYPE, #name, input)
            }
        }
    });
    quote! {
        #[doc = #about]
        #[derive(Debug, Clone, Copy)]
        #[must_use = "name the handler: .handler(context)"]
        pub struct #client(());

        impl #entity {
            /// What hears of a message: `message.call_then(ctx, Self::reply().handler(context))`.
            pub fn reply() -> #client {
                #client(())
            }
        }

        impl #client {
            #(#methods)*
        }
    }
}

/// `pub fn name(&self, arguments)`, with the handler's attributes.
fn signature(entity: &Ident, handler: &Handler) -> TokenStream {
    let Handler { attributes, ident, arguments, .. } = handler;
    let about = (!attributes.iter().any(|attribute| attribute.path().is_ident("doc"))).then(|| {
        let about = format!("Calls [`{entity}::{ident}`].");
        quote!(#[doc = #about])
    });
    let parameters = arguments.iter().map(|(ident, ty)| {
        let ty = parameter(ty);
        quote!(#ident: #ty)
    });
    quote! {
        #(#attributes)*
        #about
        pub fn #ident(&self, #(#parameters),*)
    }
}

/// The expression of the handler's input, but for the reply.
fn input(handler: &Handler) -> TokenStream {
    let arguments = &handler.arguments;
    if let (true, [(body, _)]) = (handler.takes_bytes(), arguments.as_slice()) {
        return quote!(::keystead_sdk::input::bytes(#body));
    }
    let members = arguments.iter().map(|(ident, ty)| {
        let name = names::plain(ident);
        let value = if is_string(ty) { quote!(#ident.into()) } else { quote!(#ident) };
        quote_spanned!(crate::at(ty)=> (#name, &{ let value: #ty = #value; value }))
    });
    quote!(::keystead_sdk::input::object(&[#(#members),*]))
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
