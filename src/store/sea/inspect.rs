//! Reads every row of a database as the engine would read it.

use entity::{api_keys, idempotency_keys, order_events, orders, revoked_tokens, transactions, users};
use sea_orm::sea_query::{Alias, Expr, ExprTrait};
use sea_orm::{EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QueryResult, QuerySelect, QueryTrait};

use crate::store::error::ReadError;
use crate::store::sea::rows::Loaded;
use crate::store::sea::store::SeaStore;

/// The number of rows that are read at once.
const PAGE: u64 = 1_000;

/// The name of SQLite's number of a row in a result.
const ROW_NUMBER: &str = "row_number";

/// What a SQLite database contains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Orders.
    pub orders: u64,
    /// Orders that have not ended.
    pub open: u64,
    /// Open orders with a swap that may land.
    pub live: u64,
    /// Events of orders.
    pub events: u64,
    /// Accounts.
    pub users: u64,
    /// What cannot be read: the order or the table, and why.
    pub unreadable: Vec<String>,
}

impl SeaStore {
    /// Reads every row of a SQLite database.
    pub async fn inspect(&self) -> Result<Inspection, ReadError> {
        let mut found = Inspection::default();
        let mut after = 0;
        loop {
            let rows = self.page_after::<orders::Entity>(after).await?;
            let Some(last) = rows.last() else { break };
            after = row_number(last)?;
            let Loaded { orders, unreadable, nameless } = self.load(&rows).await?;
            found.orders += rows.len() as u64;
            found.open += orders.iter().filter(|stored| !stored.order.state().is_final()).count() as u64;
            found.live += orders.iter().filter(|stored| stored.live.is_some()).count() as u64;
            found.unreadable.extend(unreadable.iter().map(ToString::to_string));
            found.unreadable.extend((0..nameless).map(|_| "an order whose id cannot be read".to_owned()));
        }
        found.events = self.decode::<order_events::Entity>("order_events", &mut found.unreadable).await?;
        self.decode::<transactions::Entity>("transactions", &mut found.unreadable).await?;
        self.decode::<idempotency_keys::Entity>("idempotency_keys", &mut found.unreadable).await?;
        found.users = self.decode::<users::Entity>("users", &mut found.unreadable).await?;
        self.decode::<api_keys::Entity>("api_keys", &mut found.unreadable).await?;
        self.decode::<revoked_tokens::Entity>("revoked_tokens", &mut found.unreadable).await?;
        Ok(found)
    }

    /// Decodes every row of a table. Returns their number.
    async fn decode<E: EntityTrait>(&self, table: &str, unreadable: &mut Vec<String>) -> Result<u64, ReadError> {
        let (mut count, mut after) = (0, 0);
        loop {
            let rows = self.page_after::<E>(after).await?;
            let Some(last) = rows.last() else { return Ok(count) };
            after = row_number(last)?;
            count += rows.len() as u64;
            for row in &rows {
                if let Err(error) = E::Model::from_query_result(row, "") {
                    unreadable.push(format!("row {} of {table}: {error}", row_number(row)?));
                }
            }
        }
    }

    /// The rows after a row number, in the order of their numbers.
    async fn page_after<E: EntityTrait>(&self, after: i64) -> Result<Vec<QueryResult>, ReadError> {
        let number = || Expr::col(Alias::new("rowid"));
        let query =
            E::find().expr_as(number(), ROW_NUMBER).filter(number().gt(after)).order_by_asc(number()).limit(PAGE);
        self.rows(&query.into_query()).await
    }
}

fn row_number(row: &QueryResult) -> Result<i64, ReadError> {
    row.try_get("", ROW_NUMBER).map_err(|error| ReadError::UnreadableRow(error.to_string()))
}
