//! A bounded queue of log lines and the thread that writes them. Logging never blocks and never fails.
//!
//! A line is dropped and counted if the queue is full (the reader has stalled) or if it cannot be written (the reader
//! is gone, or the disk is full). `tracing-appender` does the same, but it prints from its `Drop`, which panics or
//! blocks in these cases, and it does not count lines that could not be written.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// The sending end. Clones share one queue.
#[derive(Clone)]
pub(super) struct LogQueue {
    queue: SyncSender<Vec<u8>>,
    counts: Arc<LineCounts>,
}

#[derive(Default)]
struct LineCounts {
    /// Lines put into the queue, or about to be.
    queued: AtomicU64,
    /// Lines taken out of the queue and written or dropped.
    settled: AtomicU64,
    dropped: AtomicU64,
    /// The value of `dropped` at the last successful write.
    dropped_at_last_write: AtomicU64,
}

impl LogQueue {
    /// About one second of lines of a busy engine; some megabytes at most.
    const CAPACITY: usize = 16_384;

    /// Starts the writer thread.
    pub(super) fn to(output: impl Write + Send + 'static) -> Self {
        let (queue, lines) = sync_channel(Self::CAPACITY);
        let counts = Arc::new(LineCounts::default());
        let writer = LineWriter { output, counts: counts.clone(), is_torn: false };
        // If the thread cannot start, the queue is closed and every line counts as dropped.
        let _ = std::thread::Builder::new().name("log-writer".to_owned()).spawn(move || writer.run(&lines));
        Self { queue, counts }
    }

    /// Queues a line, or drops it.
    pub(super) fn push(&self, line: Vec<u8>) {
        // Counted before it is sent: otherwise the writer could settle the line of another thread that is not counted
        // yet, and a flush would return before this line is written.
        self.counts.queued.fetch_add(1, Ordering::SeqCst);
        if self.queue.try_send(line).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            self.counts.settled.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Waits until every line queued so far is written or dropped, or until the timeout.
    pub(super) fn flush(&self, limit: Duration) {
        let (begun, queued) = (Instant::now(), self.counts.queued.load(Ordering::SeqCst));
        while self.counts.settled.load(Ordering::SeqCst) < queued && begun.elapsed() < limit {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The number of dropped lines.
    pub(super) fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }

    /// Whether a line was dropped since the last successful write.
    pub(super) fn is_failing(&self) -> bool {
        self.dropped() > self.counts.dropped_at_last_write.load(Ordering::Relaxed)
    }
}

/// The `tracing` subscriber passes each line in one call.
impl Write for LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct LineWriter<W> {
    output: W,
    counts: Arc<LineCounts>,
    /// Whether the last line was written only in part.
    is_torn: bool,
}

impl<W: Write> LineWriter<W> {
    fn run(mut self, lines: &Receiver<Vec<u8>>) {
        for line in lines {
            let written = self.write(&line);
            let LineCounts { settled, dropped, dropped_at_last_write, .. } = &*self.counts;
            match written {
                Ok(()) => dropped_at_last_write.store(dropped.load(Ordering::Relaxed), Ordering::Relaxed),
                Err(_) => _ = dropped.fetch_add(1, Ordering::Relaxed),
            }
            settled.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            // Ends the partial line, so that this one starts on a new line.
            self.output.write_all(b"\n")?;
            self.is_torn = false;
        }
        let mut rest = line;
        while !rest.is_empty() {
            match self.output.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.is_torn = rest.len() < line.len();
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    /// A disk with a given number of bytes left.
    #[derive(Clone)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (written, left) = &mut *self.0.lock().unwrap();
            let fits = bytes.len().min(*left);
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            written.extend_from_slice(&bytes[..fits]);
            *left -= fits;
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_do_not_fit_on_the_disk_are_counted_and_the_next_one_starts_on_a_new_line() {
        let disk = Disk(Arc::new(Mutex::new((Vec::new(), 9))));
        let lines = LogQueue::to(disk.clone());
        ["first\n", "second\n", "third\n"].iter().for_each(|line| lines.push(line.as_bytes().to_vec()));
        lines.flush(LIMIT);
        assert_eq!((lines.dropped(), lines.is_failing()), (2, true));
        disk.0.lock().unwrap().1 = 100;
        lines.push(b"fourth\n".to_vec());
        lines.flush(LIMIT);
        assert_eq!((lines.dropped(), lines.is_failing()), (2, false));
        assert_eq!(String::from_utf8_lossy(&disk.0.lock().unwrap().0), "first\nsec\nfourth\n");
    }

    /// A reader that reads nothing until it is released.
    struct Stalled(mpsc::Receiver<()>);

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_stalled_blocks_no_logging_and_costs_bounded_memory() {
        let (reads, stall) = mpsc::channel();
        let lines = LogQueue::to(Stalled(stall));
        for _ in 0..2 * LogQueue::CAPACITY {
            lines.push(b"line\n".to_vec());
        }
        // One line is with the writer, and the queue is full.
        assert!(lines.dropped() >= LogQueue::CAPACITY as u64 - 1, "{}", lines.dropped());
        lines.flush(Duration::from_millis(1));
        assert!(lines.is_failing());
        drop(reads);
        lines.flush(LIMIT);
        lines.push(b"line\n".to_vec());
        lines.flush(LIMIT);
        assert!(!lines.is_failing());
    }
}
