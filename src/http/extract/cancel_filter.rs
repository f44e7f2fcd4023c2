//! Which orders a cancel of many is for.

use crate::domain::lifecycle::Status;
use crate::domain::token::TokenList;
use crate::http::extract::fields::FieldReader;
use crate::http::problem::Problem;
use crate::store::ListFilter;

/// Parses `status`, `tokenIn` and `tokenOut` from the query string and the body.
///
/// A filter without a value is refused: treated as absent, it would cancel everything.
pub(in crate::http) fn parse_cancel_filter(
    query: &str,
    body: &[u8],
    tokens: &TokenList,
) -> Result<ListFilter, Problem> {
    let mut fields = FieldReader::of_query_and_body(query, body)?;
    let mint = |text: &str| tokens.resolve(text).map(|token| token.mint).map_err(|error| error.to_string());
    let filter = ListFilter {
        status: fields.take_one_of(&["status"], |text| match Status::from_name(text) {
            Some(status) if !status.is_final() => Ok(status),
            Some(status) => Err(format!("an order with status {status} has already ended")),
            None => Err("is not a status".to_owned()),
        }),
        token_in: fields.take_one_of(&["tokenIn"], mint),
        token_out: fields.take_one_of(&["tokenOut"], mint),
        ..ListFilter::default()
    };
    fields.finish(Some(filter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn tokens() -> std::sync::Arc<TokenList> {
        Settings::with::<String, String>([]).unwrap().tokens
    }

    #[test]
    fn a_filter_without_a_value_does_not_cancel_everything() {
        let filter = |query: &str, body: &str| parse_cancel_filter(query, body.as_bytes(), &tokens());
        for (query, body) in [("", ""), ("", "{}"), ("", " {} ")] {
            assert_eq!(filter(query, body).unwrap(), ListFilter::default(), "{query} {body}");
        }
        for (query, body) in [
            ("status", ""),
            ("status=", ""),
            ("tokenIn=", ""),
            ("tokenOut=", "{}"),
            ("tokenOut=+", ""),
            ("status=pending&status=pending", ""),
            ("status=pending&tokenIn=", ""),
            ("Status=pending", ""),
            ("status=pending", r#"{"status":"pending"}"#),
            ("all=true", ""),
            ("orderId=x", ""),
            ("", r#"{"status":null}"#),
            ("", r#"{"status":""}"#),
            ("", r#"{"status":"  "}"#),
            ("", r#"{"status":[]}"#),
            ("", r#"{"status":["pending"]}"#),
            ("", r#"{"status":{}}"#),
            ("", r#"{"status":false}"#),
            ("", r#"{"status":0}"#),
            ("", r#"{"tokenIn":null}"#),
            ("", r#"{"tokenIn":""}"#),
            ("", r#"{"tokenOut":null,"tokenIn":"SOL"}"#),
            ("", r#"{"filter":{"status":"pending"}}"#),
            ("", "null"),
            ("", "[]"),
            ("", r#""""#),
            ("", "0"),
            ("", "  "),
        ] {
            assert!(filter(query, body).is_err(), "{query} {body}");
        }
    }
}
