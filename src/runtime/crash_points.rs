//! Where the fault tests end the process: one named moment before and after everything that could be lost between.
//!
//! Compiled in with the `failpoints` feature only. `FAILPOINTS="order.sent=6*off->return"` aborts the process at the
//! seventh swap that was sent, as a power switch would.

/// Every crash point and the moment it stands for, in the order of an order's life.
pub const CRASH_POINTS: [(&str, &str); 25] = [
    ("accept.asked", "an order was asked for, and nothing has been done about it"),
    ("store.writing", "a group is about to be written"),
    ("store.written", "a group is written, but not committed"),
    ("store.committed", "a group is committed, and nobody knows yet"),
    ("persistence.answering", "a group is committed, and whoever waits for it is about to be told"),
    ("accept.recorded", "an order is durable, and its client has not been told"),
    ("accept.admitted", "an order is durable, its client may know, and its actor has not been started"),
    ("order.started", "an order's actor has been started, and has done nothing"),
    ("manager.dispatching", "an order's turn has come, and it has not been told"),
    ("order.recording", "a step is about to be recorded"),
    ("order.recorded", "a step is recorded, and the order does not live by it yet"),
    ("order.shown", "a step is recorded and told to whoever listens"),
    ("order.quoted", "the venues have answered"),
    ("order.signed", "a swap is signed, and not recorded"),
    ("order.sending", "a swap is recorded, and about to be sent"),
    ("order.sent", "a swap has been sent, and its answer is not known"),
    ("order.decided", "the chain has decided over a swap, and that is not recorded"),
    ("order.cancelling", "a cancel is about to be recorded"),
    ("order.stopped", "an order's actor is gone, and its manager has not been told"),
    ("manager.exited", "the manager hears that an order's actor is gone"),
    ("manager.reloading", "a broken order is about to be loaded"),
    ("manager.reloaded", "a broken order's fall is recorded, and its next actor has not been started"),
    ("manager.draining", "the engine is told to stop"),
    ("persistence.flushing", "the engine has stopped, and waits for what is still to be written"),
    ("engine.recovering", "an engine starts and has read what an earlier one left"),
];

/// Ends the process here if a fault test wants that.
#[inline]
pub fn crash_point(name: &'static str) {
    debug_assert!(CRASH_POINTS.iter().any(|(known, _)| *known == name), "{name} is not listed");
    fail::fail_point!(name, |_| std::process::abort());
}
