//! The errors that clients receive: each has a stable code, an HTTP status and a meaning.

use crate::domain::retry::FailureCode;

/// The code of an error. Clients match on its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "`ProblemCode::row` explains each code")]
pub enum ProblemCode {
    InvalidRequest,
    InvalidJson,
    CredentialInUrl,
    NoWebsocket,
    Unauthenticated,
    InvalidToken,
    InvalidCredentials,
    AccountDisabled,
    WrongPassword,
    MissingScope,
    LoginRequired,
    RegistrationClosed,
    OriginNotAllowed,
    OrderNotFound,
    KeyNotFound,
    NoSuchRoute,
    MethodNotAllowed,
    BodyTooSlow,
    TooLate,
    AlreadyEnded,
    OpenOrders,
    UsernameTaken,
    TooManyKeys,
    AlreadySubscribed,
    TooManySubscriptions,
    BodyTooLarge,
    UrlTooLong,
    UnsupportedMediaType,
    HostNotAllowed,
    IdempotencyMismatch,
    IdempotencyKeyReused,
    TooManyRequests,
    TooManyAttempts,
    TooManyTickets,
    TooManyOpenOrdersOfUser,
    TooManySockets,
    RateLimited,
    Unavailable,
    Busy,
    TooManyOpenOrders,
    Stopping,
    Suspended,
    NotAccepted,
    OutcomeUnknown,
    OrderUnreadable,
    /// No quote, for the reason that an attempt fails with.
    Failure(FailureCode),
}

impl ProblemCode {
    /// The stable name in responses, messages and metrics.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status. A message on a WebSocket has none.
    pub const fn status(self) -> u16 {
        self.row().1
    }

    /// What the error means.
    pub const fn meaning(self) -> &'static str {
        self.row().2
    }

    /// Whether the same request may succeed later.
    pub const fn retryable(self) -> bool {
        match self {
            Self::Failure(code) => code.retryable(),
            Self::OrderUnreadable => false,
            _ => matches!(self.status(), 429 | 503),
        }
    }

    /// The name, the HTTP status and the meaning.
    #[rustfmt::skip]
    const fn row(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::InvalidRequest => ("invalid_request", 400, "one or more fields are invalid; errors lists them"),
            Self::InvalidJson => ("invalid_json", 400, "the body is not a JSON object"),
            Self::CredentialInUrl => ("credential_in_url", 400, "a token or API key must not be in a URL"),
            Self::NoWebsocket => ("no_websocket", 400, "this path is a WebSocket, and the request is not an upgrade"),
            Self::Unauthenticated => ("unauthenticated", 401, "log in, and send the token as Authorization: Bearer"),
            Self::InvalidToken => ("invalid_token", 401, "the token, API key or ticket is not valid, or has expired"),
            Self::InvalidCredentials => ("invalid_credentials", 401, "no user has this name and password"),
            Self::AccountDisabled => ("account_disabled", 403, "the operator has disabled this account"),
            Self::WrongPassword => ("wrong_password", 403, "this is not the password of the account"),
            Self::MissingScope => ("missing_scope", 403, "this user or API key does not have the scope"),
            Self::LoginRequired => ("login_required", 403, "an API key cannot do this; log in with name and password"),
            Self::RegistrationClosed => ("registration_closed", 403, "this server does not create new accounts"),
            Self::OriginNotAllowed => ("origin_not_allowed", 403, "pages of this origin may not call this server"),
            Self::OrderNotFound => ("order_not_found", 404, "there is no such order, or it belongs to another user"),
            Self::KeyNotFound => ("key_not_found", 404, "there is no such API key, or it belongs to another user"),
            Self::NoSuchRoute => ("no_such_route", 404, "nothing is served at this path"),
            Self::MethodNotAllowed => ("method_not_allowed", 405, "the path does not have this method"),
            Self::BodyTooSlow => ("body_too_slow", 408, "the body did not arrive in time"),
            Self::TooLate =>
                ("too_late", 409, "the swap is signed and may land at any moment; no further attempt will be made"),
            Self::AlreadyEnded => ("already_ended", 409, "the order has ended"),
            Self::OpenOrders =>
                ("open_orders", 409, "orders of this user are open; cancel them, or wait for their end"),
            Self::UsernameTaken => ("username_taken", 409, "this username is taken"),
            Self::TooManyKeys => ("too_many_keys", 409, "this user has the maximum number of API keys; revoke one"),
            Self::AlreadySubscribed =>
                ("already_subscribed", 409, "this socket is subscribed to this order, or to all orders, already"),
            Self::TooManySubscriptions =>
                ("too_many_subscriptions", 409, "this socket has the maximum number of subscriptions to single orders"),
            Self::BodyTooLarge => ("body_too_large", 413, "the body is larger than 65536 bytes"),
            Self::UrlTooLong => ("url_too_long", 414, "path and query are longer than 8192 bytes"),
            Self::UnsupportedMediaType =>
                ("unsupported_media_type", 415, "the body must be application/json in UTF-8, and not compressed"),
            Self::HostNotAllowed => ("host_not_allowed", 421, "the name in Host is not a name of this server"),
            Self::IdempotencyMismatch =>
                ("idempotency_mismatch", 422, "Idempotency-Key and clientOrderId are different"),
            Self::IdempotencyKeyReused => ("idempotency_key_reused", 422, "this key was used for a different order"),
            Self::TooManyRequests => ("too_many_requests", 429, "the client exceeds its rate limit"),
            Self::TooManyAttempts =>
                ("too_many_attempts", 429, "too many failed logins with this name or from this address"),
            Self::TooManyTickets => ("too_many_tickets", 429, "too many unused tickets are open"),
            Self::TooManyOpenOrdersOfUser =>
                ("too_many_open_orders_of_user", 429, "this user has the maximum number of open orders; nothing was stored"),
            Self::TooManySockets => ("too_many_sockets", 429, "this client has the maximum number of open sockets"),
            Self::RateLimited => ("rate_limited", 429, "too many messages on this socket"),
            Self::Unavailable => ("unavailable", 503, "the engine cannot answer at the moment"),
            Self::Busy => ("busy", 503, "too many password checks are waiting"),
            Self::TooManyOpenOrders =>
                ("too_many_open_orders", 503, "the engine has the maximum number of open orders; nothing was stored"),
            Self::Stopping => ("stopping", 503, "the engine is shutting down; nothing was stored"),
            Self::Suspended =>
                ("suspended", 503, "the engine was restored from a backup; it takes no orders and no cancels until its operator decides"),
            Self::NotAccepted => ("not_accepted", 503, "the order could not be stored, and will not be"),
            Self::OutcomeUnknown =>
                ("outcome_unknown", 503, "it is not known yet whether the order was stored: get it, or submit it again with the same key"),
            Self::OrderUnreadable =>
                ("order_unreadable", 503, "this version cannot read the stored order; the operator has to repair it"),
            Self::Failure(code) => (code.name(), 503, failure_meaning(code)),
        }
    }
}

const fn failure_meaning(code: FailureCode) -> &'static str {
    match code {
        FailureCode::VenueUnavailable => "no venue answered with a quote",
        FailureCode::BelowMinimum => "the best quote is below minAmountOut",
        FailureCode::BuildFailed => "no venue could build the swap",
        FailureCode::SlippageExceeded => "the swap would have paid less than its minimum output",
        FailureCode::SwapRejected => "the chain rejected the swap",
        FailureCode::SwapExpired => "the swap expired and provably never landed",
        FailureCode::Internal => "internal error",
        FailureCode::NoLiquidity => "no venue trades this pair in this size",
        FailureCode::UnsupportedPool => "the pools of this pair are of a type that is not supported",
        FailureCode::PriceImpactTooHigh => "the trade would move the price by more than is allowed",
        FailureCode::InsufficientFunds => "the wallet does not hold the input amount",
        FailureCode::RefusedByFirewall => {
            "the swap that was built is not the ordered one, so it was not signed; tell the operator"
        }
        FailureCode::Timeout => "no answer within the time limit",
        FailureCode::Restored => {
            "the operator cancelled the order after a backup was restored; it may have been swapped after the backup"
        }
    }
}
