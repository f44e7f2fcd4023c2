//! Columns that are not NULL, by their type.

use sea_orm::sea_query::{ColumnDef, IntoIden};

pub(crate) fn big_integer(name: impl IntoIden) -> ColumnDef {
    ColumnDef::new(name).big_integer().not_null().take()
}

pub(crate) fn binary(name: impl IntoIden) -> ColumnDef {
    ColumnDef::new(name).binary().not_null().take()
}

pub(crate) fn binary_uniq(name: impl IntoIden) -> ColumnDef {
    binary(name).unique_key().take()
}

pub(crate) fn integer(name: impl IntoIden) -> ColumnDef {
    ColumnDef::new(name).integer().not_null().take()
}

pub(crate) fn pk_uuid(name: impl IntoIden) -> ColumnDef {
    uuid(name).primary_key().take()
}

pub(crate) fn text(name: impl IntoIden) -> ColumnDef {
    ColumnDef::new(name).text().not_null().take()
}

pub(crate) fn text_uniq(name: impl IntoIden) -> ColumnDef {
    text(name).unique_key().take()
}

pub(crate) fn timestamp_with_time_zone(name: impl IntoIden) -> ColumnDef {
    ColumnDef::new(name).timestamp_with_time_zone().not_null().take()
}

pub(crate) fn uuid(name: impl IntoIden) -> ColumnDef {
    ColumnDef::new(name).uuid().not_null().take()
}
