//! `#[handlers]`: the `pub` methods of an `impl` block become a table of handlers and a client.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{Attribute, Ident, ImplItem, ImplItemFn, ItemImpl, Type, Visibility, parse2};

use crate::method::{Handler, INTERNAL, Kind, REPLY};
use crate::migrate::{self, Step};
use crate::schema::Json;
use crate::{Mistakes, Wrong, client, docs, names, schema};

/// The block as it is, the table, the client, and the registration.
pub(crate) fn expand(arguments: &TokenStream, item: TokenStream) -> Result<TokenStream, Wrong> {
    let mut mistakes = Mistakes::default();
    if !arguments.is_empty() {
        mistakes.add(arguments, "#[handlers] takes no arguments");
    }
    let mut item: ItemImpl = parse2(item).map_err(|error| {
        syn::Error::new(error.span(), "#[handlers] goes on an impl block: `impl Account { … }`")
    })?;
    let entity = entity_name(&item, &mut mistakes);
    let (mut handlers, mut steps, mut sound) = (Vec::new(), Vec::new(), Vec::new());
    for item in &item.items {
        let ImplItem::Fn(method) = item else { continue };
        if let Some(attribute) = migrate::attribute(method) {
            steps.extend(Step::read(method, attribute, entity.as_ref(), &mut mistakes));
        } else if matches!(method.vis, Visibility::Public(_)) {
            let before = mistakes.count;
            handlers.push(Handler::read(method, &mut mistakes));
            sound.push(mistakes.count == before);
        } else if let Some(internal) = internal(method) {
            mistakes.add(internal, "only a pub method is a handler: make it `pub`");
        }
    }
    migrate::check(&mut steps, &mut mistakes);
    let before = mistakes.count;
    check_names(&item, &handlers, &mut mistakes);
    let clashes = mistakes.count > before;
    forget_own_attributes(&mut item);
    if let Err(error) = mistakes.finish() {
        let mut sound = sound.into_iter();
        handlers.retain(|_| sound.next() == Some(true));
        let known = entity.filter(|_| !clashes).map(|entity| rest(&entity, &item, &handlers));
        return Err(Wrong { error, rest: known.unwrap_or_default() });
    }
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

/// What is left of a block with mistakes: its methods, and a client of the handlers that are right.
fn rest(entity: &Ident, item: &ItemImpl, sound: &[Handler]) -> TokenStream {
    let client = client::expand(entity, sound);
    quote! {
        #item

        impl ::keystead_sdk::Handlers for #entity {
            const HANDLERS: &'static [::keystead_sdk::Handler<Self>] = &[];
        }

        #client
    }
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

fn internal(method: &ImplItemFn) -> Option<&Attribute> {
    method.attrs.iter().find(|attribute| attribute.path().is_ident(INTERNAL))
}

/// Names that are there twice, or that the macro's own functions have.
fn check_names(item: &ItemImpl, handlers: &[Handler], mistakes: &mut Mistakes) {
    for (at, handler) in handlers.iter().enumerate() {
        let name = handler.name();
        // With two different cfgs they may be one handler for two ways to build.
        let clashes = |other: &&Handler| {
            let cfgs =
                |one: &Handler| one.cfgs().map(|cfg| quote!(#cfg).to_string()).collect::<Vec<_>>();
            let (own, others) = (cfgs(handler), cfgs(other));
            other.name() == name && (own == others || own.is_empty() || others.is_empty())
        };
        if handlers[..at].iter().any(|other| clashes(&other)) {
            let text =
                format!("there is a handler `{name}` already: callers tell them by their names");
            mistakes.add(&handler.ident, &text);
        }
    }
    let has_replies = handlers.iter().any(|handler| handler.reply.is_some());
    for item in &item.items {
        let ident = match item {
            ImplItem::Fn(method) => &method.sig.ident,
            ImplItem::Const(constant) => &constant.ident,
            _ => continue,
        };
        let what = match names::plain(ident).as_str() {
            "at" => "`at` makes the messages to an entity",
            "timer" => "`timer` makes the timers of an entity",
            "reply" if has_replies => "`reply` names the reply handlers of an entity",
            _ => continue,
        };
        mistakes.add(ident, &format!("{what}: choose another name"));
    }
}

/// The type of the block; none when that is a mistake.
fn entity_name(item: &ItemImpl, mistakes: &mut Mistakes) -> Option<Ident> {
    if let Some((_, path, _)) = &item.trait_ {
        mistakes.add(path, "handlers are an entity's own methods: `impl Account { … }`");
    }
    if !item.generics.params.is_empty() {
        mistakes.add(&item.generics, "an entity can't be generic");
    } else if let Some(bounds) = &item.generics.where_clause {
        mistakes.add(bounds, "an entity can't be generic: there is nothing to bound");
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
    let encode = if schema::is_bytes(handler.success()) { "bytes" } else { "json" };
    let encode = Ident::new(encode, crate::at(&handler.output));
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
        (Ident::new(REPLY, crate::at(ty)), Type::Verbatim(reply))
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

const BYTES: &str = r#"{"bytes":"application/octet-stream"}"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(item: &str) -> syn::Result<String> {
        let output = expand(&TokenStream::new(), item.parse().expect("tokens"));
        Ok(output.map_err(|wrong| wrong.error)?.to_string())
    }

    fn mistakes(item: &str) -> Vec<String> {
        let error = expanded(item).expect_err(item);
        error.into_iter().map(|one| one.to_string()).collect()
    }

    #[test]
    fn what_is_right_can_be_used_beside_what_is_wrong() {
        let item = "impl Account { pub async fn close(&mut self) {} pub fn open(&mut self) {} }";
        let wrong = expand(&TokenStream::new(), item.parse().expect("tokens")).expect_err("async");
        let output = wrong.output().to_string();
        assert!(
            output.contains("compile_error") && output.contains("pub fn open (& self"),
            "{output}"
        );
        assert!(!output.contains("pub fn close (& self"), "{output}");
        let twice = "impl Account { pub fn open(&mut self) {} pub fn open(&mut self) {} }";
        let wrong = expand(&TokenStream::new(), twice.parse().expect("tokens")).expect_err("two");
        assert!(wrong.rest.is_empty(), "rustc would say it again: {}", wrong.rest);
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

    const MISTAKES: &str = "impl Account where Account: Copy {
        pub fn a(&mut self, order: String, reply: Reply<u64>) {}
        pub fn b(&self, reply: Reply<u64>) {}
        pub fn c(&mut self, r: Reply<&str>, reply: String) {}
        pub fn d(&mut self, one: Reply<u64>, two: Reply<u64>) {}
        #[internal] pub fn e(&self) {}
        #[internal(always)] pub fn f(&mut self) {}
        #[internal] #[internal] pub fn g(&mut self) {}
        #[internal] fn h(&mut self) {}
        pub fn i(&mut self, ctx: Ctx) {}
        pub fn j(&mut self, ctx: &mut Ctx) {}
        pub fn k(&mut self, ctx: &Ctx, more: &Ctx) {}
        pub fn l<'a>(&mut self, name: Option<&'a str>) {}
        pub extern \"C\" fn m(&mut self) where u8: Copy {}
        pub fn n(&mut self, #[serde(default)] amount: u64) {}
        pub fn o(&mut self, Wrapped(amount): Wrapped) {}
        pub fn p(&mut self, run: Box<dyn Fn()>, call: fn(), at: *const u8) {}
        pub fn q(&self) -> Result<impl Iterator<Item = u8>> {}
        pub fn r(&mut self, other: Self) -> Vec<Self> {}
        pub fn _s(&mut self) {}
        pub fn prüfe(&mut self) {}
        pub fn at(&mut self) {}
        fn timer() {}
        const reply: u8 = 1;
        pub fn twice(&mut self) {}
        pub fn twice(&self) {}
        #[cfg(a)] pub fn t(&mut self) {}
        #[cfg(a)] pub fn t(&mut self) {}
        #[cfg(b)] pub fn u(&mut self) {}
        pub fn u(&mut self) {}
    }";

    #[test]
    fn mistakes_with_replies_names_and_types_are_reported_at_once() {
        let found = mistakes(MISTAKES);
        let expected = [
            "nothing to bound",
            "reply comes first",
            "a query can't take",
            "owned",
            "is called `reply`",
            "reply comes first",
            "only a command",
            "no arguments",
            "here already",
            "make it `pub`",
            "is lent",
            "is lent",
            "context comes first",
            "no lifetimes",
            "owned",
            "plain method",
            "nothing to bound",
            "no attributes",
            "needs a name",
            "`dyn`",
            "function",
            "pointer",
            "name the type",
            "not a value",
            "not a value",
            "starts with a letter",
            "letters a to z",
            "`twice` already",
            "`t` already",
            "`u` already",
            "`at` makes",
            "`timer` makes",
            "`reply` names",
        ];
        for (message, part) in found.iter().zip(expected) {
            assert!(message.contains(part), "{message:?} should speak of {part:?}: {found:#?}");
        }
        assert_eq!(found.len(), expected.len(), "{found:#?}");
    }

    #[test]
    fn what_only_looks_like_a_mistake_is_taken() {
        let output = expanded(
            "impl Account {
                #[cfg(unix)] pub fn a(&mut self) {}
                #[cfg(windows)] pub fn a(&mut self) {}
                pub fn reply(&mut self, mut text: Box<str>, r#type: String) {}
                #[internal] pub fn b(&mut self, ctx: &Ctx) {}
            }",
        )
        .expect("expands");
        assert_eq!(
            output.matches(".internal()").count() + output.matches(". internal ()").count(),
            1
        );
        let output =
            expanded("impl Account { pub fn a(&mut self, _: Reply<()>, body: Bytes, n: u8) {} }");
        assert!(output.expect("expands").contains("pub fn a (& self , body : Bytes , n : u8)"));
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
        let handler = Handler::read(method, &mut Mistakes::default());
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
