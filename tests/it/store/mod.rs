//! The store and its databases, SQLite and PostgreSQL.

mod both_databases;
mod damaged_rows;
mod full_disk;
mod one_engine;
