//! The bodies of requests about accounts and API keys.

use crate::domain::secret::Secret;
use crate::domain::user::{Scopes, Username};
use crate::http::extract::fields::FieldReader;
use crate::http::problem::Problem;

/// A user name and a password.
pub(in crate::http) struct Credentials {
    pub(in crate::http) name: Username,
    pub(in crate::http) password: Secret,
}

/// An API key to be created.
pub(in crate::http) struct NewKey {
    pub(in crate::http) name: String,
    pub(in crate::http) scopes: Scopes,
}

/// Parses a name and a password. No error repeats the password.
pub(in crate::http) fn parse_credentials(body: &[u8]) -> Result<Credentials, Problem> {
    let mut fields = FieldReader::of_body(body)?;
    let name = fields.require(&["username"], |text| text.parse().map_err(str::to_owned));
    let password = fields.require(&["password"], |text| match text.len() {
        8..=256 => Ok(Secret::new(text)),
        _ => Err("must have 8 to 256 bytes".to_owned()),
    });
    fields.finish(name.zip(password).map(|(name, password)| Credentials { name, password }))
}

/// Parses the name and the scopes of an API key. Without `scopes` the key has all of them.
pub(in crate::http) fn parse_new_key(body: &[u8]) -> Result<NewKey, Problem> {
    let mut fields = FieldReader::of_body(body)?;
    let name = fields.require(&["name"], |text| match text.chars().count() {
        1..=64 if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        _ => Err("must have 1 to 64 characters".to_owned()),
    });
    let scopes = fields.take_list("scopes", "must be a list of read and trade").unwrap_or(Scopes::ALL);
    if scopes.is_empty() {
        fields.error("scopes", "must not be empty");
    }
    fields.finish(name.map(|name| NewKey { name, scopes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_repeats_the_password() {
        for body in [
            r#"{"username":"alice","password":"hunter2"}"#,
            r#"{"username":"a","password":"hunter2-hunter2"}"#,
            r#"{"username":"alice","password":["hunter2-hunter2"]}"#,
            r#"{"username":"alice","password":{"hunter2":1}}"#,
            r#"{"username":"alice","password":"hunter2-hunter2","password":"hunter2-hunter2"}"#,
            r#"{"username":"alice","password":"hunter2-hunter2",}"#,
            r#"["alice","hunter2-hunter2"]"#,
            r#""hunter2-hunter2""#,
        ] {
            let problem =
                parse_credentials(body.as_bytes()).err().map(|problem| serde_json::to_string(&problem).unwrap());
            assert!(!problem.unwrap().contains("hunter2"), "{body}");
        }
        let both = parse_credentials(br#"{"username":"!","password":"short"}"#).err().unwrap();
        assert_eq!(serde_json::to_value(both).unwrap()["errors"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_key_without_scopes_has_all_of_them() {
        let scopes = |body: &str| parse_new_key(body.as_bytes()).map(|key| key.scopes);
        assert_eq!(scopes(r#"{"name":"bot"}"#).unwrap(), Scopes::ALL);
        assert_eq!(scopes(r#"{"name":"bot","scopes":["read"]}"#).unwrap().to_string(), "read");
        for wrong in ["[]", r#"["admin"]"#, r#""read""#, "null"] {
            assert!(scopes(&format!(r#"{{"name":"bot","scopes":{wrong}}}"#)).is_err(), "{wrong}");
        }
    }
}
