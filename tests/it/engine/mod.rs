//! The engine as a whole: settings, command line, embedding, Redis, limits and order of dispatch.

mod cancel_races;
mod command_line;
mod embedding;
mod fairness;
mod limits;
mod redis;
mod seeded_runs;
mod settings;
mod tls;
