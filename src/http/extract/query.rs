//! The parameters of a query string.

use actix_web::web::Query;
use serde_json::value::RawValue;

use crate::http::extract::json::Members;
use crate::http::problem::Problem;

/// The decoded names and values of a query string; a name may occur more than once.
pub(super) fn pairs(query: &str) -> Result<Vec<(String, String)>, Problem> {
    if query.is_empty() {
        return Ok(Vec::new());
    }
    let pairs = Query::<Vec<(String, String)>>::from_query(query);
    pairs.map(Query::into_inner).map_err(|error| Problem::invalid_field("query", error.to_string()))
}

/// The same as members of a JSON object, each value a string: both are then read in one way.
pub(super) fn members(query: &str) -> Result<Members, Problem> {
    let members = pairs(query)?.into_iter().map(|(name, value)| {
        let raw = RawValue::from_string(serde_json::Value::String(value).to_string());
        (name, raw.expect("a JSON string is JSON"))
    });
    Ok(members.collect())
}
