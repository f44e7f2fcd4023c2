//! The engine as a whole: settings, command line, limits and order of dispatch.

mod cancel_races;
mod command_line;
mod fairness;
mod limits;
mod settings;
