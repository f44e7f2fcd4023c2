//! The parts of a URL: they are percent-decoded for use, and shown in an error only if they cannot be part of a secret.

use percent_encoding::percent_decode_str;

/// Percent-decodes a part of a URL. An incomplete percent sign is an error, and so is a control character, which no
/// name has.
pub(super) fn decode(part: &str) -> Result<String, String> {
    let mut after = part.split('%');
    let _before_the_first = after.next();
    if after.any(|code| !code.as_bytes().get(..2).is_some_and(|code| code.iter().all(u8::is_ascii_hexdigit))) {
        return Err("write % as %25".to_owned());
    }
    let decoded = percent_decode_str(part).decode_utf8().map_err(|_| "must be UTF-8 after percent-decoding")?;
    if decoded.chars().any(char::is_control) {
        return Err("must have no control characters".to_owned());
    }
    Ok(decoded.into_owned())
}

/// The name of a parameter, for an error. A text that does not look like a name is left out: it may be part of a
/// password that was not percent-encoded.
pub(super) fn parameter_name(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-[]".contains(&byte);
    match name.is_empty() || name.len() > 32 || !name.bytes().all(plain) {
        true => "a parameter".to_owned(),
        false => format!("the parameter {name}"),
    }
}
