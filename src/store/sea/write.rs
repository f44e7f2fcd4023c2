//! The rows that a batch writes.

use std::collections::{HashMap, HashSet};

use entity::{idempotency_keys, order_events, orders, transactions};
use sea_orm::sea_query::{Condition, Value};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryResult, QuerySelect, QueryTrait,
};
use uuid::Uuid;

use crate::domain::id::{ClientKey, OrderId};
use crate::domain::order::{Order, RecordedEvent};
use crate::domain::swap::SignedSwap;
use crate::domain::user::Owner;
use crate::store::encoding::{event_to_text, request_to_text};
use crate::store::sea::bulk::{Statements, UpdateColumn};
use crate::store::write::{Accept, Step, SwapEnd, SwapWrite, Write, Written};

/// The status of a swap that may still land.
const LIVE: &str = "live";

/// Stands for NULL in a column of numbers that are never negative.
const NO_NUMBER: i64 = -1;

/// The statements that write a batch, and the result of each write once they have run.
pub(super) async fn plan(
    connection: &impl ConnectionTrait,
    batch: &[Write],
) -> Result<(Statements, Vec<Written>), DbErr> {
    let accepts = batch.iter().filter_map(|write| match write {
        Write::Accept(accept) => Some(accept),
        Write::Step(_) => None,
    });
    let steps: Vec<_> = batch
        .iter()
        .filter_map(|write| match write {
            Write::Step(step) => Some(step),
            Write::Accept(_) => None,
        })
        .collect();
    let mut owners = key_owners(connection, accepts).await?;

    let mut written = Vec::with_capacity(batch.len());
    let (mut new_orders, mut new_keys, mut new_events) = (vec![], vec![], vec![]);
    // Rows of one statement set the same columns, and an order of a user sets one more.
    let mut new_orders_of_users = vec![];
    for write in batch {
        match write {
            Write::Accept(Accept { order, key, write_id }) => {
                if let Some(key) = key {
                    let scoped = (scope(order.owner), key.as_str().to_owned());
                    if let Some(owner) = owners.get(&scoped) {
                        written.push(match owner {
                            // The key belongs to this order: an earlier attempt of this write was stored.
                            Some(owner) if *owner == order.id => Written::Stored,
                            Some(owner) => Written::Duplicate(*owner),
                            None => Written::DuplicateOfUnreadable,
                        });
                        continue;
                    }
                    owners.insert(scoped, Some(order.id));
                    new_keys.push(key_row(key, order));
                }
                match order.owner {
                    Owner::Shared => new_orders.push(order_row(order)),
                    Owner::User(_) => new_orders_of_users.push(order_row(order)),
                }
                new_events.push(event_row(order.id, order.last(), None, *write_id));
            }
            Write::Step(step) => {
                new_events.push(event_row(step.order_id, &step.recorded, step.dispatch, step.write_id))
            }
        }
        written.push(Written::Stored);
    }
    let mut statements = Statements::new(connection.get_database_backend());
    statements.insert(new_orders);
    statements.insert(new_orders_of_users);
    statements.insert(new_keys);
    statements.insert(new_events);
    end_orders(&mut statements, steps.iter().filter_map(|step| ended_order(step)).collect());
    settle_swaps(&mut statements, steps.iter().filter_map(|step| settled_swap(step)).collect());
    // The next swap of an order can be stored once its last one is not live any more. The engine puts one step of an
    // order into a batch, so only a caller with a whole history has both in one.
    let settled: HashSet<_> =
        steps.iter().filter(|step| matches!(step.swap, SwapWrite::Settled { .. })).map(|step| step.order_id).collect();
    if steps.iter().any(|step| matches!(step.swap, SwapWrite::Signed(_)) && settled.contains(&step.order_id)) {
        statements.start_round();
    }
    statements.insert(steps.iter().filter_map(|step| swap_row(step)).collect());
    Ok((statements, written))
}

/// The keys of these orders that already belong to an order, with that order; `None` if its id cannot be read.
async fn key_owners<'a>(
    connection: &impl ConnectionTrait,
    accepts: impl Iterator<Item = &'a Accept>,
) -> Result<HashMap<(String, String), Option<OrderId>>, DbErr> {
    use idempotency_keys::Column;
    let mut keys: HashMap<Owner, HashSet<&str>> = HashMap::new();
    for accept in accepts {
        if let Some(key) = &accept.key {
            keys.entry(accept.order.owner).or_default().insert(key.as_str());
        }
    }
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let of_owner = |(owner, keys)| Condition::all().add(Column::Scope.eq(scope(owner))).add(Column::Key.is_in(keys));
    let wanted = keys.into_iter().map(of_owner).fold(Condition::any(), Condition::add);
    let query = idempotency_keys::Entity::find()
        .select_only()
        .columns([Column::Scope, Column::Key, Column::OrderId])
        .filter(wanted)
        .into_query();
    let rows = connection.query_all_raw(connection.get_database_backend().build(&query)).await?;
    // The key matched the query, so it is readable. The id of the order may be damaged; the key is taken even then.
    let owner = |row: &QueryResult| {
        Ok(((row.try_get("", "scope")?, row.try_get("", "key")?), row.try_get("", "order_id").ok().map(OrderId)))
    };
    rows.iter().map(owner).collect()
}

/// The scope of an owner's keys: two owners may use the same key for different orders.
pub(super) fn scope(owner: Owner) -> String {
    owner.user().map(|user| user.to_string()).unwrap_or_default()
}

fn order_row(order: &Order) -> orders::ActiveModel {
    let request = &order.request;
    orders::ActiveModel {
        id: Set(order.id.0),
        r#type: Set(request.kind.name().to_owned()),
        status: NotSet,
        token_in: Set(request.token_in.mint.to_string()),
        token_out: Set(request.token_out.mint.to_string()),
        client_order_id: Set(request.client_order_id.as_ref().map(|key| key.as_str().to_owned())),
        request: Set(request_to_text(request)),
        created_at: Set(order.created_at()),
        ended_at: NotSet,
        user_id: order.owner.user().map_or(NotSet, |user| Set(Some(user.0))),
    }
}

fn key_row(key: &ClientKey, order: &Order) -> idempotency_keys::ActiveModel {
    idempotency_keys::ActiveModel {
        scope: Set(scope(order.owner)),
        key: Set(key.as_str().to_owned()),
        order_id: Set(order.id.0),
        created_at: Set(order.created_at()),
    }
}

fn event_row(
    order: OrderId,
    recorded: &RecordedEvent,
    dispatch: Option<i64>,
    write_id: Uuid,
) -> order_events::ActiveModel {
    order_events::ActiveModel {
        order_id: Set(order.0),
        seq: Set(as_i32(recorded.seq)),
        status: Set(recorded.status.name().to_owned()),
        data: Set(event_to_text(recorded)),
        at: Set(recorded.at),
        write_id: Set(write_id),
        dispatch: Set(dispatch),
    }
}

fn swap_row(step: &Step) -> Option<transactions::ActiveModel> {
    let SwapWrite::Signed(SignedSwap { swap, bytes }) = &step.swap else { return None };
    Some(transactions::ActiveModel {
        signature: Set(swap.signature.to_string()),
        order_id: Set(step.order_id.0),
        attempt: Set(as_i32(step.recorded.attempt)),
        venue: Set(swap.venue.to_string()),
        bytes: Set(bytes.to_vec()),
        last_valid_block_height: Set(as_i64(swap.last_valid_block_height)),
        status: Set(LIVE.to_owned()),
        slot: NotSet,
        fee: NotSet,
        error: NotSet,
        created_at: Set(step.recorded.at),
        updated_at: Set(step.recorded.at),
    })
}

fn ended_order(step: &Step) -> Option<Vec<Value>> {
    let recorded = &step.recorded;
    recorded.status.is_final().then(|| vec![step.order_id.0.into(), recorded.status.name().into(), recorded.at.into()])
}

fn end_orders(statements: &mut Statements, ended: Vec<Vec<Value>>) {
    use orders::Column;
    let targets = [Column::Status, Column::EndedAt].map(|column| UpdateColumn { column, nullable: false });
    statements.update(Column::Id, &targets, ended);
}

fn settled_swap(step: &Step) -> Option<Vec<Value>> {
    let SwapWrite::Settled { signature, end } = &step.swap else { return None };
    let (status, slot, fee, error) = match end {
        SwapEnd::Landed(fill) => ("landed", as_i64(fill.slot), as_i64(fill.fee.0), ""),
        SwapEnd::Rejected(reason) => ("rejected", NO_NUMBER, NO_NUMBER, reason.as_str()),
        SwapEnd::Expired => ("expired", NO_NUMBER, NO_NUMBER, ""),
    };
    Some(vec![
        signature.to_string().into(),
        status.into(),
        slot.into(),
        fee.into(),
        error.into(),
        step.recorded.at.into(),
    ])
}

fn settle_swaps(statements: &mut Statements, settled: Vec<Vec<Value>>) {
    use transactions::Column;
    let targets = [
        UpdateColumn { column: Column::Status, nullable: false },
        UpdateColumn { column: Column::Slot, nullable: true },
        UpdateColumn { column: Column::Fee, nullable: true },
        UpdateColumn { column: Column::Error, nullable: true },
        UpdateColumn { column: Column::UpdatedAt, nullable: false },
    ];
    statements.update(Column::Signature, &targets, settled);
}

pub(super) fn as_i32(number: u32) -> i32 {
    i32::try_from(number).expect("no order has two billion events")
}

fn as_i64(number: u64) -> i64 {
    i64::try_from(number).expect("block heights, slots and fees stay below 2^63")
}
