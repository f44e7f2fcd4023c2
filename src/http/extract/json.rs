//! A JSON object as its members, each value as the client wrote it, so that a number keeps every digit.

use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

/// The names and values of a JSON object, in the order of the text; a name may occur more than once.
pub(super) type Members = Vec<(String, Box<RawValue>)>;

/// Reads the members of a JSON object; the error says why the text is not one.
pub(super) fn members(text: &[u8]) -> Result<Members, String> {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") {
        return Err("its byte-order mark means UTF-16, and JSON must be UTF-8".to_owned());
    }
    // Some programs on Windows write this mark before each text.
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    serde_json::from_slice(text).map(|JsonObject(members)| members).map_err(|error| match error.classify() {
        // The error would repeat the value, which may be a secret in the wrong place.
        Category::Data => "it is a JSON value of another type".to_owned(),
        _ => error.to_string(),
    })
}

struct JsonObject(Members);

impl<'de> Deserialize<'de> for JsonObject {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = JsonObject;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonObject, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(JsonObject(members))
            }
        }
        deserializer.deserialize_map(ObjectVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_no_json_object_is_refused() {
        for text in ["", "{", "null", "[]", "\"x\"", "{\"a\":}", "{} {}", "\u{0}"] {
            assert!(members(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_number_keeps_every_digit() {
        let members = members(br#"{"a":9007199254.7409931230}"#).unwrap();
        assert_eq!(members[0].1.get(), "9007199254.7409931230");
    }

    #[test]
    fn one_byte_order_mark_is_skipped_and_utf_16_is_named() {
        assert!(members(b"\xef\xbb\xbf{}").is_ok());
        assert!(members(b"\xef\xbb\xbf\xef\xbb\xbf{}").is_err());
        for text in [b"\xff\xfe{}", b"\xfe\xff{}"] {
            assert!(members(text).unwrap_err().contains("UTF-16"));
        }
    }
}
