//! From the fields of a request to an order whose parts are consistent.

use crate::domain::amount::BaseUnits;
use crate::domain::fraction::{ImpactLimit, Slippage};
use crate::domain::id::{ClientKey, OrderId};
use crate::domain::request::{OrderKind, OrderRequest, Priority, Strategy};
use crate::domain::token::{Token, TokenList};
use crate::http::extract::fields::{FieldReader, MUST_BE_A_FLAG};
use crate::http::problem::{Problem, shown};

/// A submit.
#[derive(Debug)]
pub(in crate::http) struct OrderFields {
    /// The order.
    pub(in crate::http) order: OrderRequest,
    /// The client only wants to know what the order would do.
    pub(in crate::http) dry_run: bool,
}

/// Parses an order, or reports everything that is wrong with it. More slippage than `max_slippage` is wrong.
pub(in crate::http) fn parse_order(
    body: &[u8],
    tokens: &TokenList,
    max_slippage: Slippage,
) -> Result<OrderFields, Problem> {
    let mut fields = FieldReader::of_body(body)?;
    let dry_run = fields.take_flag("dryRun");
    let order = take_order(&mut fields, tokens, max_slippage);
    fields.finish(order.map(|order| OrderFields { order, dry_run }))
}

/// Parses the query string of a submit, which takes `dryRun` and nothing else.
pub(in crate::http) fn parse_dry_run(query: &str) -> Result<bool, Problem> {
    let mut fields = FieldReader::of_query(query)?;
    let parse = |text: &str| text.parse::<bool>().map_err(|_| MUST_BE_A_FLAG.to_owned());
    let dry_run = fields.take_one_of(&["dryRun"], parse).unwrap_or_default();
    fields.finish(Some(dry_run))
}

/// Parses the query string of a quote: `tokenIn`, `tokenOut`, `amountIn` and what else an order may have.
pub(in crate::http) fn parse_quote(query: &str, tokens: &TokenList) -> Result<OrderRequest, Problem> {
    let mut fields = FieldReader::of_query(query)?;
    let order = take_order(&mut fields, tokens, Slippage::MAX);
    // A quote is shown with any price impact; only an order is refused for it.
    fields.finish(order.map(|order| OrderRequest { max_price_impact: Some(ImpactLimit::NONE), ..order }))
}

/// Parses the order id in a path.
pub(in crate::http) fn parse_order_id(text: &str) -> Result<OrderId, Problem> {
    text.parse().map_err(|_| Problem::invalid_field("id", "must be a UUID"))
}

// Every field is taken before the first `?`, so that no error hides another.
fn take_order(fields: &mut FieldReader, tokens: &TokenList, max_slippage: Slippage) -> Option<OrderRequest> {
    let kind =
        fields.take_one_of(&["type", "orderType"], |text| OrderKind::from_name(text).ok_or_else(|| unknown_kind(text)));
    let token = |text: &str| tokens.resolve(text).map_err(|error| error.to_string());
    let token_in: Option<Token> = fields.require(&["tokenIn"], token);
    let token_out: Option<Token> = fields.require(&["tokenOut"], token);
    let amount = |token: &Option<Token>| {
        // Without its token an amount is checked against the rules for every token.
        let decimals = token.as_ref().map_or(18, |token| token.decimals);
        move |text: &str| BaseUnits::parse(text, decimals).map_err(|error| error.to_string())
    };
    let amount_in = fields.require(&["amountIn", "amount"], amount(&token_in));
    let min_amount_out = fields.take_one_of(&["minAmountOut"], amount(&token_out));
    let slippage = take_slippage(fields, max_slippage);
    let max_price_impact =
        fields.take_one_of(&["maxPriceImpact"], |text| ImpactLimit::parse(text).map_err(|error| error.to_string()));
    let priority = fields.take_one_of(&["priority"], |text| match text {
        "high" => Ok(Priority::High),
        "normal" => Ok(Priority::Normal),
        "low" => Ok(Priority::Low),
        _ => Err(format!("must be low, normal or high, not {}", shown(text))),
    });
    let strategy = fields.take_one_of(&["routing"], |text| match text {
        "best_price" => Ok(Strategy::BestPrice),
        "speed" => Ok(Strategy::Speed),
        "reliability" => Ok(Strategy::Reliability),
        _ => Err(format!("must be best_price, speed or reliability, not {}", shown(text))),
    });
    let client_order_id =
        fields.take_one_of(&["clientOrderId"], |text| text.parse::<ClientKey>().map_err(str::to_owned));
    if let (Some(token_in), Some(token_out)) = (&token_in, &token_out)
        && token_in.mint == token_out.mint
    {
        fields.error("tokenOut", "must not be the same token as tokenIn");
    }
    Some(OrderRequest {
        kind: kind.unwrap_or_default(),
        token_in: token_in?,
        token_out: token_out?,
        amount_in: amount_in?,
        slippage: slippage.unwrap_or(Slippage::DEFAULT),
        min_amount_out,
        max_price_impact,
        priority: priority.unwrap_or_default(),
        strategy: strategy.unwrap_or_default(),
        client_order_id,
    })
}

/// The message for a type that no order can have.
fn unknown_kind(text: &str) -> String {
    let supported = OrderKind::NAMES.join(" or ");
    match text {
        "limit" | "sniper" => format!("{text} orders are not supported yet, only {supported}"),
        _ => format!("must be {supported}, not {}", shown(text)),
    }
}

/// Takes `slippage`, a fraction, or `slippageBps`, hundredths of a percent; both only if they agree.
fn take_slippage(fields: &mut FieldReader, max: Slippage) -> Option<Slippage> {
    let fraction = fields.take_one_of(&["slippage"], |text| {
        let slippage = Slippage::parse(text).map_err(|error| error.to_string())?;
        match slippage <= max {
            true => Ok(slippage),
            false => Err(format!("must be at most {max} ({} %) on this server; 1 % is 0.01", max.percent())),
        }
    });
    let points = fields.take_one_of(&["slippageBps"], |text| {
        let points = text.parse().ok().and_then(|points| Slippage::from_basis_points(points).ok());
        let slippage = points.ok_or(
            "must be a whole number from 1 (0.01 %) to 5000 (50 %); it is hundredths of a percent, so 1 % is 100",
        )?;
        match slippage <= max {
            true => Ok(slippage),
            false => Err(format!("must be at most {} ({} %) on this server; 1 % is 100", max.points(), max.percent())),
        }
    });
    if fraction.is_some() && points.is_some() && fraction != points {
        fields.error("slippageBps", "contradicts slippage; send only one of them");
    }
    fraction.or(points)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Settings;
    use crate::domain::request::Strategy;

    fn tokens() -> std::sync::Arc<TokenList> {
        Settings::with::<String, String>([]).unwrap().tokens
    }

    fn parsed(body: &str) -> Result<OrderRequest, serde_json::Value> {
        let fields = parse_order(body.as_bytes(), &tokens(), Slippage::MAX);
        fields.map(|fields| fields.order).map_err(|problem| serde_json::to_value(problem).unwrap())
    }

    fn wrong_fields(body: &str) -> Vec<String> {
        let problem = parsed(body).unwrap_err();
        problem["errors"].as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn more_slippage_than_the_server_allows_is_refused_under_the_name_of_its_field() {
        let max = Slippage::parse("0.1").unwrap();
        let slippage = |name: &str, value: &str| {
            let body = format!(r#"{{"tokenIn":"SOL","tokenOut":"USDC","amountIn":1,"{name}":{value}}}"#);
            let problem = parse_order(body.as_bytes(), &tokens(), max).map(|fields| fields.order.slippage);
            problem.map_err(|problem| serde_json::to_value(problem).unwrap()["errors"][0].clone())
        };
        assert_eq!(slippage("slippage", "0.1").unwrap(), max);
        assert_eq!(slippage("slippageBps", "1000").unwrap(), max);
        for (name, value, expected) in [
            ("slippage", "0.100001", "at most 0.1 (10 %)"),
            ("slippage", "1", "1 % is 0.01"),
            ("slippageBps", "1001", "at most 1000 (10 %)"),
            ("slippageBps", "0.01", "1 % is 100"),
            ("slippageBps", "5001", "1 % is 100"),
        ] {
            let error = slippage(name, value).unwrap_err();
            assert_eq!(error["field"], name);
            assert!(error["message"].as_str().unwrap().contains(expected), "{name} {value}: {error}");
        }
    }

    #[test]
    fn a_limit_of_the_price_impact_is_kept_and_has_no_default_here() {
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
    fn other_names_and_spellings_give_the_same_order() {
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
    fn every_wrong_field_is_reported_at_once() {
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
    fn a_parameter_that_is_unknown_or_empty_or_given_twice_is_refused_by_name() {
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
