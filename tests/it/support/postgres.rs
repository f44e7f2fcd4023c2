//! A PostgreSQL of a test's own: on its own port, in its own folder, and removed when the test ends, also when it
//! fails.
//!
//! Where PostgreSQL is not installed the test fails and names the Debian package: a skipped test proves nothing.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::certificates::{self, Authority, Signed};
use crate::support::daemon::{Daemon, on_a_free_port};
use crate::support::os::{clean_command, program};
use crate::support::proxy::Proxy;
use crate::support::wait::block_until;

const PACKAGE: &str = "postgresql";

/// A PostgreSQL that trusts every connection, or with TLS every connection that is encrypted.
///
/// It runs without fsync: tests kill its processes but never the machine, and the kernel keeps what a process has
/// written. Only tests in which fsync itself fails turn it on.
pub struct Postgres {
    folder: TempDir,
    // Environment variables of the next start.
    environment: Vec<(String, String)>,
    fsync: bool,
    programs: PathBuf,
    user: Option<User>,
    tls: bool,
    port: u16,
    daemon: Daemon,
}

impl Postgres {
    const OWNER: &str = "engine";
    const CERTIFICATE: &str = "server.pem";
    const KEY: &str = "server.key";
    const AUTHORITY: &str = "authority.pem";

    /// Creates a cluster and starts it.
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    /// Creates a cluster that refuses connections without TLS, and starts it.
    pub fn start_with_tls() -> Self {
        Self::create(tempfile::tempdir().unwrap(), true)
    }

    /// Creates a cluster without TLS and starts it.
    pub fn start_without_tls() -> Self {
        Self::create(tempfile::tempdir().unwrap(), false)
    }

    /// Creates a cluster in that folder and starts it.
    pub fn start_in(folder: TempDir) -> Self {
        Self::create(folder, certificates::are_asked_for())
    }

    fn create(folder: TempDir, tls: bool) -> Self {
        let programs = programs();
        let user = User::instead_of_root(folder.path());
        let mut initdb = command(&programs.join("initdb"), user);
        initdb.arg("--pgdata").arg(folder.path().join("data"));
        initdb.args(["--username", Self::OWNER, "--auth", "trust", "--encoding", "UTF8", "--no-locale", "--no-sync"]);
        let made = initdb.current_dir(folder.path()).output().unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let daemon = Daemon::new("PostgreSQL");
        let mut postgres = Self { folder, environment: Vec::new(), fsync: false, programs, user, tls, port: 0, daemon };
        if tls {
            fs::write(postgres.authority_file(), Authority::trusted().pem()).unwrap();
            postgres.write_certificate(&Authority::trusted().certificate());
            postgres.write_access("hostssl all all 127.0.0.1/32 trust");
        }
        on_a_free_port(|port| {
            postgres.port = port;
            postgres.try_start()
        });
        postgres
    }

    /// The URL of its default database.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// The URL of its default database with a password and other parameters, and with another name of this machine.
    pub fn url_with(&self, host: &str, password: &str, parameters: &str) -> String {
        let parameters = if parameters.is_empty() { String::new() } else { format!("?{parameters}") };
        format!("postgres://{}:{password}@{host}:{}/postgres{parameters}", Self::OWNER, self.port)
    }

    /// The file of the authority that has signed its certificate.
    pub fn authority_file(&self) -> PathBuf {
        self.folder.path().join(Self::AUTHORITY)
    }

    /// Presents another certificate to new connections, and ends the old ones.
    pub fn present(&self, signed: &Signed) {
        self.write_certificate(signed);
        let before = self.sql("SELECT pg_conf_load_time()");
        self.sql("SELECT pg_reload_conf()");
        block_until("the certificate was loaded", || self.sql("SELECT pg_conf_load_time()") != before);
        self.cut_connections();
    }

    /// Refuses, from its next start on, clients without a certificate that the trusted authority has signed.
    pub fn require_client_certificates(&self) {
        self.write_access("hostssl all all 127.0.0.1/32 trust clientcert=verify-ca");
    }

    fn write_access(&self, line: &str) {
        fs::write(self.folder.path().join("data/pg_hba.conf"), format!("{line}\n")).unwrap();
    }

    fn write_certificate(&self, signed: &Signed) {
        let path = |name: &str| self.folder.path().join(name);
        fs::write(path(Self::CERTIFICATE), &signed.certificate).unwrap();
        fs::write(path(Self::KEY), &signed.key).unwrap();
        // PostgreSQL refuses a key that others can read.
        fs::set_permissions(path(Self::KEY), fs::Permissions::from_mode(0o600)).unwrap();
        if let Some(User { uid, gid }) = self.user {
            chown(path(Self::KEY), Some(uid), Some(gid)).unwrap();
        }
    }

    /// Creates another database in it, and returns the URL.
    pub fn create_database(&self, name: &str) -> String {
        self.sql(&format!("CREATE DATABASE {name}"));
        self.url_of(name)
    }

    /// The URL of its default database through a proxy.
    pub fn url_through(&self, proxy: &Proxy) -> String {
        self.url_at(proxy.port(), "postgres")
    }

    /// A proxy in front of it.
    pub fn proxy(&self) -> Proxy {
        Proxy::to(self.port)
    }

    fn url_of(&self, database: &str) -> String {
        self.url_at(self.port, database)
    }

    fn url_at(&self, port: u16, database: &str) -> String {
        let tls = match self.tls {
            true => format!("?sslmode=verify-full&sslrootcert={}", self.authority_file().display()),
            false => String::new(),
        };
        format!("postgres://{}@127.0.0.1:{port}/{database}{tls}", Self::OWNER)
    }

    /// Runs a statement in the default database and returns its rows, one a line.
    pub fn sql(&self, statement: &str) -> String {
        self.sql_in("postgres", statement)
    }

    /// Runs a statement in one of its databases.
    pub fn sql_in(&self, database: &str, statement: &str) -> String {
        let mut psql = command(&self.programs.join("psql"), None);
        psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1", "--command", statement]);
        // Not by `url_of`: a test may have made PostgreSQL present a wrong certificate.
        let url = format!("postgres://{}@127.0.0.1:{}/{database}", Self::OWNER, self.port);
        let output = psql.arg(url).output().unwrap();
        assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Shuts it down in order, which PostgreSQL calls fast: it ends every connection.
    pub fn stop(&mut self) {
        self.daemon.stop("INT");
    }

    /// SIGKILL to each of its processes, where they have not ended by themselves.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Starts it again on the same port.
    pub fn restart(&mut self) {
        self.try_start().unwrap_or_else(|log| panic!("PostgreSQL does not start again: {log}"));
    }

    /// Starts it again on the same port with these environment variables, and with fsync; returns its log if it fails.
    pub fn try_restart_with(&mut self, environment: &[(String, String)]) -> Result<(), String> {
        self.environment = environment.to_vec();
        self.fsync = true;
        self.try_start()
    }

    /// Whether its main process runs.
    pub fn runs(&mut self) -> bool {
        self.daemon.runs()
    }

    /// Ends every connection from its side; new ones are accepted.
    pub fn cut_connections(&self) {
        self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
        );
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
        let mut postgres = command(&self.programs.join("postgres"), self.user);
        postgres.arg("-D").arg(self.folder.path().join("data"));
        postgres.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        postgres.args(["-c", if self.fsync { "fsync=on" } else { "fsync=off" }]);
        if self.tls {
            let setting = |name: &str, file: &str| format!("{name}={}", self.folder.path().join(file).display());
            postgres.args(["-c", "ssl=on", "-c", &setting("ssl_cert_file", Self::CERTIFICATE)]);
            postgres.args(["-c", &setting("ssl_key_file", Self::KEY), "-c", &setting("ssl_ca_file", Self::AUTHORITY)]);
        }
        postgres.envs(self.environment.iter().map(|(key, value)| (key, value)));
        postgres.args(["-c", "unix_socket_directories=", "-c", "shared_buffers=16MB"]);
        let probe = self.programs.join("pg_isready");
        let port = self.port.to_string();
        let ready = || {
            let mut probe = command(&probe, None);
            let probe = probe.args(["--quiet", "--host", "127.0.0.1", "--timeout", "5", "--port", &port]);
            probe.status().unwrap().success()
        };
        self.daemon.start(postgres, self.folder.path(), ready)
    }
}

/// Does something to a PostgreSQL on another thread, so that the clients of this one go on.
pub async fn aside(postgres: Postgres, action: impl FnOnce(&mut Postgres) + Send + 'static) -> Postgres {
    let done = tokio::task::spawn_blocking(move || {
        let mut postgres = postgres;
        action(&mut postgres);
        postgres
    });
    done.await.unwrap()
}

/// The user that PostgreSQL runs as where the tests run as root, which it refuses.
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

fn command(program: &Path, user: Option<User>) -> Command {
    let mut command = clean_command(program, PACKAGE);
    if let Some(User { uid, gid }) = user {
        command.uid(uid).gid(gid);
    }
    command
}

/// The folder of PostgreSQL's programs, of the newest version: Debian does not put them on the `PATH`.
fn programs() -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = installed
        .filter_map(|version| Some((version.file_name().to_str()?.parse::<u32>().ok()?, version.path().join("bin"))))
        .filter(|(_, programs)| programs.join("postgres").is_file())
        .max();
    match newest {
        Some((_, programs)) => programs,
        None => program("postgres", PACKAGE).parent().expect("a program is in a folder").to_owned(),
    }
}

#[test]
fn a_postgres_keeps_its_data_over_restarts_and_leaves_no_process_or_folder() {
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
    let (pid, folder) = (postgres.daemon.pid(), postgres.folder.path().to_owned());
    drop(postgres);
    assert!(!crate::support::os::runs(pid) && !folder.exists());
}
