//! Processes as the operating system sees them.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;

use crate::support::wait::TIMEOUT;

/// Sends a signal to processes; those that have ended meanwhile are no failure.
pub fn signal(name: &str, pids: &[u32]) {
    let pids = pids.iter().map(u32::to_string);
    let sent = Command::new("kill").arg("-s").arg(name).args(pids).stderr(Stdio::null()).status();
    assert!(sent.is_ok(), "kill cannot be run");
}

/// A process and its children.
pub fn family(pid: u32) -> Vec<u32> {
    let parent_of = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name is in brackets and may hold anything; after it come the state and the parent.
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let children = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&child| parent_of(child) == Some(pid));
    std::iter::once(pid).chain(children).collect()
}

/// Whether a process runs; a zombie does not.
pub fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| Some(!stat.rsplit_once(')')?.1.trim_start().starts_with('Z')))
        .unwrap_or(false)
}

/// The resident memory of a process, in KiB.
pub fn memory_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Finds a program on the `PATH` or among those of administrators; fails with the Debian package that installs it.
pub fn program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .unwrap_or_else(|| panic!("{name} is not installed: this test needs the Debian package `{package}`"))
}

/// A command with an empty environment but for the `PATH`, so that variables of the tests' caller do not reach it.
pub fn clean_command(program: &Path, package: &str) -> Command {
    assert!(program.is_file(), "{program:?} is missing: this test needs the Debian package `{package}`");
    let mut command = Command::new(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
    command
}

/// A free local address. Another process may take it before it is used.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// What a command printed, and its exit code.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// Standard output and standard error together.
    pub fn printed(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// Runs a command until it ends by itself; one that does not is killed and fails the test.
#[track_caller]
pub fn run(command: &mut Command) -> Finished {
    run_printing_to(command, Stdio::piped())
}

/// The same, with another standard output.
#[track_caller]
pub fn run_printing_to(command: &mut Command, stdout: impl Into<Stdio>) -> Finished {
    let child = command.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = ended.recv_timeout(TIMEOUT) else {
        signal("KILL", &[pid]);
        panic!("{command:?} does not end");
    };
    output.unwrap().into()
}

/// Runs a command on another thread, so that the clients of this one go on.
pub async fn run_aside(mut command: Command) -> Finished {
    actix_web::rt::task::spawn_blocking(move || run(&mut command)).await.unwrap()
}
