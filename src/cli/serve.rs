//! `order-engine serve`: the engine until SIGTERM, Ctrl-C, or its end.

use std::io::Write;
use std::process::ExitCode;

use actix_web::rt::System;
use order_engine::auth::AuthStartError;
use order_engine::engine::StartError;
use order_engine::{Engine, Settings, telemetry::logs};
use tokio::signal::unix::{SignalKind, signal};

use super::{CommandError, exit, output};

#[derive(clap::Args, Default)]
pub(super) struct Arguments {
    /// Listen beyond this machine also where nobody has to log in: whoever reaches the port may trade.
    #[arg(long)]
    insecure: bool,
}

/// The same on Linux, macOS and the BSDs.
const SIGXFSZ: i32 = 25;

pub(super) fn run(mut settings: Settings, arguments: &Arguments) -> Result<ExitCode, CommandError> {
    settings.auth.insecure = arguments.insecure;
    logs::start(&settings.log);
    System::new().block_on(serve(settings))
}

async fn serve(settings: Settings) -> Result<ExitCode, CommandError> {
    let database = settings.database.url.redacted();
    let required = settings.auth.required;
    let auth = match (required, settings.is_beyond_this_machine()) {
        (true, _) => "required",
        (false, false) => "optional",
        (false, true) => "OPTIONAL: whoever reaches this address may trade",
    };
    let redis = settings.redis.url.as_ref().map_or_else(|| "none".to_owned(), |url| url.redacted());
    // A file that reaches the size the system allows is then an error of one write, not the end of the process.
    let _file_too_large = signal(SignalKind::from_raw(SIGXFSZ))?;
    // Before the start: a signal that comes during it is not lost.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let engine = match Engine::start_here(settings).await {
        Ok(engine) => engine,
        Err(StartError::Lock(error)) => return super::not_locked(error),
        Err(
            error @ (StartError::Open(_) | StartError::SameFile { .. } | StartError::Auth(AuthStartError::Secret(_))),
        ) => {
            output::note(format_args!("order-engine: the settings are wrong:\n  {error}"));
            return Ok(ExitCode::from(exit::CONFIG));
        }
        Err(error) => return Err(error.into()),
    };
    greet(&engine, &database, &redis, auth, required);
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("Ctrl-C: stopping"),
        cause = engine.finished() => {
            output::note(format_args!("order-engine: the engine cannot go on: {cause}; the next start takes up every order"));
            logs::flush();
            // Not by returning: a broken actor's thread may never end.
            std::process::exit(exit::FATAL.into());
        }
    }
    tokio::select! {
        () = engine.shutdown() => tracing::info!("stopped"),
        _ = interrupt.recv() => tracing::warn!("Ctrl-C again: stopped at once; the next start takes up every order"),
    }
    Ok(ExitCode::SUCCESS)
}

fn greet(engine: &Engine, database: &str, redis: &str, auth: &str, required: bool) {
    let Some(address) = engine.address() else { return };
    let version = env!("CARGO_PKG_VERSION");
    let order = r#"{"tokenIn":"SOL","tokenOut":"USDC","amountIn":1.5}"#;
    let (login, bearer) = match required {
        true => (
            format!(
                "Get a token, which logs you in or makes the account:
  curl -s http://{address}/api/auth -H 'content-type: application/json' -d '{{\"username\":\"NAME\",\"password\":\"PASSWORD\"}}'
"
            ),
            " -H 'authorization: Bearer TOKEN'",
        ),
        false => (String::new(), ""),
    };
    let greeting = format!(
        "order-engine {version} on http://{address}
  database  {database}
  redis     {redis}
  auth      {auth}
{login}Submit an order, and follow it with the orderId of the answer:
  curl -s http://{address}/api/orders/execute -H 'content-type: application/json'{bearer} -d '{order}'
  wscat{bearer} -c ws://{address}/ws/orders/ORDER_ID
"
    );
    // Whoever started the engine may have closed its end, or read nothing since an earlier start: no reason not to run.
    let write = move || drop(std::io::stdout().write_all(greeting.as_bytes()));
    let _ = std::thread::Builder::new().name("greeting".to_owned()).spawn(write);
}
