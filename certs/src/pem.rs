//! PEM (RFC 7468): text around blocks is ignored, what is inside is taken strictly.
use crate::CertificateError;
use crate::certificate::range_of;
use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use zeroize::Zeroizing;

/// `spec/jitp.md` section 8: PEM has 1 to 65,536 characters.
pub(crate) const MAX_CHARACTERS: usize = 65_536;

/// One block of a PEM text. The bytes may be a secret, so they are wiped on drop.
pub(crate) struct Block<'t> {
    /// For example `CERTIFICATE`.
    pub label: &'t str,
    /// Of the BEGIN line, counted from 1.
    pub line: usize,
    pub der: Zeroizing<Vec<u8>>,
}

/// All blocks of `text`; the caller has bounded its length.
pub(crate) fn blocks(text: &str) -> Result<Vec<Block<'_>>, CertificateError> {
    let mut blocks = Vec::new();
    let mut open: Option<Open<'_>> = None;
    for (index, line) in text.lines().enumerate() {
        let (number, line) = (index + 1, line.trim());
        let boundary = boundary(line);
        open = match (open, boundary) {
            (None, None) => {
                if line.contains(BEGIN) {
                    return Err(CertificateError::malformed(format!(
                        "PEM line {number}: the BEGIN line must stand on a line of its own; \
                         were the line breaks lost or written as \\n?"
                    )));
                }
                None
            }
            (None, Some(Boundary::Begin(label))) => {
                let body = range_of(line.as_bytes(), text.as_bytes()).and_then(|range| text.get(range.end..));
                Some(Open::new(label, number, body.unwrap_or_default()))
            }
            (None, Some(Boundary::End(label))) => {
                return Err(CertificateError::malformed(format!(
                    "PEM line {number}: END {label} without its BEGIN line; is the text cut off at the top?"
                )));
            }
            (Some(mut block), None) => {
                block.append(line, number)?;
                Some(block)
            }
            (Some(block), Some(Boundary::End(label))) if label == block.label => {
                blocks.push(block.close()?);
                None
            }
            (Some(block), Some(Boundary::Begin(label) | Boundary::End(label))) => {
                return Err(CertificateError::malformed(format!(
                    "PEM line {number}: found a {label} line inside the {} block that begins on line {}",
                    block.label, block.line
                )));
            }
        };
    }
    match open {
        None => Ok(blocks),
        Some(block) => Err(CertificateError::malformed(format!(
            "PEM line {}: the {} block has no END line; is the text cut off?",
            block.line, block.label
        ))),
    }
}

/// One block, 64 columns, ends with a line feed.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    // Sized at the start, so that a secret is not left behind by a growing buffer.
    let characters = der.len().div_ceil(3) * 4;
    let mut text = String::with_capacity(characters + characters / 64 + 2 * label.len() + 48);
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    for line in der.chunks(48) {
        STANDARD.encode_string(line, &mut text);
        text.push('\n');
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

enum Boundary<'t> {
    Begin(&'t str),
    End(&'t str),
}

fn boundary(line: &str) -> Option<Boundary<'_>> {
    let inner = line.strip_suffix(DASHES)?;
    if let Some(label) = inner.strip_prefix(BEGIN) {
        (!label.contains(DASHES)).then_some(Boundary::Begin(label))
    } else {
        inner.strip_prefix(END).map(Boundary::End)
    }
}

struct Open<'t> {
    label: &'t str,
    line: usize,
    base64: Zeroizing<String>,
}

impl<'t> Open<'t> {
    /// `body` begins behind the BEGIN line. The buffer never grows: growing would leave copies of a secret.
    fn new(label: &'t str, line: usize, body: &str) -> Self {
        let length = body.find(END).unwrap_or(body.len());
        Self { label, line, base64: Zeroizing::new(String::with_capacity(length)) }
    }

    fn append(&mut self, line: &str, number: usize) -> Result<(), CertificateError> {
        let alien =
            line.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | ' ' | '\t')));
        if let Some(alien) = alien {
            return Err(CertificateError::malformed(format!(
                "PEM line {number}: base64 error: {alien:?} cannot stand inside a {} block",
                self.label
            )));
        }
        self.base64.extend(line.chars().filter(|c| !matches!(c, ' ' | '\t')));
        Ok(())
    }

    fn close(self) -> Result<Block<'t>, CertificateError> {
        let der = BASE64.decode(self.base64.as_bytes()).map_err(|error| {
            CertificateError::malformed(format!(
                "base64 error in the {} block that begins on PEM line {}: {}",
                self.label,
                self.line,
                without_content(&error)
            ))
        })?;
        Ok(Block { label: self.label, line: self.line, der: Zeroizing::new(der) })
    }
}

/// The block may be a private key: the message must not repeat any of it.
fn without_content(error: &base64::DecodeError) -> &'static str {
    match error {
        base64::DecodeError::InvalidByte(..) => "padding in the middle",
        base64::DecodeError::InvalidLength(_) => "characters are missing at the end",
        base64::DecodeError::InvalidLastSymbol(..) | base64::DecodeError::InvalidPadding => {
            "the end is damaged"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(text: &str) -> String {
        blocks(text).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn text_around_blocks_and_carriage_returns_are_ignored() {
        let text = "Subject: CN=x\r\n\r\n-----BEGIN A-----\r\nAQID\r\n-----END A-----\r\ntrailing - text\r\n";
        let found = blocks(text).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].label, found[0].line, found[0].der.as_slice()), ("A", 3, &[1, 2, 3][..]));
    }

    #[test]
    fn errors_say_the_line() {
        assert!(
            message("-----BEGIN A-----\nAQ\n!ID\n-----END A-----")
                .starts_with("PEM line 3: base64 error: '!'")
        );
        assert!(
            message("\n-----BEGIN A-----\nAQID\n").starts_with("PEM line 2: the A block has no END line")
        );
        assert!(message("AQID\n-----END A-----").starts_with("PEM line 2: END A without its BEGIN line"));
        assert!(
            message("-----BEGIN A-----\nAQID\n-----END B-----\n")
                .starts_with("PEM line 3: found a B line inside the A block that begins on line 1")
        );
        assert!(message("-----BEGIN A-----\nAQI\n=AAA\n-----END A-----").contains("begins on PEM line 1"));
    }

    #[test]
    fn line_breaks_written_as_backslash_n_are_recognised() {
        assert!(message("-----BEGIN A-----\\nAQID\\n-----END A-----\\n").contains("written as \\n"));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(der: Vec<u8>) {
            let text = encode("CERTIFICATE", &der);
            prop_assert!(text.lines().all(|line| line.len() <= 64));
            let found = blocks(&text).unwrap();
            prop_assert_eq!(found[0].der.as_slice(), der.as_slice());
        }

        #[test]
        fn no_text_panics(text in "(-----(BEGIN|END) [A-B]{0,2}-----|[a-zA-Z+/= \\n\\r!é-]{0,12}|\\n){0,12}") {
            let _ = blocks(&text);
        }
    }
}
