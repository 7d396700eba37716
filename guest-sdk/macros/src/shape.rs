//! `#[derive(Schema)]`: the JSON Schema of a struct or an enum, as serde reads and writes it. One schema for
//! both ways, so it asks only for what is there both ways. Invariant: what is not known for sure is `{}`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DataEnum, DeriveInput, Field, Fields, Variant, parse_quote, parse2};

use crate::schema::{self, Json};
use crate::serde::{Case, Serde};
use crate::{docs, names};

/// The implementation of `keystead_sdk::Schema`.
pub(crate) fn expand(item: TokenStream) -> syn::Result<TokenStream> {
    let mut item: DeriveInput = parse2(item)?;
    let pieces = of(&item)?.pieces();
    let parameters: Vec<_> = item.generics.type_params().map(|one| one.ident.clone()).collect();
    let bounds = item.generics.make_where_clause();
    for parameter in parameters {
        bounds.predicates.push(parse_quote!(#parameter: ::keystead_sdk::Schema));
    }
    let (generics, arguments, bounds) = item.generics.split_for_impl();
    let ident = &item.ident;
    Ok(quote! {
        impl #generics ::keystead_sdk::Schema for #ident #arguments #bounds {
            const SHAPE: ::keystead_sdk::schema::Shape = {
                use ::keystead_sdk::schema::Anything as _;
                #pieces
            };
        }
    })
}

fn of(item: &DeriveInput) -> syn::Result<Json> {
    if let Some(lifetime) = item.generics.lifetimes().next() {
        let text = "a type with a schema is owned: handlers take and return no borrowed values";
        return Err(syn::Error::new_spanned(lifetime, text));
    }
    let serde = Serde::read(&item.attrs);
    let mut head = format!(r#""title":{},"#, docs::quoted(&names::plain(&item.ident)));
    if let Some(about) = docs::json(&item.attrs) {
        head.push_str(&format!(r#""description":{about},"#));
    }
    Ok(match &item.data {
        _ if serde.is_opaque => schema::any(),
        Data::Struct(_) if serde.tag.is_some() => schema::any(),
        Data::Struct(item) => of_fields(&item.fields, &Container::of(&serde, &head)),
        Data::Enum(item) => of_enum(item, &serde, &head),
        Data::Union(union) => {
            let text = "serde reads no unions: use an enum";
            return Err(syn::Error::new_spanned(union.union_token, text));
        }
    })
}

/// What holds for all fields of a struct or a variant.
struct Container<'c> {
    /// Members of the schema that come first: title and description.
    head: &'c str,
    case: Option<Case>,
    /// Each has a default.
    is_optional: bool,
    denies_unknown: bool,
    is_transparent: bool,
}

impl<'c> Container<'c> {
    fn of(serde: &Serde, head: &'c str) -> Self {
        Self {
            head,
            case: serde.rename_all,
            is_optional: serde.is_optional,
            denies_unknown: serde.denies_unknown,
            is_transparent: serde.is_transparent,
        }
    }
}

fn of_fields(fields: &Fields, container: &Container<'_>) -> Json {
    match fields {
        Fields::Unit => Json::text(r#"{"type":"null"}"#),
        Fields::Unnamed(fields) => {
            let values: Vec<_> = fields.unnamed.iter().map(value).collect();
            let is_plain = |field: &Field| !Serde::read(&field.attrs).is_skipped;
            match values.len() {
                _ if !fields.unnamed.iter().all(is_plain) => schema::any(),
                1 => values.into_iter().next().unwrap_or_default(),
                _ => schema::of_tuple(values),
            }
        }
        Fields::Named(_) if container.is_transparent => {
            let own = fields.iter().filter(|field| !Serde::read(&field.attrs).is_skipped);
            match own.collect::<Vec<_>>().as_slice() {
                [one] => value(one),
                _ => schema::any(),
            }
        }
        Fields::Named(_) => object(fields, container, None),
    }
}

/// A struct's or a variant's object; `tag` is a member that tells the variant.
fn object(fields: &Fields, container: &Container<'_>, tag: Option<(&str, &str)>) -> Json {
    let tag = tag.map(|(tag, variant)| (docs::quoted(tag), docs::quoted(variant)));
    let mut properties: Vec<_> = tag
        .iter()
        .map(|(tag, variant)| Json::text(format!(r#"{tag}:{{"const":{variant}}}"#)))
        .collect();
    let mut required: Vec<_> = tag.map(|(tag, _)| tag).into_iter().collect();
    let mut is_open = !container.denies_unknown;
    for field in fields {
        let serde = Serde::read(&field.attrs);
        if serde.is_skipped {
            continue;
        }
        if serde.is_flat {
            is_open = true;
            continue;
        }
        let (name, schema) = (field_name(field, &serde, container.case), value(field));
        for alias in &serde.aliases {
            let property = format!("{}:", docs::quoted(alias));
            properties.push(Json::text(property).then(schema.clone()));
        }
        let name = docs::quoted(&name);
        properties.push(Json::text(format!("{name}:")).then(described(schema, field)));
        let is_optional = serde.is_optional || container.is_optional || !serde.aliases.is_empty();
        if !is_optional && !schema::is_option(&field.ty) {
            required.push(name);
        }
    }
    let mut end = String::from("}");
    if !required.is_empty() {
        end.push_str(&format!(r#","required":[{}]"#, required.join(",")));
    }
    if !is_open {
        end.push_str(r#","additionalProperties":false"#);
    }
    Json::text(format!(r#"{{{}"type":"object","properties":{{"#, container.head))
        .then(Json::list(properties))
        .then(end + "}")
}

fn field_name(field: &Field, serde: &Serde, case: Option<Case>) -> String {
    let own = field.ident.as_ref().map(names::plain).unwrap_or_default();
    let renamed = || case.map_or_else(|| own.clone(), |case| case.field(&own));
    serde.rename.clone().unwrap_or_else(renamed)
}

/// A field's value.
fn value(field: &Field) -> Json {
    if Serde::read(&field.attrs).is_opaque { schema::any() } else { schema::of(&field.ty) }
}

/// The same with the field's doc comment, where the schema is an object that is known here.
fn described(schema: Json, field: &Field) -> Json {
    let Some(about) = docs::json(&field.attrs) else { return schema };
    match schema.as_text().and_then(|text| text.strip_prefix('{')) {
        Some("}") => Json::text(format!(r#"{{"description":{about}}}"#)),
        Some(rest) => Json::text(format!(r#"{{"description":{about},{rest}"#)),
        None => schema,
    }
}

/// How an enum's variants are told apart.
enum Tagging {
    External,
    Internal(String),
    Adjacent(String, String),
    None,
}

fn of_enum(item: &DataEnum, serde: &Serde, head: &str) -> Json {
    let tagging = match (&serde.tag, &serde.content) {
        _ if serde.is_untagged => Tagging::None,
        (Some(tag), Some(content)) => Tagging::Adjacent(tag.clone(), content.clone()),
        (Some(tag), None) => Tagging::Internal(tag.clone()),
        (None, _) => Tagging::External,
    };
    let variants: Vec<_> = item
        .variants
        .iter()
        .map(|variant| (variant, Serde::read(&variant.attrs)))
        .filter(|(_, own)| !own.is_skipped)
        .collect();
    // `other` and `untagged` on a variant, code of the author's: anything may come.
    if variants.iter().any(|(_, own)| own.is_opaque || own.is_untagged) {
        return schema::any();
    }
    let named =
        variants.iter().map(|(variant, own)| (*variant, own, variant_name(variant, own, serde)));
    let is_unit = |variant: &Variant| matches!(variant.fields, Fields::Unit);
    if matches!(tagging, Tagging::External) && variants.iter().all(|(variant, _)| is_unit(variant))
    {
        let names =
            named.flat_map(|(_, own, name)| spellings(own, name)).map(|name| docs::quoted(&name));
        let names = names.collect::<Vec<_>>().join(",");
        return Json::text(format!(r#"{{{head}"enum":[{names}]}}"#));
    }
    let schemas = named.flat_map(|(variant, own, name)| {
        let names =
            if matches!(tagging, Tagging::None) { vec![name] } else { spellings(own, name) };
        let container = Container {
            head: "",
            case: own.rename_all.or(serde.rename_all_fields),
            is_optional: false,
            denies_unknown: serde.denies_unknown,
            is_transparent: false,
        };
        let of_name = |name: String| of_variant(variant, &name, &tagging, &container);
        names.into_iter().map(of_name).collect::<Vec<_>>()
    });
    let which = if matches!(tagging, Tagging::None) { "anyOf" } else { "oneOf" };
    Json::text(format!(r#"{{{head}"{which}":["#)).then(Json::list(schemas)).then("]}")
}

fn variant_name(variant: &Variant, own: &Serde, of_enum: &Serde) -> String {
    let name = names::plain(&variant.ident);
    let renamed = || of_enum.rename_all.map_or_else(|| name.clone(), |case| case.variant(&name));
    own.rename.clone().unwrap_or_else(renamed)
}

/// A variant's name and its aliases.
fn spellings(own: &Serde, name: String) -> Vec<String> {
    [name].into_iter().chain(own.aliases.iter().cloned()).collect()
}

fn of_variant(variant: &Variant, name: &str, tagging: &Tagging, container: &Container<'_>) -> Json {
    let fields = &variant.fields;
    let is_unit = matches!(fields, Fields::Unit);
    let json = docs::quoted(name);
    match tagging {
        Tagging::None => of_fields(fields, container),
        Tagging::External if is_unit => Json::text(format!(r#"{{"const":{json}}}"#)),
        Tagging::External => Json::text(format!(r#"{{"type":"object","properties":{{{json}:"#))
            .then(of_fields(fields, container))
            .then(format!(r#"}},"required":[{json}],"additionalProperties":false}}"#)),
        // What a newtype's value adds is not known.
        Tagging::Internal(tag) if !matches!(fields, Fields::Named(_)) => {
            let container = Container { denies_unknown: false, ..*container };
            object(&Fields::Unit, &container, Some((tag, name)))
        }
        Tagging::Internal(tag) => object(fields, container, Some((tag, name))),
        Tagging::Adjacent(tag, content) => {
            let (tag, content) = (docs::quoted(tag), docs::quoted(content));
            let value = match fields {
                Fields::Unit => Json::default(),
                fields => Json::text(format!(",{content}:")).then(of_fields(fields, container)),
            };
            let takes_none =
                fields.len() == 1 && fields.iter().all(|one| schema::is_option(&one.ty));
            let more = if is_unit || takes_none { String::new() } else { format!(",{content}") };
            Json::text(format!(r#"{{"type":"object","properties":{{{tag}:{{"const":{json}}}"#))
                .then(value)
                .then(format!(r#"}},"required":[{tag}{more}]}}"#))
        }
    }
}
