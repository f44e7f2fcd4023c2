//! The tables of the engine, read without the engine.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, QueryResult, Statement};
use serde_json::Value;
use uuid::Uuid;

/// The rows of all orders.
pub struct Stored {
    pub orders: BTreeMap<String, StoredOrder>,
    /// The order of each idempotency key.
    pub keys: BTreeMap<String, String>,
}

#[derive(Default)]
pub struct StoredOrder {
    pub status: String,
    pub events: Vec<StoredEvent>,
    pub swaps: Vec<StoredSwap>,
}

pub struct StoredEvent {
    pub seq: i32,
    pub status: String,
    pub data: Value,
    pub at: DateTime<Utc>,
}

impl StoredEvent {
    pub fn kind(&self) -> &str {
        self.data["type"].as_str().unwrap_or_default()
    }

    pub fn field(&self, pointer: &str) -> &Value {
        self.data.pointer(pointer).unwrap_or(&Value::Null)
    }
}

pub struct StoredSwap {
    pub signature: String,
    pub status: String,
}

impl Stored {
    pub async fn read(url: &str) -> Self {
        let database = Database::connect(url).await.unwrap();
        let mut orders = BTreeMap::new();
        for row in rows(&database, "SELECT id, status FROM orders").await {
            let status = row.try_get::<Option<String>>("", "status").unwrap().unwrap_or_default();
            orders.insert(id(&row, "id"), StoredOrder { status, ..StoredOrder::default() });
        }
        for row in
            rows(&database, "SELECT order_id, seq, status, data, at FROM order_events ORDER BY order_id, seq").await
        {
            let event = StoredEvent {
                seq: row.try_get("", "seq").unwrap(),
                status: row.try_get("", "status").unwrap(),
                data: serde_json::from_str(&row.try_get::<String>("", "data").unwrap()).unwrap(),
                at: row.try_get("", "at").unwrap(),
            };
            orders.get_mut(&id(&row, "order_id")).expect("an event belongs to an order").events.push(event);
        }
        for row in
            rows(&database, "SELECT order_id, signature, status FROM transactions ORDER BY order_id, attempt").await
        {
            let swap = StoredSwap {
                signature: row.try_get("", "signature").unwrap(),
                status: row.try_get("", "status").unwrap(),
            };
            orders.get_mut(&id(&row, "order_id")).expect("a swap belongs to an order").swaps.push(swap);
        }
        let keys = rows(&database, "SELECT key, order_id FROM idempotency_keys").await;
        let keys = keys.iter().map(|row| (row.try_get("", "key").unwrap(), id(row, "order_id"))).collect();
        database.close().await.unwrap();
        Self { orders, keys }
    }
}

async fn rows(database: &DatabaseConnection, select: &str) -> Vec<QueryResult> {
    database.query_all_raw(Statement::from_string(database.get_database_backend(), select)).await.unwrap()
}

fn id(row: &QueryResult, column: &str) -> String {
    row.try_get::<Uuid>("", column).unwrap().to_string()
}
