//! The texts in which requests and events are stored.
//!
//! Each text is JSON and begins with its version, `v`. A text without `v` was written before versions existed. The
//! version is in the text and not in a column, because it describes the text: both are written, dumped and repaired
//! together, and the rows of large tables stay as they are.
//!
//! A field that an old reader may ignore, and whose absence means what it meant before, is added without a new version.
//! Every other change of the texts needs a new version. A later version must read all earlier ones.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::domain::lifecycle::OrderEvent;
use crate::domain::moment::Moment;
use crate::domain::order::RecordedEvent;
use crate::domain::request::OrderRequest;

/// The version of the texts that are written, and the latest one that is read.
const VERSION: u32 = 1;

/// Why a stored text is not read.
#[derive(Debug, Error)]
pub(super) enum DecodeError {
    /// The text has a later version. It may look like a text of this version and mean something else.
    #[error("it has version {found}, and this release reads versions up to {VERSION}")]
    LaterVersion { found: u32 },
    /// The text is damaged.
    #[error(transparent)]
    Damaged(#[from] serde_json::Error),
}

/// The stored text of a request.
pub(super) fn request_to_text(request: &OrderRequest) -> String {
    #[derive(Serialize)]
    struct Stored<'a> {
        v: u32,
        #[serde(flatten)]
        request: &'a OrderRequest,
    }
    serde_json::to_string(&Stored { v: VERSION, request }).expect("a request holds only strings and integers")
}

/// The request of a stored text.
pub(super) fn request_of(text: &str) -> Result<OrderRequest, DecodeError> {
    check_version(text)?;
    Ok(serde_json::from_str(text)?)
}

/// The stored text of an event. It includes the moment of the event if a restart measures time from it.
pub(super) fn event_to_text(recorded: &RecordedEvent) -> String {
    #[derive(Serialize)]
    struct Stored<'a> {
        v: u32,
        #[serde(flatten)]
        event: &'a OrderEvent,
        #[serde(skip_serializing_if = "Option::is_none")]
        moment: Option<Moment>,
    }
    let is_measured_from = matches!(
        recorded.event,
        OrderEvent::Accepted(_) | OrderEvent::Dispatched | OrderEvent::Submitted(_) | OrderEvent::AttemptFailed { .. }
    );
    let moment = recorded.moment.filter(|_| is_measured_from);
    serde_json::to_string(&Stored { v: VERSION, event: &recorded.event, moment })
        .expect("an event holds only strings, numbers and times")
}

/// The event of a stored text, and its moment; `None` if the text has none.
pub(super) fn event_of(text: &str) -> Result<(OrderEvent, Option<Moment>), DecodeError> {
    let moment = moment_of(text)?;
    Ok((serde_json::from_str(text)?, moment))
}

/// The moment in the stored text of an event; `None` if the text has none.
pub(super) fn moment_of(text: &str) -> Result<Option<Moment>, DecodeError> {
    #[derive(Deserialize)]
    struct Stored {
        moment: Option<Moment>,
    }
    check_version(text)?;
    // Lists read many events and few have a moment. The search for its name is cheaper than parsing each text.
    if !text.contains("\"moment\"") {
        return Ok(None);
    }
    Ok(serde_json::from_str::<Stored>(text)?.moment)
}

/// Checks that this release reads the version of a text.
fn check_version(text: &str) -> Result<(), DecodeError> {
    #[derive(Deserialize)]
    struct Stored {
        #[serde(default)]
        v: u32,
    }
    // Nearly every text begins like this or has no version. Both are cheaper to find than to parse.
    if text.starts_with(r#"{"v":1,"#) || !text.contains("\"v\"") {
        return Ok(());
    }
    match serde_json::from_str::<Stored>(text)?.v {
        found if found > VERSION => Err(DecodeError::LaterVersion { found }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::domain::fraction::ImpactLimit;
    use crate::domain::lifecycle::Status;
    use crate::domain::lifecycle::tests::every_event;
    use crate::domain::request::Terms;
    use crate::domain::request::tests::request;

    fn recorded(event: OrderEvent) -> RecordedEvent {
        let (at, status) = (DateTime::UNIX_EPOCH, Status::Pending);
        RecordedEvent { seq: 1, at, moment: None, status, attempt: 1, retry_count: 0, event }
    }

    /// A text as it was stored before versions.
    fn without_version(text: &str) -> String {
        let start = format!("{{\"v\":{VERSION},");
        assert!(text.starts_with(&start), "{text}");
        text.replacen(&start, "{", 1)
    }

    #[test]
    fn texts_with_and_without_a_version_are_read() {
        let text = request_to_text(&request());
        assert_eq!(request_of(&text).unwrap(), request());
        assert_eq!(request_of(&without_version(&text)).unwrap(), request());
        let terms = Terms { max_price_impact: ImpactLimit::parse("0.1").unwrap() };
        for event in every_event().into_iter().chain([OrderEvent::Accepted(Some(terms))]) {
            let text = event_to_text(&recorded(event.clone()));
            assert_eq!(event_of(&text).unwrap(), (event.clone(), None), "{text}");
            assert_eq!(event_of(&without_version(&text)).unwrap(), (event, None), "{text}");
        }
    }

    #[test]
    fn an_acceptance_that_was_stored_without_terms_has_none() {
        assert_eq!(event_of(r#"{"type":"accepted"}"#).unwrap(), (OrderEvent::Accepted(None), None));
    }

    #[test]
    fn a_later_version_is_refused_although_it_looks_the_same() {
        let later = |text: String| text.replacen("\"v\":1", "\"v\":2", 1);
        let moved = |text: String| format!("{},\"v\":7}}", without_version(&text).trim_end_matches('}'));
        let event = event_to_text(&recorded(OrderEvent::Accepted(None)));
        for (text, found) in [(later(event.clone()), 2), (moved(event), 7)] {
            let error = event_of(&text).unwrap_err();
            assert!(matches!(error, DecodeError::LaterVersion { found: it } if it == found), "{text}: {error}");
            assert!(matches!(moment_of(&text), Err(DecodeError::LaterVersion { .. })), "{text}");
        }
        let error = request_of(&later(request_to_text(&request()))).unwrap_err();
        assert_eq!(error.to_string(), "it has version 2, and this release reads versions up to 1");
        for damaged in
            [r#"{"type":"accepted","v":-1}"#, r#"{"type":"accepted","v":"1"}"#, r#"{"type":"accepted","v":null}"#]
        {
            assert!(matches!(event_of(damaged), Err(DecodeError::Damaged(_))), "{damaged}");
        }
    }
}
