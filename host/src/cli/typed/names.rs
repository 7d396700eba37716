//! Rust identifiers from any names. Invariant: what comes out is an identifier, and no keyword.

use std::collections::BTreeSet;

/// `account` is `Account`, `order-line` is `OrderLine`.
pub(super) fn pascal(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut made = String::new();
    for word in words {
        let (first, rest) = word.split_at(1);
        made.push_str(&first.to_ascii_uppercase());
        made.push_str(rest);
    }
    match made.chars().next() {
        None => "Nameless".to_owned(),
        Some(first) if first.is_ascii_digit() => format!("N{made}"),
        Some(_) if made == "Self" => "Self_".to_owned(),
        Some(_) => made,
    }
}

/// `toAccount` is `to_account`, `type` is `r#type`.
pub(super) fn snake(name: &str) -> String {
    let mut made = String::new();
    let mut was_small = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && was_small {
            made.push('_');
        }
        was_small = c.is_ascii_lowercase() || c.is_ascii_digit();
        made.push(if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' });
    }
    if made.is_empty() || made.bytes().all(|b| b == b'_') {
        return "nameless".to_owned();
    }
    if made.starts_with(|c: char| c.is_ascii_digit()) {
        made.insert(0, 'n');
    }
    match made.as_str() {
        // These cannot be written raw.
        "self" | "super" | "crate" => made + "_",
        word if KEYWORDS.contains(&word) => format!("r#{made}"),
        _ => made,
    }
}

/// `name`, or with a number when it is taken; it is taken from then on.
pub(super) fn unique(name: &str, taken: &mut BTreeSet<String>) -> String {
    let mut free = name.to_owned();
    let mut count = 2;
    while !taken.insert(free.clone()) {
        free = format!("{name}{count}");
        count += 1;
    }
    free
}

const KEYWORDS: [&str; 48] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let",
    "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return",
    "static", "struct", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use",
    "virtual", "where", "while", "yield",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_read_as_rust_would_have_them() {
        for (name, type_name, value_name) in [
            ("account", "Account", "account"),
            ("order-line", "OrderLine", "order_line"),
            ("toAccount", "ToAccount", "to_account"),
            ("type", "Type", "r#type"),
            ("self", "Self_", "self_"),
            ("2nd", "N2nd", "n2nd"),
            ("é", "Nameless", "nameless"),
            ("", "Nameless", "nameless"),
            ("a/b c", "ABC", "a_b_c"),
        ] {
            assert_eq!(
                (pascal(name), snake(name)),
                (type_name.into(), value_name.into()),
                "{name}"
            );
        }
        let mut taken = BTreeSet::new();
        let names: Vec<_> = (0..3).map(|_| unique("a", &mut taken)).collect();
        assert_eq!(names, ["a", "a2", "a3"]);
    }

    proptest! {
        #[test]
        fn anything_becomes_an_identifier(name in ".{0,12}") {
            let plain = |text: &str| {
                let text = text.strip_prefix("r#").unwrap_or(text);
                let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
                starts && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            };
            prop_assert!(plain(&pascal(&name)) && plain(&snake(&name)), "{} {}", pascal(&name), snake(&name));
        }
    }
}
