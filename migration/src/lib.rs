//! The schema, as a list of migrations with one change per file.
//!
//! The list is append-only: a released migration keeps its file name, under which databases record it, and its SQL.

mod columns;
mod frame;
mod m20261121_000001_create_orders;
mod m20261121_000002_create_order_events;
mod m20261121_000003_create_transactions;
mod m20261121_000004_create_idempotency_keys;
mod m20261121_000005_orders_belong_to_users;
mod m20261121_000006_create_users;
mod m20261121_000007_create_api_keys;
mod m20261121_000008_create_revoked_tokens;
mod m20261125_000009_index_lists_by_owner;
mod m20261125_000010_number_dispatches;
mod m20261125_000011_list_by_time;
mod m20261201_000012_drop_checks_of_orders;
mod m20261201_000013_manage_accounts;
mod m20261201_000014_create_engine_state;
mod runner;

use sea_orm::{DatabaseConnection, DbErr};

use self::runner::NamedMigration;

/// What every migration uses.
mod prelude {
    pub(crate) use async_trait::async_trait;
    pub(crate) use sea_orm::sea_query::*;
    pub(crate) use sea_orm::{DbBackend, DbErr, DeriveIden};

    pub(crate) use crate::runner::{MigrationTrait, SchemaManager};
}

/// Lists migrations under the names of their modules.
macro_rules! named {
    ($($module:ident),* $(,)?) => {
        vec![$(NamedMigration { name: stringify!($module), migration: Box::new($module::Migration) }),*]
    };
}

/// All migrations, oldest first.
fn migrations() -> Vec<NamedMigration> {
    named![
        m20261121_000001_create_orders,
        m20261121_000002_create_order_events,
        m20261121_000003_create_transactions,
        m20261121_000004_create_idempotency_keys,
        m20261121_000005_orders_belong_to_users,
        m20261121_000006_create_users,
        m20261121_000007_create_api_keys,
        m20261121_000008_create_revoked_tokens,
        m20261125_000009_index_lists_by_owner,
        m20261125_000010_number_dispatches,
        m20261125_000011_list_by_time,
        m20261201_000012_drop_checks_of_orders,
        m20261201_000013_manage_accounts,
        m20261201_000014_create_engine_state,
    ]
}

/// Changes the schema of a database.
#[derive(Debug)]
pub struct Migrator;

impl Migrator {
    /// The names of all migrations, oldest first.
    pub fn names() -> Vec<&'static str> {
        migrations().iter().map(|migration| migration.name).collect()
    }

    /// The number of migrations that are not applied yet. Changes nothing.
    ///
    /// # Errors
    /// If the database was never migrated, if it does not answer, or if a newer version has migrated it.
    pub async fn pending(connection: &DatabaseConnection) -> Result<usize, DbErr> {
        runner::pending(connection, &migrations()).await
    }

    /// Brings the schema up to date, or applies only the next `most` migrations.
    ///
    /// # Errors
    /// If a statement fails, or if a newer version has migrated the database. Migrations before the failed one stay
    /// applied.
    pub async fn up(connection: &DatabaseConnection, most: Option<usize>) -> Result<(), DbErr> {
        runner::up(connection, &migrations(), most).await
    }

    /// Takes back the latest `most` migrations, or all of them. Deletes the data in their tables and columns.
    ///
    /// # Errors
    /// As for [`Migrator::up`].
    pub async fn down(connection: &DatabaseConnection, most: Option<usize>) -> Result<(), DbErr> {
        runner::down(connection, &migrations(), most).await
    }
}
