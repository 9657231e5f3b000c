//! A reply that goes on, line by line.
use crate::http::chunk;
use anyhow::{Context, bail};
use http::Response;
use hyper::body::Incoming;

/// The longest line that is read, in bytes.
const LONGEST_LINE: usize = 16 * 1024 * 1024;

/// The lines of a reply. Empty ones, with which the server shows that it is still there, are left out.
pub struct JsonLines {
    response: Response<Incoming>,
    pending: Vec<u8>,
}

impl JsonLines {
    pub fn of(response: Response<Incoming>) -> Self {
        Self { response, pending: Vec::new() }
    }

    /// The next line without its end; `None` when the reply has ended.
    pub async fn next(&mut self) -> anyhow::Result<Option<String>> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let rest = self.pending.split_off(end + 1);
                let line = std::mem::replace(&mut self.pending, rest);
                let line = String::from_utf8_lossy(&line).trim().to_owned();
                if !line.is_empty() {
                    return Ok(Some(line));
                }
            } else if self.pending.len() > LONGEST_LINE {
                bail!("the broker sent a line of more than {LONGEST_LINE} bytes");
            } else {
                match chunk(&mut self.response).await.context("the broker went away")? {
                    Some(chunk) => self.pending.extend_from_slice(&chunk),
                    None => return Ok(None),
                }
            }
        }
    }
}
