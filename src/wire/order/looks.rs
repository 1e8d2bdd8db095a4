//! What a value that is no JSON looks like, for the reason of its dead letter: the commonest
//! mistake of a new installation is a producer that writes another format.

/// How many bytes are looked at for a text in UTF-16.
const SAMPLE: usize = 32;

/// What the bytes look like and what to change, as a part of a sentence; `None` if they are nothing
/// that is known.
pub(super) fn like(bytes: &[u8]) -> Option<String> {
    let known = match bytes {
        [0x1f, 0x8b, ..] => {
            "it is gzip data; send it unpacked, and let Kafka compress \
                             (compression.type of the producer)"
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x04, 0x22, 0x4d, 0x18, ..] => {
            "it is compressed (zstd or lz4); send it unpacked, and let Kafka compress \
             (compression.type of the producer)"
        }
        [0xac, 0xed, 0, 5, ..] => "it is a serialised Java object; use a JSON serializer",
        [b'O', b'b', b'j', 1, ..] => "it is an Avro file; send one JSON object a record",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "it is UTF-16; send UTF-8",
        _ if is_utf_16(bytes) => "it is UTF-16; send UTF-8",
        [3, 0 | 5, rest @ ..] if rest.len() > 16 => {
            "it begins with a header of the AWS Glue schema registry (version byte 3); use a plain \
             JSON serializer, without a registry"
        }
        [0, a, b, c, d, rest @ ..] => return Some(registry([*a, *b, *c, *d], rest)),
        _ if first_character(bytes) == Some(b'<') => "it is XML; send JSON",
        _ => return None,
    };
    Some(known.to_owned())
}

/// The header that serializers with a schema registry write in front of each value.
fn registry(id: [u8; 4], rest: &[u8]) -> String {
    let id = u32::from_be_bytes(id);
    let format = if first_character(rest) == Some(b'{') { "JSON" } else { "Avro or Protobuf" };
    format!(
        "it begins with a schema registry's header (magic byte 0, schema id {id}), {format} behind \
         it; use a plain JSON serializer, without a registry"
    )
}

fn first_character(bytes: &[u8]) -> Option<u8> {
    bytes.iter().copied().find(|byte| !byte.is_ascii_whitespace())
}

/// Whether every second byte is zero and no other one, as in English UTF-16.
fn is_utf_16(bytes: &[u8]) -> bool {
    let sample = &bytes[..bytes.len().min(SAMPLE)];
    let zeros = |from: usize| sample.iter().skip(from).step_by(2).all(|byte| *byte == 0);
    let others = |from: usize| sample.iter().skip(from).step_by(2).all(|byte| *byte != 0);
    sample.len() >= 4 && (zeros(0) && others(1) || zeros(1) && others(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_formats_are_named() {
        let utf_16: Vec<u8> = "{\"a\"".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let glue = [[3, 5].as_slice(), &[7; 16], b"x"].concat();
        for (bytes, words) in [
            (b"\0\0\0\0\x0c\x02a".as_slice(), "schema id 12), Avro or Protobuf behind it"),
            (b"\0\0\0\0\x96{\"a\":1}", "schema id 150), JSON behind it"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"\x28\xb5\x2f\xfd", "zstd"),
            (b"\xac\xed\0\x05t", "Java"),
            (b"Obj\x01", "Avro file"),
            (b"\xff\xfe{\0", "UTF-16"),
            (&utf_16, "UTF-16"),
            (&glue, "Glue"),
            (b" <order/>", "XML"),
        ] {
            let told = like(bytes).unwrap_or_default();
            assert!(told.contains(words), "{bytes:?}: {told}");
        }
        for bytes in [b"".as_slice(), b"\0", b"\0\0\0\0", b"a,b,c", b"{", b"\xff", b"\x03\x05"] {
            assert_eq!(like(bytes), None, "{bytes:?}");
        }
    }
}
