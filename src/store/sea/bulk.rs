//! Many rows of many tables in one statement.
//!
//! SeaORM's `insert_many` writes one placeholder per value, so the text of a statement depends on the number of its
//! rows, and PostgreSQL parses and plans thousands of placeholders again for each batch. Here PostgreSQL gets one array
//! per column instead (`UNNEST`): the text is always the same, so each connection prepares it once. SQLite has no
//! arrays and gets plain rows; the rest of each statement is the same on both.
//!
//! PostgreSQL also gets all statements of a batch in one round trip, as parts of one `WITH`: measured on two cores, a
//! round trip costs more than the rows in it. The parts do not see each other's rows. If later statements must see the
//! rows of earlier ones, [`Statements::start_round`] separates them.

use sea_orm::sea_query::{ArrayType, ColumnType, Value};
use sea_orm::{
    ActiveModelTrait, ActiveValue, ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityName, EntityTrait, IdenStatic,
    Iterable, Statement,
};

/// The type of a column, as far as it changes how the values are sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum ColumnKind {
    Uuid,
    /// `''` is sent for NULL if the column is nullable.
    Text,
    Int,
    /// −1 is sent for NULL if the column is nullable.
    BigInt,
    Time,
    Bytes,
}

impl ColumnKind {
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

    /// The expression for the value of a column of the source, counted from 1.
    fn expression(self, column: usize, nullable: bool) -> String {
        match self {
            Self::Text if nullable => format!("NULLIF(new.column{column}, '')"),
            Self::BigInt if nullable => format!("NULLIF(new.column{column}, -1)"),
            _ => format!("new.column{column}"),
        }
    }
}

/// A column that an update sets.
pub(super) struct UpdateColumn<C> {
    pub(super) column: C,
    pub(super) nullable: bool,
}

/// The statements of a batch.
pub(super) struct Statements {
    backend: DbBackend,
    parts: Vec<Part>,
    // The number of placeholders in this round: PostgreSQL numbers them over all parts.
    placeholders: usize,
    // The number of parts before each later round.
    rounds: Vec<usize>,
}

/// One statement.
struct Part {
    text: String,
    values: Vec<Value>,
    // The number of rows that it must write. A trigger or a rule in the database can make it write fewer without an
    // error.
    rows: usize,
}

impl Statements {
    pub(super) fn new(backend: DbBackend) -> Self {
        Self { backend, parts: Vec::new(), placeholders: 0, rounds: Vec::new() }
    }

    /// Adds an insert of rows that all set the same columns. Without rows it adds nothing.
    pub(super) fn insert<A: ActiveModelTrait>(&mut self, rows: Vec<A>) {
        let Some(first) = rows.first() else { return };
        let columns: Vec<_> =
            <A::Entity as EntityTrait>::Column::iter().filter(|column| first.get(*column).is_set()).collect();
        let kinds: Vec<_> = columns.iter().map(|column| ColumnKind::of(column.def().get_column_type())).collect();
        let names = joined(columns.iter().map(|column| format!("\"{}\"", column.as_str())));
        let expressions = kinds.iter().zip(&columns).enumerate();
        let expressions =
            joined(expressions.map(|(index, (kind, column))| kind.expression(index + 1, column.def().is_null())));
        let values = |mut row: A| columns.iter().map(|column| value(row.take(*column))).collect();
        let rows: Vec<Vec<Value>> = rows.into_iter().map(values).collect();
        let table = A::Entity::default();
        self.push(&kinds, rows, |source| {
            format!("INSERT INTO \"{}\" ({names}) SELECT {expressions} FROM {source}", table.table_name())
        });
    }

    /// Adds an update of rows by their key. The values of each row begin with the key. Without rows it adds nothing.
    pub(super) fn update<C: ColumnTrait + Copy>(&mut self, key: C, targets: &[UpdateColumn<C>], rows: Vec<Vec<Value>>) {
        if rows.is_empty() {
            return;
        }
        let kind = |column: C| ColumnKind::of(column.def().get_column_type());
        let kinds: Vec<_> = std::iter::once(key).chain(targets.iter().map(|target| target.column)).map(kind).collect();
        let set = joined(targets.iter().zip(&kinds[1..]).enumerate().map(|(index, (target, kind))| {
            format!("\"{}\" = {}", target.column.as_str(), kind.expression(index + 2, target.nullable))
        }));
        let (table, key) = (key.as_column_ref().0, key.as_str());
        self.push(&kinds, rows, |source| {
            format!("UPDATE \"{table}\" SET {set} FROM {source} WHERE \"{table}\".\"{key}\" = new.column1")
        });
    }

    /// Starts a new round: the statements that are added after this see the rows of those before.
    pub(super) fn start_round(&mut self) {
        self.rounds.push(self.parts.len());
        self.placeholders = 0;
    }

    fn push(&mut self, kinds: &[ColumnKind], rows: Vec<Vec<Value>>, text: impl FnOnce(&str) -> String) {
        let count = rows.len();
        let (source, values) = source(self.backend, kinds, rows, self.placeholders);
        self.placeholders += values.len();
        self.parts.push(Part { text: text(&source), values, rows: count });
    }

    /// Whether they run as a single statement, which is atomic without a transaction around it.
    pub(super) fn is_single(&self) -> bool {
        let single = match self.backend {
            DbBackend::Postgres => self.rounds.is_empty(),
            _ => self.parts.len() == 1,
        };
        single && !self.parts.is_empty()
    }

    /// Runs all statements, round by round.
    pub(super) async fn run(self, connection: &impl ConnectionTrait) -> Result<(), DbErr> {
        if self.backend != DbBackend::Postgres {
            for Part { text, values, rows } in self.parts {
                let statement = Statement::from_sql_and_values(self.backend, text, values);
                check_count(connection.execute_raw(statement).await?.rows_affected(), rows)?;
            }
            return Ok(());
        }
        let mut left = self.parts.into_iter();
        let ends: Vec<_> = self.rounds.into_iter().chain([usize::MAX]).collect();
        let mut begin = 0;
        for end in ends {
            let parts: Vec<_> = left.by_ref().take(end - begin).collect();
            begin = end;
            if parts.is_empty() {
                continue;
            }
            // One statement for the whole round. It fails, and is rolled back, if a part writes too few rows: the
            // statement is its own transaction, so a count that is checked after its answer would come after its
            // commit.
            let texts = joined(
                parts.iter().enumerate().map(|(index, part)| format!("part{index} AS ({} RETURNING 1)", part.text)),
            );
            let counts = parts
                .iter()
                .enumerate()
                .map(|(index, part)| format!("(SELECT count(*) FROM part{index}) = {}", part.rows))
                .collect::<Vec<_>>()
                .join(" AND ");
            let text = format!("WITH {texts} SELECT 1 / CASE WHEN {counts} THEN 1 ELSE 0 END");
            let values = parts.into_iter().flat_map(|part| part.values).collect::<Vec<_>>();
            connection.execute_raw(Statement::from_sql_and_values(self.backend, text, values)).await?;
        }
        Ok(())
    }
}

fn check_count(rows: u64, expected: usize) -> Result<(), DbErr> {
    if usize::try_from(rows) == Ok(expected) {
        return Ok(());
    }
    tracing::error!(rows, expected, "the database wrote too few rows and reported no error");
    Err(DbErr::RecordNotInserted)
}

/// The rows as a table expression `new` with the columns `column1`, `column2` and so on, and the values of its
/// placeholders. `placeholders` is the number of placeholders before it.
fn source(
    backend: DbBackend,
    kinds: &[ColumnKind],
    rows: Vec<Vec<Value>>,
    placeholders: usize,
) -> (String, Vec<Value>) {
    if backend == DbBackend::Postgres {
        let mut arrays: Vec<Vec<Value>> = kinds.iter().map(|_| Vec::with_capacity(rows.len())).collect();
        for row in rows {
            arrays.iter_mut().zip(row).for_each(|(array, value)| array.push(value));
        }
        let names = joined((1..=kinds.len()).map(|column| format!("column{column}")));
        let arguments = joined(
            kinds.iter().enumerate().map(|(index, kind)| format!("${}::{}", placeholders + index + 1, kind.array().0)),
        );
        let arrays =
            arrays.into_iter().zip(kinds).map(|(array, kind)| Value::Array(kind.array().1, Some(Box::new(array))));
        return (format!("UNNEST({arguments}) AS new({names})"), arrays.collect());
    }
    let row = format!("({})", joined(kinds.iter().map(|_| "?".to_owned())));
    let placeholders = joined(rows.iter().map(|_| row.clone()));
    (format!("(VALUES {placeholders}) AS new"), rows.into_iter().flatten().collect())
}

fn value(value: ActiveValue<Value>) -> Value {
    match value {
        ActiveValue::Set(Value::String(None)) => Value::from(""),
        ActiveValue::Set(Value::BigInt(None)) => Value::from(-1_i64),
        ActiveValue::Set(value) | ActiveValue::Unchanged(value) => value,
        ActiveValue::NotSet => unreachable!("all rows of a statement set the same columns"),
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}
