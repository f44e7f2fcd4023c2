//! What several migrations need: short forms of the statements of `SchemaManager`.

use crate::prelude::*;

/// Drops a table with its indexes.
pub(crate) async fn drop_table(manager: &SchemaManager<'_>, table: impl IntoTableRef) -> Result<(), DbErr> {
    manager.drop_table(Table::drop().table(table).to_owned()).await
}

/// Adds a column that the existing rows have as NULL.
pub(crate) async fn add_column(
    manager: &SchemaManager<'_>,
    table: impl IntoTableRef,
    column: &mut ColumnDef,
) -> Result<(), DbErr> {
    manager.alter_table(Table::alter().table(table).add_column(column).to_owned()).await
}

/// Drops a column.
pub(crate) async fn drop_column(
    manager: &SchemaManager<'_>,
    table: impl IntoTableRef,
    column: impl IntoIden,
) -> Result<(), DbErr> {
    manager.alter_table(Table::alter().table(table).drop_column(column).to_owned()).await
}

/// Creates several indexes.
pub(crate) async fn create_indexes(
    manager: &SchemaManager<'_>,
    indexes: impl IntoIterator<Item = IndexCreateStatement>,
) -> Result<(), DbErr> {
    for index in indexes {
        manager.create_index(index).await?;
    }
    Ok(())
}

/// Drops several indexes of one table.
pub(crate) async fn drop_indexes(
    manager: &SchemaManager<'_>,
    table: impl IntoTableRef,
    names: impl IntoIterator<Item = &'static str>,
) -> Result<(), DbErr> {
    let table = table.into_table_ref();
    for name in names {
        manager.drop_index(Index::drop().name(name).table(table.clone()).to_owned()).await?;
    }
    Ok(())
}
