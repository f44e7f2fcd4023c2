//! Many rows of many tables in one statement.
//!
//! With one placeholder a value, as SeaORM writes `insert_many`, the text of a statement differs with the number of its
//! rows, and PostgreSQL parses and plans thousands of placeholders anew for each group. There the rows travel as one
//! array a column instead (`UNNEST`): the text is always the same, so it is prepared once a connection. SQLite has no
//! arrays and takes plain rows; the rest of each statement is the same on both.
//!
//! PostgreSQL also takes all statements of a group at once, as parts of one `WITH`: on two cores a round trip costs more
//! than the rows it carries. The parts do not see each other's rows; where that matters, [`Statements::then`] ends a
//! statement and begins the next.

use sea_orm::sea_query::{ArrayType, ColumnType, Value};
use sea_orm::{
    ActiveModelTrait, ActiveValue, ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityName, EntityTrait, IdenStatic,
    Iterable, Statement,
};

/// How a column's values travel.
#[derive(Clone, Copy, Debug)]
pub(super) enum ColumnKind {
    Uuid,
    /// `''` stands for NULL in a column that may be NULL.
    Text,
    Int,
    /// −1 stands for NULL in a column that may be NULL.
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
pub(super) struct UpdateColumn<C> {
    pub(super) column: C,
    pub(super) nullable: bool,
}

/// The statements of a group.
pub(super) struct Statements {
    backend: DbBackend,
    parts: Vec<Part>,
    // PostgreSQL counts placeholders over all parts of a round.
    placeholders: usize,
    // Where the parts end that later ones have to see.
    rounds: Vec<usize>,
}

/// A statement of a group.
struct Part {
    text: String,
    values: Vec<Value>,
    // How many rows it has to write. A trigger or a rule of the database can make it write fewer without an error.
    rows: usize,
}

impl Statements {
    pub(super) fn new(backend: DbBackend) -> Self {
        Self { backend, parts: Vec::new(), placeholders: 0, rounds: Vec::new() }
    }

    /// Inserts rows that all set the same columns. No rows, no statement.
    pub(super) fn insert<A: ActiveModelTrait>(&mut self, rows: Vec<A>) {
        let Some(first) = rows.first() else { return };
        let columns: Vec<_> =
            <A::Entity as EntityTrait>::Column::iter().filter(|column| first.get(*column).is_set()).collect();
        let kinds: Vec<_> = columns.iter().map(|column| ColumnKind::of(column.def().get_column_type())).collect();
        let names = joined(columns.iter().map(|column| format!("\"{}\"", column.as_str())));
        let taken = kinds.iter().zip(&columns).enumerate();
        let taken = joined(taken.map(|(index, (kind, column))| kind.taken(index + 1, column.def().is_null())));
        let values = |mut row: A| columns.iter().map(|column| value(row.take(*column))).collect();
        let rows: Vec<Vec<Value>> = rows.into_iter().map(values).collect();
        let table = A::Entity::default();
        self.push(&kinds, rows, |source| {
            format!("INSERT INTO \"{}\" ({names}) SELECT {taken} FROM {source}", table.table_name())
        });
    }

    /// Updates rows by their key, which each row's values begin with. No rows, no statement.
    pub(super) fn update<C: ColumnTrait + Copy>(&mut self, key: C, targets: &[UpdateColumn<C>], rows: Vec<Vec<Value>>) {
        if rows.is_empty() {
            return;
        }
        let kind = |column: C| ColumnKind::of(column.def().get_column_type());
        let kinds: Vec<_> = std::iter::once(key).chain(targets.iter().map(|target| target.column)).map(kind).collect();
        let set = joined(targets.iter().zip(&kinds[1..]).enumerate().map(|(index, (target, kind))| {
            format!("\"{}\" = {}", target.column.as_str(), kind.taken(index + 2, target.nullable))
        }));
        let (table, key) = (key.as_column_ref().0, key.as_str());
        self.push(&kinds, rows, |source| {
            format!("UPDATE \"{table}\" SET {set} FROM {source} WHERE \"{table}\".\"{key}\" = new.column1")
        });
    }

    /// What is added after this sees the rows of what was added before.
    pub(super) fn then(&mut self) {
        self.rounds.push(self.parts.len());
        self.placeholders = 0;
    }

    fn push(&mut self, kinds: &[ColumnKind], rows: Vec<Vec<Value>>, text: impl FnOnce(&str) -> String) {
        let count = rows.len();
        let (source, values) = source(self.backend, kinds, rows, self.placeholders);
        self.placeholders += values.len();
        self.parts.push(Part { text: text(&source), values, rows: count });
    }

    /// Whether they are one statement, which needs no transaction around it to be done whole or not at all.
    pub(super) fn are_one(&self) -> bool {
        let one = match self.backend {
            DbBackend::Postgres => self.rounds.is_empty(),
            _ => self.parts.len() == 1,
        };
        one && !self.parts.is_empty()
    }

    /// Runs them all, in the order in which they were added where that can matter.
    pub(super) async fn run(self, connection: &impl ConnectionTrait) -> Result<(), DbErr> {
        if self.backend != DbBackend::Postgres {
            for Part { text, values, rows } in self.parts {
                let statement = Statement::from_sql_and_values(self.backend, text, values);
                written(connection.execute_raw(statement).await?.rows_affected(), rows)?;
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
            // One statement for all of them. It fails where a part has written fewer rows than it was to, so that it is
            // undone: its own count of rows would be known only after its commit.
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

fn written(rows: u64, asked: usize) -> Result<(), DbErr> {
    if usize::try_from(rows) == Ok(asked) {
        return Ok(());
    }
    tracing::error!(rows, asked, "the database wrote fewer rows than it was to, and reported no error");
    Err(DbErr::RecordNotInserted)
}

/// The rows as a table expression called `new` whose columns are `column1`, `column2` and so on, and its values.
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
