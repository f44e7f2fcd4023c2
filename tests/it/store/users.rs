//! Accounts, API keys and revoked tokens.

use chrono::TimeDelta;
use migration::Migrator;
use order_engine::Settings;
use order_engine::domain::lifecycle::OrderEvent;
use order_engine::domain::secret::Secret;
use order_engine::domain::user::{ApiKey, KeyId, Owner, User, UserId};
use order_engine::store::users::{
    AccountChange, Digest, NewAccount, RevokedToken, Standing, StoredKey, UserStore, UserWriteError,
};
use order_engine::store::{OrderStore, SeaStore};
use sea_orm::{ConnectionTrait, Database, Statement};
use uuid::Uuid;

use crate::support::store::{base_time, next, on_both, order, order_for};

fn account(name: &str) -> NewAccount {
    let user = User { id: UserId(Uuid::now_v7()), name: name.parse().unwrap(), created_at: base_time() };
    let password_hash = Secret::new("$argon2id$of something");
    NewAccount { user, password_hash, scopes: "read trade".parse().unwrap() }
}

/// An API key of a user; its name and its digest are made of a number.
fn stored_key(user: UserId, number: u8, scopes: &str) -> StoredKey {
    StoredKey {
        key: ApiKey {
            id: KeyId(Uuid::now_v7()),
            user,
            name: format!("key {number}"),
            scopes: scopes.parse().unwrap(),
            prefix: "oek_abc".to_owned(),
            created_at: base_time(),
        },
        digest: Digest([number; 32]),
    }
}

#[actix_web::test]
async fn a_name_belongs_to_one_account_in_any_case() {
    on_both(async |backend| {
        let store = &backend.store;
        let alice = account("Alice");
        store.create_account(&alice).await.unwrap();
        assert_eq!(store.create_account(&account("aLICE")).await, Err(UserWriteError::NameTaken), "{}", backend.name);
        let found = store.account(&"alice".parse().unwrap()).await.unwrap().unwrap();
        assert_eq!((found.user.clone(), found.user.name.as_str()), (alice.user.clone(), "Alice"), "{}", backend.name);
        assert_eq!(found.password_hash.expose(), alice.password_hash.expose());
        assert_eq!(store.account_of(alice.user.id).await.unwrap().unwrap().user, alice.user);
        assert!(store.account(&"bob".parse().unwrap()).await.unwrap().is_none());
        assert!(store.account_of(UserId(Uuid::now_v7())).await.unwrap().is_none());
    })
    .await;
}

#[actix_web::test]
async fn a_change_of_an_account_is_refused_if_its_tokens_have_another_version() {
    on_both(async |backend| {
        let store = &backend.store;
        let alice = account("alice");
        let made = store.create_account(&alice).await.unwrap();
        let change = async |hash: &str, version| {
            let change = AccountChange::Password(Secret::new(hash));
            store.change_account(alice.user.id, change, Some(version), base_time()).await
        };
        let changed = change("of the second", 0).await.unwrap();
        assert_eq!(changed, Standing { revision: made.revision + 1, token_version: 1, ..made }, "{}", backend.name);
        assert_eq!(change("of the third", 0).await, Err(UserWriteError::Changed), "{}", backend.name);
        let stored = store.account_of(alice.user.id).await.unwrap().unwrap();
        assert_eq!((stored.password_hash.expose(), stored.standing), ("of the second", changed), "{}", backend.name);
        let nobody = store.change_account(UserId(Uuid::now_v7()), AccountChange::Disable, None, base_time()).await;
        assert_eq!(nobody, Err(UserWriteError::NoSuchAccount), "{}", backend.name);
    })
    .await;
}

#[actix_web::test]
async fn an_account_with_an_open_order_is_not_deleted_and_a_deleted_one_keeps_only_its_id() {
    on_both(async |backend| {
        let store = &backend.store;
        let alice = account("alice");
        store.create_account(&alice).await.unwrap();
        let id = alice.user.id;
        store.create_key(&stored_key(id, 1, "read"), 50).await.unwrap();
        let (of_alice, of_another) = (order_for(Owner::User(id)), order());
        backend.accept(&of_alice).await;
        backend.accept(&of_another).await;
        let delete = async || store.change_account(id, AccountChange::Delete, None, base_time()).await;
        assert_eq!(delete().await, Err(UserWriteError::OpenOrders(1)), "{}", backend.name);
        assert!(store.remains(id).await.unwrap());
        assert_eq!(store.keys_of(id).await.unwrap().len(), 1, "{}: nothing has changed", backend.name);
        let mut ended = of_alice.clone();
        backend.commit(&[next(&mut ended, OrderEvent::Cancelled(None), None)]).await;
        let deleted = delete().await.unwrap();
        assert!(!deleted.is_active && deleted.token_version == 1, "{}: {deleted:?}", backend.name);
        assert_eq!(delete().await, Err(UserWriteError::NoSuchAccount), "{}", backend.name);
        assert!(!store.remains(id).await.unwrap());
        assert!(store.account_of(id).await.unwrap().is_none() && store.accounts().await.unwrap().is_empty());
        assert!(store.live_keys().await.unwrap().is_empty());
        assert_eq!(backend.order(of_alice.id).await.order.owner, Owner::User(id), "{}", backend.name);
        store.create_account(&account("ALICE")).await.expect("the name is free again");
        let connection = backend.connect().await;
        let rows = "SELECT count(*) FROM users WHERE folded LIKE '%alice%' OR password_hash LIKE '%of something%'";
        let rows = Statement::from_string(connection.get_database_backend(), rows);
        let rows: i64 = connection.query_one_raw(rows).await.unwrap().unwrap().try_get_by_index(0).unwrap();
        assert_eq!(rows, 1, "{}: only the new account has them", backend.name);
        connection.close().await.unwrap();
    })
    .await;
}

#[actix_web::test]
async fn who_knows_a_change_has_seen_all_changes_before_it_also_those_of_another_process() {
    const CHANGES: usize = 40;
    on_both(async |backend| {
        let store = &backend.store;
        let other = SeaStore::connect_beside(&backend.settings).await.unwrap();
        let alice = account("alice");
        let bob = account("bob");
        let mut last = store.create_account(&alice).await.unwrap().revision;
        store.create_account(&bob).await.unwrap();
        let (changed, ended) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
        let change = async |store: &SeaStore, id: UserId| {
            for _ in 0..CHANGES {
                store.change_account(id, AccountChange::Enable, None, base_time()).await.unwrap();
                changed.set(changed.get() + 1);
            }
            ended.set(ended.get() + 1);
        };
        // Each change of a number that was read before may no more appear.
        let read = async {
            let mut seen = 0;
            loop {
                let is_last = ended.get() == 2;
                for standing in store.standings(last).await.unwrap() {
                    assert!(standing.revision > last, "{}", backend.name);
                    last = standing.revision;
                    seen += 1;
                }
                if is_last {
                    return seen;
                }
            }
        };
        let changes = futures_util::future::join(change(store, alice.user.id), change(&other, bob.user.id));
        let (_, seen) = futures_util::future::join(changes, read).await;
        // Two accounts were created, and each change has its own number.
        assert_eq!((changed.get(), last), (2 * CHANGES, 2 + 2 * CHANGES as i64), "{}: saw {seen}", backend.name);
        let standings = store.standings(-1).await.unwrap();
        assert_eq!(standings.iter().map(|standing| standing.revision).max(), Some(last), "{}", backend.name);
        other.close().await;
    })
    .await;
}

#[actix_web::test]
async fn a_database_that_is_missing_or_of_an_older_version_is_not_changed_beside_an_engine() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.db");
    let url = format!("sqlite://{}?mode=rwc", path.display());
    let settings = Settings::with([("database.url", &url)]).unwrap().database;
    let refusal = async || SeaStore::connect_beside(&settings).await.unwrap_err().to_string();
    assert!(refusal().await.contains("order-engine migrate"), "{}", refusal().await);
    assert!(!path.exists());
    std::fs::write(&path, "").unwrap();
    assert!(refusal().await.contains("order-engine migrate"), "{}", refusal().await);
    let connection = Database::connect(&url).await.unwrap();
    Migrator::up(&connection, Some(12)).await.unwrap();
    assert!(refusal().await.contains("older than this version"), "{}", refusal().await);
    Migrator::up(&connection, None).await.unwrap();
    SeaStore::connect_beside(&settings).await.unwrap().close().await;
}

#[actix_web::test]
async fn an_api_key_is_listed_for_its_user_until_it_is_revoked() {
    on_both(async |backend| {
        let store = &backend.store;
        let (alice, bob) = (UserId(Uuid::now_v7()), UserId(Uuid::now_v7()));
        let keys = [stored_key(alice, 1, "read"), stored_key(alice, 2, "read trade"), stored_key(bob, 3, "trade")];
        for key in &keys {
            store.create_key(key, 50).await.unwrap();
        }
        assert!(
            store.create_key(&stored_key(bob, 1, "read"), 50).await.is_err(),
            "{}: two keys have one digest",
            backend.name
        );
        assert_eq!(store.keys_of(alice).await.unwrap(), [keys[0].key.clone(), keys[1].key.clone()]);
        assert!(!store.revoke_key(bob, keys[0].key.id, base_time()).await.unwrap(), "it is a key of another user");
        assert!(store.revoke_key(alice, keys[0].key.id, base_time()).await.unwrap());
        assert!(!store.revoke_key(alice, keys[0].key.id, base_time()).await.unwrap(), "it is already revoked");
        let mut live: Vec<_> = store.live_keys().await.unwrap();
        live.sort_by_key(|key| key.digest.0);
        let live: Vec<_> = live.into_iter().map(|key| (key.key, key.digest)).collect();
        assert_eq!(live, [(keys[1].key.clone(), Digest([2; 32])), (keys[2].key.clone(), Digest([3; 32]))]);
    })
    .await;
}

#[actix_web::test]
async fn concurrent_key_requests_stay_within_the_limit_of_a_user() {
    on_both(async |backend| {
        let store = &backend.store;
        let alice = account("alice");
        store.create_account(&alice).await.unwrap();
        let keys: Vec<_> = (0..40).map(|number| stored_key(alice.user.id, number, "read")).collect();
        let outcomes = futures_util::future::join_all(keys.iter().map(|key| store.create_key(key, 5))).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 5, "{}: {outcomes:?}", backend.name);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(()) | Err(UserWriteError::TooManyKeys))));
        let live = store.keys_of(alice.user.id).await.unwrap();
        assert_eq!(live.len(), 5, "{}", backend.name);
        assert!(store.revoke_key(alice.user.id, live[0].id, base_time()).await.unwrap());
        assert_eq!(
            store.create_key(&stored_key(alice.user.id, 100, "read"), 5).await,
            Ok(()),
            "{}: a revoked one makes room",
            backend.name
        );
        assert_eq!(
            store.create_key(&stored_key(alice.user.id, 101, "read"), 5).await,
            Err(UserWriteError::TooManyKeys),
            "{}",
            backend.name
        );
    })
    .await;
}

#[actix_web::test]
async fn a_revoked_token_is_stored_until_it_expires() {
    on_both(async |backend| {
        let store = &backend.store;
        let at = |seconds| base_time() + TimeDelta::seconds(seconds);
        let token = |seconds| RevokedToken { id: Uuid::new_v4(), expires_at: at(seconds) };
        let (short, long) = (token(10), token(100));
        for revoked in [short, long, short] {
            store.revoke_token(revoked).await.unwrap();
        }
        assert_eq!(store.revoked_tokens().await.unwrap().len(), 2, "{}", backend.name);
        store.forget_revoked_tokens(at(9)).await.unwrap();
        assert_eq!(store.revoked_tokens().await.unwrap().len(), 2, "{}", backend.name);
        store.forget_revoked_tokens(at(10)).await.unwrap();
        assert_eq!(store.revoked_tokens().await.unwrap(), [long], "{}", backend.name);
    })
    .await;
}
