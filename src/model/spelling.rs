//! How an IMEI and a MEID are spelt, and in which words one is refused that is not.
//!
//! Whoever reads them has the order on the screen, where an invisible character cannot be seen and
//! a spreadsheet's number looks right. No sentence repeats more of an id than a single character.

/// What people write between the digits, and what is left out.
pub(super) fn is_separator(character: char) -> bool {
    character.is_whitespace() || matches!(character, '-' | '/' | '.')
}

/// Whether a text is the digits of an IMEI, check digit included.
pub(super) fn is_imei(digits: &str) -> bool {
    digits.len() == 15 && is_decimal(digits) && luhn_holds(digits)
}

/// What is wrong with an IMEI: `value` as given, `digits` without separators.
pub(super) fn imei_fault(value: &str, digits: &str) -> Option<String> {
    if is_imei(digits) {
        return None;
    }
    Some(if has_two_imeis(value) {
        "holds two IMEIs; give each in a field of its own, imei and imei2".to_owned()
    } else if is_scientific(value) {
        "is a number as a spreadsheet shortens it (E+); its digits are lost, take them from the \
         source"
            .to_owned()
    } else if let Some(what) = odd_one(value, |c| c.is_ascii_digit()) {
        format!("has {what}; needs 15 digits")
    } else if digits.len() == 15 {
        "has a wrong check digit (Luhn)".to_owned()
    } else {
        let count = digits.len();
        let why = match count {
            14 => "; the check digit, or a zero in front, is missing",
            16 => "; 16 are an IMEISV, which ends in a software version in place of a check digit",
            _ if is_imei(digits.trim_start_matches('0')) => "; take off the zeros in front",
            _ => "",
        };
        format!("has {count} digits, needs 15{why}")
    })
}

/// What is wrong with a MEID: `value` as given, `digits` without separators and in capitals.
pub(super) fn meid_fault(value: &str, digits: &str) -> Option<String> {
    if let Some(what) = odd_one(value, |c| c.is_ascii_hexdigit()) {
        return Some(format!("has {what}; needs 14 hexadecimal digits"));
    }
    let why = match digits.len() {
        14 => return None,
        15 if is_imei(digits) => "; 15 decimal ones are an IMEI, or a MEID with its check digit",
        15 => "; leave out the check digit at its end",
        18 | 19 if is_decimal(digits) => "; this is its decimal form",
        8 | 11 => "; this is an ESN, which the API does not know",
        _ => "",
    };
    Some(format!("has {} digits, needs 14 hexadecimal ones{why}", digits.len()))
}

fn is_decimal(digits: &str) -> bool {
    digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether the last digit is the Luhn check digit of the others. Only for ASCII digits.
fn luhn_holds(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(index, byte)| {
            let digit = u32::from(byte - b'0');
            if index % 2 == 0 { digit } else { digit * 2 / 10 + digit * 2 % 10 }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Whether there are the digits of two, with whatever people put between two things.
fn has_two_imeis(value: &str) -> bool {
    let is_between = |c: &char| is_separator(*c) || matches!(c, ',' | ';' | '|' | '+' | '&');
    let digits: String = value.chars().filter(|c| !is_between(c)).collect();
    digits.len() == 30 && is_decimal(&digits)
}

/// Whether this is `3.56938E+14` or the like.
fn is_scientific(value: &str) -> bool {
    let is_number = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_digit())
            && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | ','))
    };
    let parts = value.trim().split_once(['e', 'E']);
    parts.is_some_and(|(head, tail)| is_number(head) && is_number(tail.trim_start_matches('+')))
}

/// The first character that does not belong there: its name, its number and its place, from 1.
fn odd_one(value: &str, belongs: impl Fn(char) -> bool) -> Option<String> {
    let (index, odd) = value
        .trim()
        .chars()
        .enumerate()
        .find(|(_, character)| !is_separator(*character) && !belongs(*character))?;
    let name = match odd {
        '\u{200b}' => "a zero-width space",
        '\u{200c}' => "a zero-width non-joiner",
        '\u{200d}' => "a zero-width joiner",
        '\u{2060}' => "a word joiner, which is invisible,",
        '\u{feff}' => "a byte order mark, which is invisible,",
        '\u{ad}' => "a soft hyphen",
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            "an invisible mark of the writing direction"
        }
        '\u{2010}'..='\u{2015}' | '\u{2212}' => "a dash other than the hyphen",
        '\'' => "an apostrophe",
        '"' => "a quotation mark",
        '\u{2018}'..='\u{201f}' => "a typographic quotation mark",
        '\u{ff10}'..='\u{ff19}' => "a full-width digit",
        '\u{ff01}'..='\u{ff5e}' => "a full-width character",
        '\u{fffd}' => "a replacement for a character that was lost",
        _ if odd.is_control() => "a control character",
        _ if odd.is_ascii_alphabetic() => {
            return Some(at(&format!("the letter {odd}"), odd, index));
        }
        _ if odd.is_ascii_graphic() => return Some(at(&format!("the sign {odd}"), odd, index)),
        _ if odd.is_numeric() => "a digit of another script",
        _ if odd.is_alphabetic() => "a letter of another script",
        _ => "a character that is no digit",
    };
    Some(at(name, odd, index))
}

fn at(name: &str, character: char, index: usize) -> String {
    format!("{name} (U+{:04X}) at place {}", u32::from(character), index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imei(value: &str) -> String {
        let digits: String = value.chars().filter(|c| !is_separator(*c)).collect();
        imei_fault(value, &digits).unwrap_or_default()
    }

    fn meid(value: &str) -> String {
        let digits: String = value.chars().filter(|c| !is_separator(*c)).collect();
        meid_fault(value, &digits.to_ascii_uppercase()).unwrap_or_default()
    }

    #[test]
    fn the_words_say_what_is_wrong_with_an_imei() {
        assert_eq!(imei("49-015420/323751.8"), "");
        for (value, words) in [
            ("\u{200b}490154203237518", "a zero-width space (U+200B) at place 1; needs 15 digits"),
            ("49\u{feff}0154203237518", "invisible, (U+FEFF) at place 3"),
            ("'490154203237518", "an apostrophe (U+0027) at place 1"),
            ("49\u{2013}015420", "a dash other than the hyphen (U+2013) at place 3"),
            ("４９０１５４２０３２３７５１８", "a full-width digit (U+FF14) at place 1"),
            ("٤٩٠١٥٤", "a digit of another script (U+0664) at place 1"),
            ("N/A", "the letter N (U+004E) at place 1"),
            ("49 01#", "the sign # (U+0023) at place 6"),
            ("4\u{1b}", "a control character (U+001B) at place 2"),
            ("4ü", "a letter of another script (U+00FC) at place 2"),
            ("4\u{1f600}", "a character that is no digit (U+1F600) at place 2"),
            ("356938035643817 / 490154203237526", "holds two IMEIs"),
            ("356938035643817,490154203237526", "holds two IMEIs"),
            ("356938035643817490154203237526", "holds two IMEIs"),
            ("3.56938E+14", "as a spreadsheet shortens it"),
            ("3,56938e14", "as a spreadsheet shortens it"),
            ("3569380356438001", "has 16 digits, needs 15; 16 are an IMEISV"),
            ("49015420323751", "has 14 digits, needs 15; the check digit, or a zero"),
            ("000356938035643809", "has 18 digits, needs 15; take off the zeros in front"),
            ("4901542", "has 7 digits, needs 15"),
            ("490154203237517", "has a wrong check digit (Luhn)"),
        ] {
            assert!(imei(value).contains(words), "{value}: {}", imei(value));
        }
    }

    #[test]
    fn the_words_say_what_is_wrong_with_a_meid() {
        assert_eq!(meid("a1-000000-9296f2"), "");
        for (value, words) in [
            ("270113177609606898", "has 18 digits, needs 14 hexadecimal ones; this is its decimal"),
            ("A10000009296F2D", "has 15 digits, needs 14 hexadecimal ones; leave out the check"),
            ("490154203237518", "15 decimal ones are an IMEI, or a MEID with its check digit"),
            ("80F8E7C1", "has 8 digits, needs 14 hexadecimal ones; this is an ESN"),
            ("A10000009296G2", "the letter G (U+0047) at place 13; needs 14 hexadecimal digits"),
            ("A1", "has 2 digits, needs 14 hexadecimal ones"),
        ] {
            assert!(meid(value).contains(words), "{value}: {}", meid(value));
        }
    }
}
