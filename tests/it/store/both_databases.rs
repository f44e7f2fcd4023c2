//! The store: every test runs on a SQLite file and on a PostgreSQL of its own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::Actor;
use chrono::{DateTime, TimeDelta, Utc};
use migration::{Migrator, MigratorTrait};
use order_engine::Settings;
use order_engine::actors::persistence::{Persistence, RecordError, record};
use order_engine::actors::supervisor::Supervisor;
use order_engine::config::DatabaseSettings;
use order_engine::domain::amount::{BaseUnits, Slippage};
use order_engine::domain::id::{ClientKey, OrderId, VenueId};
use order_engine::domain::lifecycle::{OrderEvent, Status};
use order_engine::domain::moment::{Moment, Now, Uptime};
use order_engine::domain::order::{Order, OrderRequest, Priority, RecordedEvent};
use order_engine::domain::quote::Quote;
use order_engine::domain::retry::{Failure, FailureCode};
use order_engine::domain::routing::{RoutingDecision, Strategy};
use order_engine::domain::secret::Secret;
use order_engine::domain::swap::{Fill, Signature, SignedSwap, Swap};
use order_engine::domain::token::Token;
use order_engine::domain::user::{ApiKey, KeyId, Owner, User, UserId};
use order_engine::runtime::clock::Clock;
use order_engine::store::users::{Account, Digest, RevokedToken, StoredKey, UserStore, UserWriteError};
use order_engine::store::{
    CommitError, DispatchRecord, ListFilter, OrderStore, SeaStore, StoredOrder, SwapWrite, UnfinishedFrom, Write,
    Written,
};
use order_engine::telemetry::metrics::Metrics;
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, TransactionTrait};
use uuid::Uuid;

use crate::support::databases::Postgres;
use crate::support::embedded;

/// One of the two databases, empty but for the schema.
struct Shelf {
    name: &'static str,
    settings: DatabaseSettings,
    store: Arc<SeaStore>,
}

impl Shelf {
    async fn open(name: &'static str, url: &str) -> Self {
        let settings = Settings::with([("database.url", url)]).unwrap().database;
        let store = Arc::new(SeaStore::open(&settings).await.unwrap());
        Self { name, settings, store }
    }

    /// A connection beside the store, for what only a stranger would do.
    async fn stranger(&self) -> DatabaseConnection {
        Database::connect(self.settings.url.expose()).await.unwrap()
    }

    async fn stored(&self, writes: &[Write]) {
        let written = self.store.commit(writes).await.unwrap_or_else(|error| panic!("{}: {error}", self.name));
        assert_eq!(written, vec![Written::Stored; writes.len()], "{}", self.name);
    }

    async fn accepted(&self, order: &Order) {
        self.stored(&[Write::accept(order.clone(), order.request.client_order_id.clone())]).await;
    }

    async fn order(&self, id: OrderId) -> StoredOrder {
        self.store.order(id).await.unwrap().unwrap_or_else(|| panic!("{}: no order {id}", self.name))
    }

    async fn listed(&self, filter: ListFilter) -> Vec<OrderId> {
        self.store.list(&filter).await.unwrap().orders.into_iter().map(|order| order.id).collect()
    }
}

/// Runs a test on both databases.
async fn on_both(test: impl AsyncFn(&Shelf)) {
    let folder = tempfile::tempdir().unwrap();
    let file = sqlite(folder.path());
    let postgres = Postgres::start();
    for (name, url) in [("SQLite", file), ("PostgreSQL", postgres.url())] {
        let shelf = Shelf::open(name, &url).await;
        println!("on {name}");
        test(&shelf).await;
        shelf.store.close().await;
    }
}

fn sqlite(folder: &Path) -> String {
    format!("sqlite://{}?mode=rwc", folder.join("orders.db").display())
}

/// A moment with microseconds that a careless column would round.
fn moment() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_767_225_599_999_999).unwrap()
}

fn request() -> OrderRequest {
    embedded::request(&embedded::settings([]))
}

fn key(text: &str) -> ClientKey {
    text.parse().unwrap()
}

fn user() -> Owner {
    Owner::User(UserId(Uuid::now_v7()))
}

fn order_for(owner: Owner) -> Order {
    let mut order = order();
    order.owner = owner;
    order
}

/// A new order of that request, accepted at a moment of its own, after every order made before it.
fn order_of(request: OrderRequest, at: DateTime<Utc>) -> Order {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let mut rest = [0; 10];
    rest[2..].copy_from_slice(&MADE.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    let millis = at.timestamp_millis().try_into().unwrap();
    let id = uuid::Builder::from_unix_timestamp_millis(millis, &rest).into_uuid();
    Order::accept(OrderId(id), Owner::Shared, Arc::new(request), at)
}

fn order() -> Order {
    order_of(request(), moment())
}

fn quote(venue: VenueId, amount_out: u64, price: &str) -> Quote {
    Quote {
        venue,
        amount_out: BaseUnits(amount_out),
        fee: BaseUnits(amount_out / 400),
        price: price.parse().unwrap(),
        price_impact: "0.000000000000000001".parse().unwrap(),
        latency_ms: 198,
        quoted_at: moment(),
    }
}

fn routed(amount_out: u64) -> OrderEvent {
    OrderEvent::Routed(Arc::new(RoutingDecision {
        quotes: vec![
            quote(VenueId::Meteora, amount_out, "152.318200000000001"),
            quote(VenueId::Raydium, amount_out / 2, "0.000000000000001"),
        ],
        unavailable: Vec::new(),
        reason: "meteora pays more; \"quotes\" and ünïcödé stay as they are".into(),
    }))
}

/// A signed swap; each has a signature and bytes of its own.
fn signed(quoted_out: u64) -> SignedSwap {
    let mut signature = [0; 64];
    signature[..16].copy_from_slice(Uuid::new_v4().as_bytes());
    let swap = Swap {
        venue: VenueId::Meteora,
        signature: Signature(signature),
        last_valid_block_height: 350_000_150,
        quoted_out: BaseUnits(quoted_out),
        min_amount_out: BaseUnits(quoted_out),
    };
    SignedSwap { swap, bytes: signature.iter().copied().chain(0..=255).collect() }
}

/// The write of what happens next to an order, which from here on lives by it.
fn next(order: &mut Order, event: OrderEvent, signed: Option<&SignedSwap>) -> Write {
    let later = order.last().at + TimeDelta::microseconds(1);
    let recorded = Arc::new(order.propose(event, later).unwrap());
    let write = match recorded.event {
        OrderEvent::Dispatched => Write::dispatch(order, recorded.clone(), recorded.at.timestamp_micros()),
        _ => Write::step(order, recorded.clone(), signed),
    };
    order.apply(recorded).unwrap();
    write
}

/// The writes that bring a pending order to a live swap.
fn to_submitted(order: &mut Order, signed: &SignedSwap) -> Vec<Write> {
    vec![
        next(order, OrderEvent::Dispatched, None),
        next(order, routed(1_000), None),
        next(order, OrderEvent::Submitted(Arc::new(signed.swap.clone())), Some(signed)),
    ]
}

fn landed(signed: &SignedSwap, amount_out: u64) -> OrderEvent {
    let fill = Fill { amount_out: BaseUnits(amount_out), slot: 350_000_100, fee: BaseUnits(5_000) };
    OrderEvent::Confirmed { swap: Arc::new(signed.swap.clone()), fill }
}

fn failure(code: FailureCode) -> Failure {
    Failure::new(code, "because")
}

/// Commits steps one by one, as an engine does.
async fn commit_each(shelf: &Shelf, writes: Vec<Write>) {
    for write in writes {
        shelf.stored(&[write]).await;
    }
}

#[track_caller]
fn assert_same(stored: &Order, order: &Order) {
    assert_eq!(stored.id, order.id);
    assert_eq!(stored.request, order.request);
    assert_eq!(stored.history(), order.history());
    assert_eq!(stored.state(), order.state());
}

#[actix_web::test]
async fn money_prices_and_times_come_back_as_they_went() {
    on_both(async |shelf| {
        let slippages = ["0.0001", "0.000101", "0.01", "0.333333", "0.5"].map(|text| Slippage::parse(text).unwrap());
        for (amount, slippage) in [0, 1, (1 << 53) + 1, i64::MAX as u64 + 1, u64::MAX].into_iter().zip(slippages) {
            let request = OrderRequest {
                amount_in: BaseUnits(amount),
                min_amount_out: Some(BaseUnits(amount)),
                slippage,
                priority: Priority::High,
                strategy: Strategy::Reliability,
                ..request()
            };
            let mut order = order_of(request, moment());
            shelf.accepted(&order).await;
            let swap = signed(amount);
            let mut writes = vec![
                next(&mut order, OrderEvent::Dispatched, None),
                next(&mut order, routed(amount), None),
                next(&mut order, OrderEvent::Submitted(Arc::new(swap.swap.clone())), Some(&swap)),
            ];
            writes.push(next(&mut order, landed(&swap, amount), None));
            commit_each(shelf, writes).await;
            assert_same(&shelf.order(order.id).await.order, &order);
        }
    })
    .await;
}

#[actix_web::test]
async fn a_whole_story_is_told_again_as_it_was_lived() {
    on_both(async |shelf| {
        let mut order = order();
        shelf.accepted(&order).await;
        let retry = |code| OrderEvent::AttemptFailed { failure: failure(code), retry_at: moment() };
        let (first, second, third) = (signed(10), signed(20), signed(30));
        let mut writes =
            vec![next(&mut order, OrderEvent::Dispatched, None), next(&mut order, OrderEvent::Interrupted, None)];
        writes.extend(to_submitted(&mut order, &first));
        writes.push(next(&mut order, retry(FailureCode::SwapExpired), None));
        writes.extend(to_submitted(&mut order, &second));
        writes.push(next(&mut order, retry(FailureCode::SlippageExceeded), None));
        writes.extend(to_submitted(&mut order, &third));
        writes.push(next(&mut order, OrderEvent::CancelRequested, None));
        writes.push(next(&mut order, landed(&third, 31), None));
        // After each step the store tells what the engine would have in memory.
        let mut told =
            Order::replay(order.id, order.owner, order.request.clone(), [history(&order)[0].clone()]).unwrap();
        for write in writes {
            let Write::Step(step) = &write else { unreachable!() };
            told.apply(step.recorded.clone()).unwrap();
            shelf.stored(&[write]).await;
            let stored = shelf.order(order.id).await;
            assert_same(&stored.order, &told);
            let live = told.state().live_swap().map(|swap| swap.signature);
            assert_eq!(stored.live.map(|signed| signed.swap.signature), live);
        }
        let stranger = shelf.stranger().await;
        for (swap, status) in [(first, "expired"), (second, "rejected"), (third, "landed")] {
            let row = row(&stranger, &swap).await;
            assert_eq!(row.try_get::<String>("", "status").unwrap(), status, "{}", shelf.name);
        }
        stranger.close().await.unwrap();
    })
    .await;
}

fn history(order: &Order) -> Vec<(u32, DateTime<Utc>, OrderEvent)> {
    order.history().iter().map(|step| (step.seq, step.at, step.event.clone())).collect()
}

async fn row(connection: &DatabaseConnection, signed: &SignedSwap) -> sea_orm::QueryResult {
    let sql =
        format!("SELECT status, slot, fee, error FROM transactions WHERE signature = '{}'", signed.swap.signature);
    let statement = sea_orm::Statement::from_string(connection.get_database_backend(), sql);
    connection.query_one_raw(statement).await.unwrap().unwrap()
}

#[actix_web::test]
async fn each_filter_of_the_list_finds_its_orders_and_no_others() {
    on_both(async |shelf| {
        let tokens = embedded::settings([]).tokens;
        let token = |symbol: &str| -> Token { tokens.resolve(symbol).unwrap() };
        let (sol, usdc) = (token("SOL"), token("USDC"));
        let at = |seconds| moment() + TimeDelta::seconds(seconds);
        let mut sells = order_of(request(), at(0));
        let buys = order_of(OrderRequest { token_in: usdc.clone(), token_out: sol.clone(), ..request() }, at(1));
        let named = order_of(OrderRequest { client_order_id: Some(key("mine")), ..request() }, at(2));
        let mut moved = order_of(request(), at(3));
        for order in [&sells, &buys, &named, &moved] {
            shelf.accepted(order).await;
        }
        let moved_id = moved.id;
        shelf.stored(&[next(&mut moved, OrderEvent::Dispatched, None)]).await;

        let all = ListFilter { limit: 10, ..ListFilter::default() };
        let found = async |filter: ListFilter| shelf.listed(filter).await;
        assert_eq!(found(all.clone()).await, [moved_id, named.id, buys.id, sells.id]);
        assert_eq!(found(ListFilter { status: Some(Status::Routing), ..all.clone() }).await, [moved_id]);
        let pending = ListFilter { status: Some(Status::Pending), ..all.clone() };
        assert_eq!(found(pending.clone()).await, [named.id, buys.id, sells.id]);
        assert_eq!(found(ListFilter { token_in: Some(usdc.mint), ..all.clone() }).await, [buys.id]);
        assert_eq!(found(ListFilter { token_out: Some(sol.mint.clone()), ..all.clone() }).await, [buys.id]);
        assert_eq!(
            found(ListFilter { token_in: Some(sol.mint.clone()), ..pending.clone() }).await,
            [named.id, sells.id]
        );
        assert_eq!(found(ListFilter { client_order_id: Some(key("mine")), ..all.clone() }).await, [named.id]);
        assert_eq!(found(ListFilter { client_order_id: Some(key("MINE")), ..all.clone() }).await, []);
        // From its first microsecond, up to but without the last.
        assert_eq!(found(ListFilter { from: Some(at(2)), ..all.clone() }).await, [moved_id, named.id]);
        let after = at(2) + TimeDelta::microseconds(1);
        assert_eq!(found(ListFilter { from: Some(after), ..all.clone() }).await, [moved_id]);
        assert_eq!(found(ListFilter { to: Some(at(2)), ..all.clone() }).await, [buys.id, sells.id]);
        assert_eq!(found(ListFilter { to: Some(after), ..all.clone() }).await, [named.id, buys.id, sells.id]);
        shelf.stored(&[next(&mut sells, OrderEvent::Cancelled(None), None)]).await;
        assert_eq!(found(ListFilter { unfinished: true, ..all.clone() }).await, [moved_id, named.id, buys.id]);
    })
    .await;
}

#[actix_web::test]
async fn no_statement_reads_a_whole_table_also_before_there_are_statistics() {
    let postgres = Postgres::start();
    Shelf::open("PostgreSQL", &postgres.url()).await.store.close().await;
    let read_whole = || {
        // A connection tells its counts at its end, and then is gone.
        let others =
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while postgres.sql(others) != "0" {
            assert!(std::time::Instant::now() < deadline, "connections stay");
        }
        postgres.sql(
            "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname <> 'seaql_migrations' ORDER BY relname",
        )
    };
    let before = read_whole();
    let shelf = Shelf::open("PostgreSQL", &postgres.url()).await;
    let (mut order, swap) =
        (order_of(OrderRequest { client_order_id: Some(key("mine")), ..request() }, moment()), signed(1));
    shelf.accepted(&order).await;
    commit_each(&shelf, to_submitted(&mut order, &swap)).await;
    assert_eq!(shelf.store.unfinished(UnfinishedFrom::default(), 10).await.unwrap().orders.len(), 1);
    assert_eq!(shelf.store.latest_dispatches(10).await.unwrap().len(), 1);
    commit_each(&shelf, vec![next(&mut order, landed(&swap, 5), None)]).await;
    assert_same(&shelf.order(order.id).await.order, &order);
    assert_eq!(shelf.store.order_by_key(Owner::Shared, &key("mine")).await.unwrap(), Some(order.id));
    let (all, mints) = (ListFilter { limit: 10, ..ListFilter::default() }, &order.request);
    for filter in [
        all.clone(),
        ListFilter { status: Some(Status::Confirmed), ..all.clone() },
        ListFilter { token_in: Some(mints.token_in.mint.clone()), ..all.clone() },
        ListFilter { token_out: Some(mints.token_out.mint.clone()), ..all.clone() },
        ListFilter { client_order_id: Some(key("mine")), ..all.clone() },
        ListFilter { from: Some(moment()), ..all.clone() },
        ListFilter {
            token_in: Some(mints.token_in.mint.clone()),
            token_out: Some(mints.token_out.mint.clone()),
            from: Some(moment()),
            to: Some(moment() + TimeDelta::days(1)),
            ..all
        },
    ] {
        assert_eq!(shelf.listed(filter.clone()).await, [order.id], "{filter:?}");
    }
    shelf.store.close().await;
    assert_eq!(read_whole(), before);
}

#[actix_web::test]
async fn an_order_is_listed_for_its_owner_alone() {
    on_both(async |shelf| {
        let owners = [Owner::Shared, user(), user()];
        let mut orders = Vec::new();
        for owner in owners.into_iter().cycle().take(9) {
            orders.push(order_for(owner));
        }
        // All in one group, for rows of users are written apart from the others.
        shelf.stored(&orders.iter().map(|order| Write::accept(order.clone(), None)).collect::<Vec<_>>()).await;
        for owner in owners {
            let own: Vec<_> = orders.iter().rev().filter(|order| order.owner == owner).map(|order| order.id).collect();
            let all = ListFilter { owner, limit: 10, ..ListFilter::default() };
            assert_eq!(shelf.listed(all.clone()).await, own, "{}", shelf.name);
            let pending = ListFilter { status: Some(Status::Pending), before: Some(own[0]), ..all };
            assert_eq!(shelf.listed(pending).await, own[1..], "{}", shelf.name);
            assert_eq!(shelf.order(own[0]).await.order.owner, owner, "{}", shelf.name);
        }
    })
    .await;
}

#[actix_web::test]
async fn one_owners_key_is_not_anothers_also_within_one_batch() {
    on_both(async |shelf| {
        let orders = [Owner::Shared, user(), user()].map(order_for);
        let keyed = |order: &Order| Write::accept(order.clone(), Some(key("same")));
        shelf.stored(&orders.iter().map(keyed).collect::<Vec<_>>()).await;
        for known in &orders {
            assert_eq!(shelf.store.order_by_key(known.owner, &key("same")).await.unwrap(), Some(known.id));
            let again = shelf.store.commit(&[keyed(&order_for(known.owner))]).await.unwrap();
            assert_eq!(again, [Written::Duplicate(known.id)], "{}", shelf.name);
        }
        assert_eq!(shelf.store.order_by_key(user(), &key("same")).await.unwrap(), None);
    })
    .await;
}

fn account(name: &str) -> Account {
    let user = User { id: UserId(Uuid::now_v7()), name: name.parse().unwrap(), created_at: moment() };
    Account { user, password_hash: Secret::new("$argon2id$of something") }
}

#[actix_web::test]
async fn a_name_belongs_to_one_account_in_whatever_case() {
    on_both(async |shelf| {
        let store = &shelf.store;
        let alice = account("Alice");
        store.create_account(&alice).await.unwrap();
        assert_eq!(store.create_account(&account("aLICE")).await, Err(UserWriteError::NameTaken), "{}", shelf.name);
        let found = store.account(&"alice".parse().unwrap()).await.unwrap().unwrap();
        assert_eq!((found.user.clone(), found.user.name.as_str()), (alice.user.clone(), "Alice"), "{}", shelf.name);
        assert_eq!(found.password_hash.expose(), alice.password_hash.expose());
        assert_eq!(store.user(alice.user.id).await.unwrap(), Some(alice.user));
        assert!(store.account(&"bob".parse().unwrap()).await.unwrap().is_none());
        assert!(store.user(UserId(Uuid::now_v7())).await.unwrap().is_none());
    })
    .await;
}

#[actix_web::test]
async fn a_key_is_its_users_until_it_is_revoked_and_never_again() {
    on_both(async |shelf| {
        let store = &shelf.store;
        let (alice, bob) = (UserId(Uuid::now_v7()), UserId(Uuid::now_v7()));
        let made = |user, byte: u8, scopes: &str| StoredKey {
            key: ApiKey {
                id: KeyId(Uuid::now_v7()),
                user,
                name: format!("key {byte}"),
                scopes: scopes.parse().unwrap(),
                prefix: "oek_abc".to_owned(),
                created_at: moment(),
            },
            digest: Digest([byte; 32]),
        };
        let keys = [made(alice, 1, "read"), made(alice, 2, "read trade"), made(bob, 3, "trade")];
        for key in &keys {
            store.create_key(key, 50).await.unwrap();
        }
        assert!(store.create_key(&made(bob, 1, "read"), 50).await.is_err(), "{}: two keys of one digest", shelf.name);
        assert_eq!(store.keys_of(alice).await.unwrap(), [keys[0].key.clone(), keys[1].key.clone()]);
        assert!(!store.revoke_key(bob, keys[0].key.id, moment()).await.unwrap(), "it is not his");
        assert!(store.revoke_key(alice, keys[0].key.id, moment()).await.unwrap());
        assert!(!store.revoke_key(alice, keys[0].key.id, moment()).await.unwrap(), "it is gone");
        let mut live: Vec<_> = store.live_keys().await.unwrap();
        live.sort_by_key(|key| key.digest.0);
        let live: Vec<_> = live.into_iter().map(|key| (key.key, key.digest)).collect();
        assert_eq!(live, [(keys[1].key.clone(), Digest([2; 32])), (keys[2].key.clone(), Digest([3; 32]))]);
    })
    .await;
}

#[actix_web::test]
async fn many_keys_at_once_are_no_more_than_one_user_may_have() {
    on_both(async |shelf| {
        let store = &shelf.store;
        let alice = account("alice");
        store.create_account(&alice).await.unwrap();
        let made = |number: u8| StoredKey {
            key: ApiKey {
                id: KeyId(Uuid::now_v7()),
                user: alice.user.id,
                name: format!("key {number}"),
                scopes: "read".parse().unwrap(),
                prefix: "oek_abc".to_owned(),
                created_at: moment(),
            },
            digest: Digest([number; 32]),
        };
        let keys: Vec<_> = (0..40).map(made).collect();
        let outcomes = futures_util::future::join_all(keys.iter().map(|key| store.create_key(key, 5))).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 5, "{}: {outcomes:?}", shelf.name);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(()) | Err(UserWriteError::TooManyKeys))));
        let live = store.keys_of(alice.user.id).await.unwrap();
        assert_eq!(live.len(), 5, "{}", shelf.name);
        assert!(store.revoke_key(alice.user.id, live[0].id, moment()).await.unwrap());
        assert_eq!(store.create_key(&made(100), 5).await, Ok(()), "{}: a revoked one makes room", shelf.name);
        assert_eq!(store.create_key(&made(101), 5).await, Err(UserWriteError::TooManyKeys), "{}", shelf.name);
    })
    .await;
}

#[actix_web::test]
async fn a_revoked_token_is_remembered_until_it_is_to_be_forgotten() {
    on_both(async |shelf| {
        let store = &shelf.store;
        let at = |seconds| moment() + TimeDelta::seconds(seconds);
        let token = |seconds| RevokedToken { id: Uuid::new_v4(), expires_at: at(seconds) };
        let (short, long) = (token(10), token(100));
        for revoked in [short, long, short] {
            store.revoke_token(revoked).await.unwrap();
        }
        assert_eq!(store.revoked_tokens().await.unwrap().len(), 2, "{}", shelf.name);
        store.forget_revoked_tokens(at(9)).await.unwrap();
        assert_eq!(store.revoked_tokens().await.unwrap().len(), 2, "{}", shelf.name);
        store.forget_revoked_tokens(at(10)).await.unwrap();
        assert_eq!(store.revoked_tokens().await.unwrap(), [long], "{}", shelf.name);
    })
    .await;
}

#[actix_web::test]
async fn pages_follow_one_another_without_gap_or_repeat_also_while_orders_come_in() {
    on_both(async |shelf| {
        let mut orders: Vec<_> = (0..25).map(|_| order()).collect();
        for order in &orders {
            shelf.accepted(order).await;
        }
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            let page = shelf.listed(ListFilter { before, limit: 10, ..ListFilter::default() }).await;
            let Some(last) = page.last() else { break };
            before = Some(*last);
            seen.extend(page);
            // Newer than the page: it belongs before the first, not into the next.
            shelf.accepted(&order()).await;
        }
        orders.reverse();
        assert_eq!(seen, orders.iter().map(|order| order.id).collect::<Vec<_>>(), "{}", shelf.name);
    })
    .await;
}

/// Stores so many confirmed orders of an owner by the database itself, all of them SOL for USDC, one a millisecond.
async fn fill(shelf: &Shelf, owner: Owner, orders: u32) {
    let template = order_for(owner);
    shelf.accepted(&template).await;
    let stranger = shelf.stranger().await;
    let (numbers, id) = match stranger.get_database_backend() {
        DbBackend::Postgres => (
            format!("generate_series(1, {orders}) AS numbers(n)"),
            "CAST(lpad(to_hex(1760000000000 + n), 12, '0') || '7000800000000000000' || substr(o.id::text, 36) AS uuid)",
        ),
        _ => (
            format!(
                "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {orders}) SELECT n FROM s)"
            ),
            "unhex(printf('%012x', 1760000000000 + n) || '7000800000000000000' || substr(hex(o.id), 32))",
        ),
    };
    let columns = "type, token_in, token_out, client_order_id, request, created_at, user_id";
    let chosen = format!(
        "INSERT INTO orders (id, status, ended_at, {columns}) SELECT {id}, 'confirmed', created_at, {columns} \
         FROM orders o, {numbers} WHERE o.id = {}",
        match stranger.get_database_backend() {
            DbBackend::Postgres => format!("'{}'", template.id),
            _ => format!("unhex('{}')", template.id.0.simple()),
        }
    );
    stranger.execute_unprepared(&chosen).await.unwrap();
    stranger.close().await.unwrap();
}

#[actix_web::test]
async fn a_page_without_hits_ends_after_some_thousand_orders_and_the_pages_reach_the_end() {
    on_both(async |shelf| {
        let (many, few) = (user(), user());
        fill(shelf, many, 10_000).await;
        let rare = order_of(request(), moment());
        let mut own = order_for(few);
        own.request = rare.request.clone();
        shelf.accepted(&own).await;
        for filter in [
            ListFilter { owner: many, status: Some(Status::Failed), limit: 5, ..ListFilter::default() },
            ListFilter { owner: many, token_in: Some(request().token_out.mint), limit: 5, ..ListFilter::default() },
        ] {
            let (mut pages, mut next) = (0, None);
            loop {
                let page = shelf.store.list(&ListFilter { before: next, ..filter.clone() }).await.unwrap();
                assert!(page.orders.is_empty(), "{}", shelf.name);
                pages += 1;
                assert!(
                    pages < 10 && next.is_none_or(|last| page.next.is_none_or(|next| next < last)),
                    "{}",
                    shelf.name
                );
                next = page.next;
                if next.is_none() {
                    break;
                }
            }
            assert!(pages > 1, "{}: one page looked at everything", shelf.name);
        }
        // Others' many orders are not in the way of a few.
        let pending = ListFilter { owner: few, status: Some(Status::Pending), limit: 5, ..ListFilter::default() };
        let page = shelf.store.list(&pending).await.unwrap();
        assert_eq!((page.orders.len(), page.next), (1, None), "{}", shelf.name);
        let never =
            ListFilter { owner: many, from: Some(moment()), to: Some(moment()), limit: 5, ..ListFilter::default() };
        let page = shelf.store.list(&never).await.unwrap();
        assert!(page.orders.is_empty() && page.next.is_none(), "{}", shelf.name);
    })
    .await;
}

#[actix_web::test]
async fn unfinished_orders_come_page_by_page_with_the_bytes_of_their_live_swaps() {
    on_both(async |shelf| {
        let mut unfinished = Vec::new();
        for number in 0..7 {
            let mut order = order();
            shelf.accepted(&order).await;
            let swap = signed(number);
            match number % 4 {
                0 => {}
                1 => commit_each(shelf, to_submitted(&mut order, &swap)).await,
                2 => {
                    commit_each(shelf, to_submitted(&mut order, &swap)).await;
                    commit_each(shelf, vec![next(&mut order, landed(&swap, 5), None)]).await;
                    continue;
                }
                _ => {
                    commit_each(shelf, vec![next(&mut order, OrderEvent::Cancelled(None), None)]).await;
                    continue;
                }
            }
            let live = order.state().live_swap().map(|_| swap);
            unfinished.push((order, live));
        }
        let (mut found, mut next) = (Vec::new(), Some(UnfinishedFrom::default()));
        while let Some(from) = next {
            let page = shelf.store.unfinished(from, 2).await.unwrap();
            found.extend(page.orders);
            next = page.next;
        }
        assert_eq!(found.len(), unfinished.len(), "{}", shelf.name);
        for (stored, (order, live)) in found.iter().zip(&unfinished) {
            assert_same(&stored.order, order);
            assert_eq!(stored.live.as_ref(), live.as_ref());
        }
        assert!(found.iter().any(|stored| stored.live.is_some()));
    })
    .await;
}

#[actix_web::test]
async fn a_key_belongs_to_the_first_order_that_came_with_it_also_within_one_batch() {
    on_both(async |shelf| {
        let keyed = |order: &Order, text: &str| Write::accept(order.clone(), Some(key(text)));
        let (first, second, third, fourth) = (order(), order(), order(), order());
        let batch = [keyed(&first, "a"), keyed(&second, "a"), keyed(&third, "b")];
        let written = shelf.store.commit(&batch).await.unwrap();
        assert_eq!(written, [Written::Stored, Written::Duplicate(first.id), Written::Stored]);
        let written = shelf.store.commit(&[keyed(&fourth, "b")]).await.unwrap();
        assert_eq!(written, [Written::Duplicate(third.id)]);
        // The repeat of a write that did happen is no duplicate.
        assert_eq!(shelf.store.commit(&batch[..1]).await.unwrap(), [Written::Stored]);
        for refused in [&second, &fourth] {
            assert!(shelf.store.order(refused.id).await.unwrap().is_none(), "{}", shelf.name);
        }
        assert_eq!(shelf.store.order_by_key(Owner::Shared, &key("a")).await.unwrap(), Some(first.id));
        assert_eq!(shelf.store.order_by_key(Owner::Shared, &key("A")).await.unwrap(), None);
        assert_eq!(shelf.order(first.id).await.order.history().len(), 1);
    })
    .await;
}

#[actix_web::test]
async fn two_commits_at_once_with_the_same_keys_leave_one_order_a_key() {
    on_both(async |shelf| {
        for round in 0..20 {
            let batch = |keys: [usize; 3]| -> Vec<Write> {
                let accept = |number| Write::accept(order(), Some(key(&format!("{round}-{number}"))));
                keys.into_iter().map(accept).collect()
            };
            let persistence = persistence(shelf);
            // In opposite orders, so that they may also wait for one another.
            let writes = batch([1, 2, 3]).into_iter().chain(batch([3, 2, 1]));
            let answers: Vec<_> = writes.map(|write| record(&persistence, write, None)).collect();
            let answers = futures_util::future::join_all(answers).await;
            let stored = answers.iter().filter(|answer| matches!(answer, Ok(Written::Stored))).count();
            let duplicates = answers.iter().filter(|answer| matches!(answer, Ok(Written::Duplicate(_)))).count();
            assert_eq!((stored, duplicates), (3, 3), "{}: {answers:?}", shelf.name);
        }
    })
    .await;
}

/// A Persistence on that store that commits each write by itself, two at once where the store can.
fn persistence(shelf: &Shelf) -> actix::Addr<Persistence> {
    persistence_with(shelf, 1)
}

fn persistence_with(shelf: &Shelf, batch: usize) -> actix::Addr<Persistence> {
    let (fatal, _) = tokio::sync::watch::channel(None);
    Persistence::new(shelf.store.clone(), batch, Supervisor::new(Clock::System, fatal).start(), Metrics::default())
        .start()
}

#[actix_web::test]
async fn an_event_that_stands_is_recognised_by_its_writer_and_refused_to_any_other() {
    on_both(async |shelf| {
        let order = order();
        shelf.accepted(&order).await;
        let (mut mine, mut theirs) = (order.clone(), order.clone());
        let write = next(&mut mine, OrderEvent::Dispatched, None);
        let other = next(&mut theirs, OrderEvent::Cancelled(None), None);
        shelf.stored(std::slice::from_ref(&write)).await;
        for again in [&write, &other] {
            let refused = shelf.store.commit(std::slice::from_ref(again)).await;
            assert!(matches!(refused, Err(CommitError::Refused(_))), "{}: {refused:?}", shelf.name);
        }
        assert_eq!(shelf.store.writer_of(order.id, 2).await.unwrap(), Some(write.write_id()));
        assert_eq!(shelf.store.writer_of(order.id, 3).await.unwrap(), None);
        // The refused one has left no trace.
        assert_same(&shelf.order(order.id).await.order, &mine);

        let persistence = persistence(shelf);
        let answer = record(&persistence, write, None).await;
        assert_eq!(answer, Ok(Written::Stored), "{}", shelf.name);
        let answer = record(&persistence, other, None).await;
        assert_eq!(answer, Err(RecordError::LostRace { order: order.id, seq: 2 }), "{}", shelf.name);
    })
    .await;
}

#[actix_web::test]
async fn the_database_itself_allows_one_live_swap_an_order() {
    on_both(async |shelf| {
        let mut order = order();
        shelf.accepted(&order).await;
        let (first, second) = (signed(1), signed(2));
        commit_each(shelf, to_submitted(&mut order, &first)).await;
        // No engine would write that: a second signed swap while the first is live.
        let recorded = Arc::new(order.propose(OrderEvent::CancelRequested, moment()).unwrap());
        let mut write =
            Write::step(&order, Arc::new(RecordedEvent { attempt: 2, ..RecordedEvent::clone(&recorded) }), None);
        let Write::Step(step) = &mut write else { unreachable!() };
        step.swap = SwapWrite::Signed(second.clone());
        let refused = shelf.store.commit(std::slice::from_ref(&write)).await;
        assert!(matches!(refused, Err(CommitError::Refused(_))), "{}: {refused:?}", shelf.name);
        assert_eq!(shelf.order(order.id).await.live, Some(first.clone()));
        // In one batch with the end of the first it is what happens when attempts follow each other fast.
        let failed = OrderEvent::AttemptFailed { failure: failure(FailureCode::SwapExpired), retry_at: moment() };
        let mut writes = vec![next(&mut order, failed, None)];
        writes.extend(to_submitted(&mut order, &second));
        shelf.stored(&writes).await;
        assert_eq!(shelf.order(order.id).await.live, Some(second));
    })
    .await;
}

#[actix_web::test]
async fn rows_that_make_no_sense_are_refused_by_the_database() {
    on_both(async |shelf| {
        let mut order = order();
        shelf.accepted(&order).await;
        commit_each(shelf, to_submitted(&mut order, &signed(1))).await;
        let stranger = shelf.stranger().await;
        for nonsense in [
            "UPDATE orders SET status = 'lost'",
            "UPDATE orders SET type = 'guess'",
            "UPDATE order_events SET seq = 0",
            "UPDATE orders SET token_out = token_in",
            "UPDATE orders SET request = NULL",
            "UPDATE order_events SET seq = -1",
            "UPDATE order_events SET write_id = NULL",
            "UPDATE transactions SET status = 'maybe'",
            "UPDATE transactions SET bytes = NULL",
        ] {
            let error = stranger.execute_unprepared(nonsense).await.expect_err(nonsense).to_string().to_lowercase();
            assert!(error.contains("constraint"), "{}: {nonsense}: {error}", shelf.name);
        }
        stranger.close().await.unwrap();
        assert_same(&shelf.order(order.id).await.order, &order);
    })
    .await;
}

#[actix_web::test]
async fn of_a_batch_with_a_poisoned_row_only_that_row_is_refused() {
    on_both(async |shelf| {
        let orders: Vec<_> = (0..20).map(|_| order()).collect();
        for order in &orders {
            shelf.accepted(order).await;
        }
        let stranger = shelf.stranger().await;
        let persistence = persistence_with(shelf, 64);
        // While somebody else writes, everything below gathers into one batch.
        let hold = stranger.begin().await.unwrap();
        let everything = match shelf.name {
            "SQLite" => "UPDATE orders SET request = request",
            _ => "LOCK TABLE order_events IN EXCLUSIVE MODE",
        };
        hold.execute_unprepared(everything).await.unwrap();
        let mut moved = orders.clone();
        let answers: Vec<_> = moved
            .iter_mut()
            .enumerate()
            .map(|(number, order)| {
                let mut write = next(order, OrderEvent::Dispatched, None);
                if number == 13 {
                    let Write::Step(step) = &mut write else { unreachable!() };
                    // An event number that the database's own check refuses.
                    step.recorded = Arc::new(RecordedEvent { seq: 0, ..RecordedEvent::clone(&step.recorded) });
                }
                record(&persistence, write, None)
            })
            .collect();
        let answers = actix_web::rt::spawn(futures_util::future::join_all(answers));
        tokio::task::yield_now().await;
        hold.rollback().await.unwrap();
        for (number, answer) in answers.await.unwrap().into_iter().enumerate() {
            let name = shelf.name;
            match number {
                13 => assert!(matches!(answer, Err(RecordError::Refused(_))), "{name}: {answer:?}"),
                _ => assert_eq!(answer, Ok(Written::Stored), "{name}: {number}"),
            }
        }
        for (number, order) in orders.iter().enumerate() {
            let expected = if number == 13 { order } else { &moved[number] };
            assert_same(&shelf.order(order.id).await.order, expected);
        }
        stranger.close().await.unwrap();
    })
    .await;
}

#[actix_web::test]
async fn the_schema_goes_up_and_down_and_up_again() {
    on_both(async |shelf| {
        let stranger = shelf.stranger().await;
        let steps = u32::try_from(Migrator::migrations().len()).unwrap();
        for _ in 0..steps {
            Migrator::down(&stranger, Some(1)).await.unwrap();
        }
        assert!(shelf.store.list(&ListFilter { limit: 1, ..ListFilter::default() }).await.is_err());
        for _ in 0..steps {
            Migrator::up(&stranger, Some(1)).await.unwrap();
        }
        stranger.close().await.unwrap();
        let order = order();
        shelf.accepted(&order).await;
        assert_same(&shelf.order(order.id).await.order, &order);
    })
    .await;
}

#[actix_web::test]
async fn the_latest_dispatches_are_found_by_their_numbers_whatever_the_clock_said() {
    on_both(async |shelf| {
        let mut dispatched = Vec::new();
        // Each an hour before the last: the clock is set back again and again.
        for number in 0..5 {
            let at = moment() - TimeDelta::hours(number);
            let mut order = order_of(request(), at);
            shelf.accepted(&order).await;
            let boot = Moment { boot: Uuid::from_u128(7), uptime: Uptime(number) };
            let recorded = Arc::new(order.propose(OrderEvent::Dispatched, Now { at, moment: boot }).unwrap());
            shelf.stored(&[Write::dispatch(&order, recorded.clone(), number)]).await;
            order.apply(recorded).unwrap();
            assert_same(&shelf.order(order.id).await.order, &order);
            dispatched.push(DispatchRecord { number: Some(number), stamp: Some(order.last().stamp()) });
        }
        dispatched.reverse();
        assert_eq!(shelf.store.latest_dispatches(3).await.unwrap(), dispatched[..3], "{}", shelf.name);
        assert_eq!(shelf.store.latest_dispatches(9).await.unwrap(), dispatched, "{}", shelf.name);
    })
    .await;
}

#[actix_web::test]
async fn what_postgres_says_is_understood() {
    let postgres = Postgres::start();
    let shelf = Shelf::open("PostgreSQL", &postgres.url()).await;
    let says = |code: &str, when: &str| {
        postgres.sql(&format!(
            "CREATE OR REPLACE FUNCTION say() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'as told' USING ERRCODE = '{code}'; END $$; \
             DROP TRIGGER IF EXISTS says ON order_events; \
             CREATE CONSTRAINT TRIGGER says AFTER INSERT ON order_events {when} FOR EACH ROW EXECUTE FUNCTION say()"
        ));
    };
    let write = Write::accept(order(), None);
    let commit = async || shelf.store.commit(std::slice::from_ref(&write)).await.unwrap_err();
    // A single write is a single statement, so what goes wrong at its commit is told as its own error.
    for when in ["", "DEFERRABLE INITIALLY DEFERRED"] {
        for code in ["57P01", "57P02", "57P03", "08006", "58030", "XX000"] {
            says(code, when);
            let error = commit().await;
            assert!(matches!(error, CommitError::Unavailable { maybe_committed: true, .. }), "{code}: {error:?}");
        }
        for code in ["40001", "40P01", "55P03", "57014", "53100", "25006", "42P01"] {
            says(code, when);
            let error = commit().await;
            assert!(matches!(error, CommitError::Unavailable { maybe_committed: false, .. }), "{code}: {error:?}");
        }
        for code in ["22003", "22P02", "23505", "23503", "23514", "23502"] {
            says(code, when);
            let error = commit().await;
            assert!(matches!(error, CommitError::Refused(_)), "{code}: {error:?}");
        }
    }
    // A batch of several statements has a transaction around it, and its commit is a step of its own.
    postgres.sql("DROP TRIGGER says ON order_events");
    let mut order = order();
    shelf.accepted(&order).await;
    commit_each(&shelf, to_submitted(&mut order, &signed(1))).await;
    let expired = OrderEvent::AttemptFailed { failure: failure(FailureCode::SwapExpired), retry_at: moment() };
    let mut again = vec![next(&mut order, expired, None)];
    again.extend(to_submitted(&mut order, &signed(2)));
    let commit = async || shelf.store.commit(&again).await.unwrap_err();
    for code in ["57P01", "57014", "40001"] {
        says(code, "");
        let error = commit().await;
        assert!(matches!(error, CommitError::Unavailable { maybe_committed: false, .. }), "{code}: {error:?}");
    }
    for (code, certain) in [("40001", true), ("23505", true), ("57P01", false), ("57014", false)] {
        says(code, "DEFERRABLE INITIALLY DEFERRED");
        let error = commit().await;
        let maybe = matches!(error, CommitError::Unavailable { maybe_committed: true, .. });
        assert_eq!(maybe, !certain, "{code}: {error:?}");
    }
    postgres.sql("DROP TRIGGER says ON order_events");
    shelf.stored(std::slice::from_ref(&write)).await;
    shelf.store.close().await;
}

#[actix_web::test]
async fn every_connection_of_postgres_carries_the_limits_of_the_settings() {
    let postgres = Postgres::start();
    let shelf = Shelf::open("PostgreSQL", &postgres.url()).await;
    let stranger = shelf.stranger().await;
    let order = order();
    shelf.accepted(&order).await;
    // Somebody holds the row for longer than the engine waits for a lock: that is no reason to refuse anything.
    let hold = stranger.begin().await.unwrap();
    hold.execute_unprepared("UPDATE orders SET request = request").await.unwrap();
    let started = std::time::Instant::now();
    let write = next(&mut order.clone(), OrderEvent::Cancelled(None), None);
    let error = shelf.store.commit(std::slice::from_ref(&write)).await.unwrap_err();
    assert!(matches!(error, CommitError::Unavailable { maybe_committed: false, .. }), "{error:?}");
    assert!(started.elapsed() >= shelf.settings.lock_timeout, "{:?}", started.elapsed());
    hold.rollback().await.unwrap();
    shelf.stored(&[write]).await;
    assert_eq!(shelf.settings.lock_timeout, Duration::from_secs(2));
    assert_eq!(shelf.settings.statement_timeout, Duration::from_secs(5));
    stranger.close().await.unwrap();
    shelf.store.close().await;
}

#[actix_web::test]
async fn a_write_whose_row_is_locked_holds_up_no_other() {
    let postgres = Postgres::start();
    let shelf = Shelf::open("PostgreSQL", &postgres.url()).await;
    let stranger = shelf.stranger().await;
    let locked = order();
    shelf.accepted(&locked).await;
    let hold = stranger.begin().await.unwrap();
    let lock = format!("SELECT 1 FROM orders WHERE id = '{}' FOR UPDATE", locked.id);
    hold.execute_unprepared(&lock).await.unwrap();
    let persistence = persistence_with(&shelf, 256);
    let cancelled = |order: &Order| next(&mut order.clone(), OrderEvent::Cancelled(None), None);
    let mut waits = std::pin::pin!(record(&persistence, cancelled(&locked), None));
    let held = tokio::time::timeout(Duration::from_millis(100), &mut waits).await;
    assert!(held.is_err(), "the row is locked: {held:?}");
    // Twice, for what is free is used again; within the time that the locked one has until it is given up and tried anew.
    for event in [OrderEvent::Dispatched, OrderEvent::Cancelled(None)] {
        let order = self::order();
        shelf.accepted(&order).await;
        let other = record(&persistence, next(&mut order.clone(), event, None), None);
        let written = tokio::time::timeout(shelf.settings.lock_timeout, other).await;
        assert_eq!(written.expect("the other is not held up"), Ok(Written::Stored));
    }
    hold.rollback().await.unwrap();
    let freed = tokio::time::timeout(Duration::from_secs(30), waits).await;
    assert_eq!(freed.expect("its row is free"), Ok(Written::Stored));
    stranger.close().await.unwrap();
    shelf.store.close().await;
}
