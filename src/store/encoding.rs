//! The texts in which requests and events are stored.
//!
//! A later version must read what an earlier one has written: a field may be added, but none may change its meaning.

use serde::{Deserialize, Serialize};

use crate::domain::lifecycle::OrderEvent;
use crate::domain::moment::Moment;
use crate::domain::order::RecordedEvent;
use crate::domain::request::OrderRequest;

/// The stored text of a request.
pub(super) fn request_to_text(request: &OrderRequest) -> String {
    serde_json::to_string(request).expect("a request holds only strings and integers")
}

/// The stored text of an event. It includes the moment of the event if a restart measures time from it.
pub(super) fn event_to_text(recorded: &RecordedEvent) -> String {
    #[derive(Serialize)]
    struct Stored<'a> {
        #[serde(flatten)]
        event: &'a OrderEvent,
        #[serde(skip_serializing_if = "Option::is_none")]
        moment: Option<Moment>,
    }
    let is_measured_from = matches!(
        recorded.event,
        OrderEvent::Accepted | OrderEvent::Dispatched | OrderEvent::Submitted(_) | OrderEvent::AttemptFailed { .. }
    );
    let moment = recorded.moment.filter(|_| is_measured_from);
    serde_json::to_string(&Stored { event: &recorded.event, moment })
        .expect("an event holds only strings, numbers and times")
}

/// The moment in the stored text of an event; `None` if the text has none.
pub(super) fn moment_of(text: &str) -> serde_json::Result<Option<Moment>> {
    #[derive(Deserialize)]
    struct Stored {
        moment: Option<Moment>,
    }
    // Lists read many events and few have a moment. The search for its name is cheaper than parsing each text.
    if !text.contains("\"moment\"") {
        return Ok(None);
    }
    serde_json::from_str::<Stored>(text).map(|stored| stored.moment)
}
