//! The bodies of requests about accounts and API keys.

use crate::domain::secret::Secret;
use crate::domain::user::{Scopes, Username, parse_password};
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
    /// `None` for those that a key gets without being asked for.
    pub(in crate::http) scopes: Option<Scopes>,
}

/// The present password of a user and the next one.
pub(in crate::http) struct PasswordChange {
    pub(in crate::http) old: Secret,
    pub(in crate::http) new: Secret,
}

/// Parses a name and a password. No error repeats the password.
pub(in crate::http) fn parse_credentials(body: &[u8]) -> Result<Credentials, Problem> {
    let mut fields = FieldReader::of_body(body)?;
    let name = fields.require(&["username"], |text| text.parse().map_err(str::to_owned));
    let password = require_password(&mut fields, "password");
    fields.finish(name.zip(password).map(|(name, password)| Credentials { name, password }))
}

/// Parses the two passwords of a change. No error repeats one.
pub(in crate::http) fn parse_password_change(body: &[u8]) -> Result<PasswordChange, Problem> {
    let mut fields = FieldReader::of_body(body)?;
    let passwords = require_password(&mut fields, "oldPassword").zip(require_password(&mut fields, "newPassword"));
    if passwords.as_ref().is_some_and(|(old, new)| old.expose() == new.expose()) {
        fields.error("newPassword", "must differ from oldPassword");
    }
    fields.finish(passwords.map(|(old, new)| PasswordChange { old, new }))
}

/// Parses the password with which a user confirms a request.
pub(in crate::http) fn parse_confirmation(body: &[u8]) -> Result<Secret, Problem> {
    let mut fields = FieldReader::of_body(body)?;
    let password = require_password(&mut fields, "password");
    fields.finish(password)
}

fn require_password(fields: &mut FieldReader, name: &str) -> Option<Secret> {
    fields.require(&[name], |text| parse_password(text).map_err(str::to_owned))
}

/// Parses the name and the scopes of an API key.
pub(in crate::http) fn parse_new_key(body: &[u8]) -> Result<NewKey, Problem> {
    let mut fields = FieldReader::of_body(body)?;
    let name = fields.require(&["name"], |text| match text.chars().count() {
        1..=64 if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        _ => Err("must have 1 to 64 characters".to_owned()),
    });
    let scopes: Option<Scopes> = fields.take_list("scopes", "must be a list of read, trade and operate");
    if scopes.is_some_and(Scopes::is_empty) {
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
    fn a_new_password_differs_from_the_old_one_and_no_error_repeats_either() {
        let problem = |body: &str| match parse_password_change(body.as_bytes()) {
            Ok(_) => panic!("{body}"),
            Err(problem) => serde_json::to_string(&problem).unwrap(),
        };
        for (body, reason) in [
            (r#"{"oldPassword":"hunter2-hunter2","newPassword":"hunter2-hunter2"}"#, "must differ"),
            (r#"{"oldPassword":"hunter2-hunter2","newPassword":"hunter2"}"#, "8 to 256 bytes"),
            (r#"{"oldPassword":"hunter2-hunter2"}"#, "is required"),
            (
                r#"{"oldPassword":"hunter2-hunter2","newPassword":"hunter3-hunter2","password":"hunter2"}"#,
                "not a field",
            ),
        ] {
            let problem = problem(body);
            assert!(problem.contains(reason) && !problem.contains("hunter"), "{problem}");
        }
        let change = parse_password_change(br#"{"oldPassword":"hunter2-hunter2","newPassword":"hunter3-hunter3"}"#);
        let PasswordChange { old, new } = change.ok().unwrap();
        assert_eq!((old.expose(), new.expose()), ("hunter2-hunter2", "hunter3-hunter3"));
    }

    #[test]
    fn the_scopes_of_a_key_are_a_list_or_absent() {
        let scopes = |body: &str| parse_new_key(body.as_bytes()).map(|key| key.scopes.map(|scopes| scopes.to_string()));
        assert_eq!(scopes(r#"{"name":"bot"}"#).unwrap(), None);
        assert_eq!(scopes(r#"{"name":"bot","scopes":["read"]}"#).unwrap().as_deref(), Some("read"));
        for wrong in ["[]", r#"["admin"]"#, r#""read""#, "null"] {
            assert!(scopes(&format!(r#"{{"name":"bot","scopes":{wrong}}}"#)).is_err(), "{wrong}");
        }
    }
}
