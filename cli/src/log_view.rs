//! A log of the broker's, as a command shows it: the newest records, or as they happen.
use crate::args::Global;
use crate::client::{Client, encode};
use crate::exit::Exit;
use crate::json_lines::JsonLines;
use crate::output;
use anyhow::Context;
use serde_json::Value;

/// Which log, which records of it, and how one is told to a person.
pub struct LogView {
    /// Of the list; that of the tail is below it.
    pub path: &'static str,
    /// The member of a reply that holds the records.
    pub member: &'static str,
    /// Parameters of the query and their values.
    pub filter: Vec<(&'static str, Option<String>)>,
    /// One record in words.
    pub describe: fn(&Value) -> String,
}

impl LogView {
    /// Prints at most so many, newest last.
    pub async fn list(&self, global: &Global, client: &Client, limit: u32) -> anyhow::Result<Exit> {
        let limit = ("limit", Some(limit.to_string()));
        let mut reply = client.get(&self.query(self.path, [&limit].into_iter())).await?;
        let mut records = match reply.get_mut(self.member).map(Value::take) {
            Some(Value::Array(records)) => records,
            _ => Vec::new(),
        };
        records.reverse();
        if global.json {
            return output::json(&Value::Array(records));
        }
        if records.is_empty() {
            return output::text("none\n");
        }
        for record in &records {
            output::line(&(self.describe)(record))?;
        }
        Ok(Exit::Success)
    }

    /// Prints records as they happen, after this sequence if given, until the broker ends.
    pub async fn follow(&self, global: &Global, client: &Client, after: Option<u64>) -> anyhow::Result<Exit> {
        let after = ("after", after.map(|sequence| sequence.to_string()));
        let path = self.query(&format!("{}/tail", self.path), [&after].into_iter());
        let mut lines = JsonLines::of(client.stream(&path).await?);
        while let Some(line) = lines.next().await? {
            if global.json {
                output::line(&line)?;
            } else {
                let record =
                    serde_json::from_str(&line).context("the broker sent a line that is not JSON")?;
                output::line(&(self.describe)(&record))?;
            }
        }
        Ok(Exit::Success)
    }

    fn query<'a>(
        &'a self,
        path: &str,
        further: impl Iterator<Item = &'a (&'static str, Option<String>)>,
    ) -> String {
        let given = further.chain(&self.filter).filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let pairs: Vec<String> = given.map(|(name, value)| format!("{name}={}", encode(value))).collect();
        if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
    }
}
