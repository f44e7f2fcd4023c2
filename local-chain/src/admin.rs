//! The knobs as JSON, below `/admin` of each endpoint's port. What concerns the chain works at every endpoint.

use std::str::FromStr;

use actix_web::web::{Data, Json, ServiceConfig, get, post, put};
use actix_web::{HttpResponse, Responder, error};
use serde::Deserialize;
use serde_json::{Value, json};
use solana_address::Address;

use crate::faults::Faults;
use crate::server::Endpoint;
use crate::{Commitment, Landed, Pace};

/// The routes.
pub fn routes(config: &mut ServiceConfig) {
    config
        .route("/admin/state", get().to(state))
        .route("/admin/faults", get().to(faults))
        .route("/admin/faults", put().to(set_faults))
        .route("/admin/step", post().to(step))
        .route("/admin/pace", put().to(set_pace))
        .route("/admin/roll-blockhashes", post().to(roll_blockhashes))
        .route("/admin/roll-back", post().to(roll_back))
        .route("/admin/priority-fee", put().to(set_priority_fee))
        .route("/admin/swap", post().to(swap))
        .route("/admin/lamports", put().to(set_lamports))
        .route("/admin/tokens", put().to(set_tokens));
}

/// Slots, pools, and every transaction that landed.
async fn state(endpoint: Data<Endpoint>) -> impl Responder {
    let chain = endpoint.chain();
    let newest = chain.block(Commitment::Processed, u64::MAX);
    let pools = chain.pools().iter().map(|pool| {
        json!({
            "address": pool.address.to_string(),
            "kind": match pool.kind {
                crate::PoolKind::RaydiumCpmm { .. } => "raydiumCpmm",
                crate::PoolKind::MeteoraDammV2 => "meteoraDammV2",
            },
            "mints": pool.mints.map(|mint| mint.to_string()),
            "vaults": pool.vaults.map(|vault| vault.to_string()),
            "amounts": pool.vaults.map(|vault| chain.token_amount(&vault).to_string()),
        })
    });
    let landed = chain.landed().iter().map(|landed| {
        json!({
            "signature": landed.signature().to_string(),
            "slot": landed.slot,
            "payer": landed.payer().to_string(),
            "err": landed.error,
            "confirmationStatus": name(landed, &chain),
        })
    });
    HttpResponse::Ok().json(json!({
        "slot": newest.slot,
        "blockHeight": newest.height,
        "blockhash": newest.blockhash.to_string(),
        "unixTime": newest.unix_time,
        "pools": pools.collect::<Value>(),
        "landed": landed.collect::<Value>(),
    }))
}

fn name(landed: &Landed, chain: &crate::Chain) -> &'static str {
    match chain.commitment_of(landed.slot, u64::MAX) {
        Commitment::Processed => "processed",
        Commitment::Confirmed => "confirmed",
        Commitment::Finalized => "finalized",
    }
}

async fn faults(endpoint: Data<Endpoint>) -> impl Responder {
    Json(endpoint.faults())
}

async fn set_faults(endpoint: Data<Endpoint>, faults: Json<Faults>) -> impl Responder {
    endpoint.set_faults(faults.into_inner());
    HttpResponse::NoContent()
}

#[derive(Deserialize)]
struct Slots {
    slots: u64,
}

async fn step(endpoint: Data<Endpoint>, body: Json<Slots>) -> impl Responder {
    endpoint.chain().step(body.slots);
    HttpResponse::NoContent()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SetPace {
    by_hand: bool,
}

async fn set_pace(endpoint: Data<Endpoint>, body: Json<SetPace>) -> impl Responder {
    endpoint.chain().set_pace(if body.by_hand { Pace::ByHand } else { Pace::Clock });
    HttpResponse::NoContent()
}

async fn roll_blockhashes(endpoint: Data<Endpoint>) -> impl Responder {
    endpoint.chain().roll_blockhashes();
    HttpResponse::NoContent()
}

async fn roll_back(endpoint: Data<Endpoint>, body: Json<Slots>) -> impl Responder {
    Json(json!({ "gone": endpoint.chain().roll_back(body.slots) }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PriorityFee {
    micro_lamports: u64,
}

async fn set_priority_fee(endpoint: Data<Endpoint>, body: Json<PriorityFee>) -> impl Responder {
    endpoint.chain().set_priority_fee(body.micro_lamports);
    HttpResponse::NoContent()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SomebodysSwap {
    pool: String,
    mint_in: String,
    amount_in: u64,
}

async fn swap(endpoint: Data<Endpoint>, body: Json<SomebodysSwap>) -> actix_web::Result<impl Responder> {
    let (pool, mint_in) = (address(&body.pool)?, address(&body.mint_in)?);
    let mut chain = endpoint.chain();
    let pool = chain.pools().iter().find(|known| known.address == pool && known.mints.contains(&mint_in)).cloned();
    let pool = pool.ok_or_else(|| error::ErrorNotFound("there is no such pool with this token"))?;
    let signature = chain.swap_as_somebody(&pool, &mint_in, body.amount_in);
    Ok(Json(json!({ "signature": signature.to_string() })))
}

#[derive(Deserialize)]
struct SetLamports {
    wallet: String,
    lamports: u64,
}

async fn set_lamports(endpoint: Data<Endpoint>, body: Json<SetLamports>) -> actix_web::Result<impl Responder> {
    endpoint.chain().set_lamports(address(&body.wallet)?, body.lamports);
    Ok(HttpResponse::NoContent())
}

#[derive(Deserialize)]
struct SetTokens {
    wallet: String,
    mint: String,
    amount: u64,
}

async fn set_tokens(endpoint: Data<Endpoint>, body: Json<SetTokens>) -> actix_web::Result<impl Responder> {
    let (wallet, mint) = (address(&body.wallet)?, address(&body.mint)?);
    let account = endpoint.chain().set_tokens(&wallet, &mint, body.amount);
    Ok(Json(json!({ "account": account.to_string() })))
}

fn address(text: &str) -> actix_web::Result<Address> {
    Address::from_str(text).map_err(|_| error::ErrorBadRequest(format!("{text} is not an address")))
}
