//! Log records for machines: one JSON object per line, with the common members of `spec/events.md` section 6.
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::fmt;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// In UTC.
const TIMESTAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:3]");

/// Writes `timestamp`, `logLevel` and `accountId`, then what the record and its spans say, then `target`: the place in the
/// program. The spans' fields must have been written as JSON.
pub struct LogRecords {
    pub account: String,
}

impl<S, N> FormatEvent<S, N> for LogRecords
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let now = OffsetDateTime::now_utc().format(TIMESTAMP).map_err(|_| fmt::Error)?;
        let mut members = Members::default();
        members.add("timestamp", now);
        members.add("logLevel", event.metadata().level().as_str());
        members.add("accountId", self.account.as_str());
        event.record(&mut members);
        for span in context.event_scope().into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                members.add_all(fields);
            }
        }
        members.add("target", event.metadata().target());
        writeln!(writer, "{}", serde_json::to_string(&members).map_err(|_| fmt::Error)?)
    }
}

/// The members of one record, in their order. Of two with one name the first counts.
#[derive(Default)]
struct Members(Vec<(String, Value)>);

impl Members {
    fn add(&mut self, name: &str, value: impl Into<Value>) {
        if self.0.iter().all(|(known, _)| known != name) {
            self.0.push((name.to_owned(), value.into()));
        }
    }

    fn add_all(&mut self, object: &str) {
        for (name, value) in serde_json::from_str::<Map<String, Value>>(object).unwrap_or_default() {
            self.add(&name, value);
        }
    }
}

impl Visit for Members {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field.name(), format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field.name(), value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), value);
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field.name(), value);
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::Write;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::fmt::format::JsonFields;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written(log: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .fmt_fields(JsonFields::new())
            .event_format(LogRecords { account: "123456789012".into() })
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_record_is_one_line_with_the_common_members_first() {
        let line = written(|| {
            tracing::info!(eventType = "Connect", status = "Success", sourcePort = 4711, details = %"a\nb", "done");
        });
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        let record: Value = serde_json::from_str(&line).unwrap();
        for (member, value) in [
            ("logLevel", json!("INFO")),
            ("accountId", json!("123456789012")),
            ("eventType", json!("Connect")),
            ("status", json!("Success")),
            ("sourcePort", json!(4711)),
            ("details", json!("a\nb")),
            ("message", json!("done")),
        ] {
            assert_eq!(record[member], value, "{line}");
        }
        let timestamp = record["timestamp"].as_str().unwrap();
        assert!(
            timestamp.len() == 23 && timestamp.as_bytes()[10] == b' ' && timestamp.as_bytes()[19] == b'.'
        );
    }

    #[test]
    fn what_the_spans_say_is_said_of_each_record_in_them_and_no_member_twice() {
        let line = written(|| {
            let span = tracing::error_span!("api", request = "r-1", status = "of the span").entered();
            tracing::warn!(status = "of the record");
            drop(span);
        });
        let record: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&record["request"], &record["status"]), (&json!("r-1"), &json!("of the record")));
        assert_eq!(line.matches("\"status\"").count(), 1, "{line}");
    }
}
