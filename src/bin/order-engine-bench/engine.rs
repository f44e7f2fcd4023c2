//! Runs the engine under measurement as a child process, in a folder of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use order_engine::Settings;
use order_engine::store::{OrderStore, SeaStore};
use sea_orm::{ConnectionTrait, Database};

use crate::plan::Plan;
use crate::{BenchError, database};

/// A running engine.
pub(crate) struct Engine {
    child: Child,
    binary: PathBuf,
    folder: PathBuf,
    settings: Settings,
    /// The address on which it serves HTTP.
    pub(crate) address: SocketAddr,
}

impl Engine {
    /// Starts an engine on an empty database.
    pub(crate) async fn start(plan: &Plan, overrides: &[(&str, &str)]) -> Result<Self, BenchError> {
        let folder = std::env::temp_dir().join(format!("order-engine-bench-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        let url = match &plan.database_url {
            Some(url) => url.clone(),
            None => format!("sqlite://{}?mode=rwc", folder.join("bench.db").display()),
        };
        let fixed = [("database.url", url.as_str()), ("server.port", "0"), ("log.level", "error")];
        let overrides: Vec<_> =
            fixed.iter().chain(overrides).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let settings = Settings::with(overrides.clone())?;
        if plan.database_url.is_some() {
            database::empty(&settings).await?;
        }
        let (child, address) = spawn(&plan.engine, &folder, &overrides)?;
        Ok(Self { child, binary: plan.engine.clone(), folder, settings, address })
    }

    /// Kills the process and starts another on the same database, with these settings instead.
    pub(crate) fn restart(&mut self, overrides: &[(&str, &str)]) -> Result<(), BenchError> {
        self.child.kill()?;
        self.child.wait()?;
        let url = ("database.url".to_owned(), self.settings.database.url.expose().to_owned());
        let overrides = [("server.port", "0"), ("log.level", "error")]
            .iter()
            .chain(overrides)
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let overrides: Vec<_> = std::iter::once(url).chain(overrides).collect();
        (self.child, self.address) = spawn(&self.binary, &self.folder, &overrides)?;
        Ok(())
    }

    /// Opens the database directly, to count or to store orders.
    pub(crate) async fn store(&self) -> Result<SeaStore, BenchError> {
        Ok(SeaStore::connect(&self.settings.database).await?)
    }

    /// Runs the maintenance that PostgreSQL does by itself within minutes after many writes.
    pub(crate) async fn tidy_up(&self) -> Result<(), BenchError> {
        if !self.settings.database.url.is_sqlite() {
            // A connection without the engine's statement timeout.
            let connection = Database::connect(self.settings.database.url.expose()).await?;
            connection.execute_unprepared("VACUUM (ANALYZE)").await?;
            connection.close().await?;
        }
        Ok(())
    }

    /// The path of the ledger, if it is a file.
    pub(crate) fn ledger(&self) -> PathBuf {
        self.folder.join("bench.ledger")
    }

    /// The resident memory of the process, in KiB.
    pub(crate) fn resident_kib(&self) -> Result<u64, BenchError> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse()?)
    }

    /// Waits until `count` orders have ended, according to the database.
    pub(crate) async fn until_ended(&self, store: &SeaStore, count: u64) -> Result<(), BenchError> {
        while store.count_ended().await? < count {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Stops the engine and deletes its folder.
    pub(crate) async fn finish(mut self, store: Option<SeaStore>) -> Result<(), BenchError> {
        if let Some(store) = store {
            store.close().await;
        }
        self.child.kill()?;
        self.child.wait()?;
        std::fs::remove_dir_all(&self.folder)?;
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // The process must not outlive an experiment that failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(binary: &Path, folder: &Path, overrides: &[(String, String)]) -> Result<(Child, SocketAddr), BenchError> {
    let mut command = Command::new(binary);
    command.current_dir(folder).arg("serve").stdin(Stdio::null()).stdout(Stdio::piped());
    for (key, value) in overrides {
        command.env(format!("ORDER_ENGINE__{}", key.to_uppercase().replace('.', "__")), value);
    }
    let mut child = command.spawn().map_err(|error| format!("{}: {error}", binary.display()))?;
    let mut greeting = String::new();
    BufReader::new(child.stdout.as_mut().ok_or("the engine has no standard output")?).read_line(&mut greeting)?;
    let address = greeting.trim().rsplit("http://").next().ok_or("the engine did not print its address")?.parse()?;
    Ok((child, address))
}
