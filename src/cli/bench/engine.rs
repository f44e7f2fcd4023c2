//! The engine under measurement: a child process in a folder of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use order_engine::Settings;
use order_engine::store::lock::EngineLock;
use order_engine::store::{OrderStore, SeaStore};
use sea_orm::{ConnectionTrait, Database};

use crate::cli::exit::CommandError;

pub(super) struct Engine {
    child: Child,
    folder: PathBuf,
    settings: Settings,
    pub(super) address: SocketAddr,
}

impl Engine {
    /// Starts an engine on an emptied database.
    pub(super) async fn start(database_url: Option<&str>, overrides: &[(&str, &str)]) -> Result<Self, CommandError> {
        let folder = std::env::temp_dir().join(format!("order-engine-bench-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        let url = database_url
            .map_or_else(|| format!("sqlite://{}?mode=rwc", folder.join("bench.db").display()), str::to_owned);
        let fixed = [("database.url", url.as_str()), ("server.port", "0"), ("log.level", "error")];
        let overrides: Vec<_> =
            fixed.iter().chain(overrides).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let settings = Settings::with(overrides.clone())?;
        if database_url.is_some() {
            // Everything in it is about to be forgotten, so it must be nobody's.
            let lock = EngineLock::acquire(&settings.database).await?;
            SeaStore::open_locked(&settings.database, &lock).await?.start_anew().await?;
            // The engine that is started next needs it, and this thread waits for that one.
            lock.release().await;
        }
        let (child, address) = spawn(&folder, &overrides)?;
        Ok(Self { child, folder, settings, address })
    }

    /// Kills the process and starts another on what it left, with other settings over the old ones.
    pub(super) fn restart(&mut self, overrides: &[(&str, &str)]) -> Result<(), CommandError> {
        self.child.kill()?;
        self.child.wait()?;
        let url = ("database.url".to_owned(), self.settings.database.url.expose().to_owned());
        let overrides = [("server.port", "0"), ("log.level", "error")]
            .iter()
            .chain(overrides)
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        (self.child, self.address) = spawn(&self.folder, &std::iter::once(url).chain(overrides).collect::<Vec<_>>())?;
        Ok(())
    }

    /// A second way into the database, for counting and for filling it.
    pub(super) async fn store(&self) -> Result<SeaStore, CommandError> {
        Ok(SeaStore::connect(&self.settings.database).await?)
    }

    /// Has PostgreSQL do at once what it does of itself within minutes of a flood of writes.
    pub(super) async fn tidy_up(&self) -> Result<(), CommandError> {
        if !self.settings.database.url.is_sqlite() {
            // Not a connection of the engine's, whose statements have to be short.
            let connection = Database::connect(self.settings.database.url.expose()).await?;
            connection.execute_unprepared("VACUUM (ANALYZE)").await?;
            connection.close().await?;
        }
        Ok(())
    }

    /// Where the ledger is, if it is a file.
    pub(super) fn ledger(&self) -> PathBuf {
        self.folder.join("bench.ledger")
    }

    /// The process's resident memory, in KiB.
    pub(super) fn resident_kib(&self) -> Result<u64, CommandError> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse()?)
    }

    /// Waits until so many orders have ended, asking the database.
    pub(super) async fn until_ended(&self, store: &SeaStore, count: u64) -> Result<(), CommandError> {
        while store.count_ended().await? < count {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Ok(())
    }

    pub(super) async fn finish(mut self, store: Option<SeaStore>) -> Result<(), CommandError> {
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
        // Finished already, or an experiment broke off: either way the process must not stay.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path, overrides: &[(String, String)]) -> Result<(Child, SocketAddr), CommandError> {
    let mut command = Command::new(std::env::current_exe()?);
    command.current_dir(folder).arg("serve").stdin(Stdio::null()).stdout(Stdio::piped());
    for (key, value) in overrides {
        command.env(format!("ORDER_ENGINE__{}", key.to_uppercase().replace('.', "__")), value);
    }
    let mut child = command.spawn()?;
    let mut greeting = String::new();
    BufReader::new(child.stdout.as_mut().ok_or("no output")?).read_line(&mut greeting)?;
    let address = greeting.trim().rsplit("http://").next().ok_or("no greeting")?.parse()?;
    Ok((child, address))
}
