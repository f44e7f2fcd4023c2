//! A Redis of a test's own: on its own port, in its own folder, and removed when the test ends, also when it fails.
//!
//! Where Redis is not installed the test fails and names the Debian package: a skipped test proves nothing.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::support::certificates::{self, Authority, Signed};
use crate::support::daemon::{Daemon, on_a_free_port};
use crate::support::os::{clean_command, program};
use crate::support::wait::TIMEOUT;

const PACKAGE: &str = "redis-server";

/// A Redis that keeps nothing on disk: after a stop or a kill it starts empty.
pub struct Redis {
    folder: TempDir,
    arguments: Vec<&'static str>,
    port: u16,
    // A further port, for TLS alone. The engine uses it, if there is one, and the tests themselves use the other.
    tls_port: Option<u16>,
    daemon: Daemon,
}

impl Redis {
    const CERTIFICATE: &str = "server.pem";
    const KEY: &str = "server.key";

    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts it with more arguments.
    pub fn start_with(arguments: &[&'static str]) -> Self {
        Self::create(arguments, certificates::are_asked_for())
    }

    /// Starts it with a port for TLS.
    pub fn start_with_tls() -> Self {
        Self::create(&[], true)
    }

    fn create(arguments: &[&'static str], tls: bool) -> Self {
        let (folder, arguments, daemon) = (tempfile::tempdir().unwrap(), arguments.to_vec(), Daemon::new("Redis"));
        let mut redis = Self { folder, arguments, port: 0, tls_port: None, daemon };
        if tls {
            fs::write(redis.authority_file(), Authority::trusted().pem()).unwrap();
            redis.write_certificate(&Authority::trusted().certificate());
            on_a_free_port(|port| {
                redis.tls_port = Some(port);
                Ok(())
            });
        }
        on_a_free_port(|port| {
            redis.port = port;
            redis.try_start()
        });
        redis
    }

    /// The URL for the tests themselves.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port for the engine.
    pub fn engine_port(&self) -> u16 {
        self.tls_port.unwrap_or(self.port)
    }

    /// The settings of an engine that uses it.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        self.settings_at(self.engine_port(), "")
    }

    /// The settings of an engine that uses it through another port, and with a user and password that end with `@`.
    pub fn settings_at(&self, port: u16, credentials: &str) -> Vec<(&'static str, String)> {
        let url = |scheme: &str| ("redis.url", format!("{scheme}://{credentials}127.0.0.1:{port}"));
        match self.tls_port {
            Some(_) => vec![url("rediss"), ("redis.tls_ca_file", self.authority_file().display().to_string())],
            None => vec![url("redis")],
        }
    }

    /// The file of the authority that has signed its certificate.
    pub fn authority_file(&self) -> PathBuf {
        self.file("authority.pem")
    }

    /// Presents another certificate to new connections, and ends the old ones.
    pub fn present(&self, signed: &Signed) {
        self.write_certificate(signed);
        let [certificate, key] = [Self::CERTIFICATE, Self::KEY].map(|name| self.file(name).display().to_string());
        self.run(&format!("CONFIG SET tls-cert-file {certificate} tls-key-file {key}"));
        self.cut_connections();
    }

    fn write_certificate(&self, signed: &Signed) {
        fs::write(self.file(Self::CERTIFICATE), &signed.certificate).unwrap();
        fs::write(self.file(Self::KEY), &signed.key).unwrap();
    }

    /// The path of a file in its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command of plain words and returns the first line of its answer.
    pub fn ask(&self, words: &str) -> String {
        ask(self.port, words).unwrap_or_else(|error| panic!("redis: {words}: {error}"))
    }

    /// Runs a command that must not be answered with an error.
    pub fn run(&self, words: &str) {
        let answer = self.ask(words);
        assert!(answer.starts_with('+') || answer.starts_with(':'), "{words}: {answer}");
    }

    /// Runs a command whose answer is long in coming, on a connection that stays open until then; does not wait.
    pub fn run_aside(&self, words: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(stream, "{words}\r\n").unwrap();
        std::thread::spawn(move || drop(stream.read(&mut [0; 64])));
    }

    /// Deletes every key.
    pub fn flush(&self) {
        self.run("FLUSHALL");
    }

    /// Shuts it down in order.
    pub fn stop(&mut self) {
        self.daemon.stop("TERM");
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Starts it again on the same port.
    pub fn restart(&mut self) {
        self.try_start().unwrap_or_else(|log| panic!("Redis does not start again: {log}"));
    }

    /// Ends every connection from its side, also those of subscribers; new ones are accepted.
    pub fn cut_connections(&self) {
        self.ask("CLIENT KILL TYPE pubsub");
        self.ask("CLIENT KILL TYPE normal");
    }

    /// SIGSTOP: connections stay open and nothing is answered.
    pub fn freeze(&self) {
        self.daemon.freeze();
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.daemon.thaw();
    }

    fn try_start(&mut self) -> Result<(), String> {
        let port = self.port;
        let mut redis = clean_command(&program("redis-server", PACKAGE), PACKAGE);
        redis.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        redis.arg("--dir").arg(self.folder.path()).args(&self.arguments);
        if let Some(port) = self.tls_port {
            redis.args(["--tls-port", &port.to_string(), "--tls-auth-clients", "optional"]);
            redis.arg("--tls-cert-file").arg(self.file(Self::CERTIFICATE));
            redis.arg("--tls-key-file").arg(self.file(Self::KEY));
            redis.arg("--tls-ca-cert-file").arg(self.authority_file());
        }
        let ready = || ask(port, "PING").is_ok_and(|answer| answer == "+PONG");
        self.daemon.start(redis, self.folder.path(), ready)
    }
}

fn ask(port: u16, words: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(stream, "{words}\r\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

#[test]
fn a_redis_restarts_empty_and_leaves_no_process_or_folder() {
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
    let (pid, folder) = (redis.daemon.pid(), redis.folder.path().to_owned());
    drop(redis);
    assert!(!crate::support::os::runs(pid) && !folder.exists());
}
