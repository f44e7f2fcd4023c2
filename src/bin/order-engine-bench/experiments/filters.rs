//! How long a page takes with every combination of filters, among many orders that the filters exclude.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use order_engine::domain::id::OrderId;
use order_engine::domain::lifecycle::OrderEvent;
use order_engine::domain::order::Order;
use order_engine::domain::retry::{Failure, FailureCode};
use order_engine::domain::user::{Owner, UserId};
use order_engine::store::{OrderStore, Write};
use serde_json::{Value, json};

use super::stored::{request, tokens};
use crate::engine::Engine;
use crate::load::{Connection, LoadEnd, hammer};
use crate::plan::{Figures, Plan, UNLIMITED};
use crate::statistics::{micros, percentile};
use crate::{BenchError, report};

/// The period before now over which the orders were accepted evenly.
const SPREAD: TimeDelta = TimeDelta::days(3);

/// How often each combination is requested.
const REQUESTS: u64 = 100;

/// How many of the slowest combinations are printed one by one.
const SLOWEST: usize = 10;

/// The filters, each with its values; "" stands for no filter.
///
/// Half of the orders belong to a user, half to no user. Most sell SOL for USDC and were cancelled, a few trade RAY or wait,
/// and none was confirmed, runs or trades JUP.
const FILTERS: [(&str, &[&str]); 4] = [
    ("status", &["", "cancelled", "confirmed", "pending", "routing"]),
    ("tokenIn", &["", "SOL", "RAY"]),
    ("tokenOut", &["", "USDC", "JUP"]),
    // The longest page: the fuller it is, the more it costs.
    ("limit", &["200"]),
];

/// One combination of filters, for the orders of a user or of no user.
struct Combination {
    query: String,
    group: String,
    is_users: bool,
}

/// How long the answers for a combination took, in microseconds.
struct Measured {
    combination: Combination,
    p50: u64,
    p99: u64,
}

pub(super) async fn filters(plan: &Plan) -> Result<Figures, BenchError> {
    let engine = Engine::start(plan, &UNLIMITED).await?;
    let (user, token) = register(engine.address).await?;
    let store = engine.store().await?;
    let (orders, now) = (1_000_000 / plan.share, Utc::now());
    let middle = fill(&store, user, orders, now).await?;
    engine.tidy_up().await?;
    let bearer = |is_users: bool| is_users.then_some(token.as_str());
    let mut measured = Vec::new();
    for combination in combinations(now, middle) {
        let path = format!("/api/orders?{}", combination.query);
        let request = get(engine.address, &path, bearer(combination.is_users));
        let mut took = hammer(engine.address, 1, request, LoadEnd::Requests((REQUESTS / plan.share).max(2))).await?;
        let (p50, p99) = (percentile(&mut took, 50), percentile(&mut took, 99));
        measured.push(Measured { combination, p50, p99 });
    }
    table(&measured)?;
    let minute = window(now - SPREAD / 2, TimeDelta::minutes(1));
    let (pages, walk) = walk(engine.address, bearer(true), &format!("limit=50{minute}")).await?;
    engine.finish(Some(store)).await?;
    let most = |figure: fn(&Measured) -> u64| measured.iter().map(figure).max().unwrap_or_default();
    Ok(vec![
        ("filters: combinations measured", "", measured.len() as u64),
        ("filters: the highest p50 of a combination", "us", most(|one| one.p50)),
        ("filters: the highest p99 of a combination", "us", most(|one| one.p99)),
        ("filters: pages from first to last of one minute's orders", "", pages),
        ("filters: time for these pages", "us", micros(walk)),
    ])
}

/// Prints the highest figures of each group of combinations, and the slowest combinations.
fn table(measured: &[Measured]) -> Result<(), BenchError> {
    let mut groups: Vec<(&str, u64, u64)> = Vec::new();
    for Measured { combination, p50, p99 } in measured {
        match groups.iter_mut().find(|(group, ..)| *group == combination.group) {
            Some((_, p50s, p99s)) => (*p50s, *p99s) = ((*p50s).max(*p50), (*p99s).max(*p99)),
            None => groups.push((&combination.group, *p50, *p99)),
        }
    }
    for (group, p50, p99) in groups {
        report::line(format_args!("  {group:<44} highest p50 {p50:>7} us, p99 {p99:>7} us"))?;
    }
    let mut slowest: Vec<_> = measured.iter().collect();
    slowest.sort_by_key(|one| std::cmp::Reverse(one.p99));
    for Measured { combination, p50, p99 } in slowest.into_iter().take(SLOWEST) {
        let owner = if combination.is_users { "of a user" } else { "of no user" };
        report::line(format_args!("  p50 {p50:>7} us, p99 {p99:>7} us  {owner}  {}", combination.query))?;
    }
    Ok(())
}

/// The filters for a period.
fn window(from: DateTime<Utc>, length: TimeDelta) -> String {
    format!("&from={}&to={}", text(from), text(from + length))
}

fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn combinations(now: DateTime<Utc>, middle: OrderId) -> Vec<Combination> {
    let (mid, after_middle) = (now - SPREAD / 2, format!("&cursor={middle}"));
    let windows = [
        ("always", String::new()),
        ("from == to", window(mid, TimeDelta::zero())),
        ("one minute", window(mid, TimeDelta::minutes(1))),
        ("one day", window(mid, TimeDelta::days(1))),
        ("from an hour ago", format!("&from={}", text(now - TimeDelta::hours(1)))),
        ("to two days ago", format!("&to={}", text(now - TimeDelta::days(2)))),
    ];
    let mut queries = vec![String::new()];
    for (key, values) in FILTERS {
        let with = |query: &String| {
            let query = query.clone();
            values
                .iter()
                .map(move |value| if value.is_empty() { query.clone() } else { format!("{query}&{key}={value}") })
        };
        queries = queries.iter().flat_map(with).collect();
    }
    let mut combinations = Vec::new();
    for (query, (name, window)) in queries.iter().flat_map(|query| windows.iter().map(move |window| (query, window))) {
        let status = query.split('&').find_map(|part| part.strip_prefix("status=")).unwrap_or("any");
        for (cursor, is_users) in [("", false), ("", true), (&*after_middle, false), (&*after_middle, true)] {
            let query = format!("{query}{window}{cursor}").trim_start_matches('&').to_owned();
            combinations.push(Combination { query, group: format!("status {status}, {name}"), is_users });
        }
    }
    combinations
}

/// Reads from the first page to the last; returns the number of pages and the time it took.
async fn walk(address: SocketAddr, bearer: Option<&str>, query: &str) -> Result<(u64, Duration), BenchError> {
    let mut connection = Connection::open(address).await?;
    let (start, mut pages, mut cursor) = (Instant::now(), 0, String::new());
    loop {
        let (_, body) = connection.ask(&get(address, &format!("/api/orders?{query}{cursor}"), bearer)).await?;
        pages += 1;
        match serde_json::from_slice::<Value>(&body)?["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok((pages, start.elapsed())),
        }
    }
}

fn get(address: SocketAddr, path: &str, bearer: Option<&str>) -> Vec<u8> {
    let bearer = bearer.map(|bearer| format!("authorization: Bearer {bearer}\r\n")).unwrap_or_default();
    format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{bearer}\r\n").into_bytes()
}

async fn register(address: SocketAddr) -> Result<(UserId, String), BenchError> {
    let mut response = awc::Client::new()
        .post(format!("http://{address}/api/auth/register"))
        .send_json(&json!({ "username": "bench", "password": uuid::Uuid::new_v4() }))
        .await
        .map_err(|error| error.to_string())?;
    let login: Value = response.json().await?;
    let user = login["userId"].as_str().ok_or("an answer without a userId")?.parse().map(UserId)?;
    Ok((user, login["token"].as_str().ok_or("an answer without a token")?.to_owned()))
}

/// Stores the orders and returns the id of one in the middle.
async fn fill(store: &impl OrderStore, user: UserId, orders: u64, now: DateTime<Utc>) -> Result<OrderId, BenchError> {
    const BATCH: u64 = 1_000;
    let tokens = tokens()?;
    let pairs = [("SOL", "USDC"), ("RAY", "USDC"), ("SOL", "RAY"), ("USDC", "SOL")];
    let requests = pairs.iter().map(|(sold, bought)| request(&tokens, sold, bought)).collect::<Result<Vec<_>, _>>()?;
    let mut middle = None;
    for first in (0..orders).step_by(usize::try_from(BATCH)?) {
        let numbers = first..orders.min(first + BATCH);
        let mut accepts = Vec::new();
        let mut steps = Vec::new();
        for number in numbers {
            let at = now - SPREAD
                + SPREAD * i32::try_from(number * 10_000 / orders)? / 10_000
                + TimeDelta::microseconds(i64::try_from(number)?);
            let id = OrderId(id_of(at));
            let owner = if number % 2 == 0 { Owner::Shared } else { Owner::User(user) };
            // Two consecutive orders are of one kind, so that both owners have orders of each kind.
            let request = match number / 2 % 100 {
                0 => &requests[1],
                1 => &requests[2],
                2 => &requests[3],
                _ => &requests[0],
            };
            let order = Order::accept(None, id, owner, request.clone(), at);
            let step = match number / 2 % 100 {
                3 => None,
                4 => Some(OrderEvent::Failed(Failure::new(FailureCode::Timeout, "too late"))),
                _ => Some(OrderEvent::Cancelled(None)),
            };
            if let Some(event) = step {
                steps.push(Write::step(uuid::Uuid::new_v4(), &order, Arc::new(order.propose(event, at)?), None));
            }
            if number >= orders / 2 {
                middle.get_or_insert(id);
            }
            accepts.push(Write::accept(uuid::Uuid::new_v4(), order, None));
        }
        store.commit(&accepts).await?;
        store.commit(&steps).await?;
    }
    middle.ok_or_else(|| "no order was stored".into())
}

/// An order id as the engine generates it at that time.
fn id_of(at: DateTime<Utc>) -> uuid::Uuid {
    let millis = u64::try_from(at.timestamp_millis()).unwrap_or_default();
    let random = uuid::Uuid::new_v4().into_bytes();
    let mut tail = [0; 10];
    tail.copy_from_slice(&random[6..]);
    uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid()
}
