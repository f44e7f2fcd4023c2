//! Many rows in one statement.
//!
//! With one placeholder a value, as SeaORM writes `insert_many`, the text of a statement differs with the number of its
//! rows, and PostgreSQL parses and plans thousands of placeholders anew for each group. There the rows travel as one
//! array a column instead (`UNNEST`): the text is always the same, so it is prepared once a connection. SQLite has no
//! arrays and takes plain rows; the rest of each statement is the same on both.

use sea_orm::sea_query::{ArrayType, ColumnType, Value};
use sea_orm::{
    ActiveModelTrait, ActiveValue, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityName,
    EntityTrait, IdenStatic, Iterable, Statement,
};

/// How a column's values travel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Uuid,
    /// `''` stands for NULL in a column that may be NULL.
    Text,
    Int,
    /// −1 stands for NULL in a column that may be NULL.
    BigInt,
    Time,
    Bytes,
}

impl Kind {
    fn of(column: &ColumnType) -> Self {
        match column {
            ColumnType::Uuid => Self::Uuid,
            ColumnType::Integer => Self::Int,
            ColumnType::BigInteger => Self::BigInt,
            ColumnType::TimestampWithTimeZone => Self::Time,
            ColumnType::Binary(_) | ColumnType::VarBinary(_) | ColumnType::Blob => Self::Bytes,
            ColumnType::Text | ColumnType::String(_) => Self::Text,
            other => unreachable!("no table has a column of the type {other:?}"),
        }
    }

    const fn array(self) -> (&'static str, ArrayType) {
        match self {
            Self::Uuid => ("uuid[]", ArrayType::Uuid),
            Self::Text => ("text[]", ArrayType::String),
            Self::Int => ("int4[]", ArrayType::Int),
            Self::BigInt => ("int8[]", ArrayType::BigInt),
            Self::Time => ("timestamptz[]", ArrayType::ChronoDateTimeUtc),
            Self::Bytes => ("bytea[]", ArrayType::Bytes),
        }
    }

    /// The expression that takes the value of that column, counted from 1, out of the source.
    fn taken(self, column: usize, nullable: bool) -> String {
        match self {
            Self::Text if nullable => format!("NULLIF(new.column{column}, '')"),
            Self::BigInt if nullable => format!("NULLIF(new.column{column}, -1)"),
            _ => format!("new.column{column}"),
        }
    }
}

/// A column of an update, which may be NULL or not.
pub(super) struct Target<C> {
    pub(super) column: C,
    pub(super) nullable: bool,
}

/// Inserts rows that all set the same columns. No rows, no statement.
pub(super) async fn insert<A>(transaction: &DatabaseTransaction, rows: Vec<A>) -> Result<(), DbErr>
where
    A: ActiveModelTrait,
{
    let Some(first) = rows.first() else { return Ok(()) };
    let columns: Vec<_> =
        <A::Entity as EntityTrait>::Column::iter().filter(|column| first.get(*column).is_set()).collect();
    let kinds: Vec<_> = columns.iter().map(|column| Kind::of(column.def().get_column_type())).collect();
    let names = joined(columns.iter().map(|column| format!("\"{}\"", column.as_str())));
    let taken = kinds.iter().zip(&columns).enumerate();
    let taken = joined(taken.map(|(index, (kind, column))| kind.taken(index + 1, column.def().is_null())));
    let values = |row: &A| columns.iter().map(|column| value(row.get(*column))).collect();
    let rows: Vec<Vec<Value>> = rows.iter().map(values).collect();
    let backend = transaction.get_database_backend();
    let (source, values) = source(backend, &kinds, rows);
    let table = A::Entity::default();
    let text = format!("INSERT INTO \"{}\" ({names}) SELECT {taken} FROM {source}", table.table_name());
    transaction.execute_raw(Statement::from_sql_and_values(backend, text, values)).await?;
    Ok(())
}

/// Updates rows by their key, which each row's values begin with. No rows, no statement.
pub(super) async fn update<C>(
    transaction: &DatabaseTransaction,
    key: C,
    targets: &[Target<C>],
    rows: Vec<Vec<Value>>,
) -> Result<(), DbErr>
where
    C: ColumnTrait + Copy,
{
    if rows.is_empty() {
        return Ok(());
    }
    let kind = |column: C| Kind::of(column.def().get_column_type());
    let kinds: Vec<_> = std::iter::once(key).chain(targets.iter().map(|target| target.column)).map(kind).collect();
    let set = targets.iter().zip(&kinds[1..]).enumerate().map(|(index, (target, kind))| {
        format!("\"{}\" = {}", target.column.as_str(), kind.taken(index + 2, target.nullable))
    });
    let backend = transaction.get_database_backend();
    let (source, values) = source(backend, &kinds, rows);
    let table = key.as_column_ref().0;
    let text = format!(
        "UPDATE \"{}\" SET {} FROM {source} WHERE \"{}\".\"{}\" = new.column1",
        table,
        joined(set),
        table,
        key.as_str(),
    );
    transaction.execute_raw(Statement::from_sql_and_values(backend, text, values)).await?;
    Ok(())
}

/// The rows as a table expression called `new` whose columns are `column1`, `column2` and so on, and its values.
fn source(backend: DbBackend, kinds: &[Kind], rows: Vec<Vec<Value>>) -> (String, Vec<Value>) {
    if backend == DbBackend::Postgres {
        let mut arrays: Vec<Vec<Value>> = kinds.iter().map(|_| Vec::with_capacity(rows.len())).collect();
        for row in rows {
            arrays.iter_mut().zip(row).for_each(|(array, value)| array.push(value));
        }
        let names = joined((1..=kinds.len()).map(|column| format!("column{column}")));
        let placeholders =
            joined(kinds.iter().enumerate().map(|(index, kind)| format!("${}::{}", index + 1, kind.array().0)));
        let arrays =
            arrays.into_iter().zip(kinds).map(|(array, kind)| Value::Array(kind.array().1, Some(Box::new(array))));
        return (format!("UNNEST({placeholders}) AS new({names})"), arrays.collect());
    }
    let row = format!("({})", joined(kinds.iter().map(|_| "?".to_owned())));
    let placeholders = joined(rows.iter().map(|_| row.clone()));
    (format!("(VALUES {placeholders}) AS new"), rows.into_iter().flatten().collect())
}

fn value(value: ActiveValue<Value>) -> Value {
    match value {
        ActiveValue::Set(Value::String(None)) => Value::from(""),
        ActiveValue::Set(value) | ActiveValue::Unchanged(value) => value,
        ActiveValue::NotSet => unreachable!("all rows of a statement set the same columns"),
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}
