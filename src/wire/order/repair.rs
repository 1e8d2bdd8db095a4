//! What JSON allows and the parser does not: half of a surrogate pair, and a number beyond what 64
//! bits of floating point hold. Either would take the whole event with it, whichever device it is
//! in. So once parsing has failed, both are replaced by something that is refused where it stands.

/// Stands where half of a surrogate pair was. A noncharacter: no text for interchange has it.
pub(super) const HALF: char = '\u{fdd0}';
/// The same as an escape, in as many characters as what it replaces.
const HALF_ESCAPE: &str = "\\ufdd0";
/// Stands where a number was that is too large; no id can be read from it.
const LARGE: &str = "1e308";

/// The text with both replaced; `None` if it has neither.
pub(super) fn repaired(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut repaired = String::new();
    // All before it is in the copy.
    let mut copied = 0;
    let mut at = 0;
    let mut in_text = false;
    while let Some(byte) = bytes.get(at) {
        let (len, replacement) = match byte {
            b'\\' if in_text => escape(&bytes[at..]),
            b'"' => {
                in_text = !in_text;
                (1, None)
            }
            b'-' | b'0'..=b'9' if !in_text => number(&text[at..]),
            _ => (1, None),
        };
        if let Some(replacement) = replacement {
            repaired.push_str(&text[copied..at]);
            repaired.push_str(replacement);
            copied = at + len;
        }
        at += len;
    }
    (copied > 0).then(|| repaired + &text[copied..])
}

/// How long an escape is, and what to put in its place.
fn escape(bytes: &[u8]) -> (usize, Option<&'static str>) {
    match unit(bytes) {
        Some(0xd800..=0xdbff) => match bytes.get(6..).and_then(unit) {
            Some(0xdc00..=0xdfff) => (12, None),
            _ => (6, Some(HALF_ESCAPE)),
        },
        Some(0xdc00..=0xdfff) => (6, Some(HALF_ESCAPE)),
        Some(_) => (6, None),
        // The character behind the backslash is one byte, or is no escape and stops the parser.
        None => (2, None),
    }
}

/// The UTF-16 code unit of an escape that begins here.
fn unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    let digits = digits.iter().all(u8::is_ascii_hexdigit).then_some(digits)?;
    u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

/// How long a number is, and what to put in its place.
fn number(text: &str) -> (usize, Option<&'static str>) {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    let len = text.bytes().take_while(is_part).count();
    let is_large = text[..len].parse().is_ok_and(f64::is_infinite);
    (len, is_large.then_some(LARGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_pairs_and_huge_numbers_are_replaced_and_nothing_else() {
        let nines = "9".repeat(500);
        for (text, expected) in [
            (r#"["\ud800"]"#, r#"["\ufdd0"]"#),
            (r#"["\uDFFFx\uD83D\uDE00\ud83d\u0041"]"#, r#"["\ufdd0x\uD83D\uDE00\ufdd0\u0041"]"#),
            (r#"["\\\ud800",1]"#, r#"["\\\ufdd0",1]"#),
            (
                &format!(r#"[{nines},-1e999,"{nines}\"9",1.5e3]"#),
                &format!(r#"[1e308,1e308,"{nines}\"9",1.5e3]"#),
            ),
        ] {
            assert_eq!(repaired(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["", r#"["\\ud800", "\ud83d\ude00", 1e3]"#, "\"\\", "\"\\ud8", "\"\\ä", "ä1"]
        {
            assert_eq!(repaired(text), None, "{text}");
        }
    }
}
