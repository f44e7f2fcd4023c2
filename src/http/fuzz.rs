//! Fuzz tests of the parsers of bodies, queries and headers; see [`crate::fuzz`].

use std::sync::Arc;

use serde_json::json;

use crate::config::Settings;
use crate::domain::amount::BaseUnits;
use crate::domain::fraction::Slippage;
use crate::domain::id::{ClientKey, OrderId};
use crate::domain::request::{OrderRequest, Strategy};
use crate::domain::token::{Mint, TokenList};
use crate::fuzz::many;
use crate::http::extract::{cancel_filter, order};
use crate::http::middleware::host_check::HostCheck;
use crate::http::routes::order_list;
use crate::http::ws;

const SOL: &str = "So11111111111111111111111111111111111111112";
const ORDER: &str = r#"{"type":"market","tokenIn":"SOL","tokenOut":"EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v","amountIn":"1.5","slippage":0.01,"maxPriceImpact":"0.25","minAmountOut":"1e2","priority":"high","routing":"speed","clientOrderId":"mine-1"}"#;

/// The fields of `ORDER` that are not enumerations.
const FIELDS: [&str; 7] =
    ["tokenIn", "tokenOut", "amountIn", "slippage", "slippageBps", "minAmountOut", "clientOrderId"];

fn tokens() -> Arc<TokenList> {
    Settings::with::<String, String>([]).unwrap().tokens
}

/// The canonical body of an order.
fn body_of(order: &OrderRequest) -> String {
    let strategy = match order.strategy {
        Strategy::BestPrice => "best_price",
        Strategy::Speed => "speed",
        Strategy::Reliability => "reliability",
    };
    json!({
        "tokenIn": order.token_in.mint.as_str(),
        "tokenOut": order.token_out.mint.as_str(),
        "amountIn": order.amount_in.to_decimal(order.token_in.decimals).to_string(),
        "slippage": order.slippage.to_string(),
        "maxPriceImpact": order.max_price_impact.map(|limit| limit.to_string()),
        "minAmountOut": order.min_amount_out.map(|least| least.to_decimal(order.token_out.decimals).to_string()),
        "priority": format!("{:?}", order.priority).to_lowercase(),
        "routing": strategy,
        "clientOrderId": order.client_order_id.as_ref().map(ClientKey::as_str),
    })
    .to_string()
}

fn order(body: &[u8], tokens: &TokenList) -> Option<OrderRequest> {
    order::parse_order(body, tokens, Slippage::MAX).ok().map(|fields| fields.order)
}

#[test]
fn any_body_is_judged_and_an_order_written_again_is_the_same() {
    let tokens = tokens();
    many("body", |fuzzer| {
        let body = match fuzzer.below(4) {
            0 => fuzzer.text().into_bytes(),
            1 => {
                let mut fields: serde_json::Value = serde_json::from_str(ORDER).unwrap();
                let name = FIELDS[fuzzer.below(FIELDS.len())];
                fields[name] = fuzzer.number().into();
                fields.to_string().into_bytes()
            }
            _ => fuzzer.mangled(ORDER),
        };
        let Some(taken) = order(&body, &tokens) else { return false };
        let again = order(body_of(&taken).as_bytes(), &tokens);
        assert_eq!(again.as_ref(), Some(&taken), "{:?}", String::from_utf8_lossy(&body));
        true
    });
}

#[test]
fn any_amount_is_judged_and_kept_exactly() {
    many("amount", |fuzzer| {
        let (text, decimals) = (fuzzer.number(), u8::try_from(fuzzer.below(19)).unwrap());
        let Ok(amount) = BaseUnits::parse(&text, decimals) else { return false };
        assert_eq!(BaseUnits::parse(&amount.to_decimal(decimals).to_string(), decimals), Ok(amount), "{text}");
        true
    });
}

#[test]
fn any_slippage_is_judged_and_kept_exactly() {
    many("slippage", |fuzzer| {
        let text = match fuzzer.below(3) {
            0 => fuzzer.number(),
            1 => format!("0.{:06}", fuzzer.below(1_000_000)),
            _ => fuzzer.mangled_text("0.0125"),
        };
        let Ok(slippage) = Slippage::parse(&text) else { return false };
        assert_eq!(Slippage::parse(&slippage.to_string()), Ok(slippage), "{text}");
        assert!(slippage.floor_of(BaseUnits(u64::MAX)) >= BaseUnits(u64::MAX / 2), "{text}");
        assert!(slippage.floor_of(BaseUnits(1)) == BaseUnits(1), "{text}");
        true
    });
}

#[test]
fn any_token_is_judged_and_a_mint_has_one_spelling() {
    let tokens = tokens();
    many("mint", |fuzzer| {
        let text = match fuzzer.below(4) {
            0 => fuzzer.text(),
            1 => {
                let mut text = [0; five8::BASE58_ENCODED_32_MAX_LEN];
                let length = five8::encode_32(&fuzzer.random(), &mut text);
                String::from_utf8_lossy(&text[..usize::from(length)]).into_owned()
            }
            _ => fuzzer.mangled_text(SOL),
        };
        let _ = tokens.resolve(&text);
        let Ok(mint) = text.parse::<Mint>() else { return false };
        assert_eq!(mint.as_str(), text);
        true
    });
}

#[test]
fn any_query_of_a_list_is_judged_within_its_limits() {
    const QUERY: &str = "status=confirmed&type=market&tokenIn=SOL&tokenOut=USDC&from=2026-01-31T12:00:00Z&limit=7\
                         &cursor=01890000-0000-7000-8000-000000000000&clientOrderId=mine-1";
    let tokens = tokens();
    many("list query", |fuzzer| {
        let query = match fuzzer.below(3) {
            0 => fuzzer.text(),
            _ => fuzzer.mangled_text(QUERY),
        };
        let Ok(filter) = order_list::filter(&query, &tokens) else { return false };
        assert!((1..=200).contains(&filter.limit), "{query}");
        true
    });
}

#[test]
fn any_query_of_a_quote_is_judged() {
    let tokens = tokens();
    many("quote query", |fuzzer| {
        let query = match fuzzer.below(3) {
            0 => fuzzer.text(),
            _ => fuzzer.mangled_text("tokenIn=SOL&tokenOut=USDC&amountIn=1.5&slippage=0.01"),
        };
        order::parse_quote(&query, &tokens).is_ok()
    });
}

#[test]
fn any_cursor_and_any_key_is_judged_and_an_id_has_one_spelling() {
    many("cursor", |fuzzer| {
        let text = match fuzzer.below(3) {
            0 => fuzzer.text(),
            _ => fuzzer.mangled_text("01890000-0000-7000-8000-000000000000"),
        };
        if let Ok(key) = text.parse::<ClientKey>() {
            assert!(key.as_str() == text && text.len() <= ClientKey::MAX_LENGTH, "{text}");
        }
        let Ok(id) = text.parse::<OrderId>() else { return false };
        assert_eq!(id.to_string().parse::<OrderId>().ok(), Some(id), "{text}");
        true
    });
}

#[test]
fn any_filter_of_a_cancel_is_judged_and_selects_only_unfinished_orders() {
    let tokens = tokens();
    many("cancel filter", |fuzzer| {
        let query = fuzzer.mangled_text("status=pending&tokenIn=SOL");
        let body = match fuzzer.below(2) {
            0 => Vec::new(),
            _ => fuzzer.mangled(r#"{"tokenOut":"USDC"}"#),
        };
        let Ok(filter) = cancel_filter::parse_cancel_filter(&query, &body, &tokens) else { return false };
        assert!(filter.status.is_none_or(|status| !status.is_final()), "{query}");
        true
    });
}

#[test]
fn any_query_of_a_socket_is_judged() {
    many("socket query", |fuzzer| {
        let query = fuzzer.mangled_text("orderId=01890000-0000-7000-8000-000000000000&afterSeq=3&ticket=abc");
        ws::SocketQuery::parse(&query).is_ok()
    });
}

#[test]
fn any_host_and_origin_is_judged_regardless_of_case() {
    let host_check = HostCheck::of_clients(
        &Settings::with([("server.allowed_hosts", "desk"), ("server.public_url", "https://engine")]).unwrap(),
        vec![std::net::Ipv4Addr::LOCALHOST.into()],
    );
    many("host and origin", |fuzzer| {
        let host = ["localhost:3000", "127.0.0.1:3000", "[::1]:3000", "desk", "engine"][fuzzer.below(5)];
        let host = fuzzer.mangled_text(host);
        let origin = format!("http://{}", fuzzer.mangled_text(&host));
        let origin = [None, Some(origin.as_str())][fuzzer.below(2)];
        let verdict = host_check.check(&host, origin);
        assert_eq!(host_check.check(&host.to_ascii_uppercase(), origin), verdict, "{host:?} {origin:?}");
        verdict.is_ok()
    });
}
