//! From the bytes of a request to an order that holds together: the one place where clients' input is parsed.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use actix_web::{HttpRequest, web};
use futures_util::StreamExt;
use serde::Deserialize;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;
use tokio::time::timeout;

use crate::domain::amount::{BaseUnits, ImpactLimit, Slippage};
use crate::domain::id::ClientKey;
use crate::domain::lifecycle::Status;
use crate::domain::order::{OrderRequest, Priority};
use crate::domain::routing::Strategy;
use crate::domain::secret::Secret;
use crate::domain::token::{Token, TokenList};
use crate::domain::user::{Scopes, Username};
use crate::http::AppState;
use crate::http::problem::{FieldErrors, Problem, shown};
use crate::http::server::connections::ConnectionState;
use crate::store::ListFilter;

/// A larger body is refused with 413.
const MAX_BODY: usize = 64 * 1024;

const MUST_BE_A_FLAG: &str = "must be true or false";

/// An order as it is asked for.
#[derive(Debug)]
pub(in crate::http) struct OrderFields {
    /// The order.
    pub(in crate::http) order: OrderRequest,
    /// Only what would happen is wanted.
    pub(in crate::http) dry_run: bool,
}

/// Reads a JSON body within its limits of size and time.
pub(in crate::http) async fn read(request: &HttpRequest, payload: web::Payload) -> Result<web::Bytes, Problem> {
    must_be_json(request)?;
    bytes(request, payload).await
}

/// Reads a JSON body within its limits; empty where there is none.
pub(in crate::http) async fn read_optional(
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<web::Bytes, Problem> {
    let bytes = bytes(request, payload).await?;
    if !bytes.is_empty() {
        must_be_json(request)?;
    }
    Ok(bytes)
}

/// Reads a filter that may be left out, for a request that then means everything.
///
/// A body that is announced and missing was lost on the way, and with it a narrower filter: that is refused.
pub(in crate::http) async fn read_filter(request: &HttpRequest, payload: web::Payload) -> Result<web::Bytes, Problem> {
    let body = read_optional(request, payload).await?;
    if body.is_empty() && request.headers().contains_key(CONTENT_TYPE) {
        let detail = "Content-Type announces a body, and there is none: send {} to mean every order";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_json", detail));
    }
    Ok(body)
}

/// Reads the body of a request that takes none: nothing, or a JSON object without fields.
///
/// A field in it is refused by its name: whoever sent it meant something by it that would not happen.
pub(in crate::http) async fn read_nothing(request: &HttpRequest, payload: web::Payload) -> Result<(), Problem> {
    let body = read_optional(request, payload).await?;
    if body.is_empty() {
        return Ok(());
    }
    let mut form = form_of(&body)?;
    form.refuse_leftovers();
    if form.errors.is_empty() { Ok(()) } else { Err(Problem::invalid(form.errors)) }
}

fn must_be_json(request: &HttpRequest) -> Result<(), Problem> {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let refused =
        |detail: String| Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return refused(format!("the body must be application/json, not {}", shown(media_type)));
    }
    let charset = parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.eq_ignore_ascii_case("charset"));
    if let Some((_, charset)) = charset
        && !charset.trim_matches('"').eq_ignore_ascii_case("utf-8")
    {
        return refused(format!("the body must be UTF-8, not {}", shown(charset)));
    }
    // A body that is said to be compressed and is not would be read all the same, and its sender would not learn it.
    let encodings = request.headers().get_all(CONTENT_ENCODING);
    match encodings.filter_map(|value| value.to_str().ok()).find(|value| !value.eq_ignore_ascii_case("identity")) {
        Some(encoding) => {
            refused(format!("the body must be sent as it is, without Content-Encoding: {}", shown(encoding)))
        }
        None => Ok(()),
    }
}

async fn bytes(request: &HttpRequest, payload: web::Payload) -> Result<web::Bytes, Problem> {
    let app = request.app_data::<web::Data<AppState>>().expect("every app has its face");
    let patience = app.settings.server.body_timeout;
    let connection = request.conn_data::<Arc<ConnectionState>>();
    let body = timeout(patience, gathered(payload, connection))
        .await
        .unwrap_or_else(|_| Err(too_slow(format!("the body must arrive within {} ms", patience.as_millis()))))?;
    if let Some(connection) = connection {
        connection.end_body();
    }
    Ok(body)
}

fn too_slow(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail)
}

/// The next piece of a body.
///
/// Between pieces a client may send chunk extensions and trailers, which have no limit: where bytes come and no piece of
/// the body does, it is refused.
async fn next_piece(
    payload: &mut web::Payload,
    connection: Option<&Arc<ConnectionState>>,
) -> Option<Result<web::Bytes, PayloadError>> {
    const LOOKS: u32 = 5;
    const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
    let Some(connection) = connection.filter(|connection| connection.is_body_open()) else {
        return payload.next().await;
    };
    let mut looks = 0;
    loop {
        if let Ok(piece) = timeout(BETWEEN_LOOKS, payload.next()).await {
            return piece;
        }
        looks += u32::from(connection.has_input());
        if looks >= LOOKS {
            return Some(Err(PayloadError::Overflow));
        }
    }
}

// Not `to_bytes_limited`: it takes 32 KiB for each body, of which an order needs a few hundred bytes.
async fn gathered(mut payload: web::Payload, connection: Option<&Arc<ConnectionState>>) -> Result<web::Bytes, Problem> {
    let mut body = web::BytesMut::new();
    while let Some(piece) = next_piece(&mut payload, connection).await {
        let piece = piece.map_err(|error| broken_body(&error))?;
        if body.len() + piece.len() > MAX_BODY {
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                format!("the body must not be larger than {MAX_BODY} bytes"),
            ));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

/// Parses an order, or names everything that is wrong with it.
///
/// More slippage than `most` is refused.
pub(in crate::http) fn parse_order(body: &[u8], tokens: &TokenList, most: Slippage) -> Result<OrderFields, Problem> {
    let mut form = form_of(body)?;
    let dry_run = form.take_flag("dryRun");
    match order(&mut form, tokens, most) {
        Some(order) => Ok(OrderFields { order, dry_run }),
        None => Err(Problem::invalid(form.errors)),
    }
}

/// Whether a query string says `dryRun=true`; it may say nothing else.
pub(in crate::http) fn parse_dry_run(query: &str) -> Result<bool, Problem> {
    let mut form = form_of_query(query)?;
    let dry_run = form.take_one_of(&["dryRun"], |text| text.parse::<bool>().map_err(|_| MUST_BE_A_FLAG.to_owned()));
    form.refuse_leftovers();
    if form.errors.is_empty() { Ok(dry_run.unwrap_or_default()) } else { Err(Problem::invalid(form.errors)) }
}

/// Refuses every parameter of a query string, by its name.
pub(in crate::http) fn refuse_query(query: &str) -> Result<(), Problem> {
    let mut form = form_of_query(query)?;
    form.refuse_leftovers();
    if form.errors.is_empty() { Ok(()) } else { Err(Problem::invalid(form.errors)) }
}

/// Parses which orders a cancel is for: `status`, `tokenIn`, `tokenOut`, from the query string and the body.
///
/// A filter without a value is refused: to take it for an absent one would cancel everything.
pub(in crate::http) fn parse_cancel_filter(
    query: &str,
    body: &[u8],
    tokens: &TokenList,
) -> Result<ListFilter, Problem> {
    let mut given = quoted(pairs(query)?);
    if !body.is_empty() {
        given.extend(fields(body).map_err(|reason| broken_body(&reason))?);
    }
    let mut form = FieldReader::new(given)?;
    form.refuse_valueless();
    let mint = |text: &str| tokens.resolve(text).map(|token| token.mint).map_err(|error| error.to_string());
    let filter = ListFilter {
        status: form.take_one_of(&["status"], |text| match Status::from_name(text) {
            Some(status) if !status.is_final() => Ok(status),
            Some(status) => Err(format!("an order that is {status} has ended")),
            None => Err("is no status".to_owned()),
        }),
        token_in: form.take_one_of(&["tokenIn"], mint),
        token_out: form.take_one_of(&["tokenOut"], mint),
        ..ListFilter::default()
    };
    form.refuse_leftovers();
    if form.errors.is_empty() { Ok(filter) } else { Err(Problem::invalid(form.errors)) }
}

/// Parses what a quote is asked for: `tokenIn`, `tokenOut` and `amountIn`, from a query string.
pub(in crate::http) fn parse_quote(query: &str, tokens: &TokenList) -> Result<OrderRequest, Problem> {
    let mut form = form_of_query(query)?;
    let order = order(&mut form, tokens, Slippage::MAX).ok_or_else(|| Problem::invalid(form.errors))?;
    // A price impact is shown, whatever it is: it is the order that is refused for it.
    Ok(OrderRequest { max_price_impact: Some(ImpactLimit::NONE), ..order })
}

/// The members of a JSON object, each value as it was written; or what the text is instead.
pub(in crate::http) fn fields(text: &[u8]) -> Result<Vec<(String, Box<RawValue>)>, String> {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") {
        return Err("it is UTF-16, by the byte-order mark at its start; JSON is sent as UTF-8".to_owned());
    }
    // Some programs on Windows write this mark before each text; it is no part of the text.
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    serde_json::from_slice(text).map(|JsonObject(given)| given).map_err(|error| match error.classify() {
        // What is there instead may be a secret that went astray, and the error would repeat it.
        Category::Data => "it is something else".to_owned(),
        _ => error.to_string(),
    })
}

fn pairs(query: &str) -> Result<Vec<(String, String)>, Problem> {
    let pairs = web::Query::<Vec<(String, String)>>::from_query(query);
    pairs.map(web::Query::into_inner).map_err(|error| Problem::invalid_field("query", error.to_string()))
}

/// The pairs of a query string as the fields of a JSON object.
fn quoted(pairs: Vec<(String, String)>) -> Vec<(String, Box<RawValue>)> {
    let quoted = pairs.into_iter().map(|(name, value)| {
        let raw = RawValue::from_string(serde_json::Value::String(value).to_string());
        (name, raw.expect("a JSON string is JSON"))
    });
    quoted.collect()
}

/// Who somebody says they are, and their proof.
pub(in crate::http) struct Credentials {
    pub(in crate::http) name: Username,
    pub(in crate::http) password: Secret,
}

/// An API key that is asked for.
pub(in crate::http) struct NewKey {
    pub(in crate::http) name: String,
    pub(in crate::http) scopes: Scopes,
}

/// Parses a name and a password. What is wrong with a password is said without repeating it.
pub(in crate::http) fn parse_credentials(body: &[u8]) -> Result<Credentials, Problem> {
    let mut form = form_of(body)?;
    let name = form.require(&["username"], |text| text.parse().map_err(str::to_owned));
    let password = form.require(&["password"], |text| match text.len() {
        8..=256 => Ok(Secret::new(text)),
        _ => Err("must have 8 to 256 bytes".to_owned()),
    });
    form.refuse_leftovers();
    match (name, password) {
        (Some(name), Some(password)) if form.errors.is_empty() => Ok(Credentials { name, password }),
        _ => Err(Problem::invalid(form.errors)),
    }
}

/// Parses what an API key is to be called and to do; everything, where that is not said.
pub(in crate::http) fn parse_new_key(body: &[u8]) -> Result<NewKey, Problem> {
    let mut form = form_of(body)?;
    let name = form.require(&["name"], |text| match text.chars().count() {
        1..=64 if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        _ => Err("must have 1 to 64 characters".to_owned()),
    });
    let scopes = form.take_list("scopes", "must be a list of read and trade").unwrap_or(Scopes::ALL);
    if scopes.is_empty() {
        form.error("scopes", "must not be empty");
    }
    form.refuse_leftovers();
    match name {
        Some(name) if form.errors.is_empty() => Ok(NewKey { name, scopes }),
        _ => Err(Problem::invalid(form.errors)),
    }
}

fn form_of(body: &[u8]) -> Result<FieldReader, Problem> {
    FieldReader::new(fields(body).map_err(|reason| broken_body(&reason))?)
}

/// The parameters of a query string; one without a value is refused.
pub(in crate::http) fn form_of_query(query: &str) -> Result<FieldReader, Problem> {
    let mut form = FieldReader::new(quoted(pairs(query)?))?;
    form.kind = "parameter";
    form.refuse_valueless();
    Ok(form)
}

fn broken_body(reason: &impl fmt::Display) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_json", format!("the body is not a JSON object: {reason}"))
}

// Every field is read before the first `?`, so that all errors are found in one go.
fn order(form: &mut FieldReader, tokens: &TokenList, most: Slippage) -> Option<OrderRequest> {
    form.take_one_of(&["type", "orderType"], |text| match text {
        "market" => Ok(()),
        "limit" | "sniper" => Err(format!("{text} orders are not supported yet, only market")),
        _ => Err(format!("{} is no order type; market is", shown(text))),
    });
    let token = |text: &str| tokens.resolve(text).map_err(|error| error.to_string());
    let token_in: Option<Token> = form.require(&["tokenIn"], token);
    let token_out: Option<Token> = form.require(&["tokenOut"], token);
    let amount = |token: &Option<Token>| {
        // Without its token an amount is only looked at for what is wrong with any token.
        let decimals = token.as_ref().map_or(18, |token| token.decimals);
        move |text: &str| BaseUnits::parse(text, decimals).map_err(|error| error.to_string())
    };
    let amount_in = form.require(&["amountIn", "amount"], amount(&token_in));
    let min_amount_out = form.take_one_of(&["minAmountOut"], amount(&token_out));
    let within = |slippage: Slippage| match slippage <= most {
        true => Ok(slippage),
        false => Err(format!("must be at most {most} ({} %) on this server; 1 % is 0.01", most.percent())),
    };
    let slippage = form
        .take_one_of(&["slippage"], |text| Slippage::parse(text).map_err(|error| error.to_string()).and_then(within));
    let points = form.take_one_of(&["slippageBps"], |text| {
        let points = text.parse().ok().and_then(|points| Slippage::from_basis_points(points).ok());
        let slippage = points.ok_or(
            "must be a whole number from 1 (0.01 %) to 5000 (50 %); it is hundredths of a percent, so 1 % is 100",
        )?;
        match slippage <= most {
            true => Ok(slippage),
            false => {
                Err(format!("must be at most {} ({} %) on this server; 1 % is 100", most.points(), most.percent()))
            }
        }
    });
    let max_price_impact =
        form.take_one_of(&["maxPriceImpact"], |text| ImpactLimit::parse(text).map_err(|error| error.to_string()));
    let priority = form.take_one_of(&["priority"], |text| match text {
        "high" => Ok(Priority::High),
        "normal" => Ok(Priority::Normal),
        "low" => Ok(Priority::Low),
        _ => Err(format!("must be low, normal or high, not {}", shown(text))),
    });
    let strategy = form.take_one_of(&["routing"], |text| match text {
        "best_price" => Ok(Strategy::BestPrice),
        "speed" => Ok(Strategy::Speed),
        "reliability" => Ok(Strategy::Reliability),
        _ => Err(format!("must be best_price, speed or reliability, not {}", shown(text))),
    });
    let client_order_id = form.take_one_of(&["clientOrderId"], |text| text.parse::<ClientKey>().map_err(str::to_owned));
    if let (Some(token_in), Some(token_out)) = (&token_in, &token_out)
        && token_in.mint == token_out.mint
    {
        form.error("tokenOut", "must be another token than tokenIn");
    }
    if slippage.is_some() && points.is_some() && slippage != points {
        form.error("slippageBps", "disagrees with slippage; give one of them");
    }
    form.refuse_leftovers();
    if !form.errors.is_empty() {
        return None;
    }
    Some(OrderRequest {
        token_in: token_in?,
        token_out: token_out?,
        amount_in: amount_in?,
        slippage: slippage.or(points).unwrap_or(Slippage::DEFAULT),
        min_amount_out,
        max_price_impact,
        priority: priority.unwrap_or_default(),
        strategy: strategy.unwrap_or_default(),
        client_order_id,
    })
}

/// A JSON object: a number in it keeps every digit.
struct JsonObject(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for JsonObject {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = JsonObject;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonObject, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(JsonObject(fields))
            }
        }
        deserializer.deserialize_map(ObjectVisitor)
    }
}

/// Fields that are taken one by one, and what was wrong with them.
pub(in crate::http) struct FieldReader {
    left: Vec<(String, Box<RawValue>)>,
    pub(in crate::http) errors: FieldErrors,
    // What errors call a field.
    kind: &'static str,
}

impl FieldReader {
    pub(in crate::http) fn new(given: Vec<(String, Box<RawValue>)>) -> Result<Self, Problem> {
        let mut known = HashSet::with_capacity(given.len());
        if let Some((name, _)) = given.iter().find(|(name, _)| !known.insert(name.as_str())) {
            return Err(Problem::invalid_field(name, "stands more than once"));
        }
        Ok(Self { left: given, errors: FieldErrors::default(), kind: "field" })
    }

    pub(in crate::http) fn error(&mut self, field: &str, message: impl Into<String>) {
        self.errors.push(field, message);
    }

    /// A field that must be there, under the first of these names in which it is found.
    pub(in crate::http) fn require<T>(
        &mut self,
        names: &[&str],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let wrong = self.errors.len();
        let value = self.take_one_of(names, parse);
        if value.is_none() && self.errors.len() == wrong {
            self.error(names[0], "is required");
        }
        value
    }

    /// A field that may be there under one of these names; `null` is as good as absent.
    pub(in crate::http) fn take_one_of<T>(
        &mut self,
        names: &[&str],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let mut found = None;
        for name in names {
            let Some(index) = self.left.iter().position(|(known, _)| known == name) else { continue };
            let (name, raw) = self.left.swap_remove(index);
            let text = match plain_text(raw.get()) {
                Ok(None) => continue,
                Ok(Some(text)) => text,
                Err(message) => {
                    self.error(&name, message);
                    continue;
                }
            };
            if found.is_some() {
                self.error(&name, format!("is another name for {}; give one of them", names[0]));
                continue;
            }
            match parse(&text) {
                Ok(value) => found = Some(value),
                Err(message) => self.error(&name, message),
            }
        }
        found
    }

    /// A field that may be there and is `true` or `false`. `null` is neither: it may have been meant as either.
    fn take_flag(&mut self, name: &str) -> bool {
        let Some(index) = self.left.iter().position(|(known, _)| known == name) else { return false };
        let (_, raw) = self.left.swap_remove(index);
        match raw.get() {
            "true" => true,
            "false" => false,
            _ => {
                self.error(name, MUST_BE_A_FLAG);
                false
            }
        }
    }

    /// Refuses fields that are named and have no value: `null` and the empty text.
    fn refuse_valueless(&mut self) {
        let is_valueless = |(_, raw): &mut (String, Box<RawValue>)| matches!(raw.get(), "null" | r#""""#);
        let valueless: Vec<_> = self.left.extract_if(.., is_valueless).collect();
        for (name, _) in valueless {
            let shown: String = name.chars().take(64).collect();
            self.error(&shown, "has no value; give it one, or leave it out");
        }
    }

    /// A field that may be there, as a list of what has names.
    fn take_list<T: DeserializeOwned, L: FromIterator<T>>(&mut self, name: &str, message: &str) -> Option<L> {
        let index = self.left.iter().position(|(known, _)| known == name)?;
        let (name, raw) = self.left.swap_remove(index);
        match serde_json::from_str::<Vec<T>>(raw.get()) {
            Ok(list) => Some(list.into_iter().collect()),
            Err(_) => {
                self.error(&name, message);
                None
            }
        }
    }

    /// A field that may be there, as it was written; `null` is as good as absent.
    pub(in crate::http) fn take_raw(&mut self, name: &str) -> Option<Box<RawValue>> {
        let index = self.left.iter().position(|(known, _)| known == name)?;
        let (_, raw) = self.left.swap_remove(index);
        (raw.get() != "null").then_some(raw)
    }

    pub(in crate::http) fn refuse_leftovers(&mut self) {
        for (name, _) in std::mem::take(&mut self.left) {
            self.error(&name, format!("is not a {} of this request", self.kind));
        }
    }
}

/// The text of a string, or a number exactly as it was written.
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
    use crate::config::Settings;
    use crate::domain::routing::Strategy;
    use proptest::prelude::*;

    fn tokens() -> std::sync::Arc<TokenList> {
        Settings::with::<String, String>([]).unwrap().tokens
    }

    fn parsed(body: &str) -> Result<OrderRequest, serde_json::Value> {
        let asked = parse_order(body.as_bytes(), &tokens(), Slippage::MAX);
        asked.map(|asked| asked.order).map_err(|problem| serde_json::to_value(problem).unwrap())
    }

    fn wrong_fields(body: &str) -> Vec<String> {
        let problem = parsed(body).unwrap_err();
        problem["errors"].as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn more_slippage_than_the_server_takes_is_refused_under_the_name_it_was_asked_for() {
        let most = Slippage::parse("0.1").unwrap();
        let judged = |name: &str, value: &str| {
            let body = format!(r#"{{"tokenIn":"SOL","tokenOut":"USDC","amountIn":1,"{name}":{value}}}"#);
            let problem = parse_order(body.as_bytes(), &tokens(), most).map(|asked| asked.order.slippage);
            problem.map_err(|problem| serde_json::to_value(problem).unwrap()["errors"][0].clone())
        };
        assert_eq!(judged("slippage", "0.1").unwrap(), most);
        assert_eq!(judged("slippageBps", "1000").unwrap(), most);
        for (name, value, says) in [
            ("slippage", "0.100001", "at most 0.1 (10 %)"),
            ("slippage", "1", "1 % is 0.01"),
            ("slippageBps", "1001", "at most 1000 (10 %)"),
            ("slippageBps", "0.01", "1 % is 100"),
            ("slippageBps", "5001", "1 % is 100"),
        ] {
            let error = judged(name, value).unwrap_err();
            assert_eq!(error["field"], name);
            assert!(error["message"].as_str().unwrap().contains(says), "{name} {value}: {error}");
        }
    }

    #[test]
    fn a_limit_of_the_price_impact_is_kept_as_it_was_said_and_nothing_is_filled_in() {
        let limit = |value: &str| {
            let body = format!(r#"{{"tokenIn":"SOL","tokenOut":"USDC","amountIn":1,"maxPriceImpact":{value}}}"#);
            parsed(&body).map(|order| order.max_price_impact.map(|limit| limit.to_string()))
        };
        assert_eq!(limit("\"0.250\"").unwrap().unwrap(), "0.25");
        assert_eq!(limit("1").unwrap().unwrap(), "1");
        assert_eq!(limit("null").unwrap(), None);
        for wrong in ["0", "10", "\"10%\"", "-0.1", "true"] {
            assert_eq!(limit(wrong).unwrap_err()["errors"][0]["field"], "maxPriceImpact", "{wrong}");
        }
    }

    #[test]
    fn a_plain_order_is_read_with_its_defaults() {
        let order = parsed(r#"{"tokenIn":"SOL","tokenOut":"USDC","amountIn":1.5}"#).unwrap();
        assert_eq!(order.amount_in, BaseUnits(1_500_000_000));
        assert_eq!(order.slippage, Slippage::DEFAULT);
        assert_eq!((order.priority, order.strategy), (Priority::Normal, Strategy::BestPrice));
    }

    #[test]
    fn other_names_and_spellings_mean_the_same_order() {
        let plain = parsed(r#"{"tokenIn":"SOL","tokenOut":"USDC","amountIn":"1.5","slippage":"0.02"}"#).unwrap();
        let other = parsed(r#"{"orderType":"market","tokenIn":"sol","tokenOut":"EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v","amount":15e-1,"slippageBps":200,"minAmountOut":null}"#).unwrap();
        assert_eq!(plain, other);
    }

    #[test]
    fn a_number_is_taken_exactly_as_written() {
        let order = parsed(r#"{"tokenIn":"SOL","tokenOut":"USDC","amountIn":9007199254.740993123}"#).unwrap();
        assert_eq!(order.amount_in, BaseUnits(9_007_199_254_740_993_123));
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let body = r#"{"tokenIn":"NOPE","amountIn":0,"slippage":0.9,"priority":"urgent","foo":1,"type":"limit"}"#;
        assert_eq!(wrong_fields(body), ["type", "tokenIn", "tokenOut", "amountIn", "slippage", "priority", "foo"]);
    }

    #[test]
    fn each_bad_field_is_refused_by_its_name() {
        let order = |field: &str| format!(r#"{{"tokenIn":"SOL","tokenOut":"USDC",{field}}}"#);
        for (field, name) in [
            (r#""amountIn":0"#, "amountIn"),
            (r#""amountIn":-1"#, "amountIn"),
            (r#""amountIn":"NaN""#, "amountIn"),
            (r#""amountIn":1e400"#, "amountIn"),
            (r#""amountIn":0.0000000001"#, "amountIn"),
            (r#""amountIn":18446744073.709551616"#, "amountIn"),
            (r#""amountIn":true"#, "amountIn"),
            (r#""amountIn":[1]"#, "amountIn"),
            (r#""amountIn":{}"#, "amountIn"),
            (r#""amountIn":1,"amount":1"#, "amount"),
            (r#""amountIn":1,"slippage":0.00001"#, "slippage"),
            (r#""amountIn":1,"slippage":0.51"#, "slippage"),
            (r#""amountIn":1,"slippage":0.01,"slippageBps":200"#, "slippageBps"),
            (r#""amountIn":1,"slippageBps":1.5"#, "slippageBps"),
            (r#""amountIn":1,"minAmountOut":0"#, "minAmountOut"),
            (r#""amountIn":1,"clientOrderId":"""#, "clientOrderId"),
            (r#""amountIn":1,"clientOrderId":"a b""#, "clientOrderId"),
            (r#""amountIn":1,"type":"sniper""#, "type"),
            (r#""amountIn":1,"routing":"luck""#, "routing"),
            (r#""amountIn":1,"dryRun":"true""#, "dryRun"),
            (r#""amountIn":1,"dryRun":null"#, "dryRun"),
            (r#""amountIn":1,"dryRun":1"#, "dryRun"),
            (r#""amountIn":1,"dry_run":true"#, "dry_run"),
            (r#""amountIn":1,"dryrun":true"#, "dryrun"),
            (r#""amountIn":1,"amountIn":1"#, "amountIn"),
        ] {
            assert_eq!(wrong_fields(&order(field)), [name], "{field}");
        }
        assert_eq!(
            wrong_fields(r#"{"tokenIn":"SOL","tokenOut":"So11111111111111111111111111111111111111112","amountIn":1}"#),
            ["tokenOut"]
        );
        assert_eq!(
            wrong_fields(&format!(r#"{{"tokenIn":"{}","tokenOut":"USDC","amountIn":1}}"#, "0OIl".repeat(11))),
            ["tokenIn"]
        );
    }

    #[test]
    fn what_is_no_json_object_is_refused() {
        for body in ["", "{", "null", "[]", "\"x\"", "{\"a\":}", "{} {}", "\u{0}"] {
            assert_eq!(parsed(body).unwrap_err()["code"], "invalid_json", "{body:?}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_skipped_and_utf_16_is_named() {
        let body = |mark: &[u8]| [mark, br#"{"tokenIn":"SOL","tokenOut":"USDC","amountIn":1}"#].concat();
        assert!(parse_order(&body(b"\xef\xbb\xbf"), &tokens(), Slippage::MAX).is_ok());
        for mark in [b"\xff\xfe", b"\xfe\xff"] {
            let problem = parse_order(&body(mark), &tokens(), Slippage::MAX).unwrap_err().to_string();
            assert!(problem.starts_with("invalid_json: ") && problem.contains("UTF-16"), "{problem}");
        }
        assert!(parse_order(&body(b"\xef\xbb\xbf\xef\xbb\xbf"), &tokens(), Slippage::MAX).is_err(), "one is enough");
    }

    #[test]
    fn a_parameter_that_is_not_known_or_has_no_value_or_stands_twice_is_refused_by_name() {
        assert!(parse_dry_run("dryRun=true").unwrap() && parse_dry_run("dry%52un=true&").unwrap());
        assert!(!parse_dry_run("").unwrap() && !parse_dry_run("dryRun=false").unwrap());
        for (query, field) in [
            ("dryrun=true", "dryrun"),
            ("dry_run=1", "dry_run"),
            ("preview=true", "preview"),
            ("dryRun", "dryRun"),
            ("dryRun=", "dryRun"),
            ("dryRun=1", "dryRun"),
            ("dryRun=TRUE", "dryRun"),
            ("dryRun=true;x=1", "dryRun"),
            ("dryRun=true&dryRun=true", "dryRun"),
            ("dryRun=false&dry%52un=true", "dryRun"),
            ("dryRun=true&x", "x"),
        ] {
            let problem = serde_json::to_value(parse_dry_run(query).unwrap_err()).unwrap();
            assert_eq!(problem["errors"][0]["field"], field, "{query}");
        }
        assert!(refuse_query("").is_ok() && refuse_query("x=1").is_err() && refuse_query("x").is_err());
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

    #[test]
    fn a_password_is_not_repeated_whatever_is_wrong_with_it() {
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
    fn a_key_may_do_everything_unless_it_is_said_what() {
        let scopes = |body: &str| parse_new_key(body.as_bytes()).map(|key| key.scopes);
        assert_eq!(scopes(r#"{"name":"bot"}"#).unwrap(), Scopes::ALL);
        assert_eq!(scopes(r#"{"name":"bot","scopes":["read"]}"#).unwrap().to_string(), "read");
        for wrong in ["[]", r#"["admin"]"#, r#""read""#, "null"] {
            assert!(scopes(&format!(r#"{{"name":"bot","scopes":{wrong}}}"#)).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_the_parser_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_order(&body, &tokens(), Slippage::MAX);
        }

        #[test]
        fn no_field_value_makes_the_parser_panic(name in "tokenIn|tokenOut|amountIn|slippage|slippageBps|minAmountOut|type", value in "\\PC{0,40}") {
            let body = serde_json::json!({ "tokenIn": "SOL", "tokenOut": "USDC", "amountIn": "1", name: value }).to_string();
            let _ = parse_order(body.as_bytes(), &tokens(), Slippage::MAX);
        }
    }
}
