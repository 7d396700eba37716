//! `#[handlers]`: the `pub` methods of an `impl` block become a table of handlers and a client.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Attribute, FnArg, GenericParam, Ident, ImplItem, ImplItemFn, ItemImpl, Pat, ReturnType, Type,
    Visibility, parse_quote, parse2,
};

use crate::migrate::{self, Step};
use crate::schema::Json;
use crate::{Mistakes, client, docs, names, schema};

/// A method that is a handler, taken apart.
pub(crate) struct Handler {
    /// `#[cfg]`s and doc comments.
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) ident: Ident,
    pub(crate) kind: Kind,
    /// The `T` of its `Reply<T>`, when it is a reply handler.
    pub(crate) reply: Option<Type>,
    /// What it takes besides the context and the reply.
    pub(crate) arguments: Vec<(Ident, Type)>,
    takes_ctx: bool,
    output: Type,
}

/// Who may call a handler, and whether it may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Command,
    Query,
    Internal,
}

impl Handler {
    /// Its name at the host.
    pub(crate) fn name(&self) -> String {
        names::plain(&self.ident)
    }

    /// Its `#[cfg]`s.
    pub(crate) fn cfgs(&self) -> impl Iterator<Item = &Attribute> {
        self.attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"))
    }

    /// Whether it takes a raw body.
    pub(crate) fn takes_bytes(&self) -> bool {
        self.reply.is_none()
            && matches!(self.arguments.as_slice(), [(_, ty)] if schema::is_bytes(ty))
    }

    /// What it gives back when it succeeds.
    pub(crate) fn success(&self) -> &Type {
        schema::success(&self.output)
    }
}

/// The block as it is, the table, the client, and the registration.
pub(crate) fn expand(arguments: &TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let mut mistakes = Mistakes::default();
    if !arguments.is_empty() {
        mistakes.add(arguments, "#[handlers] takes no arguments");
    }
    let mut item: ItemImpl = parse2(item).map_err(|error| {
        syn::Error::new(error.span(), "#[handlers] goes on an impl block: `impl Account { … }`")
    })?;
    let entity = entity_name(&item, &mut mistakes);
    let (mut handlers, mut steps) = (Vec::new(), Vec::new());
    for item in &item.items {
        let ImplItem::Fn(method) = item else { continue };
        if let Some(attribute) = migrate::attribute(method) {
            steps.extend(Step::read(method, attribute, entity.as_ref(), &mut mistakes));
        } else if matches!(method.vis, Visibility::Public(_)) {
            handlers.push(handler(method, &mut mistakes));
        }
    }
    migrate::check(&mut steps, &mut mistakes);
    mistakes.finish()?;
    forget_own_attributes(&mut item);
    let Some(entity) = entity else { return Ok(quote!(#item)) };

    let rows = handlers.iter().map(row);
    let client = client::expand(&entity, &handlers);
    let (migrations, checks) = migrate::expand(&entity, &steps);
    Ok(quote! {
        #[allow(clippy::needless_pass_by_value, reason = "handlers own their arguments")]
        #item

        impl ::keystead_sdk::Handlers for #entity {
            const HANDLERS: &'static [::keystead_sdk::Handler<Self>] = &[#(#rows),*];
            #migrations
        }

        #checks

        #client

        ::keystead_sdk::register!(#entity);
    })
}

/// Takes away what only this macro understands.
fn forget_own_attributes(item: &mut ItemImpl) {
    for item in &mut item.items {
        if let ImplItem::Fn(method) = item {
            let own = |path: &syn::Path| path.is_ident(INTERNAL) || path.is_ident(migrate::MIGRATE);
            method.attrs.retain(|attribute| !own(attribute.path()));
        }
    }
}

/// The type of the block; none when that is a mistake.
fn entity_name(item: &ItemImpl, mistakes: &mut Mistakes) -> Option<Ident> {
    if let Some((_, path, _)) = &item.trait_ {
        mistakes.add(path, "handlers are an entity's own methods: `impl Account { … }`");
    }
    if !item.generics.params.is_empty() {
        mistakes.add(&item.generics, "an entity can't be generic");
    }
    match &*item.self_ty {
        Type::Path(path) => path.path.get_ident().cloned().or_else(|| {
            mistakes.add(path, "name the entity by its own name, in the module it is defined in");
            None
        }),
        other => {
            mistakes.add(other, "handlers belong to a struct with #[entity]");
            None
        }
    }
}

/// Takes a method apart; what it finds wrong goes to `mistakes`.
fn handler(method: &ImplItemFn, mistakes: &mut Mistakes) -> Handler {
    let signature = &method.sig;
    if let Some(token) = &signature.asyncness {
        mistakes.add(token, "a handler is not async: it runs in one transaction and never waits");
    }
    if let Some(token) = &signature.unsafety {
        mistakes.add(token, "a handler can't be unsafe: the host calls it");
    }
    for parameter in &signature.generics.params {
        if !matches!(parameter, GenericParam::Lifetime(_)) {
            mistakes.add(parameter, "a handler can't be generic: its arguments come from outside");
        }
    }
    if names::plain(&signature.ident).len() > names::NAME_BYTES_MAX {
        mistakes.add(&signature.ident, "a handler's name has at most 64 bytes");
    }
    let is_command = receiver(method, mistakes);
    let mut inputs: Vec<_> = signature
        .inputs
        .iter()
        .filter_map(|input| match input {
            FnArg::Typed(typed) => Some(typed),
            FnArg::Receiver(_) => None,
        })
        .collect();
    let takes_ctx = inputs.first().is_some_and(|first| context(&first.ty).is_some());
    if takes_ctx {
        let ctx = inputs.remove(0);
        if context(&ctx.ty) == Some(true) && is_command == Some(false) {
            mistakes
                .add(&ctx.ty, "a query can't send or set timers: take `&QueryCtx`, or `&mut self`");
        }
    }
    let reply = inputs.first().and_then(|first| schema::reply(&first.ty)).cloned();
    if reply.is_some() {
        inputs.remove(0);
    }
    let is_internal =
        reply.is_some() || method.attrs.iter().any(|one| one.path().is_ident(INTERNAL));
    let kind = match is_command {
        Some(false) => Kind::Query,
        _ if is_internal => Kind::Internal,
        _ => Kind::Command,
    };
    let arguments = inputs.iter().filter_map(|typed| argument(typed, mistakes)).collect::<Vec<_>>();
    if arguments.len() > 1
        && let Some((_, bytes)) = arguments.iter().find(|(_, ty)| schema::is_bytes(ty))
    {
        mistakes
            .add(bytes, "a handler that takes Bytes takes no other argument: they are the body");
    }
    let kept = |attribute: &&Attribute| {
        attribute.path().is_ident("cfg") || attribute.path().is_ident("doc")
    };
    Handler {
        attributes: method.attrs.iter().filter(kept).cloned().collect(),
        ident: signature.ident.clone(),
        kind,
        reply,
        arguments,
        takes_ctx,
        output: match &signature.output {
            ReturnType::Default => parse_quote!(()),
            ReturnType::Type(_, ty) => output(ty, mistakes),
        },
    }
}

/// Whether it is a command; none when it takes no `self` or takes it by value.
fn receiver(method: &ImplItemFn, mistakes: &mut Mistakes) -> Option<bool> {
    let what = "a handler takes `&mut self` (a command) or `&self` (a query); make a helper private \
                or pub(crate)";
    match method.sig.receiver() {
        Some(receiver) if receiver.reference.is_some() && receiver.colon_token.is_none() => {
            Some(receiver.mutability.is_some())
        }
        Some(receiver) => {
            mistakes.add(receiver, what);
            None
        }
        None => {
            mistakes.add(&method.sig.ident, what);
            None
        }
    }
}

/// `Some(true)` for `&Ctx`, `Some(false)` for `&QueryCtx`, none for what is no context.
fn context(ty: &Type) -> Option<bool> {
    let Type::Reference(reference) = ty else { return None };
    let name = schema::last(&reference.elem)?.ident.to_string();
    match name.as_str() {
        "Ctx" => Some(true),
        "QueryCtx" => Some(false),
        _ => None,
    }
}

fn argument(typed: &syn::PatType, mistakes: &mut Mistakes) -> Option<(Ident, Type)> {
    match &*typed.ty {
        Type::Reference(reference) if context(&typed.ty).is_some() => {
            mistakes.add(reference, "the context comes first, right after self");
        }
        Type::Reference(reference) => {
            mistakes
                .add(reference, "arguments come from outside: take an owned value, like `String`");
        }
        Type::ImplTrait(any) => {
            mistakes.add(any, "a handler can't be generic: its arguments come from outside");
        }
        _ => {}
    }
    match &*typed.pat {
        Pat::Ident(pattern) if pattern.subpat.is_none() && pattern.by_ref.is_none() => {
            Some((pattern.ident.clone(), (*typed.ty).clone()))
        }
        other => {
            mistakes.add(other, "an argument needs a name: callers give it by that name");
            None
        }
    }
}

fn output(ty: &Type, mistakes: &mut Mistakes) -> Type {
    match schema::success(ty) {
        Type::Reference(reference) => {
            mistakes.add(reference, "a handler returns an owned value: clone what you lend");
        }
        Type::ImplTrait(any) => mistakes.add(any, "name the type that the handler returns"),
        _ => {}
    }
    ty.clone()
}

/// A handler's row in the table.
fn row(handler: &Handler) -> TokenStream {
    let Handler { ident, takes_ctx, .. } = handler;
    let arguments = &read_arguments(handler);
    let cfgs = handler.cfgs();
    let (kind, internal) = match handler.kind {
        Kind::Query => (quote!(query), None),
        Kind::Command => (quote!(command), None),
        Kind::Internal => (quote!(command), Some(quote!(.internal()))),
    };
    let name = handler.name();
    let about = docs::json(&handler.attributes).map(|about| quote!(.about(#about)));
    let (input, output) = (input_schema(handler), output_schema(handler));
    let ctx = takes_ctx.then(|| quote!(ctx,));
    let slots: Vec<_> = arguments.iter().map(|(ident, _)| format_ident!("arg_{}", ident)).collect();
    let (read, values) = if handler.takes_bytes() {
        (quote!(), quote!(::keystead_sdk::Bytes::from(input)))
    } else {
        let declared = arguments.iter().zip(&slots).map(|((ident, ty), slot)| {
            let (need, name) = (need(ty), names::plain(ident));
            quote!(let mut #slot = ::keystead_sdk::input::Arg::<#ty>::#need(#name);)
        });
        let lent = arguments.iter().zip(&slots).map(|((_, ty), slot)| {
            // A type that can't be read is reported where it is written.
            quote_spanned!(crate::at(ty)=> &mut #slot)
        });
        let read = format_ident!("{}", if handler.reply.is_some() { "read_reply" } else { "read" });
        let read = quote! {
            #(#declared)*
            ::keystead_sdk::input::#read(input, &mut [#(#lent),*])?;
        };
        (read, quote!(#(#slots.take()),*))
    };
    let encode = if schema::is_bytes(handler.success()) { quote!(bytes) } else { quote!(json) };
    let reply = quote_spanned! {crate::at(&handler.output)=>
        ::keystead_sdk::reply::#encode(Returned(returned).outcome()?)
    };
    let ctx_name = if *takes_ctx { quote!(ctx) } else { quote!(_ctx) };
    let (input, output) = (input.pieces(), output.pieces());
    quote! {
        #(#cfgs)*
        {
            use ::keystead_sdk::schema::Anything as _;
            const INPUT: ::keystead_sdk::schema::Shape = #input;
            const OUTPUT: ::keystead_sdk::schema::Shape = #output;
            ::keystead_sdk::Handler::<Self>::#kind(#name, INPUT, OUTPUT, |entity, #ctx_name, input| {
                use ::keystead_sdk::reply::{Plain as _, Returned};
                #read
                let returned = entity.#ident(#ctx #values);
                #reply
            })#internal #about
        }
    }
}

/// All that is read from its input: the reply first.
fn read_arguments(handler: &Handler) -> Vec<(Ident, Type)> {
    let reply = handler.reply.iter().map(|ty| {
        let reply = quote_spanned!(crate::at(ty)=> ::keystead_sdk::Reply<#ty>);
        (format_ident!("{}", REPLY), Type::Verbatim(reply))
    });
    reply.chain(handler.arguments.iter().cloned()).collect()
}

/// How an argument is read: an `Option` may be left out.
fn need(ty: &Type) -> Ident {
    if schema::is_option(ty) { format_ident!("optional") } else { format_ident!("required") }
}

/// The JSON of what it takes, as the describe document has it.
fn input_schema(handler: &Handler) -> Json {
    if handler.takes_bytes() {
        return Json::text(BYTES);
    }
    let member = |name: &str, schema: Json| Json::text(format!(r#""{name}":"#)).then(schema);
    let reply = handler.reply.iter();
    let arguments = handler.arguments.iter();
    let properties = reply
        .clone()
        .map(|ty| member(REPLY, schema::of_reply(ty)))
        .chain(arguments.clone().map(|(ident, ty)| member(&names::plain(ident), schema::of(ty))));
    let required = arguments
        .filter(|(_, ty)| !schema::is_option(ty))
        .map(|(ident, _)| format!(r#""{}""#, names::plain(ident)));
    let required: Vec<_> = reply.map(|_| format!(r#""{REPLY}""#)).chain(required).collect();
    Json::text(r#"{"json":{"type":"object","properties":{"#)
        .then(Json::list(properties))
        .then(format!(r#"}},"required":[{}],"additionalProperties":false}}}}"#, required.join(",")))
}

fn output_schema(handler: &Handler) -> Json {
    let value = handler.success();
    if schema::is_bytes(value) {
        return Json::text(BYTES);
    }
    Json::text(r#"{"json":"#).then(schema::of(value)).then("}")
}

/// The attribute of a command that nobody outside may call.
const INTERNAL: &str = "internal";
/// The member of its input that a reply handler finds the reply in.
const REPLY: &str = "reply";
const BYTES: &str = r#"{"bytes":"application/octet-stream"}"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(item: &str) -> syn::Result<String> {
        let output = expand(&TokenStream::new(), item.parse().expect("tokens"))?;
        Ok(output.to_string())
    }

    fn mistakes(item: &str) -> Vec<String> {
        let error = expanded(item).expect_err(item);
        error.into_iter().map(|one| one.to_string()).collect()
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let found = mistakes(
            "impl Account {
                pub async fn a(&mut self) {}
                pub fn b<T>(&mut self, t: T) {}
                pub fn c() {}
                pub fn d(self) {}
                pub fn e(&mut self, name: &str) {}
                pub fn f(&self, ctx: &Ctx) {}
                pub fn g(&mut self, amount: u64, ctx: &Ctx) {}
                pub fn h(&mut self, (a, b): (u64, u64)) {}
                pub fn i(&mut self, body: Bytes, more: u64) {}
                pub fn j(&self) -> &str {}
                pub fn k(self: Box<Self>) {}
            }",
        );
        let expected = [
            "not async",
            "generic",
            "`&mut self`",
            "`&mut self`",
            "owned",
            "`&QueryCtx`",
            "first",
            "name",
            "no other argument",
            "owned",
            "`&mut self`",
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (message, part) in found.iter().zip(expected) {
            assert!(message.contains(part), "{message:?} should speak of {part:?}");
        }
    }

    #[test]
    fn the_block_must_be_an_entitys_own() {
        assert!(mistakes("impl Clone for Account { }")[0].contains("own methods"));
        assert!(mistakes("impl<T> Account<T> { }").len() == 2);
        assert!(mistakes("impl bank::Account { }")[0].contains("own name"));
        assert!(mistakes("struct Account;")[0].contains("impl block"));
    }

    #[test]
    fn only_pub_methods_are_handlers() {
        let output = expanded(
            "impl Account {
                pub fn balance(&self) -> u64 { 0 }
                pub(crate) fn helper(self, x: &str) {}
                fn other<T>(t: T) {}
            }",
        )
        .expect("expands");
        assert_eq!(output.matches(":: keystead_sdk :: Handler ::").count(), 1, "{output}");
    }

    #[test]
    fn schemas_say_what_may_be_left_out() {
        let item: ItemImpl = syn::parse_str(
            "impl Account { pub fn put(&mut self, ctx: &Ctx, to: String, note: Option<u8>) -> Result<Bytes> {} }",
        )
        .expect("parses");
        let ImplItem::Fn(method) = &item.items[0] else { panic!("a method") };
        let handler = handler(method, &mut Mistakes::default());
        assert_eq!(
            input_schema(&handler).to_string(),
            concat!(
                r#"{"json":{"type":"object","properties":{"to":{"type":"string"},"#,
                r#""note":{"anyOf":[{"type":"integer","minimum":0,"maximum":255},{"type":"null"}]}},"#,
                r#""required":["to"],"additionalProperties":false}}"#
            )
        );
        assert_eq!(output_schema(&handler).to_string(), BYTES);
    }
}
