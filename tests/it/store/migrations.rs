//! Migrations of databases that have rows: what they keep, and what a crash in the middle leaves behind.

use std::process::Stdio;
use std::time::Instant;

use migration::Migrator;
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement, TransactionTrait};

use crate::support::postgres::Postgres;
use crate::support::process::Server;
use crate::support::wait::until;

/// The migration that drops the checks on the types and statuses of orders.
const DROP_CHECKS: &str = "m20261201_000012_drop_checks_of_orders";

/// The migration with which accounts can be managed.
const MANAGE_ACCOUNTS: &str = "m20261201_000013_manage_accounts";

/// Ended orders in the database before the migration.
const ROWS: usize = 2_000;

const ID_ON_SQLITE: &str = "randomblob(16)";
const ID_ON_POSTGRES: &str = "gen_random_uuid()";

/// Orders with a valid row each.
fn insert_orders(numbers: &str, id: &str) -> String {
    format!(
        "INSERT INTO orders (id, type, status, token_in, token_out, request, created_at, ended_at) \
         SELECT {id}, 'market', 'failed', 'in', 'out', '{{}}', '2026-11-30 10:00:00+00:00', \
         '2026-11-30 10:00:00+00:00' FROM {numbers}"
    )
}

/// A connection to a database that lacks the migration and has orders.
async fn before_the_migration(url: &str) -> DatabaseConnection {
    let connection = Database::connect(url).await.unwrap();
    let earlier = Migrator::names().iter().position(|name| *name == DROP_CHECKS).unwrap();
    Migrator::up(&connection, Some(earlier)).await.unwrap();
    let orders = match connection.get_database_backend() {
        DbBackend::Postgres => insert_orders(&format!("generate_series(1, {ROWS})"), ID_ON_POSTGRES),
        _ => {
            let numbers = format!(
                "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) SELECT i FROM n)"
            );
            insert_orders(&numbers, ID_ON_SQLITE)
        }
    };
    connection.execute_unprepared(&orders).await.unwrap();
    assert!(has_checks(&connection).await);
    connection
}

/// Whether the database refuses an unknown type and an unknown status.
async fn has_checks(connection: &DatabaseConnection) -> bool {
    let mut refused = Vec::new();
    for change in ["type = 'guess'", "status = 'lost'"] {
        let transaction = connection.begin().await.unwrap();
        refused.push(transaction.execute_unprepared(&format!("UPDATE orders SET {change}")).await.is_err());
        transaction.rollback().await.unwrap();
    }
    assert_eq!(refused[0], refused[1], "one check without the other");
    refused[0]
}

async fn texts(connection: &DatabaseConnection, query: &str) -> Vec<String> {
    let query = Statement::from_string(connection.get_database_backend(), query);
    let rows = connection.query_all_raw(query).await.unwrap();
    rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
}

/// Everything of the schema but the table of the orders, and all orders.
const KEPT_ON_SQLITE: [&str; 2] = [
    "SELECT type || name || coalesce(sql, '') FROM sqlite_master WHERE name <> 'orders' ORDER BY 1",
    "SELECT hex(id) || type || status || request || created_at FROM orders ORDER BY 1",
];
const KEPT_ON_POSTGRES: [&str; 2] = [
    "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1",
    "SELECT id::text || type || status || request || created_at::text FROM orders ORDER BY 1",
];

async fn check_migration(url: &str, kept: [&str; 2]) {
    let connection = before_the_migration(url).await;
    let is_sqlite = connection.get_database_backend() == DbBackend::Sqlite;
    if is_sqlite {
        // An operator may have added a table that refers to the orders, and a trigger.
        let added = "PRAGMA foreign_keys = ON; \
                     CREATE TABLE notes (order_id REFERENCES orders (id), note text); \
                     INSERT INTO notes SELECT id, 'seen' FROM orders; \
                     CREATE TRIGGER noted AFTER UPDATE ON orders WHEN NEW.request = 'noted' \
                     BEGIN UPDATE notes SET note = 'changed' WHERE order_id = NEW.id; END";
        connection.execute_unprepared(added).await.unwrap();
    }
    let before = (texts(&connection, kept[0]).await, texts(&connection, kept[1]).await);
    // Another connection has the old schema in its memory.
    let other = Database::connect(url).await.unwrap();
    assert!(has_checks(&other).await);
    let started = Instant::now();
    Migrator::up(&connection, Some(1)).await.unwrap();
    println!("{ROWS} orders are migrated in {:?}", started.elapsed());
    assert!(!has_checks(&connection).await);
    assert!(!has_checks(&other).await);
    assert_eq!((texts(&connection, kept[0]).await, texts(&connection, kept[1]).await), before);
    for refused in ["token_out = token_in", "request = NULL", "type = NULL"] {
        let refused = format!("UPDATE orders SET {refused}");
        connection.execute_unprepared(&refused).await.expect_err("the other constraints are kept");
    }
    if is_sqlite {
        assert_eq!(texts(&connection, "PRAGMA integrity_check").await, ["ok"]);
        assert!(texts(&connection, "SELECT \"table\" FROM pragma_foreign_key_check").await.is_empty());
        connection.execute_unprepared("UPDATE orders SET request = 'noted'").await.unwrap();
        assert_eq!(texts(&connection, "SELECT DISTINCT note FROM notes").await, ["changed"]);
        let edit = "UPDATE sqlite_master SET sql = '' WHERE name = 'orders'";
        connection.execute_unprepared(edit).await.expect_err("the schema can be edited no more");
    }
    // An order that the checks would refuse stops the way back, and nothing changes.
    connection.execute_unprepared("UPDATE orders SET type = 'limit'").await.unwrap();
    Migrator::down(&connection, Some(1)).await.unwrap_err();
    connection.execute_unprepared("UPDATE orders SET type = 'market'").await.unwrap();
    Migrator::down(&connection, Some(1)).await.unwrap();
    assert!(has_checks(&connection).await);
    connection.close().await.unwrap();
    other.close().await.unwrap();
}

#[actix_web::test]
async fn the_checks_are_dropped_and_everything_else_is_kept_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("orders.db").display());
    check_migration(&url, KEPT_ON_SQLITE).await;
}

#[actix_web::test]
async fn the_checks_are_dropped_and_everything_else_is_kept_on_postgresql() {
    check_migration(&Postgres::start().url(), KEPT_ON_POSTGRES).await;
}

#[actix_web::test]
async fn a_migration_that_is_killed_half_way_starts_over_on_sqlite() {
    let mut server = Server::stopped([]);
    let database = before_the_migration(&format!("{}?mode=rwc", server.database_url())).await;
    // The record of the migration never ends, so the schema is edited and not committed.
    let hold = "CREATE TRIGGER hold BEFORE INSERT ON seaql_migrations BEGIN \
                SELECT count(*) FROM orders a, orders b, orders c, orders d, orders e; END";
    database.execute_unprepared(hold).await.unwrap();
    let mut migrate = server.command(&["migrate"]).stdout(Stdio::null()).spawn().unwrap();
    until("the migration holds the write lock", async || {
        let writes = database.execute_unprepared("PRAGMA busy_timeout = 0; BEGIN IMMEDIATE; ROLLBACK").await;
        writes.is_err()
    })
    .await;
    migrate.kill().unwrap();
    assert!(!migrate.wait().unwrap().success());
    assert!(has_checks(&database).await, "the interrupted migration left something behind");
    database.execute_unprepared("DROP TRIGGER hold").await.unwrap();
    database.close().await.unwrap();
    server.restart();
    let database = Database::connect(server.database_url()).await.unwrap();
    assert!(!has_checks(&database).await);
    assert_eq!(texts(&database, "PRAGMA integrity_check").await, ["ok"]);
    assert_eq!(texts(&database, "SELECT hex(id) FROM orders").await.len(), ROWS);
}

#[actix_web::test]
async fn a_migration_that_is_killed_half_way_starts_over_on_postgresql() {
    let mut postgres = Postgres::start();
    let mut server = Server::stopped([("database.url", postgres.url().as_str())]);
    let database = before_the_migration(&postgres.url()).await;
    // The record of the migration waits for this lock, so the checks are dropped and that is not committed.
    let lock = database.begin().await.unwrap();
    lock.execute_unprepared("LOCK TABLE seaql_migrations IN SHARE MODE").await.unwrap();
    let mut migrate = server.command(&["migrate"]).stdout(Stdio::null()).spawn().unwrap();
    until("the migration waits for the lock", async || {
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'seaql_migrations'::regclass";
        postgres.sql(waiting) == "1"
    })
    .await;
    postgres.kill();
    assert!(!migrate.wait().unwrap().success());
    drop(lock);
    drop(database);
    postgres.restart();
    let database = Database::connect(postgres.url()).await.unwrap();
    assert!(has_checks(&database).await, "the interrupted migration left something behind");
    server.restart();
    assert!(!has_checks(&database).await);
    assert_eq!(postgres.sql("SELECT count(*) FROM orders"), ROWS.to_string());
}

async fn check_accounts(url: &str, id: &str) {
    let connection = Database::connect(url).await.unwrap();
    let before = Migrator::names().iter().position(|name| *name == MANAGE_ACCOUNTS).unwrap();
    Migrator::up(&connection, Some(before)).await.unwrap();
    let insert = format!(
        "INSERT INTO users (id, username, folded, password_hash, created_at) \
         VALUES ({id}, 'Alice', 'alice', 'hash', '2026-11-30 10:00:00+00:00')"
    );
    connection.execute_unprepared(&insert).await.unwrap();
    Migrator::up(&connection, Some(1)).await.unwrap();
    let columns = "SELECT username || '|' || scopes || '|' || token_version || '|' || revision FROM users \
                   WHERE disabled_at IS NULL AND deleted_at IS NULL";
    assert_eq!(texts(&connection, columns).await, ["Alice|read trade|0|0"]);
    // The version before would admit the user again.
    let disable = "UPDATE users SET disabled_at = '2026-12-01 10:00:00+00:00'";
    connection.execute_unprepared(disable).await.unwrap();
    let refused = Migrator::down(&connection, Some(1)).await.unwrap_err();
    assert!(refused.to_string().contains("1 users are disabled"), "{refused}");
    connection.execute_unprepared("UPDATE users SET disabled_at = NULL").await.unwrap();
    Migrator::down(&connection, Some(1)).await.unwrap();
    assert_eq!(texts(&connection, "SELECT username || folded || password_hash FROM users").await, ["Alicealicehash"]);
    connection.execute_unprepared("SELECT scopes FROM users").await.unwrap_err();
    connection.close().await.unwrap();
}

#[actix_web::test]
async fn accounts_of_an_earlier_version_keep_what_they_could_do() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("orders.db").display());
    check_accounts(&url, ID_ON_SQLITE).await;
    check_accounts(&Postgres::start().url(), ID_ON_POSTGRES).await;
}
