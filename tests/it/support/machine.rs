//! Faults of the machine: a full disk, reads and writes that fail, a limit on file sizes, steps of the wall clock. Each
//! starts and ends while the process runs.
//!
//! Where a fault needs root or a Debian package that is missing, the test fails and names it: a skipped test proves
//! nothing.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A file system of a few MiB, in memory.
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts it, which needs root.
    pub fn of_mib(size: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size}m,mode=0777");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()).output();
        assert_done(mounted, "a small disk is mounted, which needs root and, in a container, CAP_SYS_ADMIN");
        Self { folder }
    }

    /// Creates a folder on it.
    pub fn new_folder(&self) -> TempDir {
        tempfile::tempdir_in(self.folder.path()).unwrap()
    }

    /// The path of a file on it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Opens a file on it for appending.
    pub fn new_file(&self, name: &str) -> File {
        OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap()
    }

    /// Fills it except for some bytes: a write that needs more is cut short, the next one fails with ENOSPC.
    pub fn fill_except(&self, left: u64) {
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

    /// Frees the space again.
    pub fn free(&self) {
        let _ = std::fs::remove_file(self.path(Self::BALLAST));
    }

    const BALLAST: &str = "ballast";
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process of a failed test may still have files open there.
        let _ = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
    }
}

/// Reads, writes and syncs that fail, by libfiu.
///
/// libfiu is between the process and the C library and does not distinguish files, so the names of calls select what
/// fails: SQLite and PostgreSQL read and write with `pread` and `pwrite`, which nothing else in the engine uses. A
/// fault of `write` would also break the runtime's wake-ups of its own threads, which no machine does.
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

    /// The environment of a process that has these faults from its start, and others by [`IoFaults::control`].
    pub fn environment(&self, faults: &[&str]) -> Vec<(String, String)> {
        let own = |(name, value): (&str, String)| (name.to_owned(), value);
        let control = self.fifo().to_str().unwrap().to_owned();
        [("LD_PRELOAD", Self::PRELOADED.join(" ")), ("FIU_ENABLE", faults.join("\n")), ("FIU_CTRL_FIFO", control)]
            .map(own)
            .into()
    }

    /// Starts a fault in a running process (`enable name=…`), or ends it (`disable name=…`).
    pub fn control(&self, pid: u32, command: &str) {
        let mut control = Command::new("timeout");
        control.args(["20", "fiu-ctrl", "-c", command, "-f"]).arg(self.fifo()).arg(pid.to_string());
        assert_done(control.output(), "fiu-ctrl reaches the process");
    }

    fn fifo(&self) -> PathBuf {
        self.folder.path().join("fiu")
    }

    const PRELOADED: [&str; 2] = ["/usr/lib/fiu/fiu_run_preload.so", "/usr/lib/fiu/fiu_posix_preload.so"];
}

/// Limits the size of the files of a running process, or removes that limit: a write that crosses it is cut short, the
/// next one fails with EFBIG. The process must run with SIGXFSZ ignored, see [`WITHOUT_SIGXFSZ`].
pub fn limit_files(pid: u32, bytes: Option<u64>) {
    let limit = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
    // The soft limit only: only root can raise a hard limit again.
    let mut prlimit = Command::new("prlimit");
    prlimit.arg(format!("--pid={pid}")).arg(format!("--fsize={limit}:"));
    assert_done(prlimit.output(), "prlimit (Debian package `util-linux`) limits file sizes");
}

/// A launcher that ignores SIGXFSZ, so that a limit on file sizes fails the write instead of ending the process.
pub const WITHOUT_SIGXFSZ: [&str; 2] = ["env", "--ignore-signal=XFSZ"];

/// One day in seconds, for [`FakeClock::set`].
pub const DAY: i64 = 86_400;

/// The wall clock of a process, which can be stepped. Its monotonic clocks stay as they are.
pub struct FakeClock {
    folder: TempDir,
    library: PathBuf,
}

impl FakeClock {
    /// A clock that shows the real time.
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

    /// Sets it some seconds ahead of the real time, or behind.
    pub fn set(&self, seconds: i64) {
        // Replaced by a rename, so that every reader sees the old time or the new one.
        let fresh = self.folder.path().join("fresh");
        std::fs::write(&fresh, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(fresh, self.file()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("clock")
    }
}

/// Fails unless a tool was found and succeeded.
#[track_caller]
fn assert_done(output: std::io::Result<Output>, what: &str) {
    let done = output.as_ref().is_ok_and(|output| output.status.success() && output.stdout.is_empty());
    assert!(done, "{what}: {output:?}");
}

#[test]
fn a_small_disk_is_full_to_the_last_byte_and_has_space_again() {
    let disk = SmallDisk::of_mib(1);
    let mut file = disk.new_file("file");
    disk.fill_except(4096);
    assert_eq!(file.write(&[7; 10_000]).unwrap(), 4096);
    assert_eq!(file.write(&[7]).unwrap_err().kind(), ErrorKind::StorageFull);
    disk.free();
    assert_eq!(file.write(&[7; 10_000]).unwrap(), 10_000);
}

#[test]
fn a_process_sees_the_step_of_its_clock() {
    let clock = FakeClock::new();
    let year = || {
        let output = Command::new("date").arg("+%Y").envs(clock.environment()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse::<i32>().unwrap()
    };
    let now = year();
    clock.set(-10 * 366 * 86_400);
    assert!((9..=11).contains(&(now - year())), "{now} and {}", year());
}
