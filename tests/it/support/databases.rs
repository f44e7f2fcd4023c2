//! A real PostgreSQL and a real Redis of a test's own: on a port of their own, in a folder of their own, and gone when
//! the test is over, also when it fails.
//!
//! A server that is not installed fails the test and names the Debian package: a test that skips proves nothing.
#![allow(dead_code, reason = "not every test breaks its database in every way")]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::process::PATIENCE;

/// How often a server that is starting or ending is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// A PostgreSQL of one's own. It trusts whoever connects.
///
/// It runs without fsync: tests kill its processes, never the machine, and what a process has written the kernel keeps.
/// Only where fsync itself is made to fail is it asked for.
pub struct Postgres {
    folder: TempDir,
    // Environment variables of the next start.
    environment: Vec<(String, String)>,
    fsync: bool,
    programs: PathBuf,
    user: Option<User>,
    port: u16,
    process: Option<Child>,
}

impl Postgres {
    const OWNER: &str = "engine";
    const PACKAGE: &str = "postgresql";

    /// Creates a cluster and starts it.
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    /// Creates a cluster in that folder and starts it.
    pub fn start_in(folder: TempDir) -> Self {
        let programs = postgres_programs();
        let user = User::instead_of_root(folder.path());
        let mut initdb = command(&programs.join("initdb"), user, Self::PACKAGE);
        initdb.arg("--pgdata").arg(folder.path().join("data"));
        initdb.args(["--username", Self::OWNER, "--auth", "trust", "--encoding", "UTF8", "--no-locale", "--no-sync"]);
        let made = initdb.current_dir(folder.path()).output().unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let mut postgres =
            Self { folder, environment: Vec::new(), fsync: false, programs, user, port: 0, process: None };
        on_a_free_port(|port| {
            postgres.port = port;
            postgres.try_start()
        });
        postgres
    }

    /// Where it is reached.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// Makes another database in it, and says where that is reached.
    pub fn create_database(&self, name: &str) -> String {
        self.sql(&format!("CREATE DATABASE {name}"));
        self.url_of(name)
    }

    /// Where it is reached over a line.
    pub fn url_over(&self, line: &Line) -> String {
        format!("postgres://{}@127.0.0.1:{}/postgres", Self::OWNER, line.port())
    }

    /// A line to it.
    pub fn line(&self) -> Line {
        Line::to(self.port)
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgres://{}@127.0.0.1:{}/{database}", Self::OWNER, self.port)
    }

    /// Runs a statement and gives what it answers, one line a row.
    pub fn sql(&self, statement: &str) -> String {
        self.sql_in("postgres", statement)
    }

    /// Runs a statement in one of its databases.
    pub fn sql_in(&self, database: &str, statement: &str) -> String {
        let mut psql = command(&self.programs.join("psql"), None, Self::PACKAGE);
        psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1", "--command", statement]);
        let output = psql.arg(self.url_of(database)).output().unwrap();
        assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Ends it in good order: every connection is told and cut.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("PostgreSQL runs");
        // What PostgreSQL calls a fast shutdown.
        signal("INT", &[process.id()]);
        wait(&mut process, "PostgreSQL");
    }

    /// SIGKILL to every process of it.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("PostgreSQL runs");
        kill_family(&mut process);
    }

    /// Starts it again on the same port.
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "PostgreSQL still runs");
        self.try_start().unwrap_or_else(|log| panic!("PostgreSQL does not start again: {log}"));
    }

    /// Starts it again on the same port with these environment variables, or says what its log says.
    ///
    /// It uses fsync from then on.
    pub fn try_restart_with(&mut self, environment: &[(String, String)]) -> Result<(), String> {
        assert!(self.process.is_none(), "PostgreSQL still runs");
        self.environment = environment.to_vec();
        self.fsync = true;
        self.try_start()
    }

    /// Ends what is left of it, where it has ended by itself or not.
    pub fn reap(&mut self) {
        if let Some(mut process) = self.process.take() {
            kill_family(&mut process);
        }
    }

    /// Whether its first process runs.
    pub fn runs(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }

    /// Ends every connection from its side; new ones are welcome.
    pub fn cut_connections(&self) {
        self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
        );
    }

    /// SIGSTOP to every process of it: connections stay open and nothing is answered.
    pub fn freeze(&self) {
        signal("STOP", &family(self.pid()));
    }

    /// SIGCONT to every process of it.
    pub fn thaw(&self) {
        signal("CONT", &family(self.pid()));
    }

    fn pid(&self) -> u32 {
        self.process.as_ref().expect("PostgreSQL runs").id()
    }

    fn try_start(&mut self) -> Result<(), String> {
        let mut postgres = command(&self.programs.join("postgres"), self.user, Self::PACKAGE);
        postgres.arg("-D").arg(self.folder.path().join("data"));
        postgres.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        postgres.args(["-c", if self.fsync { "fsync=on" } else { "fsync=off" }]);
        postgres.envs(self.environment.iter().map(|(key, value)| (key, value)));
        postgres.args(["-c", "unix_socket_directories=", "-c", "shared_buffers=16MB"]);
        let probe = self.programs.join("pg_isready");
        let port = self.port.to_string();
        let ready = || {
            let mut probe = command(&probe, None, Self::PACKAGE);
            let probe = probe.args(["--quiet", "--host", "127.0.0.1", "--timeout", "5", "--port", &port]);
            probe.status().unwrap().success()
        };
        self.process = Some(spawn(postgres, self.folder.path(), ready)?);
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            kill_family(process);
        }
    }
}

/// A line to a server that can go dead: what is open then stays silent for ever, without a goodbye.
pub struct Line {
    port: u16,
    server: Arc<AtomicU16>,
    alive: Arc<AtomicBool>,
    // Each death ends one generation of connections.
    deaths: Arc<AtomicU32>,
}

impl Line {
    /// A line to that port.
    pub fn to(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (alive, deaths) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU32::new(0)));
        let (up, generation) = (alive.clone(), deaths.clone());
        let server = Arc::new(AtomicU16::new(server));
        let leads_to = server.clone();
        // Ends with the test's process: nobody connects any more, and nothing is held but a port.
        thread::spawn(move || {
            let mut held = Vec::new();
            for client in listener.incoming().flatten() {
                let server = leads_to.load(Ordering::SeqCst);
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                if !up.load(Ordering::SeqCst) {
                    held.push((client, server));
                    continue;
                }
                let born = generation.load(Ordering::SeqCst);
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let generation = generation.clone();
                    thread::spawn(move || {
                        let mut bytes = [0; 16 * 1024];
                        while let Ok(read @ 1..) = from.read(&mut bytes) {
                            if generation.load(Ordering::SeqCst) != born {
                                // Swallowed; both ends stay open and wait.
                                thread::park();
                            }
                            if to.write_all(&bytes[..read]).is_err() {
                                break;
                            }
                        }
                        if generation.load(Ordering::SeqCst) == born {
                            let _ = to.shutdown(Shutdown::Both);
                        }
                    });
                }
                held.push((client, server));
            }
        });
        Self { port, server, alive, deaths }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// New connections lead to that port; the old ones stay where they are.
    pub fn lead_to(&self, server: u16) {
        self.server.store(server, Ordering::SeqCst);
    }

    /// From now on nothing gets through.
    pub fn die(&self) {
        self.alive.store(false, Ordering::SeqCst);
        self.deaths.fetch_add(1, Ordering::SeqCst);
    }

    /// New connections get through again; the old ones never will.
    pub fn revive(&self) {
        self.alive.store(true, Ordering::SeqCst);
    }
}

/// A Redis of one's own. It keeps nothing on disk: stopped or killed, it comes back empty.
pub struct Redis {
    folder: TempDir,
    arguments: Vec<&'static str>,
    port: u16,
    process: Option<Child>,
}

impl Redis {
    const PACKAGE: &str = "redis-server";

    /// Starts it.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts it with more arguments.
    pub fn start_with(arguments: &[&'static str]) -> Self {
        let (folder, arguments) = (tempfile::tempdir().unwrap(), arguments.to_vec());
        let mut redis = Self { folder, arguments, port: 0, process: None };
        on_a_free_port(|port| {
            redis.port = port;
            redis.try_start()
        });
        redis
    }

    /// Where it is reached.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A file in its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command of plain words and gives the first line of its answer.
    pub fn ask(&self, words: &str) -> String {
        ask_redis(self.port, words).unwrap_or_else(|error| panic!("redis: {words}: {error}"))
    }

    /// Forgets every key.
    pub fn flush(&self) {
        assert_eq!(self.ask("FLUSHALL"), "+OK");
    }

    /// Ends it in good order.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("Redis runs");
        signal("TERM", &[process.id()]);
        wait(&mut process, "Redis");
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("Redis runs");
        kill_family(&mut process);
    }

    /// Starts it again on the same port.
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "Redis still runs");
        self.try_start().unwrap_or_else(|log| panic!("Redis does not start again: {log}"));
    }

    /// Ends every connection from its side, plain ones and subscribers; new ones are welcome.
    pub fn cut_connections(&self) {
        self.ask("CLIENT KILL TYPE pubsub");
        self.ask("CLIENT KILL TYPE normal");
    }

    /// SIGSTOP: connections stay open and nothing is answered.
    pub fn freeze(&self) {
        signal("STOP", &[self.pid()]);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        signal("CONT", &[self.pid()]);
    }

    fn pid(&self) -> u32 {
        self.process.as_ref().expect("Redis runs").id()
    }

    fn try_start(&mut self) -> Result<(), String> {
        let port = self.port;
        let mut redis = command(&program("redis-server", Self::PACKAGE), None, Self::PACKAGE);
        redis.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        redis.arg("--dir").arg(self.folder.path()).args(&self.arguments);
        let ready = || ask_redis(port, "PING").is_ok_and(|answer| answer == "+PONG");
        self.process = Some(spawn(redis, self.folder.path(), ready)?);
        Ok(())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            kill_family(process);
        }
    }
}

fn ask_redis(port: u16, words: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "{words}\r\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

/// Whom a server runs as where the tests run as root, which PostgreSQL refuses to.
#[derive(Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// Gives a folder to that user, where root owns it.
    fn instead_of_root(folder: &Path) -> Option<Self> {
        if folder.metadata().unwrap().uid() != 0 {
            return None;
        }
        let id = |which| {
            let output = Command::new("id").args([which, "nobody"]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().parse().expect("the user nobody exists")
        };
        let user = Self { uid: id("-u"), gid: id("-g") };
        chown(folder, Some(user.uid), Some(user.gid)).unwrap();
        Some(user)
    }
}

/// The folder of PostgreSQL's programs: Debian keeps them off the PATH, the newest version is taken.
fn postgres_programs() -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = installed
        .filter_map(|version| Some((version.file_name().to_str()?.parse::<u32>().ok()?, version.path().join("bin"))))
        .filter(|(_, programs)| programs.join("postgres").is_file())
        .max();
    match newest {
        Some((_, programs)) => programs,
        None => program("postgres", Postgres::PACKAGE).parent().expect("a program lies in a folder").to_owned(),
    }
}

fn program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed: this test needs the Debian package `{package}`"))
}

fn command(program: &Path, user: Option<User>, package: &str) -> Command {
    assert!(program.is_file(), "{program:?} is missing: this test needs the Debian package `{package}`");
    let mut command = Command::new(program);
    // Whatever points clients elsewhere is no business of a server of one's own.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
    if let Some(User { uid, gid }) = user {
        command.uid(uid).gid(gid);
    }
    command
}

/// Starts a server and waits until it is ready; if it ends before, its log.
fn spawn(mut command: Command, folder: &Path, ready: impl Fn() -> bool) -> Result<Child, String> {
    let path = folder.join("log");
    let log = File::create(&path).unwrap();
    command.current_dir(folder).stdout(log.try_clone().unwrap()).stderr(log);
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ended = child.try_wait().unwrap().is_some();
        let late = Instant::now() > deadline;
        if ended || late {
            kill_family(&mut child);
            let mut log = String::new();
            File::open(path).unwrap().read_to_string(&mut log).unwrap();
            return Err(log);
        }
        if ready() {
            return Ok(child);
        }
        thread::sleep(LOOK);
    }
}

/// Tries ports until a server starts on one: between finding a port free and using it somebody may take it.
fn on_a_free_port(mut start: impl FnMut(u16) -> Result<(), String>) {
    // Below the ports that the kernel gives to connections, so that a stopped server's port is not given away (not even
    // to somebody who tries to reach it, and would then talk to himself).
    const FIRST: u16 = 20_000;
    const PORTS: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let offset = u16::try_from(std::process::id() % u32::from(PORTS)).unwrap();
    let mut log = String::new();
    for _ in 0..100 {
        let port = FIRST + (offset + NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS;
        if TcpListener::bind(("127.0.0.1", port)).is_err() {
            continue;
        }
        match start(port) {
            Ok(()) => return,
            Err(said) => log = said,
        }
    }
    panic!("the server does not start: {log}");
}

/// A process and its children.
fn family(pid: u32) -> Vec<u32> {
    let parent_of = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in brackets and may hold anything; after it come the state and the parent.
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let children = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&child| parent_of(child) == Some(pid));
    std::iter::once(pid).chain(children).collect()
}

fn signal(name: &str, pids: &[u32]) {
    // One that has ended meanwhile is no failure.
    let pids = pids.iter().map(u32::to_string);
    let sent = Command::new("kill").arg("-s").arg(name).args(pids).stderr(Stdio::null()).status();
    assert!(sent.is_ok(), "kill cannot be run");
}

/// Kills a process and its children, none of which may start another in between.
fn kill_family(process: &mut Child) {
    let pid = process.id();
    if matches!(process.try_wait(), Ok(None)) {
        signal("STOP", &[pid]);
        let family = family(pid);
        signal("KILL", &family);
        let _ = process.wait();
        // The children are not ours to wait for, and one that lingers keeps the port or the shared memory.
        let deadline = Instant::now() + PATIENCE;
        while family.iter().skip(1).any(|pid| lives(*pid)) && Instant::now() < deadline {
            thread::sleep(LOOK);
        }
    }
}

/// Whether a process runs; one that has ended and waits to be reaped does not.
fn lives(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| Some(!stat.rsplit_once(')')?.1.trim_start().starts_with('Z')))
        .unwrap_or(false)
}

fn wait(process: &mut Child, name: &str) {
    let deadline = Instant::now() + PATIENCE;
    while process.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            kill_family(process);
            panic!("{name} does not end");
        }
        thread::sleep(LOOK);
    }
}

#[test]
fn a_postgres_of_ones_own_survives_what_tests_do_to_it() {
    let mut postgres = Postgres::start();
    let url = postgres.create_database("other");
    postgres.sql_in("other", "CREATE TABLE kept (x int); INSERT INTO kept VALUES (7)");
    postgres.stop();
    postgres.restart();
    postgres.kill();
    postgres.restart();
    postgres.freeze();
    postgres.thaw();
    postgres.cut_connections();
    assert_eq!(postgres.sql_in("other", "SELECT x FROM kept"), "7");
    assert!(url.ends_with("/other"));
    let (pid, folder) = (postgres.pid(), postgres.folder.path().to_owned());
    drop(postgres);
    assert!(!lives(pid) && !folder.exists());
}

#[test]
fn a_redis_of_ones_own_survives_what_tests_do_to_it() {
    let mut redis = Redis::start();
    assert_eq!(redis.ask("SET kept 7"), "+OK");
    redis.cut_connections();
    redis.freeze();
    redis.thaw();
    redis.flush();
    assert_eq!(redis.ask("GET kept"), "$-1");
    redis.stop();
    redis.restart();
    redis.kill();
    redis.restart();
    assert_eq!(redis.ask("PING"), "+PONG");
    let (pid, folder) = (redis.pid(), redis.folder.path().to_owned());
    drop(redis);
    assert!(!lives(pid) && !folder.exists());
}
