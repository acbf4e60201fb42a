//! Looking for names in tokens, and for the name that was meant.

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};

/// Whether `name` occurs in `tokens`: as a word, or as `{name}` in a text, which may be one of `format!`.
pub(crate) fn mentions(tokens: TokenStream, name: &str) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == name,
        TokenTree::Group(group) => mentions(group.stream(), name),
        TokenTree::Literal(literal) => {
            let text = literal.to_string().replace("{{", "");
            let plain = name.trim_start_matches("r#");
            text.split('{')
                .skip(1)
                .any(|rest| rest.trim_start().strip_prefix(plain).is_some_and(|rest| !rest.starts_with(is_of_word)))
        }
        TokenTree::Punct(_) => false,
    })
}

/// Whether a function's body is written for the type around it: says `Self`, other than in items of its own.
pub(crate) fn says_self_type(body: TokenStream) -> bool {
    let mut in_item = false;
    body.into_iter().any(|token| match token {
        TokenTree::Ident(word) => {
            in_item |= ["enum", "impl", "struct", "trait", "union"].iter().any(|item| word == item);
            word == "Self" && !in_item
        }
        TokenTree::Group(group) => {
            let inner = says_self_type(group.stream()) && !in_item;
            in_item &= group.delimiter() != Delimiter::Brace;
            inner
        }
        TokenTree::Punct(punct) => {
            in_item &= punct.as_char() != ';';
            false
        }
        TokenTree::Literal(_) => false,
    })
}

/// The word `impl` in a type.
pub(crate) fn impl_trait(ty: TokenStream) -> Option<Ident> {
    ty.into_iter().find_map(|token| match token {
        TokenTree::Ident(ident) if ident == "impl" => Some(ident),
        TokenTree::Group(group) => impl_trait(group.stream()),
        _ => None,
    })
}

/// The known name that `unknown` is most likely to mean, if it's like one.
pub(crate) fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    let is_like = |name: &str, edits: usize| {
        let (short, long) = if name.len() < unknown.len() { (name, unknown) } else { (unknown, name) };
        edits <= 1 + long.len() / 5 || (short.len() >= 3 && long.contains(short))
    };
    let names = known.iter().map(|name| (edits(unknown, name), *name));
    names.filter(|(edits, name)| is_like(name, *edits)).min().map(|(_, name)| name)
}

/// How many letters have to be put in, left out or replaced to make one word of the other (Levenshtein 1965).
fn edits(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, a) in one.bytes().enumerate() {
        let mut diagonal = above;
        row[0] = above + 1;
        for (at, b) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(diagonal + 1).min(row[at] + 1);
        }
    }
    row[other.len()]
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> TokenStream {
        text.parse().expect("it's Rust")
    }

    #[test]
    fn names_are_found_as_words_and_in_format_texts() {
        for text in ["id", "f(&[id])", "format!(\"user-{id}\")", "format!(\"{ id:?}\")", "id.len()"] {
            assert!(mentions(tokens(text), "id"), "{text}");
        }
        assert!(mentions(tokens("format!(\"{{{id}}}\")"), "id"));
        for text in ["idx", "f(\"id\")", "format!(\"{idx}\")", "format!(\"{{id}}\")", "1 + 1"] {
            assert!(!mentions(tokens(text), "id"), "{text}");
        }
        assert!(mentions(tokens("format!(\"{type}\")"), "r#type"));
    }

    #[test]
    fn a_body_that_says_self_type_is_told_from_one_with_items_of_its_own() {
        for body in ["Self::query(id)", "let x = [Self::A];", "struct A; Self", "enum A { B } f(Self)"] {
            assert!(says_self_type(tokens(body)), "{body}");
        }
        for body in ["query(id)", "struct A; impl A { fn f() -> Self { Self } } A::f()", "trait T: Into<Self> {}"] {
            assert!(!says_self_type(tokens(body)), "{body}");
        }
    }

    #[test]
    fn misspelt_names_find_what_was_meant() {
        let known = ["expire", "encoder", "decoder", "key", "key_prefix", "namespace"];
        for (unknown, meant) in [
            ("expires", "expire"),
            ("expiry", "expire"),
            ("encode", "encoder"),
            ("prefix", "key_prefix"),
            ("kee", "key"),
            ("name_space", "namespace"),
        ] {
            assert_eq!(nearest(unknown, &known), Some(meant), "{unknown}");
        }
        assert_eq!(nearest("ttl", &known), None);
    }
}
