//! The types and statuses of orders are checked by the engine alone, so that a new type of order needs no migration.

use crate::prelude::*;

pub(crate) struct Migration;

/// The definitions of `type` and `status` on SQLite: with their checks, and without.
const ON_SQLITE: [(&str, &str); 2] = [
    (r#""type" text NOT NULL CHECK ("type" IN ('market')),"#, r#""type" text NOT NULL,"#),
    (r#""status" text CHECK ("status" IN ('confirmed', 'failed', 'cancelled')),"#, r#""status" text,"#),
];

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        match manager.backend() {
            DbBackend::Postgres => {
                let drop = "ALTER TABLE orders DROP CONSTRAINT orders_type_check, DROP CONSTRAINT orders_status_check";
                manager.execute(drop).await.map(|_| ())
            }
            _ => redefine(manager, ON_SQLITE).await,
        }
    }

    async fn down(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        match manager.backend() {
            DbBackend::Postgres => {
                let add = "ALTER TABLE orders ADD CONSTRAINT orders_type_check CHECK (type IN ('market')), \
                           ADD CONSTRAINT orders_status_check CHECK (status IN ('confirmed', 'failed', 'cancelled'))";
                manager.execute(add).await.map(|_| ())
            }
            _ => {
                // SQLite checks rows when they are written, not when a check is added.
                let refused = "SELECT count(*) FROM orders WHERE type NOT IN ('market') \
                               OR status NOT IN ('confirmed', 'failed', 'cancelled')";
                match manager.number(refused).await? {
                    0 => redefine(manager, ON_SQLITE.map(|(with, without)| (without, with))).await,
                    count => Err(DbErr::Migration(format!("{count} orders violate the checks on type and status"))),
                }
            }
        }
    }
}

/// Replaces definitions of columns of `orders` in the schema of SQLite, each pair as (before, after).
///
/// SQLite cannot drop a check. A copy of the table would take minutes on millions of rows, and would lose the triggers
/// and references that an operator has added. A check changes no stored row, and for this case SQLite documents the
/// edit of the schema text (<https://www.sqlite.org/lang_altertable.html#otheralter>). It takes the same time for any
/// number of rows, and rolls back with the transaction.
async fn redefine(manager: &SchemaManager<'_>, definitions: [(&str, &str); 2]) -> Result<(), DbErr> {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let mut text = "sql".to_owned();
    let mut matches = "type = 'table' AND name = 'orders'".to_owned();
    for (before, after) in definitions.map(|(before, after)| (quoted(before), quoted(after))) {
        text = format!("replace({text}, {before}, {after})");
        matches.push_str(&format!(" AND instr(sql, {before}) > 0"));
    }
    let version = manager.number("PRAGMA schema_version").await?;
    manager.execute("PRAGMA writable_schema = ON").await?;
    let edited = manager.execute(&format!("UPDATE sqlite_master SET sql = {text} WHERE {matches}")).await;
    // Makes other connections read the schema again. RESET does the same here, and forbids further edits, also after an
    // error.
    let announced = manager.execute(&format!("PRAGMA schema_version = {}", version + 1)).await;
    manager.execute("PRAGMA writable_schema = RESET").await?;
    announced?;
    match edited? {
        1 => Ok(()),
        _ => Err(DbErr::Migration("the table orders is not defined as the earlier migrations define it".to_owned())),
    }
}
