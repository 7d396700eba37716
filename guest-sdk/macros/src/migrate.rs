//! `#[migrate(from = N)]`: methods that bring state of version N to version N + 1. The last one gives the
//! entity; those before it give what the next one takes. Invariant: from the lowest N on none is left out.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Attribute, FnArg, Ident, ImplItemFn, LitInt, Meta, ReturnType, Type};

use crate::{Mistakes, schema};

/// The attribute's name.
pub(crate) const MIGRATE: &str = "migrate";

/// One step.
pub(crate) struct Step {
    ident: Ident,
    from: LitInt,
    version: u32,
    /// The type of the older plain fields; none when they are `self`'s.
    old: Option<Type>,
    gives: Gives,
}

/// What a step makes of older state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gives {
    /// Plain fields of the next version, as a type of their own.
    Next,
    /// The entity.
    Whole,
    /// Nothing: it changes the entity it is called on.
    Change,
}

/// A method's `#[migrate]`.
pub(crate) fn attribute(method: &ImplItemFn) -> Option<&Attribute> {
    method.attrs.iter().find(|attribute| attribute.path().is_ident(MIGRATE))
}

impl Step {
    /// Takes a method apart; none when it can't be used. What it finds wrong goes to `mistakes`.
    pub(crate) fn read(
        method: &ImplItemFn,
        attribute: &Attribute,
        entity: Option<&Ident>,
        mistakes: &mut Mistakes,
    ) -> Option<Self> {
        let signature = &method.sig;
        let from = from(attribute, mistakes);
        for other in &method.attrs {
            if ["cfg", "cfg_attr"].iter().any(|name| other.path().is_ident(name)) {
                mistakes.add(other, "state can't depend on how the crate is built: no cfg here");
            } else if other.path().is_ident(MIGRATE) && !std::ptr::eq(other, attribute) {
                mistakes.add(other, "a migration reads one version: write another method");
            } else if other.path().is_ident("internal") {
                mistakes.add(other, "a migration is no handler: nobody calls it");
            }
        }
        if let Some(token) = &signature.asyncness {
            mistakes.add(token, "a migration is not async: it runs in one transaction");
        }
        if !signature.generics.params.is_empty() {
            mistakes.add(&signature.generics, "a migration can't be generic");
        }
        let changes = changes(method, mistakes);
        let old = old(method, changes, mistakes);
        let gives = match (&signature.output, changes) {
            (_, true) => Gives::Change,
            (ReturnType::Default, false) => {
                let text = "a migration returns the entity, or takes `&mut self` and changes it";
                mistakes.add(&signature.ident, text);
                return None;
            }
            (ReturnType::Type(_, ty), false) if is_entity(ty, entity) => Gives::Whole,
            _ => Gives::Next,
        };
        let (from, version) = from?;
        (old.is_some() || changes).then(|| Self {
            ident: signature.ident.clone(),
            from,
            version,
            old,
            gives,
        })
    }

    fn row(&self, entity: &Ident) -> TokenStream {
        let Self { ident, version, old, gives, .. } = self;
        let ty = old.iter();
        let step = match (gives, old) {
            (Gives::Next, _) => {
                quote!(convert(old, |old: #(#ty)*| Returned(#entity::#ident(old)).outcome()))
            }
            (Gives::Whole, _) => {
                quote!(replace(old, |old: #(#ty)*| Returned(#entity::#ident(old)).outcome()))
            }
            (Gives::Change, Some(ty)) => {
                quote!(change(old, |entity: &mut Self, old: #ty| Returned(entity.#ident(old)).outcome()))
            }
            (Gives::Change, None) => {
                quote!(change_in_place(old, |entity: &mut Self| Returned(entity.#ident()).outcome()))
            }
        };
        // What does not fit is shown where the older type is written.
        let place = old.as_ref().map_or_else(|| crate::at(ident), crate::at);
        let step = quote_spanned!(place=> ::keystead_sdk::migration::#step);
        quote!(::keystead_sdk::Migration::new(#version, |old| #step))
    }
}

/// Sorts the steps, and looks for what is missing between them or there twice.
pub(crate) fn check(steps: &mut [Step], mistakes: &mut Mistakes) {
    steps.sort_by_key(|step| step.version);
    for pair in steps.windows(2) {
        let [first, second] = pair else { continue };
        let (this, next) = (first.version, second.version);
        if this == next {
            let text = format!("`{}` migrates from version {this} already", first.ident);
            mistakes.add(&second.from, &text);
        } else if this + 1 != next {
            let text = format!("no `#[migrate(from = {})]` comes before this one", this + 1);
            mistakes.add(&second.from, &text);
        } else if first.gives == Gives::Whole {
            let text = format!(
                "the entity is what the last migration gives: return what `{}` takes",
                second.ident
            );
            mistakes.add(&first.ident, &text);
        }
    }
    if let Some(last) = steps.last()
        && last.gives == Gives::Next
    {
        let text = "the last migration returns the entity, or takes `&mut self` and changes it";
        mistakes.add(&last.ident, text);
    }
}

/// The table of the steps, and what the compiler has to check because only it knows the version.
pub(crate) fn expand(entity: &Ident, steps: &[Step]) -> (TokenStream, TokenStream) {
    let Some(last) = steps.last() else { return Default::default() };
    let rows = steps.iter().map(|step| step.row(entity));
    let table = quote! {
        const MIGRATIONS: &'static [::keystead_sdk::Migration<Self>] = {
            use ::keystead_sdk::reply::{Plain as _, Returned};
            &[#(#rows),*]
        };
    };
    let version = quote!(<#entity as ::keystead_sdk::Entity>::VERSION);
    let checks = steps.iter().map(|step| {
        let (number, from) = (step.version, &step.from);
        let text = format!(
            "a migration starts at a version before the entity's: \
             write #[entity(version = {})] or more",
            number + 1
        );
        quote_spanned!(from.span()=> const _: () = ::core::assert!(#number < #version, #text);)
    });
    let (newest, from) = (last.version, &last.from);
    let text = "the entity's version is further on: a migration is missing after this one";
    let complete = quote_spanned!(from.span()=> const _: () = ::core::assert!(#newest + 1 >= #version, #text););
    (table, quote!(#(#checks)* #complete))
}

/// The `1` of `#[migrate(from = 1)]`.
fn from(attribute: &Attribute, mistakes: &mut Mistakes) -> Option<(LitInt, u32)> {
    let what = "write `#[migrate(from = 1)]`: the version that it reads";
    let mut from = None;
    let read = match attribute.meta {
        Meta::List(_) => attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("from") || from.is_some() {
                return Err(meta.error(what));
            }
            let number: LitInt = meta.value()?.parse()?;
            let version = number.base10_parse::<u32>()?;
            if version == 0 {
                return Err(syn::Error::new(number.span(), "versions count from 1"));
            }
            from = Some((number, version));
            Ok(())
        }),
        _ => Ok(()),
    };
    match read {
        Err(error) => mistakes.add_error(error),
        Ok(()) if from.is_none() => mistakes.add(attribute, what),
        Ok(()) => {}
    }
    from
}

/// Whether it takes `&mut self`.
fn changes(method: &ImplItemFn, mistakes: &mut Mistakes) -> bool {
    let Some(receiver) = method.sig.receiver() else { return false };
    let is_exclusive = receiver.reference.is_some() && receiver.mutability.is_some();
    if !is_exclusive || receiver.colon_token.is_some() {
        mistakes.add(receiver, "a migration takes `&mut self`, or no self and returns the entity");
    }
    true
}

/// The type of its one argument, which only a step that changes `self` may do without.
fn old(method: &ImplItemFn, changes: bool, mistakes: &mut Mistakes) -> Option<Type> {
    let inputs: Vec<_> = method
        .sig
        .inputs
        .iter()
        .filter_map(|input| match input {
            FnArg::Typed(typed) => Some(typed),
            FnArg::Receiver(_) => None,
        })
        .collect();
    let Some((first, others)) = inputs.split_first() else {
        if !changes {
            let text = "a migration takes the older state: `old: V1`, a struct that serde can read";
            mistakes.add(&method.sig.ident, text);
        }
        return None;
    };
    for other in others {
        mistakes.add(other, "a migration takes the older state and nothing else");
    }
    if let Type::Reference(reference) = &*first.ty {
        mistakes.add(reference, "a migration takes an owned value, and no context");
    }
    Some((*first.ty).clone())
}

fn is_entity(ty: &Type, entity: Option<&Ident>) -> bool {
    schema::last(schema::success(ty))
        .is_some_and(|last| last.ident == "Self" || Some(&last.ident) == entity)
}

#[cfg(test)]
mod tests {
    use quote::format_ident;
    use syn::{ImplItem, ItemImpl};

    use super::*;

    fn mistakes(item: &str) -> Vec<String> {
        let item: ItemImpl = syn::parse_str(item).expect(item);
        let (mut mistakes, mut steps) = (Mistakes::default(), Vec::new());
        let entity = format_ident!("Account");
        for item in &item.items {
            let ImplItem::Fn(method) = item else { continue };
            let attribute = attribute(method).expect("a migration");
            steps.extend(Step::read(method, attribute, Some(&entity), &mut mistakes));
        }
        check(&mut steps, &mut mistakes);
        let error = mistakes.finish().err();
        error.into_iter().flatten().map(|one| one.to_string()).collect()
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let found = mistakes(
            "impl Account {
                #[migrate] fn a(old: V1) -> Account {}
                #[migrate(from = \"1\")] fn b(old: V1) -> Account {}
                #[migrate(from = 0)] fn c(old: V1) -> Account {}
                #[migrate(to = 2)] fn d(old: V1) -> Account {}
                #[migrate(from = 1, from = 2)] async fn e<T>(old: V1) -> Account {}
                #[migrate(from = 2)] fn f(&self, old: V1) {}
                #[migrate(from = 3)] fn g() -> Account {}
                #[migrate(from = 4)] fn h(&mut self, old: &V1, ctx: &Ctx) {}
                #[migrate(from = 5)] fn i(old: V1) {}
                #[migrate(from = 6)] #[migrate(from = 7)] #[internal] #[cfg(test)]
                fn j(old: V1) -> Account {}
            }",
        );
        let expected = [
            "the version that it reads",
            "integer",
            "count from 1",
            "the version that it reads",
            "the version that it reads",
            "not async",
            "generic",
            "takes `&mut self`",
            "takes the older state",
            "nothing else",
            "owned value",
            "returns the entity",
            "one version",
            "no handler",
            "no cfg",
            "return what `f` takes",
            "no `#[migrate(from = 3)]`",
            "no `#[migrate(from = 5)]`",
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (message, part) in found.iter().zip(expected) {
            assert!(message.contains(part), "{message:?} should speak of {part:?}");
        }
    }

    #[test]
    fn steps_follow_each_other_up_to_the_entity() {
        let found = mistakes(
            "impl Account {
                #[migrate(from = 3)] fn a(old: V3) -> Result<V4> {}
                #[migrate(from = 2)] fn b(old: V2) -> Account {}
                #[migrate(from = 1)] fn c(old: V1) -> V2 {}
                #[migrate(from = 1)] fn d(&mut self, old: V1) {}
            }",
        );
        assert_eq!(found.len(), 3, "{found:#?}");
        assert_eq!(found[0], "`c` migrates from version 1 already");
        assert!(found[1].ends_with("return what `a` takes"), "{found:?}");
        assert!(found[2].starts_with("the last migration returns the entity"), "{found:?}");
        let right = "impl Account {
            #[migrate(from = 3)] fn a(&mut self) {}
            #[migrate(from = 2)] fn b(&mut self, old: V2) -> Result<()> {}
            #[migrate(from = 1)] fn c(old: V1) -> V2 {}
        }";
        assert!(mistakes(right).is_empty());
    }
}
