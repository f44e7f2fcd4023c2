//! Crash points: named places at which a fault test can abort the process, one before and after each step that could lose
//! data.
//!
//! Compiled in only with the `failpoints` feature. For example, `FAILPOINTS="order.sent=6*off->return"` aborts the process
//! at the seventh swap that is sent, like a power failure.

/// Every crash point with the state it interrupts, in the order of an order's life.
pub const CRASH_POINTS: [(&str, &str); 25] = [
    ("accept.asked", "an order was requested, and nothing is done yet"),
    ("store.writing", "a batch is about to be written"),
    ("store.written", "a batch is written, but not committed"),
    ("store.committed", "a batch is committed, and no actor knows it yet"),
    ("persistence.answering", "a batch is committed, and its senders are about to be answered"),
    ("accept.recorded", "an order is durable, and its client has no answer yet"),
    ("accept.admitted", "an order is durable, its client may know it, and its actor is not started"),
    ("order.started", "the actor of an order is started, and has done nothing"),
    ("manager.dispatching", "an order has a slot, and its actor does not know it yet"),
    ("order.recording", "an event is about to be recorded"),
    ("order.recorded", "an event is recorded, and the actor has not applied it yet"),
    ("order.shown", "an event is recorded and sent to the subscribers"),
    ("order.quoted", "the venues have answered"),
    ("order.signed", "a swap is signed, and not recorded"),
    ("order.sending", "a swap is recorded, and about to be sent"),
    ("order.sent", "a swap is sent, and the answer is not known"),
    ("order.decided", "the chain has decided a swap, and the outcome is not recorded"),
    ("order.cancelling", "a cancel is about to be recorded"),
    ("order.stopped", "the actor of an order has stopped, and its manager does not know it yet"),
    ("manager.exited", "the manager learns that the actor of an order has stopped"),
    ("manager.reloading", "an order whose actor panicked is about to be loaded"),
    ("manager.reloaded", "the panic of an order's actor is recorded, and its next actor is not started"),
    ("manager.draining", "the engine is asked to stop"),
    ("persistence.flushing", "the engine has stopped, and waits for the last writes"),
    ("engine.recovering", "an engine starts and has read the unfinished orders of an earlier one"),
];

/// Aborts the process if a fault test has armed this crash point.
#[inline]
pub fn crash_point(name: &'static str) {
    debug_assert!(CRASH_POINTS.iter().any(|(known, _)| *known == name), "{name} is not listed");
    fail::fail_point!(name, |_| std::process::abort());
}
