//! `order-engine watch`: an order's story, to its end.

use std::process::ExitCode;

use super::CommandError;
use super::client::Server;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The order.
    id: String,
    /// Leave out what came before and with this sequence number.
    #[arg(long, default_value_t = 0)]
    after_seq: u64,
    /// Print JSON instead of lines for people.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(arguments: Arguments) -> Result<ExitCode, CommandError> {
    arguments.server.follow(&arguments.id, arguments.after_seq, arguments.json).await
}
