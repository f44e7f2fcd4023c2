//! `order-engine serve`: runs the engine until SIGTERM, Ctrl-C, or a fatal error.

use std::io::Write;
use std::process::ExitCode;

use actix_web::rt::System;
use order_engine::{Engine, Settings, telemetry::logs};
use tokio::signal::unix::{SignalKind, signal};

use super::exit::{self, CommandError};
use super::output;

#[derive(clap::Args, Default)]
pub(super) struct Arguments {
    /// Accept connections from other machines even without authentication. Anyone who can reach the port can trade.
    #[arg(long)]
    insecure: bool,
}

/// `SIGXFSZ` has this number on Linux, macOS and the BSDs.
const SIGXFSZ: i32 = 25;

pub(super) fn run(mut settings: Settings, arguments: &Arguments) -> Result<ExitCode, CommandError> {
    settings.auth.insecure = arguments.insecure;
    logs::start(&settings.log);
    System::new().block_on(serve(settings))
}

async fn serve(settings: Settings) -> Result<ExitCode, CommandError> {
    let summary = Summary::of(&settings);
    // With a handler, a file that reaches the size limit of the process fails one write, instead of ending the process.
    let _file_too_large = signal(SignalKind::from_raw(SIGXFSZ))?;
    // Installed before the start, so that a signal during the start is not lost.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let engine = Engine::start(settings).await?;
    summary.print(&engine);
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("Ctrl-C: stopping"),
        cause = engine.finished() => {
            output::note(format_args!(
                "order-engine: the engine cannot continue: {cause}; the next start resumes every order"
            ));
            logs::flush();
            // Exits without a shutdown: the thread of a broken actor may never end.
            std::process::exit(exit::FATAL.into());
        }
    }
    tokio::select! {
        () = engine.shutdown() => tracing::info!("stopped"),
        _ = interrupt.recv() => tracing::warn!("second Ctrl-C: exits now; the next start resumes every order"),
    }
    Ok(ExitCode::SUCCESS)
}

/// What `serve` prints about a running engine.
struct Summary {
    public_url: Option<String>,
    database: String,
    redis: String,
    auth: &'static str,
    auth_required: bool,
}

impl Summary {
    fn of(settings: &Settings) -> Self {
        Self {
            public_url: settings.server.public_url.as_ref().map(ToString::to_string),
            database: settings.database.url.redacted(),
            redis: settings.redis.url.as_ref().map_or_else(|| "none".to_owned(), |url| url.redacted()),
            auth: match (settings.auth.required, settings.is_beyond_this_machine()) {
                (true, _) => "required",
                (false, false) => "optional",
                (false, true) => "OPTIONAL: anyone who can reach this address can trade",
            },
            auth_required: settings.auth.required,
        }
    }

    fn print(&self, engine: &Engine) {
        let Some(address) = engine.address() else { return };
        let Self { public_url, database, redis, auth, auth_required } = self;
        let public = public_url.as_ref().map_or_else(String::new, |url| format!("  public    {url}\n"));
        let version = env!("CARGO_PKG_VERSION");
        let order = r#"{"tokenIn":"SOL","tokenOut":"USDC","amountIn":1.5}"#;
        let (login, bearer) = match auth_required {
            true => (
                format!(
                    "Log in, or create an account, to get a token:
  curl -s http://{address}/api/auth -H 'content-type: application/json' -d '{{\"username\":\"NAME\",\"password\":\"PASSWORD\"}}'
"
                ),
                " -H 'authorization: Bearer TOKEN'",
            ),
            false => (String::new(), ""),
        };
        let text = format!(
            "order-engine {version} on http://{address}
{public}  database  {database}
  redis     {redis}
  auth      {auth}
{login}Submit an order, then follow it with the orderId of the answer:
  curl -s http://{address}/api/orders/execute -H 'content-type: application/json'{bearer} -d '{order}'
  wscat{bearer} -c ws://{address}/ws/orders/ORDER_ID
"
        );
        // On a thread of its own, and without an error: the pipe may have no reader, and the engine must run anyway.
        let write = move || drop(std::io::stdout().write_all(text.as_bytes()));
        let _ = std::thread::Builder::new().name("greeting".to_owned()).spawn(write);
    }
}
