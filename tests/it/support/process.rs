//! The binary as an operator runs it: started in a folder of its own, on a free port, killed and started again.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use actix::System;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::machine::FakeClock;

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// An engine in a process of its own, with its database and ledger in a folder that goes with it.
pub struct Server {
    folder: TempDir,
    settings: Vec<(String, String)>,
    // A program that starts the engine's own process, with its arguments; empty for none.
    launcher: Vec<String>,
    // Where the log goes instead of nowhere.
    log: Option<File>,
    child: Option<Child>,
    pub client: Client,
}

/// Settings under which nothing waits for anything: no limits, no simulated latency.
pub const SWIFT: [(&str, &str); 6] = [
    ("orders.rate_limit_per_minute", "0"),
    ("orders.max_concurrent", "1000"),
    ("orders.backoff_initial_ms", "50"),
    ("simulation.quote_latency_ms", "0"),
    ("simulation.swap_latency_min_ms", "0"),
    ("simulation.swap_latency_max_ms", "0"),
];

impl Server {
    /// Starts an engine with these settings over the defaults.
    pub fn start<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut server = Self::idle(settings);
        if let Some(cluster) = postgres_for_all() {
            // Weaker than `database.url`, so that a test which brings its own database keeps it.
            server.set("DATABASE_URL", &new_database(cluster));
        }
        server.restart();
        server
    }

    /// An engine that [`Server::restart`] starts, once all is set.
    pub fn idle<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self::idle_in(tempfile::tempdir().unwrap(), settings)
    }

    /// The same, with its database, ledger and secret in that folder.
    pub fn idle_in<'a>(folder: TempDir, settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let settings = settings.into_iter().map(|(key, value)| (variable(key), value.to_owned())).collect();
        Self { folder, settings, launcher: Vec::new(), log: None, child: None, client: Client::nowhere() }
    }

    /// Starts the engine through another program, which must replace itself by it: the process stays the same.
    pub fn start_through(&mut self, launcher: &[&str]) {
        self.launcher = launcher.iter().map(|&word| word.to_owned()).collect();
    }

    /// The database it uses, to be read beside it.
    pub fn database_url(&self) -> String {
        let set = |name: &str| self.settings.iter().rev().find(|(key, _)| key == name).map(|(_, url)| url.clone());
        set(&variable("database.url"))
            .or_else(|| set("DATABASE_URL"))
            .unwrap_or_else(|| format!("sqlite://{}", self.folder.path().join("order-engine.db").display()))
    }

    /// A file in its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The simulated chain's own file.
    pub fn ledger_file(&self) -> PathBuf {
        self.file("order-engine.ledger")
    }

    /// Changes a setting for the next start; also takes plain environment variables, which are in capitals.
    pub fn set(&mut self, key: &str, value: &str) {
        self.settings.push((variable(key), value.to_owned()));
    }

    /// From the next start on its log goes into that file.
    pub fn log_to(&mut self, file: &Path) {
        self.log_into(OpenOptions::new().create(true).append(true).open(file).unwrap());
    }

    /// From the next start on its log goes into what is open there.
    pub fn log_into(&mut self, log: File) {
        self.log = Some(log);
    }

    /// From the next start on the engine reads the wall clock there.
    pub fn use_clock(&mut self, clock: &FakeClock) {
        for (name, value) in clock.environment() {
            self.set(&name, &value);
        }
    }

    /// Starts it (again), and waits until it says where it listens.
    pub fn restart(&mut self) {
        assert!(self.try_restart(), "the engine says where it listens");
    }

    /// Starts it (again), and waits until it says where it listens; or until it has ended before.
    pub fn try_restart(&mut self) -> bool {
        self.spawn();
        self.is_greeted()
    }

    /// Starts it (again) with its standard error in other hands, and waits until it says where it listens.
    pub fn restart_logging_to(&mut self, stderr: impl Into<Stdio>) {
        self.spawn_logging_to(stderr);
        assert!(self.is_greeted(), "the engine says where it listens");
    }

    /// Starts it with its standard error in other hands, and waits for nothing.
    pub fn spawn_logging_to(&mut self, stderr: impl Into<Stdio>) {
        assert!(self.child.is_none(), "the engine still runs");
        self.child = Some(self.command(&[]).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap());
    }

    fn is_greeted(&mut self) -> bool {
        let child = self.child.as_mut().expect("it was started just now");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        let Ok(greeting) = receiver.recv_timeout(PATIENCE) else { return false };
        let address = greeting.split("http://").nth(1).expect("the first line names the address");
        self.client = Client::of(&format!("http://{address}"));
        true
    }

    /// Starts it, and waits for nothing.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "the engine still runs");
        let mut command = self.command_of(&self.launcher, &[]);
        if let Some(log) = &self.log {
            command.stderr(log.try_clone().unwrap());
        }
        self.child = Some(command.stdout(Stdio::piped()).spawn().unwrap());
    }

    /// How the process ended, once it has; then it can be started again.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut().expect("the engine was started").try_wait().unwrap()?;
        self.child = None;
        Some(status)
    }

    /// SIGKILL: no goodbye, no flush.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the engine runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and the exit status.
    pub fn terminate(&mut self) -> ExitStatus {
        self.ask_to_stop();
        self.wait()
    }

    /// SIGTERM, without waiting.
    pub fn ask_to_stop(&self) {
        self.signal("TERM");
    }

    /// SIGSTOP: it stands still, and the world goes on.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the engine runs").id()
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().unwrap().success());
    }

    /// What the process holds in memory, in KiB.
    pub fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the engine runs");
        let (sender, receiver) = mpsc::channel();
        let pid = child.id();
        std::thread::spawn(move || drop(sender.send(child.wait())));
        receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("process {pid} does not end")).unwrap()
    }

    /// Runs another command of the binary in the same folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(&[], arguments)
    }

    fn command_of(&self, launcher: &[String], arguments: &[&str]) -> Command {
        let mut words = launcher.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_order-engine")]);
        let mut command = Command::new(words.next().expect("there is at least the engine"));
        command
            .current_dir(self.folder.path())
            .args(words)
            .args(arguments)
            .env("PORT", "0")
            .env("LOG_LEVEL", "warn")
            .stdin(Stdio::null());
        // What the tests themselves are told is no setting of the engine.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ORDER_ENGINE_")) {
            command.env_remove(name);
        }
        if std::env::var_os("TEST_LOG").is_none() {
            command.stderr(Stdio::null());
        }
        command.envs(self.settings.iter().map(|(key, value)| (key, value)));
        command
    }

    /// What the simulated chain has taken, one entry a swap.
    pub fn ledger(&self) -> Vec<Value> {
        let output = self.command(&["ledger", "--json"]).stdout(Stdio::piped()).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Fails unless every order of the ledger has at most one landed swap.
    #[track_caller]
    pub fn assert_no_second_swap(&self) {
        let mut landed: Vec<_> = self
            .ledger()
            .into_iter()
            .filter(|entry| entry["outcome"] == "landed")
            .map(|entry| entry["orderId"].to_string())
            .collect();
        let swaps = landed.len();
        landed.sort();
        landed.dedup();
        assert_eq!(landed.len(), swaps, "an order was swapped twice");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The PostgreSQL on which all engines run that bring no database of their own; SQLite where none is named.
pub fn postgres_for_all() -> Option<String> {
    std::env::var("ORDER_ENGINE_TEST_DATABASE_URL").ok()
}

/// Makes a database of a test's own in that PostgreSQL, and says where it is reached.
fn new_database(cluster: String) -> String {
    use sea_orm::ConnectionTrait;
    let name = format!("test_{}", uuid::Uuid::new_v4().simple());
    let (base, _) = cluster.rsplit_once('/').expect("the URL of a PostgreSQL names a database");
    let url = format!("{base}/{name}");
    // On a thread of its own: whoever starts a server is busy running the test.
    let create = move || {
        System::new().block_on(async {
            let connection = sea_orm::Database::connect(cluster).await.unwrap();
            connection.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
        });
    };
    std::thread::spawn(create).join().unwrap();
    url
}

fn variable(key: &str) -> String {
    if key.contains('.') { format!("ORDER_ENGINE__{}", key.to_uppercase().replace('.', "__")) } else { key.to_owned() }
}
