//! Names: a type's in snake_case, an identifier's without `r#`.

use syn::Ident;
use syn::ext::IdentExt as _;

/// Longest type and handler name that the host takes.
pub(crate) const NAME_BYTES_MAX: usize = 64;

/// What is wrong with a type's or a handler's name at the host; none when nothing is.
pub(crate) fn unfit(name: &str) -> Option<&'static str> {
    let starts = name.starts_with(|letter: char| letter.is_ascii_alphabetic());
    if !starts || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Some("is of the letters a to z, digits and `_`, and starts with a letter");
    }
    (name.len() > NAME_BYTES_MAX).then_some("has at most 64 bytes")
}

/// `BankAccount` is `bank_account`, `HTTPGate` is `http_gate`.
pub(crate) fn snake_case(ident: &Ident) -> String {
    let name = plain(ident);
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| letters[at]);
        let word_starts = letter.is_uppercase()
            && before.is_some_and(|before| {
                before != '_'
                    && (!before.is_uppercase()
                        || letters.get(at + 1).is_some_and(|c| c.is_lowercase()))
            });
        if word_starts {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// The identifier without `r#`.
pub(crate) fn plain(ident: &Ident) -> String {
    ident.unraw().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proc_macro2::Span;

    #[test]
    fn names_are_those_that_the_host_takes() {
        for name in ["a", "Order2_ship", &"x".repeat(NAME_BYTES_MAX)] {
            assert_eq!(unfit(name), None, "{name}");
        }
        for name in ["", "_a", "2a", "prüfen", "a-b", &"x".repeat(NAME_BYTES_MAX + 1)] {
            assert!(unfit(name).is_some(), "{name}");
        }
    }

    #[test]
    fn type_names_become_snake_case() {
        for (rust, name) in [
            ("Account", "account"),
            ("BankAccount", "bank_account"),
            ("HTTPGate", "http_gate"),
            ("Order2Ship", "order2_ship"),
            ("Snake_Case", "snake_case"),
            ("A", "a"),
        ] {
            assert_eq!(snake_case(&Ident::new(rust, Span::call_site())), name);
        }
        assert_eq!(plain(&Ident::new_raw("type", Span::call_site())), "type");
    }
}
