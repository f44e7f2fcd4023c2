//! `order-engine watch`: prints the events of an order until it ends.

use std::process::ExitCode;

use super::client::Server;
use super::exit::CommandError;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The order id.
    id: String,
    /// Print only events after this sequence number.
    #[arg(long, default_value_t = 0)]
    after_seq: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(arguments: Arguments) -> Result<ExitCode, CommandError> {
    arguments.server.follow(&arguments.id, arguments.after_seq, arguments.json).await
}
