//! The engine as a process: started in a folder of its own, on a free port, killed and started again.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;

use actix::System;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::client::Client;
use crate::support::machine::FakeClock;
use crate::support::os::{memory_kib, signal};
use crate::support::wait::TIMEOUT;

/// An engine in a process of its own, with its database and ledger in a folder that is removed with it.
pub struct Server {
    folder: TempDir,
    settings: Vec<(String, String)>,
    // A program that starts the engine's process, with its arguments; empty for none.
    launcher: Vec<String>,
    // The log is discarded where this is `None`.
    log: Option<File>,
    child: Option<Child>,
    /// The first line that the engine printed at its last start; it names the address.
    pub greeting: String,
    pub client: Client,
}

/// Settings under which orders do not wait: no rate limit, no simulated latency.
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
        let mut server = Self::stopped(settings);
        if let Some(cluster) = shared_postgres() {
            // Weaker than `database.url`, so that a test with its own database keeps it.
            server.set("DATABASE_URL", &new_database(cluster));
        }
        server.restart();
        server
    }

    /// Starts an engine on that database.
    pub fn start_on<'a>(database_url: &str, settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut server = Self::stopped(settings);
        server.set("database.url", database_url);
        server.restart();
        server
    }

    /// An engine that is not started yet.
    pub fn stopped<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self::stopped_in(tempfile::tempdir().unwrap(), settings)
    }

    /// The same, with its database, ledger and secret in that folder.
    pub fn stopped_in<'a>(folder: TempDir, settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let settings = settings.into_iter().map(|(key, value)| (variable(key), value.to_owned())).collect();
        let (launcher, greeting, client) = (Vec::new(), String::new(), Client::unreachable());
        Self { folder, settings, launcher, log: None, child: None, greeting, client }
    }

    /// Starts the engine through another program, which must replace itself by the engine (`exec`).
    pub fn start_through(&mut self, launcher: &[&str]) {
        self.launcher = launcher.iter().map(|&word| word.to_owned()).collect();
    }

    /// The URL of its database.
    pub fn database_url(&self) -> String {
        let set = |name: &str| self.settings.iter().rev().find(|(key, _)| key == name).map(|(_, url)| url.clone());
        set(&variable("database.url"))
            .or_else(|| set("DATABASE_URL"))
            .unwrap_or_else(|| format!("sqlite://{}", self.folder.path().join("order-engine.db").display()))
    }

    /// The path of a file in its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The simulated chain's file.
    pub fn ledger_file(&self) -> PathBuf {
        self.file("order-engine.ledger")
    }

    /// Changes a setting for the next start: a key of the settings, or an environment variable, which has no dot.
    pub fn set(&mut self, key: &str, value: &str) {
        self.settings.push((variable(key), value.to_owned()));
    }

    /// Appends the log to that file from the next start on.
    pub fn log_to(&mut self, file: &Path) {
        self.log_into(OpenOptions::new().create(true).append(true).open(file).unwrap());
    }

    /// Writes the log to an open file from the next start on.
    pub fn log_into(&mut self, log: File) {
        self.log = Some(log);
    }

    /// Makes the engine read that wall clock from the next start on.
    pub fn use_clock(&mut self, clock: &FakeClock) {
        for (name, value) in clock.environment() {
            self.set(&name, &value);
        }
    }

    /// Starts it (again), and waits until it listens.
    pub fn restart(&mut self) {
        assert!(self.try_restart(), "the engine does not start");
    }

    /// Starts it (again), and waits until it listens; `false` if it ends before.
    pub fn try_restart(&mut self) -> bool {
        self.spawn();
        self.wait_for_greeting()
    }

    /// Starts it (again) with another standard error, and waits until it listens.
    pub fn restart_logging_to(&mut self, stderr: impl Into<Stdio>) {
        self.spawn_logging_to(stderr);
        assert!(self.wait_for_greeting(), "the engine does not start");
    }

    /// Starts it with another standard error, and does not wait.
    pub fn spawn_logging_to(&mut self, stderr: impl Into<Stdio>) {
        assert!(self.child.is_none(), "the engine still runs");
        self.child = Some(self.command(&[]).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap());
    }

    fn wait_for_greeting(&mut self) -> bool {
        let child = self.child.as_mut().expect("the engine was just started");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        let Ok(greeting) = receiver.recv_timeout(TIMEOUT) else { return false };
        let address = greeting.split("http://").nth(1).expect("the first line names the address");
        self.client = Client::of(&format!("http://{address}"));
        self.greeting = greeting;
        true
    }

    /// Starts it, and does not wait.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "the engine still runs");
        let mut command = self.command_of(&self.launcher, &[]);
        if let Some(log) = &self.log {
            command.stderr(log.try_clone().unwrap());
        }
        self.child = Some(command.stdout(Stdio::piped()).spawn().unwrap());
    }

    /// The exit status, once the process has ended; then it can be started again.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut().expect("the engine was started").try_wait().unwrap()?;
        self.child = None;
        Some(status)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the engine runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and the exit status.
    pub fn terminate(&mut self) -> ExitStatus {
        self.send_sigterm();
        self.wait()
    }

    /// SIGTERM, without waiting.
    pub fn send_sigterm(&self) {
        signal("TERM", &[self.pid()]);
    }

    /// SIGSTOP: the process is suspended, and its connections stay open.
    pub fn freeze(&self) {
        signal("STOP", &[self.pid()]);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        signal("CONT", &[self.pid()]);
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the engine runs").id()
    }

    /// The resident memory of the process, in KiB.
    pub fn memory_kib(&self) -> u64 {
        memory_kib(self.pid())
    }

    /// Waits until the process ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the engine runs");
        let (sender, receiver) = mpsc::channel();
        let pid = child.id();
        std::thread::spawn(move || drop(sender.send(child.wait())));
        receiver.recv_timeout(TIMEOUT).unwrap_or_else(|_| panic!("process {pid} does not end")).unwrap()
    }

    /// A command of the binary, in the same folder and with the same settings.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(&[], arguments)
    }

    fn command_of(&self, launcher: &[String], arguments: &[&str]) -> Command {
        let mut words = launcher.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_order-engine")]);
        let mut command = Command::new(words.next().expect("the engine is the last word"));
        command
            .current_dir(self.folder.path())
            .args(words)
            .args(arguments)
            .env("PORT", "0")
            .env("LOG_LEVEL", "warn")
            .stdin(Stdio::null());
        // Variables for the tests are no settings of the engine.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ORDER_ENGINE_")) {
            command.env_remove(name);
        }
        if std::env::var_os("TEST_LOG").is_none() {
            command.stderr(Stdio::null());
        }
        command.envs(self.settings.iter().map(|(key, value)| (key, value)));
        command
    }

    /// The entries of the simulated chain's ledger, one for each swap.
    pub fn ledger(&self) -> Vec<Value> {
        let output = self.command(&["ledger", "--json"]).stdout(Stdio::piped()).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The number of swaps that landed on the simulated chain.
    pub fn landed_swaps(&self) -> usize {
        self.ledger().iter().filter(|entry| entry["outcome"] == "landed").count()
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

/// The PostgreSQL of every engine without its own database, which `ORDER_ENGINE_TEST_DATABASE_URL` names; without it
/// such engines use SQLite.
pub fn shared_postgres() -> Option<String> {
    std::env::var("ORDER_ENGINE_TEST_DATABASE_URL").ok()
}

/// Creates a database for one test in that PostgreSQL, and returns its URL.
fn new_database(cluster: String) -> String {
    use sea_orm::ConnectionTrait;
    let name = format!("test_{}", uuid::Uuid::new_v4().simple());
    let (base, _) = cluster.rsplit_once('/').expect("the URL of a PostgreSQL names a database");
    let url = format!("{base}/{name}");
    // On its own thread, because the thread of the test already runs a System.
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
