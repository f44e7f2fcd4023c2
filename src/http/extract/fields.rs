//! Reads the fields of a request one by one and collects every error, so that a client learns them all at once.

use std::collections::HashSet;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::api::problem::ProblemCode;
use crate::http::extract::json::{self, Members};
use crate::http::extract::query;
use crate::http::problem::{FieldErrors, Problem};

/// What a flag must be.
pub(super) const MUST_BE_A_FLAG: &str = "must be true or false";

/// The fields of a JSON object or a query string that are not read yet, and the errors found so far.
pub(in crate::http) struct FieldReader {
    unread: Members,
    errors: FieldErrors,
    // The word for a field in error texts.
    kind: &'static str,
}

impl FieldReader {
    /// Reads the fields of a JSON object. The error for any other text begins with `what`, the name of the text.
    pub(in crate::http) fn of_json(what: &str, text: &[u8]) -> Result<Self, Problem> {
        let members = json::members(text).map_err(|reason| {
            Problem::new(ProblemCode::InvalidJson, format!("{what} is not a JSON object: {reason}"))
        })?;
        Self::of(members, "field")
    }

    /// Reads the body of a request.
    pub(in crate::http) fn of_body(body: &[u8]) -> Result<Self, Problem> {
        Self::of_json("the body", body)
    }

    /// Reads the parameters of a query string. A parameter without a value is an error.
    pub(in crate::http) fn of_query(query: &str) -> Result<Self, Problem> {
        let mut fields = Self::of(query::members(query)?, "parameter")?;
        fields.refuse_valueless();
        Ok(fields)
    }

    /// Reads a query string and a body as one object; the body may be empty. A field without a value is an error.
    pub(super) fn of_query_and_body(query: &str, body: &[u8]) -> Result<Self, Problem> {
        let mut members = query::members(query)?;
        if !body.is_empty() {
            members.extend(Self::of_body(body)?.unread);
        }
        let mut fields = Self::of(members, "field")?;
        fields.refuse_valueless();
        Ok(fields)
    }

    fn of(members: Members, kind: &'static str) -> Result<Self, Problem> {
        let mut names = HashSet::with_capacity(members.len());
        if let Some((name, _)) = members.iter().find(|(name, _)| !names.insert(name.as_str())) {
            return Err(Problem::invalid_field(name, "is present more than once"));
        }
        Ok(Self { unread: members, errors: FieldErrors::default(), kind })
    }

    /// Adds an error.
    pub(in crate::http) fn error(&mut self, field: &str, message: impl Into<String>) {
        self.errors.push(field, message);
    }

    /// Takes a required field, under any one of these names.
    pub(in crate::http) fn require<T>(
        &mut self,
        names: &[&str],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let errors_before = self.errors.len();
        let value = self.take_one_of(names, parse);
        if value.is_none() && self.errors.len() == errors_before {
            self.error(names[0], "is required");
        }
        value
    }

    /// Takes an optional field, under any one of these names. It is a string or a number; `null` counts as absent.
    pub(in crate::http) fn take_one_of<T>(
        &mut self,
        names: &[&str],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let mut found = None;
        for name in names {
            let Some(raw) = self.remove(name) else { continue };
            let text = match plain_text(raw.get()) {
                Ok(None) => continue,
                Ok(Some(text)) => text,
                Err(message) => {
                    self.error(name, message);
                    continue;
                }
            };
            if found.is_some() {
                self.error(name, format!("is another name for {}; send only one of them", names[0]));
                continue;
            }
            match parse(&text) {
                Ok(value) => found = Some(value),
                Err(message) => self.error(name, message),
            }
        }
        found
    }

    /// Takes an optional boolean; it is `false` by default. `null` is an error, because it could mean either.
    pub(super) fn take_flag(&mut self, name: &str) -> bool {
        match self.remove(name).as_deref().map(RawValue::get) {
            Some("true") => true,
            Some("false") | None => false,
            Some(_) => {
                self.error(name, MUST_BE_A_FLAG);
                false
            }
        }
    }

    /// Takes an optional list; `message` is the error for anything else.
    pub(super) fn take_list<T: DeserializeOwned, L: FromIterator<T>>(
        &mut self,
        name: &str,
        message: &str,
    ) -> Option<L> {
        match serde_json::from_str::<Vec<T>>(self.remove(name)?.get()) {
            Ok(list) => Some(list.into_iter().collect()),
            Err(_) => {
                self.error(name, message);
                None
            }
        }
    }

    /// Takes an optional field as the client wrote it; `null` counts as absent.
    pub(in crate::http) fn take_raw(&mut self, name: &str) -> Option<Box<RawValue>> {
        self.remove(name).filter(|raw| raw.get() != "null")
    }

    /// Ends the reading: every field that was not taken is an error. Returns `value` if there is no error.
    pub(in crate::http) fn finish<T>(mut self, value: Option<T>) -> Result<T, Problem> {
        for (name, _) in std::mem::take(&mut self.unread) {
            self.error(&name, format!("is not a {} of this request", self.kind));
        }
        match value {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ => Err(Problem::invalid(self.errors)),
        }
    }

    /// Ends the reading of a request that has no fields.
    pub(in crate::http) fn refuse_all(self) -> Result<(), Problem> {
        self.finish(Some(()))
    }

    /// Removes the fields that have a name and no value, `null` or an empty string, and adds an error for each.
    fn refuse_valueless(&mut self) {
        let is_valueless = |(_, raw): &mut (String, Box<RawValue>)| matches!(raw.get(), "null" | r#""""#);
        let valueless: Vec<_> = self.unread.extract_if(.., is_valueless).collect();
        for (name, _) in valueless {
            self.error(&name, "has no value; set it or leave it out");
        }
    }

    fn remove(&mut self, name: &str) -> Option<Box<RawValue>> {
        let index = self.unread.iter().position(|(given, _)| given == name)?;
        Some(self.unread.swap_remove(index).1)
    }
}

/// The text of a JSON string, or a number exactly as it was written; `None` for `null`.
fn plain_text(raw: &str) -> Result<Option<String>, &'static str> {
    match raw.as_bytes().first() {
        Some(b'"') => serde_json::from_str(raw).map(Some).map_err(|_| "must be a string"),
        Some(b'-' | b'0'..=b'9') => Ok(Some(raw.to_owned())),
        Some(b'n') => Ok(None),
        _ => Err("must be a string or a number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong_fields(problem: &Problem) -> Vec<String> {
        problem.details().errors.iter().map(|error| error.field.clone()).collect()
    }

    #[test]
    fn every_error_is_reported_at_once() {
        let mut fields = FieldReader::of_body(br#"{"size":"big","on":null,"tags":1,"left":0}"#).unwrap();
        let size = fields.require(&["size"], |text| text.parse::<u32>().map_err(|error| error.to_string()));
        fields.require(&["name"], |text| Ok(text.to_owned()));
        fields.take_flag("on");
        fields.take_list::<String, Vec<_>>("tags", "must be a list");
        assert_eq!(wrong_fields(&fields.finish(size).unwrap_err()), ["size", "name", "on", "tags", "left"]);
    }

    #[test]
    fn a_field_under_two_of_its_names_is_refused() {
        let mut fields = FieldReader::of_body(br#"{"amount":1,"amountIn":1}"#).unwrap();
        let amount = fields.take_one_of(&["amountIn", "amount"], |text| Ok(text.to_owned()));
        assert_eq!(wrong_fields(&fields.finish(amount).unwrap_err()), ["amount"]);
    }

    #[test]
    fn a_field_that_is_given_twice_is_refused_also_where_one_is_in_the_query() {
        assert!(FieldReader::of_body(br#"{"a":1,"a":1}"#).is_err());
        assert!(FieldReader::of_query("a=1&%61=1").is_err());
        assert!(FieldReader::of_query_and_body("a=1", br#"{"a":1}"#).is_err());
        assert!(FieldReader::of_query_and_body("a=1", br#"{"b":1}"#).is_ok());
    }

    #[test]
    fn a_request_without_fields_refuses_each_by_name() {
        assert!(FieldReader::of_query("").unwrap().refuse_all().is_ok());
        for query in ["x=1", "x"] {
            assert_eq!(wrong_fields(&FieldReader::of_query(query).unwrap().refuse_all().unwrap_err()), ["x"]);
        }
    }
}
