//! A bounded queue of lines, written by a thread of its own: who logs never waits and never fails.
//!
//! A line is dropped and counted when the queue is full, because the reader has stalled, or when it cannot be written,
//! because the reader is gone or the disk is full. `tracing-appender` does this too, but prints from its `Drop`, which
//! panics or hangs in exactly these cases, and does not count what could not be written.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// The way into the queue; its clones share it.
#[derive(Clone)]
pub(super) struct LogQueue {
    queue: SyncSender<Vec<u8>>,
    counts: Arc<LineCounts>,
}

#[derive(Default)]
struct LineCounts {
    /// Lines that were put into the queue.
    queued: AtomicU64,
    /// Lines that were taken out of it and written or dropped.
    settled: AtomicU64,
    dropped: AtomicU64,
    /// What `dropped` was when a line was written last.
    dropped_before: AtomicU64,
}

impl LogQueue {
    /// A second of a busy engine's lines, some megabytes at most.
    const CAPACITY: usize = 16_384;

    /// Starts the thread that writes.
    pub(super) fn to(output: impl Write + Send + 'static) -> Self {
        let (queue, lines) = sync_channel(Self::CAPACITY);
        let counts = Arc::new(LineCounts::default());
        let writer = LineWriter { output, counts: counts.clone(), is_torn: false };
        // Without the thread the queue is closed, and every line is counted as dropped.
        let _ = std::thread::Builder::new().name("log-writer".to_owned()).spawn(move || writer.run(&lines));
        Self { queue, counts }
    }

    /// Queues a line, or drops it.
    pub(super) fn push(&self, line: Vec<u8>) {
        match self.queue.try_send(line) {
            Ok(()) => self.counts.queued.fetch_add(1, Ordering::Relaxed),
            Err(_) => self.counts.dropped.fetch_add(1, Ordering::Relaxed),
        };
    }

    /// Waits until every line queued so far is settled, for so long at most.
    pub(super) fn flush(&self, patience: Duration) {
        let (begun, queued) = (Instant::now(), self.counts.queued.load(Ordering::Relaxed));
        while self.counts.settled.load(Ordering::Relaxed) < queued && begun.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// How many lines were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }

    /// Whether a line was dropped since one was written last.
    pub(super) fn is_failing(&self) -> bool {
        self.dropped() > self.counts.dropped_before.load(Ordering::Relaxed)
    }
}

/// The subscriber writes each line in one piece.
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
    /// Whether the last line was cut off in the middle.
    is_torn: bool,
}

impl<W: Write> LineWriter<W> {
    fn run(mut self, lines: &Receiver<Vec<u8>>) {
        for line in lines {
            let written = self.write(&line);
            let LineCounts { settled, dropped, dropped_before, .. } = &*self.counts;
            match written {
                Ok(()) => dropped_before.store(dropped.load(Ordering::Relaxed), Ordering::Relaxed),
                Err(_) => _ = dropped.fetch_add(1, Ordering::Relaxed),
            }
            settled.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            // Ends what is left of that line, so that this one stands alone.
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

    const PATIENCE: Duration = Duration::from_secs(60);

    /// A disk with so many bytes left.
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
    fn lines_that_do_not_fit_on_the_disk_are_counted_and_the_next_one_stands_alone() {
        let disk = Disk(Arc::new(Mutex::new((Vec::new(), 9))));
        let lines = LogQueue::to(disk.clone());
        ["first\n", "second\n", "third\n"].iter().for_each(|line| lines.push(line.as_bytes().to_vec()));
        lines.flush(PATIENCE);
        assert_eq!((lines.dropped(), lines.is_failing()), (2, true));
        disk.0.lock().unwrap().1 = 100;
        lines.push(b"fourth\n".to_vec());
        lines.flush(PATIENCE);
        assert_eq!((lines.dropped(), lines.is_failing()), (2, false));
        assert_eq!(String::from_utf8_lossy(&disk.0.lock().unwrap().0), "first\nsec\nfourth\n");
    }

    /// A reader that takes nothing until it is told to.
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
    fn a_reader_that_has_stalled_holds_up_nobody_and_costs_bounded_memory() {
        let (reads, stall) = mpsc::channel();
        let lines = LogQueue::to(Stalled(stall));
        for _ in 0..2 * LogQueue::CAPACITY {
            lines.push(b"line\n".to_vec());
        }
        // One is with the writer, so many are in the queue.
        assert!(lines.dropped() >= LogQueue::CAPACITY as u64 - 1, "{}", lines.dropped());
        lines.flush(Duration::from_millis(1));
        assert!(lines.is_failing());
        drop(reads);
        lines.flush(PATIENCE);
        lines.push(b"line\n".to_vec());
        lines.flush(PATIENCE);
        assert!(!lines.is_failing());
    }
}
