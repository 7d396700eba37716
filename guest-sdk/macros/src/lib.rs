//! `#[entity]` and `#[handlers]`. They only write what a reader could have typed: trait implementations and
//! clients that call functions of keystead-sdk, where the logic is. Invariant: all mistakes of an item
//! are reported at once, each at its token.

mod client;
mod data;
mod docs;
mod entity;
mod fields;
mod handlers;
mod method;
mod migrate;
mod names;
mod schema;
mod serde;
mod shape;
mod values;

use proc_macro::TokenStream;

/// Makes a struct an entity type: its fields are the entity's state.
///
/// Plain fields are one value, loaded before each call and written back after it when it changed. They need
/// serde's `Serialize` and `Deserialize`, and `Default` for what is not stored yet (or
/// `#[serde(default = "…")]`); `#[serde(rename = "…")]` keeps the stored name when the field's changes.
/// Fields of the types `Map`, `List`, `Value`, `Activities`, `Reservations` and `Saga` are loaded on
/// touch; `#[state(rename = "…")]` keeps their stored name.
///
/// `#[entity(version = 2)]` says that the state has another shape than that of version 1; steps marked
/// `#[migrate(from = 1)]` among the handlers lead from one to the next.
#[proc_macro_attribute]
pub fn entity(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand(entity::expand(&arguments.into(), item.into()))
}

/// Makes the `pub` methods of an `impl` block an entity's handlers, and writes a client for them.
///
/// `&mut self` is a command, `&self` a query. After `self` a command may take `ctx: &Ctx` and a query
/// `ctx: &QueryCtx`; all further arguments are owned values that serde can read. Methods that are not `pub`
/// are helpers.
///
/// `#[internal]` on a `&mut self` method makes a command that only entities of the app and timers call. A
/// method whose first argument after the context is a `Reply<T>` is a reply handler: internal too, and called
/// with how a message ended; `Account::reply()` names one for `call_then` and `callback`.
///
/// `#[migrate(from = 1)]` on a method, `pub` or not, makes state of version 2 of what version 1 has stored:
/// `fn cents(old: V1) -> Account`, or `fn cents(&mut self, old: V1)` to change other fields too, where `V1` is
/// a struct of the older plain fields that serde can read. A step before the last returns what the next takes.
///
/// `Account::at(key)` sends to the commands of another entity, `Account::timer(name)` calls one of this
/// entity's later.
#[proc_macro_attribute]
pub fn handlers(arguments: TokenStream, item: TokenStream) -> TokenStream {
    match handlers::expand(&arguments.into(), item.into()) {
        Ok(output) => output.into(),
        Err(wrong) => wrong.output().into(),
    }
}

/// Makes a struct or an enum a value of arguments, results and state: it derives `Debug`, `Clone`, `PartialEq`,
/// serde's `Serialize` and `Deserialize`, and [`Schema`](derive@Schema), as far as the author does not, and the
/// author's crate need not depend on serde. Serde's attributes work as always.
///
/// A plain field needs `Default` too, for what is not stored yet: `#[derive(Default)]`.
#[proc_macro_attribute]
pub fn data(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand(data::expand(&arguments.into(), item.into()))
}

/// Describes a struct or an enum that serde reads and writes: its JSON Schema, in the describe document of every
/// entity that uses it.
///
/// It goes by the fields and by serde's attributes (`rename`, `rename_all`, `default`, `skip…`, `flatten`,
/// `tag`, `content`, `untagged`, `transparent`, `alias`, …). What serde does in a way of the author's own (`with`,
/// `from`, …) is described as anything.
#[proc_macro_derive(Schema, attributes(serde))]
pub fn schema(item: TokenStream) -> TokenStream {
    expand(shape::expand(item.into()))
}

fn expand(output: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    output.unwrap_or_else(|error| error.to_compile_error()).into()
}

/// A span for generated code that shows where `tokens` are and is the macro's all the same, so that the
/// author's lints leave it alone.
fn at(tokens: &impl syn::spanned::Spanned) -> proc_macro2::Span {
    proc_macro2::Span::call_site().located_at(tokens.span())
}

/// What is wrong with an item, and what can be said of it all the same, so that whoever uses it is not told of
/// mistakes that are not theirs.
#[derive(Debug)]
struct Wrong {
    error: syn::Error,
    rest: proc_macro2::TokenStream,
}

impl Wrong {
    fn output(&self) -> proc_macro2::TokenStream {
        let (error, rest) = (self.error.to_compile_error(), &self.rest);
        quote::quote!(#error #rest)
    }
}

impl From<syn::Error> for Wrong {
    fn from(error: syn::Error) -> Self {
        Self { error, rest: proc_macro2::TokenStream::new() }
    }
}

/// Collects mistakes, so that all are reported.
#[derive(Default)]
struct Mistakes {
    all: Option<syn::Error>,
    count: usize,
}

impl Mistakes {
    fn add(&mut self, at: &dyn quote::ToTokens, message: &str) {
        self.add_error(syn::Error::new_spanned(at, message));
    }

    fn add_error(&mut self, error: syn::Error) {
        self.count += 1;
        match &mut self.all {
            Some(all) => all.combine(error),
            None => self.all = Some(error),
        }
    }

    fn finish(self) -> syn::Result<()> {
        self.all.map_or(Ok(()), Err)
    }
}
