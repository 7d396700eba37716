//! A handler's method, taken apart: what it takes and gives, and all that is wrong with it. Not the code that is
//! made of it. Invariant: every mistake is reported at its token, and none hides another.

use syn::{
    Attribute, FnArg, GenericParam, Ident, ImplItemFn, Meta, Pat, PatType, ReturnType, Signature,
    Type, parse_quote,
};

use crate::values::{self, Place};
use crate::{Mistakes, names, schema};

/// The attribute of a command that nobody outside may call.
pub(crate) const INTERNAL: &str = "internal";
/// The member of its input that a reply handler finds the reply in.
pub(crate) const REPLY: &str = "reply";

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
    pub(crate) takes_ctx: bool,
    pub(crate) output: Type,
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

impl Handler {
    /// Takes a method apart; what it finds wrong goes to `mistakes`.
    pub(crate) fn read(method: &ImplItemFn, mistakes: &mut Mistakes) -> Self {
        let signature = &method.sig;
        check_signature(signature, mistakes);
        let takes_self = receiver(signature, mistakes);
        let mut inputs = typed(signature);
        let takes_ctx = take_context(&mut inputs, takes_self, mistakes);
        let reply = take_reply(&mut inputs, takes_self, mistakes);
        let is_internal = is_internal(method, takes_self, mistakes) || reply.is_some();
        let arguments: Vec<_> =
            inputs.iter().filter_map(|typed| argument(typed, mistakes)).collect();
        check_arguments(&arguments, reply.is_some(), mistakes);
        let kept = |attribute: &&Attribute| {
            attribute.path().is_ident("cfg") || attribute.path().is_ident("doc")
        };
        Self {
            attributes: method.attrs.iter().filter(kept).cloned().collect(),
            ident: signature.ident.clone(),
            kind: match takes_self {
                Some(TakesSelf::Shared) => Kind::Query,
                _ if is_internal => Kind::Internal,
                _ => Kind::Command,
            },
            reply,
            arguments,
            takes_ctx,
            output: match &signature.output {
                ReturnType::Default => parse_quote!(()),
                ReturnType::Type(_, ty) => {
                    values::check(schema::success(ty), Place::Result, mistakes);
                    (**ty).clone()
                }
            },
        }
    }
}

/// How a handler takes its entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TakesSelf {
    Shared,
    Exclusive,
}

/// What no handler can be.
fn check_signature(signature: &Signature, mistakes: &mut Mistakes) {
    if let Some(token) = &signature.asyncness {
        mistakes.add(token, "a handler is not async: it runs in one transaction and never waits");
    }
    if let Some(token) = &signature.unsafety {
        mistakes.add(token, "a handler can't be unsafe: the host calls it");
    }
    if let Some(abi) = &signature.abi {
        mistakes.add(abi, "a handler is a plain method: the host calls it by its name");
    }
    if let Some(variadic) = &signature.variadic {
        mistakes.add(variadic, "a handler's arguments have names");
    }
    for parameter in &signature.generics.params {
        let text = match parameter {
            GenericParam::Lifetime(_) => "a handler has no lifetimes: its arguments are owned",
            _ => "a handler can't be generic: its arguments come from outside",
        };
        mistakes.add(parameter, text);
    }
    if let Some(bounds) = &signature.generics.where_clause {
        mistakes.add(bounds, "a handler can't be generic: there is nothing to bound");
    }
    if let Some(text) = names::unfit(&names::plain(&signature.ident)) {
        mistakes.add(&signature.ident, &format!("a handler's name {text}"));
    }
}

/// None when it takes no `self`, or takes it in another way.
fn receiver(signature: &Signature, mistakes: &mut Mistakes) -> Option<TakesSelf> {
    let what = "a handler takes `&mut self` (a command) or `&self` (a query); make a helper private \
                or pub(crate)";
    match signature.receiver() {
        Some(receiver) if receiver.reference.is_some() && receiver.colon_token.is_none() => {
            let is_exclusive = receiver.mutability.is_some();
            Some(if is_exclusive { TakesSelf::Exclusive } else { TakesSelf::Shared })
        }
        Some(receiver) => {
            mistakes.add(receiver, what);
            None
        }
        None => {
            mistakes.add(&signature.ident, what);
            None
        }
    }
}

/// What it takes besides `self`.
fn typed(signature: &Signature) -> Vec<&PatType> {
    let typed = signature.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(typed) => Some(typed),
        FnArg::Receiver(_) => None,
    });
    typed.collect()
}

/// Takes the context off the inputs; whether there was one.
fn take_context(
    inputs: &mut Vec<&PatType>,
    takes_self: Option<TakesSelf>,
    mistakes: &mut Mistakes,
) -> bool {
    let Some(first) = inputs.first() else { return false };
    let Some(context) = Context::of(&first.ty) else { return false };
    match context {
        Context::Other => {
            mistakes.add(&first.ty, "the context is lent: take `&Ctx`, or `&QueryCtx` in a query");
        }
        Context::Command if takes_self == Some(TakesSelf::Shared) => {
            let text = "a query can't send or set timers: take `&QueryCtx`, or `&mut self`";
            mistakes.add(&first.ty, text);
        }
        Context::Command | Context::Query => {}
    }
    inputs.remove(0);
    true
}

/// What an argument is that names a context's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Context {
    /// `&Ctx`
    Command,
    /// `&QueryCtx`
    Query,
    /// `Ctx`, `&mut Ctx` and the like.
    Other,
}

impl Context {
    fn of(ty: &Type) -> Option<Self> {
        let lent = match ty {
            Type::Reference(reference) => &*reference.elem,
            other => other,
        };
        let last = schema::last(lent).filter(|last| last.arguments.is_none())?;
        let own = match last.ident.to_string().as_str() {
            "Ctx" => Self::Command,
            "QueryCtx" => Self::Query,
            _ => return None,
        };
        match ty {
            Type::Reference(reference) if reference.mutability.is_none() => Some(own),
            _ => Some(Self::Other),
        }
    }
}

/// Takes a reply off the inputs, which is the first that is left; gives its `T`.
fn take_reply(
    inputs: &mut Vec<&PatType>,
    takes_self: Option<TakesSelf>,
    mistakes: &mut Mistakes,
) -> Option<Type> {
    let ty = inputs.first().and_then(|first| schema::reply(&first.ty))?.clone();
    let first = inputs.remove(0);
    if takes_self == Some(TakesSelf::Shared) {
        let text = "a reply comes as a message, which a query can't take: `&mut self`";
        mistakes.add(&first.ty, text);
    }
    check_attributes(first, mistakes);
    values::check(&ty, Place::Argument, mistakes);
    Some(ty)
}

/// Whether it has `#[internal]`.
fn is_internal(
    method: &ImplItemFn,
    takes_self: Option<TakesSelf>,
    mistakes: &mut Mistakes,
) -> bool {
    let own = method.attrs.iter().filter(|attribute| attribute.path().is_ident(INTERNAL));
    let mut is_internal = false;
    for attribute in own {
        if !matches!(attribute.meta, Meta::Path(_)) {
            mistakes.add(attribute, "#[internal] takes no arguments");
        } else if is_internal {
            mistakes.add(attribute, "#[internal] is here already");
        } else if takes_self == Some(TakesSelf::Shared) {
            let text = "a query is for the world outside: only a command can be internal";
            mistakes.add(attribute, text);
        }
        is_internal = true;
    }
    is_internal
}

fn argument(typed: &PatType, mistakes: &mut Mistakes) -> Option<(Ident, Type)> {
    check_attributes(typed, mistakes);
    if Context::of(&typed.ty).is_some() {
        mistakes.add(&typed.ty, "the context comes first, right after self, and once");
    } else if schema::reply(&typed.ty).is_some() {
        mistakes
            .add(&typed.ty, "the reply comes first, right after self and the context, and once");
    } else {
        values::check(&typed.ty, Place::Argument, mistakes);
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

fn check_attributes(typed: &PatType, mistakes: &mut Mistakes) {
    for attribute in &typed.attrs {
        mistakes.add(attribute, "an argument takes no attributes: make it a struct of your own");
    }
}

/// What the arguments can't be together.
fn check_arguments(arguments: &[(Ident, Type)], is_reply: bool, mistakes: &mut Mistakes) {
    if is_reply {
        for (ident, _) in arguments.iter().filter(|(ident, _)| names::plain(ident) == REPLY) {
            mistakes.add(ident, "the reply itself is called `reply`: rename the argument");
        }
    } else if arguments.len() > 1
        && let Some((_, bytes)) = arguments.iter().find(|(_, ty)| schema::is_bytes(ty))
    {
        mistakes
            .add(bytes, "a handler that takes Bytes takes no other argument: they are the body");
    }
}
