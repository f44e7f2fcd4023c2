//! Faults of the machine under a process: a disk that is full, reads and writes that fail, files that may not grow, a
//! clock that is stepped. Each comes and goes while the process runs.
//!
//! What a fault needs (root, a Debian package) and does not find fails the test by name: a test that skips proves
//! nothing.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A file system of its own of a few MiB, in memory.
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts one, which needs root.
    pub fn of_mib(size: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size}m,mode=0777");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()).output();
        assert_done(mounted, "a small disk is mounted, which needs root and, in a container, CAP_SYS_ADMIN");
        Self { folder }
    }

    /// Makes a folder on it.
    pub fn new_folder(&self) -> TempDir {
        tempfile::tempdir_in(self.folder.path()).unwrap()
    }

    /// A file on it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file on it, to be written on at its end.
    pub fn new_file(&self, name: &str) -> File {
        OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap()
    }

    /// Fills it but for so many bytes: a write that crosses them is cut short, the next one fails with ENOSPC.
    pub fn fill_but(&self, left: u64) {
        let mut ballast = self.new_file(Self::BALLAST);
        for block in [1024 * 1024, 64 * 1024, 4 * 1024] {
            while match ballast.write(&vec![1; block]) {
                Ok(written) => written == block,
                Err(error) if error.kind() == ErrorKind::StorageFull => false,
                Err(error) => panic!("the disk cannot be filled: {error}"),
            } {}
        }
        let length = ballast.metadata().unwrap().len();
        ballast.set_len(length.saturating_sub(left)).unwrap();
    }

    /// Gives the space back.
    pub fn free(&self) {
        let _ = std::fs::remove_file(self.path(Self::BALLAST));
    }

    const BALLAST: &str = "ballast";
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that a failed test left behind may still have files open there.
        let _ = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
    }
}

/// Reads, writes and syncs that fail as libfiu is told to.
///
/// It sits between the process and the C library and cannot tell files apart, so the names matter: SQLite and
/// PostgreSQL read and write by `pread` and `pwrite`, which nothing else in the engine does. `write` would also fail
/// where the runtime wakes its own threads, as no machine does.
pub struct IoFaults {
    folder: TempDir,
}

impl IoFaults {
    /// No faults yet.
    pub fn new() -> Self {
        assert!(Path::new(Self::PRELOADED[0]).exists(), "this test needs the Debian package `fiu-utils`");
        let folder = tempfile::tempdir().unwrap();
        // PostgreSQL runs as another user, and makes its pipes here too.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        Self { folder }
    }

    /// The environment of a process that is to have these faults from its start, and others when it is told.
    pub fn environment(&self, faults: &[&str]) -> Vec<(String, String)> {
        let own = |(name, value): (&str, String)| (name.to_owned(), value);
        let control = self.control().to_str().unwrap().to_owned();
        [("LD_PRELOAD", Self::PRELOADED.join(" ")), ("FIU_ENABLE", faults.join("\n")), ("FIU_CTRL_FIFO", control)]
            .map(own)
            .into()
    }

    /// Tells a running process to have a fault (`enable name=…`), or to have it no longer (`disable name=…`).
    pub fn tell(&self, pid: u32, command: &str) {
        let mut tell = Command::new("timeout");
        tell.args(["20", "fiu-ctrl", "-c", command, "-f"]).arg(self.control()).arg(pid.to_string());
        assert_done(tell.output(), "fiu-ctrl reaches the process");
    }

    fn control(&self) -> PathBuf {
        self.folder.path().join("fiu")
    }

    const PRELOADED: [&str; 2] = ["/usr/lib/fiu/fiu_run_preload.so", "/usr/lib/fiu/fiu_posix_preload.so"];
}

/// Lets no file of a running process grow beyond so many bytes, or lifts that limit: a write that crosses it is cut
/// short, the next one fails with EFBIG. The process must have been started with SIGXFSZ ignored.
pub fn limit_files(pid: u32, bytes: Option<u64>) {
    let limit = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
    // The soft limit only: raising a hard one again is root's alone.
    let mut prlimit = Command::new("prlimit");
    prlimit.arg(format!("--pid={pid}")).arg(format!("--fsize={limit}:"));
    assert_done(prlimit.output(), "a limit of file sizes is set");
}

/// Starts a program with SIGXFSZ ignored, so that a limit of file sizes fails the write instead of ending the process.
pub const WITHOUT_SIGXFSZ: [&str; 2] = ["env", "--ignore-signal=XFSZ"];

/// The clock of the wall as processes see it, stepped at will. Monotonic clocks stay as they are.
pub struct FakeClock {
    folder: TempDir,
    library: PathBuf,
}

impl FakeClock {
    /// A clock that is right.
    pub fn new() -> Self {
        let libraries = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
        let library = libraries
            .map(|folder| folder.join("faketime/libfaketimeMT.so.1"))
            .find(|library| library.exists())
            .expect("this test needs the Debian package `libfaketime`");
        let clock = Self { folder: tempfile::tempdir().unwrap(), library };
        clock.set(0);
        clock
    }

    /// The environment of a process that has this clock.
    pub fn environment(&self) -> Vec<(String, String)> {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        [
            ("LD_PRELOAD", path(&self.library)),
            ("FAKETIME_TIMESTAMP_FILE", path(&self.file())),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// Sets it so many seconds before or after the right time, for the next who looks.
    pub fn set(&self, seconds: i64) {
        // Renamed into its place: whoever looks just now sees the old time or the new one.
        let fresh = self.folder.path().join("fresh");
        std::fs::write(&fresh, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(fresh, self.file()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("clock")
    }
}

/// Fails unless a tool was found and did what it was told.
#[track_caller]
fn assert_done(output: std::io::Result<Output>, what: &str) {
    let done = output.as_ref().is_ok_and(|output| output.status.success() && output.stdout.is_empty());
    assert!(done, "{what}: {output:?}");
}

#[test]
fn a_small_disk_is_full_to_the_last_byte_and_has_space_again() {
    let disk = SmallDisk::of_mib(1);
    let mut file = disk.new_file("file");
    disk.fill_but(4096);
    assert_eq!(file.write(&[7; 10_000]).unwrap(), 4096);
    assert_eq!(file.write(&[7]).unwrap_err().kind(), ErrorKind::StorageFull);
    disk.free();
    assert_eq!(file.write(&[7; 10_000]).unwrap(), 10_000);
}

#[test]
fn a_clock_is_stepped_for_a_process_that_runs() {
    let clock = FakeClock::new();
    let year = || {
        let output = Command::new("date").arg("+%Y").envs(clock.environment()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse::<i32>().unwrap()
    };
    let now = year();
    clock.set(-10 * 366 * 86_400);
    assert!((9..=11).contains(&(now - year())), "{now} and {}", year());
}
