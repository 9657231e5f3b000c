//! Pagination: the two dialects of lists, and their opaque tokens (`spec/control-plane.md` section 1).
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jitp_provisioner::registry::PageRequest;
use serde::Deserialize;
use serde::de::Error as _;

use crate::call::Call;
use crate::error::ApiError;

const NOT_A_TOKEN: &str = "not a token of this list: start again without it";
/// Items on a page when the caller does not say.
const DEFAULT_SIZE: usize = 25;
/// The longest token that is accepted, in characters. The longest that is given names a thing seven groups deep.
const LONGEST_TOKEN: usize = 2048;

impl Call {
    /// Dialect A: `pageSize`, `marker`, `isAscendingOrder`.
    pub fn marker_page(&self) -> Result<PageRequest, ApiError> {
        let ascending = self.query("isAscendingOrder").optional()?.unwrap_or(true);
        self.page("pageSize", "marker", ascending)
    }
    /// Dialect B: `maxResults`, `nextToken`.
    pub fn token_page(&self) -> Result<PageRequest, ApiError> {
        self.page("maxResults", "nextToken", true)
    }
    /// Dialect B where more than 250 may be asked for: a list that is never that long.
    pub fn token_page_of_few(&self, most: usize) -> Result<(), ApiError> {
        match self.query::<u32>("maxResults").optional()? {
            Some(size) if size == 0 || size as usize > most => {
                Err(ApiError::invalid("maxResults", format_args!("expected 1 to {most}, got {size}")))
            }
            _ => self.first_page_only(),
        }
    }
    /// Dialect B where fewer than 250 may be asked for.
    pub fn token_page_of_at_most(&self, most: usize) -> Result<PageRequest, ApiError> {
        let request = self.token_page()?;
        match request.limit {
            size if size > most => {
                Err(ApiError::invalid("maxResults", format_args!("expected 1 to {most}, got {size}")))
            }
            _ => Ok(request),
        }
    }
    /// A list that is always one page: no token of it has ever been given.
    pub fn first_page_only(&self) -> Result<(), ApiError> {
        match self.query::<String>("nextToken").optional()? {
            Some(_) => Err(ApiError::invalid("nextToken", NOT_A_TOKEN)),
            None => Ok(()),
        }
    }
    /// Dialect C: `maxResults` and `nextToken` in the body.
    pub fn body_page(&self) -> Result<PageRequest, ApiError> {
        let size: Option<PageSize> = self.member("maxResults").optional()?;
        let text: Option<String> = self.member("nextToken").optional()?;
        self.page_of("nextToken", size, text, true)
    }
    /// The token of the page after a cursor. `None`: there is none.
    pub fn next_token(&self, next: Option<String>) -> Option<String> {
        next.map(|cursor| encode(self.operation(), &cursor))
    }

    fn page(
        &self,
        size: &'static str,
        token: &'static str,
        ascending: bool,
    ) -> Result<PageRequest, ApiError> {
        let size: Option<PageSize> = self.query(size).optional()?;
        let text: Option<String> = self.query(token).optional()?;
        self.page_of(token, size, text, ascending)
    }

    fn page_of(
        &self,
        token: &'static str,
        size: Option<PageSize>,
        text: Option<String>,
        ascending: bool,
    ) -> Result<PageRequest, ApiError> {
        let decoded = text
            .map(|text| decode(self.operation(), &text).ok_or_else(|| ApiError::invalid(token, NOT_A_TOKEN)));
        let limit = size.map_or(DEFAULT_SIZE, |PageSize(size)| size);
        Ok(PageRequest { after: decoded.transpose()?, limit, ascending })
    }
}

/// 1 to 250.
struct PageSize(usize);
impl<'de> Deserialize<'de> for PageSize {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            size @ 1..=250 => Ok(Self(size as usize)),
            size => Err(D::Error::custom(format_args!("expected 1 to 250, got {size}"))),
        }
    }
}

/// A token names its list, so that one list's token cannot start another.
fn encode(operation: &str, cursor: &str) -> String {
    STANDARD.encode(format!("{operation}\n{cursor}"))
}

fn decode(operation: &str, token: &str) -> Option<String> {
    if token.len() > LONGEST_TOKEN {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
    let (owner, cursor) = text.split_once('\n')?;
    (owner == operation).then(|| cursor.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_the_cursor_it_was_made_of() {
        for cursor in ["", "a", "plant:a\n-/ü"] {
            let token = encode("ListThings", cursor);
            assert_eq!(decode("ListThings", &token).as_deref(), Some(cursor));
            let body = token.trim_end_matches('=');
            assert!(token.len() - body.len() <= 2);
            assert!(body.chars().all(|c| c.is_ascii_alphanumeric() || c == '+' || c == '/'), "{token}");
        }
    }

    #[test]
    fn a_token_that_is_damaged_too_long_or_of_another_list_is_refused() {
        let token = encode("ListThings", "a");
        assert_eq!(decode("ListPolicies", &token), None);
        assert_eq!(decode("ListThings", "!"), None);
        assert_eq!(decode("ListThings", &token[1..]), None);
        assert_eq!(decode("ListThings", &encode("ListThings", &"a".repeat(2048))), None);
        assert_eq!(decode("ListThings", &STANDARD.encode([0xff, 0xfe])), None);
        assert_eq!(decode("ListThings", ""), None);
    }
}
