//! JSON and CBOR, as the last level of a request's topic says; the answer comes in the same.
use super::members::Members;
use serde::Serialize;

/// How request and answer are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// RFC 8259
    Json,
    /// RFC 8949: definite lengths out, both kinds in.
    Cbor,
}

/// Arrays and maps within each other, at most.
const DEEPEST: usize = 32;

impl Encoding {
    pub(super) fn of(level: &str) -> Option<Self> {
        match level {
            "json" => Some(Self::Json),
            "cbor" => Some(Self::Cbor),
            _ => None,
        }
    }

    /// Reads a request: one map and nothing behind it. Takes no more memory than the payload does, and not by what a
    /// length in it says. The error is for the device.
    pub(super) fn read(self, payload: &[u8]) -> Result<Members, String> {
        match self {
            Self::Json => serde_json::from_slice(payload)
                .map_err(|error| format!("the payload is no JSON object: {error}")),
            Self::Cbor => {
                let mut rest = payload;
                let members = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEEPEST)
                    .map_err(|error| format!("the payload is no CBOR map: {}", in_words(error)))?;
                match rest.len() {
                    0 => Ok(members),
                    more => Err(format!("{more} bytes stand behind the CBOR map")),
                }
            }
        }
    }

    /// Writes an answer. `None` only if there were no memory for it.
    pub(super) fn write(self, answer: &impl Serialize) -> Option<Vec<u8>> {
        match self {
            Self::Json => serde_json::to_vec(answer).ok(),
            Self::Cbor => {
                let mut bytes = Vec::new();
                ciborium::into_writer(answer, &mut bytes).ok().map(|()| bytes)
            }
        }
    }
}

fn in_words<E>(error: ciborium::de::Error<E>) -> String {
    use ciborium::de::Error;
    match error {
        Error::Io(_) => "it ends too early".into(),
        Error::Syntax(offset) => format!("byte {offset} is not CBOR"),
        Error::Semantic(_, message) => message,
        Error::RecursionLimitExceeded => format!("more than {DEEPEST} arrays and maps within each other"),
    }
}
