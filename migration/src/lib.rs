//! The schema, as a list of migrations with one change per file.
//!
//! The list is append-only: a released migration keeps its file name, under which databases record it, and its SQL.

pub use sea_orm_migration::prelude::MigratorTrait;
use sea_orm_migration::prelude::{MigrationTrait, async_trait};

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

/// All migrations, oldest first.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261121_000001_create_orders::Migration),
            Box::new(m20261121_000002_create_order_events::Migration),
            Box::new(m20261121_000003_create_transactions::Migration),
            Box::new(m20261121_000004_create_idempotency_keys::Migration),
            Box::new(m20261121_000005_orders_belong_to_users::Migration),
            Box::new(m20261121_000006_create_users::Migration),
            Box::new(m20261121_000007_create_api_keys::Migration),
            Box::new(m20261121_000008_create_revoked_tokens::Migration),
            Box::new(m20261125_000009_index_lists_by_owner::Migration),
            Box::new(m20261125_000010_number_dispatches::Migration),
            Box::new(m20261125_000011_list_by_time::Migration),
        ]
    }
}
