//! Reads single orders, unfinished orders and dispatches. [`super::list`] reads pages of lists.

use entity::{idempotency_keys, order_events, orders};
use sea_orm::{
    ColumnTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QueryResult, QuerySelect, QueryTrait,
};
use uuid::Uuid;

use crate::domain::id::{ClientKey, OrderId};
use crate::domain::moment::Stamp;
use crate::domain::user::Owner;
use crate::store::encoding::moment_of;
use crate::store::error::ReadError;
use crate::store::port::{DispatchRecord, StoredOrder, Unfinished, UnfinishedFrom};
use crate::store::sea::rows::{Loaded, id_of};
use crate::store::sea::store::SeaStore;
use crate::store::sea::write::{as_i32, scope};

impl SeaStore {
    /// The number of orders that have ended.
    pub async fn count_ended(&self) -> Result<u64, ReadError> {
        orders::Entity::find()
            .filter(orders::Column::Status.is_not_null())
            .count(&self.reader)
            .await
            .map_err(|error| self.read_failed(error))
    }

    pub(super) async fn find_writer(&self, order: OrderId, seq: u32) -> Result<Option<Uuid>, ReadError> {
        let query = order_events::Entity::find_by_id((order.0, as_i32(seq)))
            .select_only()
            .column(order_events::Column::WriteId)
            .into_query();
        // An id that cannot be read is not the id of a write that waits for its answer.
        Ok(self.rows(&query).await?.first().map(|row| row.try_get("", "write_id").unwrap_or(Uuid::nil())))
    }

    pub(super) async fn find_order(&self, id: OrderId) -> Result<Option<StoredOrder>, ReadError> {
        let rows = self.rows(&orders::Entity::find_by_id(id.0).into_query()).await?;
        let Loaded { mut orders, mut unreadable, .. } = self.load(&rows).await?;
        match unreadable.pop() {
            Some(unreadable) => Err(Box::new(unreadable).into()),
            None => Ok(orders.pop()),
        }
    }

    pub(super) async fn find_by_key(&self, owner: Owner, key: &ClientKey) -> Result<Option<OrderId>, ReadError> {
        let id = (scope(owner), key.as_str().to_owned());
        let query = idempotency_keys::Entity::find_by_id(id)
            .select_only()
            .column(idempotency_keys::Column::OrderId)
            .into_query();
        let damaged = |error: DbErr| ReadError::UnreadableRow(format!("the order of key {:?}: {error}", key.as_str()));
        let rows = self.rows(&query).await?;
        rows.first().map(|row| row.try_get("", "order_id").map(OrderId).map_err(damaged)).transpose()
    }

    pub(super) async fn find_unfinished(&self, from: UnfinishedFrom, limit: u64) -> Result<Unfinished, ReadError> {
        let mut query = orders::Entity::find().filter(orders::Column::Status.is_null());
        if let Some(after) = from.after {
            query = query.filter(orders::Column::Id.gt(after.0));
        }
        let query = query.order_by_asc(orders::Column::Id).offset(from.skip).limit(limit).into_query();
        let rows = self.rows(&query).await?;
        let Loaded { mut orders, unreadable, nameless } = self.load(&rows).await?;
        // The events are authoritative: an order whose events have an end has ended, even if its row has none.
        orders.retain(|stored| !stored.order.state().is_final());
        let is_last = rows.len() < usize::try_from(limit).unwrap_or(usize::MAX);
        let next = (!is_last).then(|| position_after(&rows, from));
        Ok(Unfinished { orders, unreadable, nameless, next })
    }

    pub(super) async fn find_latest_dispatches(&self, limit: u64) -> Result<Vec<DispatchRecord>, ReadError> {
        let query = order_events::Entity::find()
            .select_only()
            .columns([order_events::Column::Dispatch, order_events::Column::At, order_events::Column::Data])
            .filter(order_events::Column::Dispatch.is_not_null())
            .order_by_desc(order_events::Column::Dispatch)
            .limit(limit)
            .into_query();
        let stamp = |row: &QueryResult| {
            let (at, data): (_, String) = (row.try_get("", "at").ok()?, row.try_get("", "data").ok()?);
            Some(Stamp { at, moment: moment_of(&data).ok()? })
        };
        let record = |row: &QueryResult| DispatchRecord { number: row.try_get("", "dispatch").ok(), stamp: stamp(row) };
        Ok(self.rows(&query).await?.iter().map(record).collect())
    }
}

/// The position after these rows: the last id that can be read, and the number of rows after it.
fn position_after(rows: &[QueryResult], from: UnfinishedFrom) -> UnfinishedFrom {
    let readable = rows.iter().enumerate().rev().find_map(|(index, row)| Some((index, id_of(row).ok()?)));
    match readable {
        Some((index, id)) => UnfinishedFrom { after: Some(id), skip: (rows.len() - 1 - index) as u64 },
        None => UnfinishedFrom { skip: from.skip + rows.len() as u64, ..from },
    }
}
