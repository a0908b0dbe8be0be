//! Names and foreign text made safe to show.

use std::borrow::Cow;

use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Map, Value};

/// Text that a terminal shows as what it is: UTF-8 stays, except for characters that move the
/// cursor, hide or reorder text (`\n`, `\x1b`, `\u{202e}`); bytes that are no UTF-8 become `\xNN`.
///
/// A backslash stays as it is, so the result is for reading and not for parsing; escaping it once
/// more changes nothing.
pub fn escape_for_terminal(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.chars().any(is_dangerous)
    {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            push_escaped(&mut out, c);
        }
        for byte in chunk.invalid() {
            push_hex(&mut out, *byte);
        }
    }
    Cow::Owned(out)
}

/// The same for a text of several lines: line ends stay.
pub fn escape_lines(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| c != '\n' && is_dangerous(c)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if c == '\n' {
            out.push(c);
        } else {
            push_escaped(&mut out, c);
        }
    }
    Cow::Owned(out)
}

/// Puts a name into a JSON object: `key` is the name itself when it is UTF-8. When it is not,
/// `key` is the escaped text, and `key_b64` has the very bytes in base64.
pub fn insert_name(object: &mut Map<String, Value>, key: &str, name: &[u8]) {
    if let Ok(text) = std::str::from_utf8(name) {
        object.insert(key.to_owned(), text.into());
    } else {
        object.insert(key.to_owned(), escape_for_terminal(name).into());
        object.insert(format!("{key}_b64"), BASE64.encode(name).into());
    }
}

/// JSON that may be shown: dangerous characters, which JSON has only within strings, become
/// `\uNNNN`, and the value stays the same.
pub fn escape_json(json: String) -> String {
    if !json.chars().any(is_dangerous) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_dangerous(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let escaped = format!("\\u{unit:04x}");
                out.push_str(&escaped);
            }
        } else {
            out.push(c);
        }
    }
    out
}

fn push_escaped(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if !is_dangerous(c) => out.push(c),
        c => match u8::try_from(u32::from(c)) {
            Ok(byte) if byte.is_ascii() => push_hex(out, byte),
            _ => out.extend(c.escape_unicode()),
        },
    }
}

fn push_hex(out: &mut String, byte: u8) {
    out.push_str("\\x");
    out.push_str(&HEXLOWER.encode(&[byte]));
}

/// Controls, and characters without width that reorder, hide or break text. The joiners that
/// Persian and emoji need are not among them.
fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}'
            | '\u{200b}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pinned() {
        for (bytes, shown) in [
            (&b"plain name.txt"[..], "plain name.txt"),
            ("größe 日本 👨‍👩‍👧".as_bytes(), "größe 日本 👨‍👩‍👧"),
            (b"a\nb\tc\rd", "a\\nb\\tc\\rd"),
            (b"\x1b[31mred\x07\x7f", "\\x1b[31mred\\x07\\x7f"),
            (b"latin \xe9 end\xff", "latin \\xe9 end\\xff"),
            ("c1 \u{9b}2J".as_bytes(), "c1 \\u{9b}2J"),
            ("exe\u{202e}gpj".as_bytes(), "exe\\u{202e}gpj"),
            ("\u{2066}x\u{2069}".as_bytes(), "\\u{2066}x\\u{2069}"),
            (b"back\\slash", "back\\slash"),
        ] {
            assert_eq!(escape_for_terminal(bytes), shown);
        }
        assert_eq!(escape_lines("a\nb\x1bc"), "a\nb\\x1bc");
    }

    #[test]
    fn json_names() {
        let mut object = Map::new();
        insert_name(&mut object, "path", "ä\n".as_bytes());
        insert_name(&mut object, "name", b"\xff\n");
        assert_eq!(
            Value::Object(object).to_string(),
            r#"{"name":"\\xff\\n","name_b64":"/wo=","path":"ä\n"}"#
        );
    }

    #[test]
    fn json_keeps_its_value() {
        let text = "a\u{202e}b\u{e0001}\u{9b}";
        let shown = escape_json(Value::from(text).to_string());
        assert_eq!(shown, r#""a\u202eb\udb40\udc01\u009b""#);
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
    }

    proptest! {
        #[test]
        fn nothing_dangerous_comes_through(bytes: Vec<u8>, text: String) {
            for shown in [escape_for_terminal(&bytes), escape_for_terminal(text.as_bytes())] {
                prop_assert!(!shown.chars().any(is_dangerous));
                prop_assert_eq!(escape_for_terminal(shown.as_bytes()), &*shown);
            }
            let json = escape_json(Value::from(text.as_str()).to_string());
            prop_assert!(!json.chars().any(is_dangerous));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
