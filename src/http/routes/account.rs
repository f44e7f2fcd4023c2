//! What a user changes of the own account over HTTP: the password, and whether the account exists.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, rt, web};
use tokio::sync::OwnedMutexGuard;

use crate::actors::order_manager::OpenOrders;
use crate::api::problem::ProblemCode;
use crate::auth::AuthError;
use crate::domain::user::UserId;
use crate::http::AppState;
use crate::http::extract::account::{PasswordChange, parse_confirmation, parse_password_change};
use crate::http::extract::body;
use crate::http::extract::caller::Caller;
use crate::http::operation::{Access, Body, Operation, delete, post};
use crate::http::problem::Problem;
use crate::http::routes::auth::{
    LoggedIn, LoginView, OkView, address, log_unconfirmed_password, logged_in, uncancelled,
};
use crate::store::users::Account;

pub(super) fn operations() -> Vec<Operation> {
    let all = [
        post("/api/auth/password", Access::Login, change_password)
            .named("changePassword", "Change the password")
            .described(
                "Every token of the user ends, and the WebSockets that were opened with one are closed. The answer has a \
                 new token. API keys stay valid.",
            )
            .body(Body::Json { required: true, schema: "PasswordChange", examples: &["passwordChange"] })
            .answers::<LoginView<'_>>(200, "the password is changed, and this is the only valid token", "login"),
        delete("/api/auth/account", Access::Login, delete_account)
            .named("deleteAccount", "Delete the account")
            .described(
                "Refused while an order of the user is open. Tokens and API keys end, and the name is free again. The \
                 orders are kept, and no user sees them.",
            )
            .body(Body::Json { required: true, schema: "Confirmation", examples: &["confirmation"] })
            .answers::<OkView>(200, "the account is deleted", "done")
            .problems([ProblemCode::OpenOrders]),
    ];
    let problems =
        [ProblemCode::WrongPassword, ProblemCode::TooManyAttempts, ProblemCode::Busy, ProblemCode::Unavailable];
    all.into_iter().map(|operation| operation.problems(problems)).collect()
}

async fn change_password(
    request: HttpRequest,
    app: web::Data<AppState>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let LoggedIn { identity, .. } = LoggedIn::of(caller)?;
    let PasswordChange { old, new } = parse_password_change(&body::read(&request, payload).await?)?;
    let from = address(&request);
    let changed = uncancelled(async move {
        let login = app.auth.change_password(identity, old, new, from).await?;
        app.sign_out_ended();
        Ok(login)
    });
    let login = changed.await.inspect_err(|error| log_unconfirmed_password(identity.user, from, error))?;
    Ok(logged_in(&login))
}

async fn delete_account(
    request: HttpRequest,
    app: web::Data<AppState>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let LoggedIn { identity, .. } = LoggedIn::of(caller)?;
    let password = parse_confirmation(&body::read(&request, payload).await?)?;
    let from = address(&request);
    let confirmed = app.auth.confirm_password(identity, password, from).await;
    let account = confirmed.inspect_err(|error| log_unconfirmed_password(identity.user, from, error))?;
    uncancelled(delete_confirmed(app, account)).await?;
    Ok(HttpResponse::Ok().json(OkView { success: true }))
}

/// Deletes an account between two steps of the order manager: first it admits no further order of the user, and if the
/// account is not deleted, it admits orders again. A request that was authenticated before the deletion and submits
/// after it is therefore refused.
async fn delete_confirmed(app: web::Data<AppState>, account: Account) -> Result<(), AuthError> {
    let turn = app.auth.deletion_turn().await?;
    let user = account.user.id;
    let deleted = match app.service.close_book(user).await {
        Ok(Ok(())) => app.auth.delete_account(&account).await,
        Ok(Err(OpenOrders(open))) => return Err(AuthError::OpenOrders(open as u64)),
        Err(_) => Err(AuthError::Unavailable),
    };
    match &deleted {
        Ok(()) => app.sign_out_ended(),
        Err(error) => {
            let is_unknown = *error == AuthError::Unavailable;
            let reopened = rt::spawn(reopen_unless_deleted(app, user, turn));
            if !is_unknown {
                let _ = reopened.await;
            }
        }
    }
    deleted
}

/// Admits orders of a user again once it is known that the account was not deleted.
async fn reopen_unless_deleted(app: web::Data<AppState>, user: UserId, _turn: OwnedMutexGuard<()>) {
    const RETRY: Duration = Duration::from_secs(1);
    loop {
        match app.auth.is_deleted(user).await {
            Ok(true) => return,
            Ok(false) => return app.service.reopen_book(user),
            // The database does not answer. Until it does, no order would be admitted anyway.
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}
