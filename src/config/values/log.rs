//! What is logged, and in which format.

use std::str::FromStr;

use crate::domain::secret;

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("must be text or json"),
        }
    }
}

/// Which log lines are written: a level, with exceptions for single targets, such as `info,sqlx=warn`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    const LEVELS: &str = "error, warn, info, debug, trace or off";

    /// The filter in the syntax of `tracing`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Checks one directive. `tracing` treats a word that is not a level as the name of a target, and then logs nothing
    /// else; therefore a target is accepted only with a level.
    fn check(directive: &str) -> Result<(), String> {
        let level = directive.rsplit_once('=').filter(|(_, level)| !level.contains(']'));
        // `tracing` accepts any text as a target, so it would read two filters with a space between them as one.
        let target = level.map_or("", |(target, _)| target).split('[').next().unwrap_or_default();
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || "_:-.".contains(letter);
        if !target.trim().chars().all(is_name) {
            let target = secret::shown(target);
            return Err(format!("{target:?} is not a target; separate filters by commas, such as info,sqlx=warn"));
        }
        let level = level.map_or(directive, |(_, level)| level).trim();
        // `tracing` refuses a directive that ends with the equals sign.
        if !level.is_empty() && level.parse::<tracing_subscriber::filter::LevelFilter>().is_ok() {
            return Ok(());
        }
        let level = secret::shown(level);
        Err(format!("{level:?} is not a level; must be {}, or a target with a level, such as sqlx=warn", Self::LEVELS))
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut depth = 0_i32;
        // The fields of a span are in brackets and may have commas.
        let is_end = |letter: char| {
            depth += i32::from("[{".contains(letter)) - i32::from("]}".contains(letter));
            letter == ',' && depth == 0
        };
        let directives: Vec<_> = text.split(is_end).map(str::trim).filter(|directive| !directive.is_empty()).collect();
        if directives.is_empty() {
            return Err(format!("must be {}", Self::LEVELS));
        }
        directives.iter().copied().try_for_each(Self::check)?;
        // `tracing` does not accept spaces between directives.
        let filter = directives.join(",");
        tracing_subscriber::EnvFilter::try_new(&filter).map_err(|error| error.to_string())?;
        Ok(Self(filter))
    }
}
