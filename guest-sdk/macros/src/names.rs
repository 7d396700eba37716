//! Names: a type's in snake_case, an identifier's without `r#`.

use syn::Ident;
use syn::ext::IdentExt as _;

/// Longest type and handler name that the host takes.
pub(crate) const NAME_BYTES_MAX: usize = 64;

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
