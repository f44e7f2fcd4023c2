//! `order-engine restore`: checks a backup, puts it in the place of the database, and decides what its orders do.
//!
//! An order that was open at the time of the backup may have been swapped since. Therefore a restored database
//! dispatches nothing until the operator decides.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use chrono::Utc;
use order_engine::Settings;
use order_engine::config::{DatabasePlace, LedgerPlace};
use order_engine::runtime::clock::Clock;
use order_engine::runtime::new_file::beside;
use order_engine::simulation::ledger::{Ledger, LedgerCopy};
use order_engine::store::lock::EngineLock;
use order_engine::store::{
    BackupError, DatabaseCopy, Inspection, OrderStore, SeaStore, Unfinished, UnfinishedFrom, Write,
};
use uuid::Uuid;

use super::backup::{ledger_of, postgres_recipe};
use super::exit::{CommandError, DATA, FAILURE};
use super::output;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The backup.
    #[arg(required_unless_present_any = ["resume", "cancel_unfinished"])]
    file: Option<PathBuf>,
    /// Only read the whole backup and print what is in it.
    #[arg(long, requires = "file")]
    check: bool,
    /// Dispatch the open orders of the restored database again. Those that were swapped after the backup are swapped
    /// twice.
    #[arg(long, conflicts_with_all = ["file", "cancel_unfinished"])]
    resume: bool,
    /// Cancel the open orders of the restored database that have no live swap, and then take new orders.
    #[arg(long, conflicts_with = "file")]
    cancel_unfinished: bool,
}

const UNDECIDED: &str =
    "Nothing is dispatched until you decide. Orders that were open may have been swapped after the \
backup.
  order-engine restore --resume             dispatches them again
  order-engine restore --cancel-unfinished  cancels those without a live swap
Until then `order-engine serve` answers reads, and asks the chain about live swaps.";

pub(super) async fn run(settings: &Settings, arguments: &Arguments) -> Result<ExitCode, CommandError> {
    match &arguments.file {
        Some(file) if arguments.check => check(file).await,
        Some(file) => match settings.database.url.place() {
            DatabasePlace::File(database) => restore(file, &database.path, settings).await,
            DatabasePlace::Memory => Err("database.url: a database in memory cannot be restored".into()),
            DatabasePlace::Postgres(_) => {
                output::note(postgres_recipe(settings, file));
                Ok(ExitCode::from(FAILURE))
            }
        },
        None => decide(settings, arguments.cancel_unfinished).await,
    }
}

/// Reads the whole backup and prints what is in it.
async fn check(file: &Path) -> Result<ExitCode, CommandError> {
    let store = SeaStore::open_copy(file).await?;
    let found = store.inspect().await?;
    let made_at = store.restored_from().await?;
    store.close().await;
    print(file, &found)?;
    match made_at {
        Some(made_at) => output::line(format_args!("made at {made_at}"))?,
        None => output::note("this file was not made by `order-engine backup`; `order-engine restore` marks it"),
    }
    let ledger = ledger_of(file);
    if ledger.exists() {
        output::line(format_args!("{}  {} swaps", ledger.display(), Ledger::read(&ledger)?.entries().len()))?;
    }
    Ok(if found.unreadable.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DATA) })
}

fn print(file: &Path, found: &Inspection) -> Result<(), CommandError> {
    let Inspection { orders, open, live, events, users, unreadable } = found;
    output::line(format_args!("{}  {orders} orders, {events} events, {users} users", file.display()))?;
    output::line(format_args!("{open} orders are open, {live} of them with a live swap"))?;
    for reason in unreadable {
        output::note(format_args!("cannot be read: {reason}"));
    }
    Ok(())
}

/// Puts the backup in the place of the database, which must not exist.
async fn restore(file: &Path, database: &Path, settings: &Settings) -> Result<ExitCode, CommandError> {
    let database = std::path::absolute(database)?;
    let in_the_way = |path: &Path| {
        let source = std::io::Error::new(
            std::io::ErrorKind::AlreadyExists,
            "it belongs to an earlier database; move it away with that database, then restore again",
        );
        BackupError::Write { path: path.to_owned(), source }
    };
    // SQLite would apply these to the restored database.
    for rest in ["-wal", "-journal"].map(|ending| beside(&database, ending)) {
        if fs::symlink_metadata(&rest).is_ok() {
            return Err(in_the_way(&rest).into());
        }
    }
    // An empty file may be the one that an engine has just created. Its lock is kept until the backup has its place.
    let mut lock = None;
    if let Ok(found) = fs::symlink_metadata(&database) {
        if !found.is_file() || found.len() > 0 {
            return Err(in_the_way(&database).into());
        }
        lock = Some(EngineLock::acquire(&settings.database).await?);
        fs::remove_file(&database).map_err(|source| BackupError::Write { path: database.clone(), source })?;
    }
    let copy = DatabaseCopy::make(file, &database, Utc::now()).await?;
    let store = SeaStore::open_copy(copy.partial()).await?;
    let found = store.inspect().await?;
    store.close().await;
    restore_ledger(file, settings)?;
    // The database is last: where it is, the restore is complete.
    copy.publish()?;
    drop(lock);
    print(&database, &found)?;
    output::line(UNDECIDED)?;
    Ok(ExitCode::SUCCESS)
}

/// Puts the ledger of the backup in its place. A ledger that exists stays, because a chain does not go back.
fn restore_ledger(file: &Path, settings: &Settings) -> Result<(), CommandError> {
    let LedgerPlace::File(ledger) = &settings.simulation.ledger else { return Ok(()) };
    let copied = ledger_of(file);
    if ledger.exists() {
        output::note(format_args!("the ledger {} stays: a chain does not go back", ledger.display()));
    } else if copied.exists() {
        let swaps = LedgerCopy::make(&copied, ledger)?.publish()?;
        output::line(format_args!("{}  {swaps} swaps", ledger.display()))?;
    } else {
        output::note(format_args!(
            "there is no ledger {}: the simulated chain begins anew, and live swaps count as expired",
            copied.display()
        ));
    }
    Ok(())
}

/// Removes the mark of a restored database, after its unfinished orders were cancelled if that is wanted.
async fn decide(settings: &Settings, cancel_unfinished: bool) -> Result<ExitCode, CommandError> {
    // The lock would create it.
    if let Some(path) = settings.database.url.sqlite_path()
        && !path.exists()
    {
        return Err(format!("{} does not exist; restore a backup first", path.display()).into());
    }
    let lock = EngineLock::acquire(&settings.database).await?;
    let store = SeaStore::open_locked(&settings.database, &lock).await?;
    let decided = decide_on(&store, cancel_unfinished).await;
    store.close().await;
    lock.release().await;
    decided.map(|()| ExitCode::SUCCESS)
}

async fn decide_on(store: &SeaStore, cancel_unfinished: bool) -> Result<(), CommandError> {
    let Some(made_at) = store.restored_from().await? else {
        output::line("nothing is suspended: the database is not marked as restored from a backup")?;
        return Ok(());
    };
    if cancel_unfinished {
        let Withdrawn { cancelled, live, unreadable } = withdraw_unfinished(store).await?;
        output::line(format_args!(
            "{cancelled} orders are cancelled; {live} have a live swap, which the chain settles"
        ))?;
        if unreadable > 0 {
            output::note(format_args!("{unreadable} orders cannot be read and stay as they are; they are not run"));
        }
    }
    // Last: after a crash before it, the operator decides again.
    store.resume().await?;
    output::line(format_args!("the database from the backup of {made_at} dispatches orders from the next start on"))?;
    Ok(())
}

#[derive(Default)]
struct Withdrawn {
    cancelled: usize,
    live: usize,
    unreadable: usize,
}

/// Cancels every unfinished order without a live swap. One with a live swap gets no further attempt.
async fn withdraw_unfinished(store: &SeaStore) -> Result<Withdrawn, CommandError> {
    const PAGE: u64 = 500;
    let mut withdrawn = Withdrawn::default();
    let mut next = Some(UnfinishedFrom::default());
    while let Some(from) = next {
        let Unfinished { orders, unreadable, nameless, next: following } = store.unfinished(from, PAGE).await?;
        next = following;
        withdrawn.unreadable += unreadable.len() + nameless;
        let mut writes = Vec::with_capacity(orders.len());
        for stored in orders {
            match stored.live {
                Some(_) => withdrawn.live += 1,
                None => withdrawn.cancelled += 1,
            }
            if let Some(event) = stored.order.withdrawal() {
                let recorded = Arc::new(stored.order.propose(event, Clock::System.read())?);
                writes.push(Write::step(Uuid::new_v4(), &stored.order, recorded, None));
            }
        }
        if !writes.is_empty() {
            store.commit(&writes).await?;
        }
    }
    Ok(withdrawn)
}
