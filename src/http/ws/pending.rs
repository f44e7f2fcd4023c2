//! The commands of one socket that wait for their answers: where there are many, no further frame is read.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Counts the commands of one socket; its clones count together. It belongs to the socket's own thread.
#[derive(Clone, Debug, Default)]
pub(super) struct PendingCommands(Rc<State>);

#[derive(Debug, Default)]
struct State {
    count: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

/// A command that waits for its answer; it is counted until this is dropped.
#[derive(Debug)]
pub(super) struct PendingCommand(PendingCommands);

impl PendingCommands {
    /// The limit: no further frame is read while this many commands wait.
    const MOST: usize = 64;

    /// Counts one more.
    pub(super) fn begin(&self) -> PendingCommand {
        self.0.count.set(self.0.count.get() + 1);
        PendingCommand(self.clone())
    }

    /// Ready once there is room for a further command.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.count.get() < Self::MOST {
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
        let mut commands: Vec<_> = (0..PendingCommands::MOST).map(|_| pending.begin()).collect();
        assert!(pending.poll_room(&mut cx).is_pending());
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        commands.pop();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(pending.poll_room(&mut cx).is_ready());
    }
}
