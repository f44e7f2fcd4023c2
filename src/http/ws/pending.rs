//! The commands of one socket that are not answered yet. While there are too many, no further frame is read.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Counts the pending commands of one socket. Clones share one count, on the thread of the socket.
#[derive(Clone, Debug, Default)]
pub(super) struct PendingCommands(Rc<State>);

#[derive(Debug, Default)]
struct State {
    count: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

/// A pending command; it counts until this is dropped.
#[derive(Debug)]
pub(super) struct PendingCommand(PendingCommands);

impl PendingCommands {
    /// No further frame is read while this many commands are pending.
    const MAX: usize = 64;

    /// Adds a command.
    pub(super) fn begin(&self) -> PendingCommand {
        self.0.count.set(self.0.count.get() + 1);
        PendingCommand(self.clone())
    }

    /// Ready when a further command may begin.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.count.get() < Self::MAX {
            return Poll::Ready(());
        }
        *self.0.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for PendingCommand {
    fn drop(&mut self) {
        let state = &self.0.0;
        state.count.set(state.count.get() - 1);
        if let Some(waker) = state.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn frames_are_read_again_once_a_command_is_answered() {
        let (pending, woken) = (PendingCommands::default(), Arc::new(Count::default()));
        let waker = Waker::from(woken.clone());
        let mut cx = Context::from_waker(&waker);
        let mut commands: Vec<_> = (0..PendingCommands::MAX).map(|_| pending.begin()).collect();
        assert!(pending.poll_room(&mut cx).is_pending());
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        commands.pop();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(pending.poll_room(&mut cx).is_ready());
    }
}
