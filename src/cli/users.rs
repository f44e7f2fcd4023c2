//! `order-engine users`: manages accounts, directly in the database and also while an engine runs on it.

use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;

use chrono::Utc;
use clap::Subcommand;
use order_engine::Settings;
use order_engine::auth::hash_password;
use order_engine::domain::secret::Secret;
use order_engine::domain::user::{Scope, Scopes, User, UserId, Username, parse_password};
use order_engine::store::users::{AccountChange, NewAccount, UserStore, UserWriteError};
use order_engine::store::{OrderStore, SeaStore};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use uuid::Uuid;

use super::exit::CommandError;
use super::output;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Create an account, also while registration is closed. Asks for the password, or reads it from standard input.
    Add {
        /// The name: 3 to 64 letters, digits and any of _ - . @ +
        name: Username,
        /// What the user may do: read, trade or operate; may be repeated [default: auth.default_scopes]
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<Scope>,
    },
    /// List the accounts, oldest first: id, name, time of creation, state and scopes.
    List,
    /// Keep a user out. Tokens and sockets end, API keys are refused, and running orders go on to their end.
    Disable { name: Username },
    /// Admit a disabled user again. The user logs in again; API keys are accepted again.
    Enable { name: Username },
    /// Set another password. Tokens and sockets end. Asks for the password, or reads it from standard input.
    Passwd { name: Username },
    /// Give scopes to a user: read, trade or operate.
    Grant {
        name: Username,
        #[arg(required = true, value_name = "SCOPE")]
        scopes: Vec<Scope>,
    },
    /// Take scopes from a user, and so from the tokens and API keys of the user.
    Revoke {
        name: Username,
        #[arg(required = true, value_name = "SCOPE")]
        scopes: Vec<Scope>,
    },
}

pub(super) async fn run(settings: &Settings, Arguments { action }: Arguments) -> Result<ExitCode, CommandError> {
    // Before the database is opened, because the user may take a long time.
    let password = match action {
        Action::Add { .. } | Action::Passwd { .. } => Some(ask_for_password()?),
        _ => None,
    };
    let store = SeaStore::connect_beside(&settings.database).await?;
    let done = act(&store, settings, action, password).await;
    store.close().await;
    done.map(|()| ExitCode::SUCCESS)
}

async fn act(
    store: &SeaStore,
    settings: &Settings,
    action: Action,
    password: Option<Secret>,
) -> Result<(), CommandError> {
    let hash = password.as_ref().map(hash_password);
    match (action, hash) {
        (Action::List, _) => list(store).await,
        (Action::Add { name, scopes }, Some(password_hash)) => {
            let scopes = match scopes.is_empty() {
                true => settings.auth.default_scopes,
                false => Scopes::from_iter(scopes),
            };
            let user = User { id: UserId(Uuid::now_v7()), name, created_at: Utc::now() };
            store.create_account(&NewAccount { user: user.clone(), password_hash, scopes }).await?;
            Ok(output::line(format_args!("{}  {}  {scopes}", user.id, user.name.as_str()))?)
        }
        (Action::Passwd { name }, Some(hash)) => change(store, &name, AccountChange::Password(hash)).await,
        (Action::Disable { name }, _) => change(store, &name, AccountChange::Disable).await,
        (Action::Enable { name }, _) => change(store, &name, AccountChange::Enable).await,
        (Action::Grant { name, scopes }, _) => {
            change(store, &name, AccountChange::Grant(Scopes::from_iter(scopes))).await
        }
        (Action::Revoke { name, scopes }, _) => {
            change(store, &name, AccountChange::Revoke(Scopes::from_iter(scopes))).await
        }
        (Action::Add { .. } | Action::Passwd { .. }, None) => unreachable!("`run` has asked for the password"),
    }
}

async fn list(store: &SeaStore) -> Result<(), CommandError> {
    for account in store.accounts().await? {
        let User { id, name, created_at } = &account.user;
        let state = if account.standing.is_active { "active" } else { "disabled" };
        let (name, created_at, scopes) = (name.as_str(), created_at.format("%F %T"), account.standing.scopes);
        output::line(format_args!("{id}  {name:<20}  {created_at}  {state:<8}  {scopes}"))?;
    }
    Ok(())
}

/// Changes the account with that name, and prints what its user may do afterwards.
async fn change(store: &SeaStore, name: &Username, change: AccountChange) -> Result<(), CommandError> {
    let unknown = || CommandError::from(format!("there is no user {}", name.as_str()));
    let account = store.account(name).await?.ok_or_else(unknown)?;
    let User { id, name, .. } = account.user;
    let standing = match store.change_account(id, change, None, Utc::now()).await {
        Err(UserWriteError::NoSuchAccount) => return Err(unknown()),
        changed => changed?,
    };
    let state = if standing.is_active { "active" } else { "disabled" };
    Ok(output::line(format_args!("{id}  {}  {state}  {}", name.as_str(), standing.scopes))?)
}

/// Asks for a password twice, without showing it. If standard input is not a terminal, reads one line from it instead.
fn ask_for_password() -> Result<Secret, CommandError> {
    let text = match io::stdin().is_terminal() {
        true => {
            // Before the prompt is shown, so that a fast typist is not shown either.
            let _hidden = Hidden::begin()?;
            let text = prompt("Password: ")?;
            let again = prompt("The same again: ")?;
            if text.expose() != again.expose() {
                return Err("the passwords differ; nothing was changed".into());
            }
            text
        }
        false => read_line(io::stdin().lock())?,
    };
    parse_password(text.expose()).map_err(|error| format!("the password {error}").into())
}

/// Keeps what is typed at the terminal invisible until it is dropped.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        // The end of the line is shown.
        hidden.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Now, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Asks for one line at the terminal.
fn prompt(text: &str) -> io::Result<Secret> {
    let mut terminal = io::stderr();
    write!(terminal, "{text}")?;
    terminal.flush()?;
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(Secret::new(line.trim_end_matches(['\r', '\n'])))
}

/// The first line of a bounded input.
fn read_line(input: impl Read) -> Result<Secret, CommandError> {
    const MAX_LENGTH: u64 = 4096;
    let mut text = String::new();
    // The error for bytes that are not UTF-8 does not contain them.
    input.take(MAX_LENGTH).read_to_string(&mut text)?;
    Ok(Secret::new(text.lines().next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_from_a_pipe_is_its_first_line() {
        let first = |input: &str| read_line(input.as_bytes()).unwrap().expose().to_owned();
        assert_eq!(first("correct horse\n"), "correct horse");
        assert_eq!(first("correct horse\r\nand more\n"), "correct horse");
        assert_eq!(first(" spaces count "), " spaces count ");
        assert_eq!(first(""), "");
        assert!(read_line(&[0xff, 0xfe][..]).is_err());
    }
}
