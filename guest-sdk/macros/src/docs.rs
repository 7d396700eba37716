//! Doc comments as text for the describe document.

use syn::{Attribute, Expr, ExprLit, Lit, Meta};

/// The doc comment as a JSON string; none when there is none.
pub(crate) fn json(attributes: &[Attribute]) -> Option<String> {
    text(attributes).map(|text| quoted(&text))
}

/// The lines of the doc comment, each without the space that follows the slashes.
fn text(attributes: &[Attribute]) -> Option<String> {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(doc) if doc.path.is_ident("doc") => match &doc.value {
            Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) => Some(line.value()),
            _ => None,
        },
        _ => None,
    });
    let lines: Vec<_> =
        lines.map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned()).collect();
    let text = lines.join("\n").trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// The text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    let mut json = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => json.extend(['\\', letter]),
            '\n' => json.push_str("\\n"),
            control if control < ' ' => json.push_str(&format!("\\u{:04x}", control as u32)),
            other => json.push(other),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doc_comments_become_json() {
        let item: syn::ItemStruct = syn::parse_str(
            "/// Adds \"money\".\n///\n///   * a \\ list\n#[doc = \"\\tmore\"] #[doc(hidden)] struct A;",
        )
        .expect("parses");
        let json = json(&item.attrs).expect("has text");
        assert_eq!(json, r#""Adds \"money\".\n\n  * a \\ list\n\u0009more""#);
        assert_eq!(super::json(&[]), None);
    }
}
