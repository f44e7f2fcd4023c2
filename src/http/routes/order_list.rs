//! Lists of orders over HTTP.

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use crate::api::order::OrderView;
use crate::api::problem::ProblemCode;
use crate::domain::id::OrderId;
use crate::domain::lifecycle::Status;
use crate::domain::request::OrderKind;
use crate::domain::token::TokenList;
use crate::domain::user::Scope;
use crate::http::AppState;
use crate::http::extract::caller::Caller;
use crate::http::extract::fields::FieldReader;
use crate::http::openapi::requests;
use crate::http::operation::{Operation, READ, get};
use crate::http::problem::Problem;
use crate::store::ListFilter;

/// A page of a list; `nextCursor` is the `cursor` of the next page. A page may hold fewer orders than its limit, or
/// none, and still have a next page: with filters that few orders pass, the search for one page is bounded.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct PageView {
    #[serde(skip_serializing_if = "Option::is_none")]
    success: Option<bool>,
    orders: Vec<OrderView>,
    next_cursor: Option<OrderId>,
    /// Orders of this page that this version cannot read. Each of them answers `order_unreadable`. Absent if there are
    /// none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<OrderId>,
}

pub(super) fn operations() -> Vec<Operation> {
    let all = [
        get("/api/orders", READ, list).named("listOrders", "List the orders of the caller").answers::<PageView>(
            200,
            "a page of orders, the newest first",
            "page",
        ),
        get("/api/orders/history", READ, history)
            .named("listHistory", "List the orders of the caller, at an alternative path")
            .answers::<PageView>(200, "a page of orders, the newest first", "history"),
    ];
    all.into_iter().map(|operation| operation.takes(requests::of_list()).problems([ProblemCode::Unavailable])).collect()
}

async fn list(request: HttpRequest, app: web::Data<AppState>, caller: Caller) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(page(&request, &app, caller, None).await?))
}

/// The same list with `success`, which some clients require.
async fn history(request: HttpRequest, app: web::Data<AppState>, caller: Caller) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(page(&request, &app, caller, Some(true)).await?))
}

async fn page(
    request: &HttpRequest,
    app: &AppState,
    caller: Caller,
    success: Option<bool>,
) -> Result<PageView, Problem> {
    let owner = caller.may(Scope::Read)?;
    let filter = ListFilter { owner, ..filter(request.query_string(), app.tokens())? };
    let page = app.service.list(filter).await?;
    Ok(PageView {
        success,
        orders: page.orders.iter().map(OrderView::of).collect(),
        next_cursor: page.next,
        unreadable: page.unreadable.iter().map(|order| order.id).collect(),
    })
}

/// Parses the query of a list.
pub(in crate::http) fn filter(query: &str, tokens: &TokenList) -> Result<ListFilter, Problem> {
    const DEFAULT_LIMIT: u64 = 50;
    const MAX_LIMIT: u64 = 200;
    let mut fields = FieldReader::of_query(query)?;
    fields.take_one_of(&["type"], |text| match OrderKind::from_name(text) {
        Some(_) => Ok(()),
        None => Err(format!("only {} orders are supported", OrderKind::NAMES.join(" and "))),
    });
    let mint = |text: &str| tokens.resolve(text).map(|token| token.mint).map_err(|error| error.to_string());
    let limit = fields.take_one_of(&["limit"], |text| match text.parse() {
        Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
        _ => Err(format!("must be a whole number from 1 to {MAX_LIMIT}")),
    });
    let filter = ListFilter {
        status: fields
            .take_one_of(&["status"], |text| Status::from_name(text).ok_or_else(|| "is not a status".to_owned())),
        token_in: fields.take_one_of(&["tokenIn"], mint),
        token_out: fields.take_one_of(&["tokenOut"], mint),
        client_order_id: fields.take_one_of(&["clientOrderId"], |text| text.parse().map_err(str::to_owned)),
        from: fields.take_one_of(&["from"], time),
        to: fields.take_one_of(&["to"], time),
        before: fields
            .take_one_of(&["cursor"], |text| text.parse().map_err(|_| "is not a cursor of this list".to_owned())),
        limit: limit.unwrap_or(DEFAULT_LIMIT),
        ..ListFilter::default()
    };
    fields.finish(Some(filter))
}

/// Parses a time, to the microsecond and within the years that both databases store.
fn time(text: &str) -> Result<DateTime<Utc>, String> {
    /// The end of the year 9999. No order is later than this or earlier than 1970, so a time beyond is clamped.
    const LATEST: DateTime<Utc> =
        DateTime::from_timestamp_micros(253_402_300_799_999_999).expect("the year 9999 is in range");
    // In a query an unencoded `+` is a space, so the plus sign of an offset may arrive as a space.
    let with_sign = match text.rsplit_once(' ') {
        Some((time, offset)) if time.contains(['T', 't', ' ']) => format!("{time}+{offset}"),
        _ => text.to_owned(),
    };
    let time = DateTime::parse_from_rfc3339(&with_sign).map_err(|_| {
        "must be a time in RFC 3339, such as 2026-01-31T12:00:00Z; a + in a URL is written %2B".to_owned()
    })?;
    // The number of microseconds cannot represent a leap second.
    let time = DateTime::from_timestamp_micros(time.timestamp_micros()).unwrap_or(LATEST);
    Ok(time.clamp(DateTime::UNIX_EPOCH, LATEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn filtered(query: &str) -> Result<ListFilter, serde_json::Value> {
        let tokens = Settings::with::<String, String>([]).unwrap().tokens;
        filter(query, &tokens).map_err(|problem| serde_json::to_value(problem).unwrap())
    }

    #[test]
    fn a_time_is_accepted_with_or_without_an_encoded_plus_sign() {
        let noon: DateTime<Utc> = "2026-01-31T12:00:00Z".parse().unwrap();
        for spelled in [
            "2026-01-31T12:00:00Z",
            "2026-01-31t12:00:00z",
            "2026-01-31T12:00:00%2B00:00",
            "2026-01-31T12:00:00+00:00",
            "2026-01-31T14:00:00.000+02:00",
            "2026-01-31%2014:00:00%2002:00",
            "2026-01-31 12:00:00Z",
            "2026-01-31T10:30:00-01:30",
            "2026-01-31T11:59:60Z",
        ] {
            assert_eq!(filtered(&format!("from={spelled}")).unwrap().from, Some(noon), "{spelled}");
        }
        for odd in [
            "yesterday",
            "2026-01-31",
            "12:00:00+00:00",
            "2026-01-31T12:00:00",
            "1769860800",
            "+",
            "2026-01-31T24:00:00Z",
            "2026-02-30T12:00:00Z",
        ] {
            let refused = filtered(&format!("from={odd}")).unwrap_err();
            assert_eq!(refused["errors"][0]["field"], "from", "{odd}");
        }
    }

    #[test]
    fn a_time_beyond_the_calendar_is_clamped() {
        let year = |spelled: &str| chrono::Datelike::year(&filtered(&format!("to={spelled}")).unwrap().to.unwrap());
        for last in ["9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:60Z"] {
            assert_eq!(year(last), 9999, "{last}");
        }
        for first in ["0001-01-01T00:00:00Z", "0000-01-01T00:00:00%2B23:59", "1969-12-31T23:59:59Z"] {
            assert_eq!(year(first), 1970, "{first}");
        }
    }

    #[test]
    fn a_parameter_that_is_repeated_or_empty_or_unknown_is_refused_by_name() {
        for (query, field) in [
            ("status=pending&status=routing", "status"),
            ("status=pending&st%61tus=pending", "status"),
            ("status=", "status"),
            ("tokenIn", "tokenIn"),
            ("clientOrderId=", "clientOrderId"),
            ("cursor=", "cursor"),
            ("limit=", "limit"),
            ("Limit=5", "Limit"),
            ("dryRun=true", "dryRun"),
        ] {
            assert_eq!(filtered(query).unwrap_err()["errors"][0]["field"], field, "{query}");
        }
    }
}
