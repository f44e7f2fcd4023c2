//! The store and its databases, SQLite and PostgreSQL.

mod backup;
mod commits;
mod damaged_rows;
mod full_disk;
mod golden;
mod lists;
mod migrations;
mod one_engine;
mod postgres;
mod private_files;
mod round_trips;
mod schema;
mod users;
