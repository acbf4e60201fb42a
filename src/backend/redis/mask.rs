//! Cutting the password out of what a server or fred says.

use std::fmt;
use std::sync::Arc;

/// Cuts a password out of what a server says, in each form in which a server may repeat it.
#[derive(Clone, Default)]
pub(super) struct Mask(Arc<[String]>);

impl Mask {
    pub(super) fn of(password: &str) -> Self {
        let is_alphanumeric = |byte: u8| byte.is_ascii_alphanumeric();
        let mut forms = vec![
            password.to_owned(),
            // Error replies are of one line: a server puts blanks in place of line breaks.
            password.replace(['\r', '\n'], " "),
            // As it was sent.
            escaped(password, stands_in_quotes, in_hex),
            // As Redis shows a text.
            escaped(password, stands_in_quotes, |byte| match byte {
                b'\n' => "\\n".to_owned(),
                b'\r' => "\\r".to_owned(),
                b'\t' => "\\t".to_owned(),
                0x07 => "\\a".to_owned(),
                0x08 => "\\b".to_owned(),
                b'"' | b'\\' => format!("\\{}", char::from(byte)),
                byte => in_hex(byte),
            }),
            // As it may stand in a URL.
            escaped(password, is_alphanumeric, |byte| format!("%{byte:02X}")),
            escaped(password, is_alphanumeric, |byte| format!("%{byte:02x}")),
            escaped(password, is_plain, |byte| format!("%{byte:02X}")),
            escaped(password, is_plain, |byte| format!("%{byte:02x}")),
        ];
        forms.retain(|form| !form.is_empty());
        // What holds another form goes first, so that no part of it is left.
        forms.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        forms.dedup();
        Self(forms.into())
    }

    pub(super) fn masked(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, form| match text.contains(form) {
            true => text.replace(form, "***"),
            false => text,
        })
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mask(hidden)")
    }
}

/// A word of an inline command, as Redis reads it (`sdssplitargs`): fred writes user name and password into one, as they are. There, a
/// blank would end the word and a line break the command; in quotes, any byte may stand.
pub(super) fn inline(word: &str) -> String {
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("\"{}\"", escaped(word, stands_in_quotes, in_hex))
}

fn escaped(word: &str, stands: impl Fn(u8) -> bool, escape: impl Fn(u8) -> String) -> String {
    word.bytes().map(|byte| if stands(byte) { char::from(byte).to_string() } else { escape(byte) }).collect()
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_.~-".contains(&byte)
}

fn stands_in_quotes(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')
}

fn in_hex(byte: u8) -> String {
    format!("\\x{byte:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_are_not_quoted_and_all_others_are() {
        for word in ["app", "default", "a_b.c~d-9"] {
            assert_eq!(inline(word), word);
        }
        assert_eq!(inline(""), r#""""#);
        assert_eq!(inline("a b'c"), r#""a b'c""#);
        assert_eq!(inline(r#"a"b\"#), r#""a\x22b\x5c""#);
        assert_eq!(inline("a\r\nFLUSHALL\0é"), r#""a\x0d\x0aFLUSHALL\x00\xc3\xa9""#);
        assert_eq!(inline("#{x}$(y)"), r##""#{x}$(y)""##);
    }

    #[test]
    fn each_form_of_a_password_is_cut_out() {
        let mask = Mask::of("p\"w\r\n%1\\é");
        for form in [
            "p\"w\r\n%1\\é",
            "p\"w  %1\\é",
            r"p\x22w\x0d\x0a%1\x5c\xc3\xa9",
            r#"p\"w\r\n%1\\\xc3\xa9"#,
            "p%22w%0D%0A%251%5C%C3%A9",
            "p%22w%0d%0a%251%5c%c3%a9",
        ] {
            assert_eq!(mask.masked(&format!("WRONGPASS for {form}, {form}")), "WRONGPASS for ***, ***", "{form:?}");
        }
        assert_eq!(mask.masked("NOPERM no permission"), "NOPERM no permission");
        assert_eq!(Mask::default().masked("all"), "all");
        assert_eq!(Mask::of("").masked("all"), "all");
        assert!(!format!("{mask:?}").contains('w'));
    }
}
