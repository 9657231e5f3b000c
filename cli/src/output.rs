//! The one place that prints.
use crate::args::Global;
use crate::exit::Exit;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;
use std::io::Write;

/// Prints text to standard output as it is.
pub fn text(text: &str) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(Exit::Success)
}

/// Prints bytes that somebody else has made text of.
pub fn bytes(bytes: &[u8]) -> anyhow::Result<()> {
    Ok(std::io::stdout().lock().write_all(bytes)?)
}

/// Prints one line.
pub fn line(text_: &str) -> anyhow::Result<()> {
    text(&format!("{text_}\n")).map(|_| ())
}

/// Prints JSON: one value, indented.
pub fn json(value: &Value) -> anyhow::Result<Exit> {
    text(&format!("{value:#}\n"))
}

/// Says that something was done: the reply, or a sentence for people.
pub fn done(global: &Global, reply: &Value, sentence: &str) -> anyhow::Result<Exit> {
    if global.json { json(reply) } else { text(&format!("{sentence}\n")) }
}

/// Prints rows under headings; says so when there are none.
pub fn table(headings: &[&str], rows: Vec<Vec<String>>) -> anyhow::Result<Exit> {
    if rows.is_empty() {
        return text("none\n");
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings.iter().map(|heading| heading.to_uppercase()));
    table.add_rows(rows);
    if let Some(first) = table.column_mut(0) {
        first.set_padding((0, 1));
    }
    text(&format!("{}\n", table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")))
}

/// Prints named values, one a line; absent ones are left out.
pub fn fields(fields: &[(&str, Option<String>)]) -> anyhow::Result<Exit> {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (name, value) in fields {
        if let Some(value) = value {
            out.push_str(&format!("{name:width$}  {value}\n"));
        }
    }
    text(&out)
}

/// A member of a reply as text; empty when absent.
pub fn member(value: &Value, name: &str) -> String {
    optional(value, name).unwrap_or_default()
}

/// A member of a reply as text.
pub fn optional(value: &Value, name: &str) -> Option<String> {
    match value.get(name)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// RFC 3339 with milliseconds, so that times line up.
const TIME: &[time::format_description::FormatItem<'_>] =
    time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// A time of a reply (epoch seconds) as text.
pub fn time(value: &Value, name: &str) -> Option<String> {
    let seconds = value.get(name)?.as_f64()?;
    let moment =
        time::OffsetDateTime::from_unix_timestamp_nanos((seconds * 1e3).round() as i128 * 1_000_000).ok()?;
    moment.format(TIME).ok()
}

/// Prints an error with its causes to standard error.
pub fn error(error: &anyhow::Error) {
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
}

/// The reader of our output went away: not an error of ours.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}
