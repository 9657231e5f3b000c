//! Access keys: who may call the API, and what each may do.
//!
//! A key's secret is stored as it is, because verifying a signature takes the secret itself; the registry's files are
//! readable by their owner only. It leaves the registry once, in the answer to its creation.
use crate::clock::Timestamp;
use crate::error::RegistryError;
use crate::registry::Registry;
use crate::store::Table;
use crate::stored::{decode, stored_by_id};
use crate::transact::transact;
use crate::tx::Tx;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use std::fmt;
use zeroize::Zeroizing;

type Result<T> = std::result::Result<T, RegistryError>;

/// What an operation takes: the column of the route table. Each right includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// Changes nothing.
    Read,
    /// Changes anything but access keys and CA certificates.
    Operate,
    /// Changes access keys or CA certificates: who may call, and whose devices are let in.
    Administer,
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    Admin,
    /// Everything but changing access keys and CA certificates.
    Operator,
    /// Reading.
    Viewer,
}

impl Role {
    /// The highest right that it has.
    pub const fn right(self) -> Right {
        match self {
            Self::Admin => Right::Administer,
            Self::Operator => Right::Operate,
            Self::Viewer => Right::Read,
        }
    }
    /// Does it have this right?
    pub fn allows(self, right: Right) -> bool {
        right <= self.right()
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Administer => "administer",
        })
    }
}
impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
        })
    }
}

/// Does a key work?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AccessKeyStatus {
    /// It does.
    Active,
    /// Its calls are refused until it is activated.
    Inactive,
}

/// An access key's secret. Neither `Debug` nor any error shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The secret itself, for signing and for the one answer that shows it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}
impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(Zeroizing::new(secret))
    }
}
impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}
impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// A stored access key.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)]
pub struct AccessKeyRecord {
    /// `AKIA` and 16 of `A-Z2-7`.
    pub id: String,
    pub secret: Secret,
    pub role: Role,
    pub status: AccessKeyStatus,
    /// Whose it is or what it is for; 0 to 256 characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    pub created_at: Timestamp,
}

stored_by_id!(AccessKeyRecord, AccessKeys, "access key", id);

/// Most stored keys: they are listed in one answer.
const MOST_KEYS: usize = 500;
/// The longest description, in characters.
const LONGEST_DESCRIPTION: usize = 256;

/// A new pair in AWS's form: `AKIA` and 16 of `A-Z2-7`, and a secret of 40 characters (240 bits).
///
/// # Errors
/// `Internal` when the operating system gives no random numbers.
pub fn generate() -> Result<(String, Secret)> {
    const ID: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    const SECRET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut random = Zeroizing::new([0_u8; 56]);
    SystemRandom::new()
        .fill(random.as_mut())
        .map_err(|_| RegistryError::Internal("the operating system gave no random numbers".into()))?;
    // Both alphabets have a power of two of letters, so that every letter is as likely.
    let spell = |bytes: &[u8], letters: &[u8]| -> String {
        let letter = |byte: &u8| letters.get(usize::from(*byte) % letters.len()).copied().map(char::from);
        bytes.iter().filter_map(letter).collect()
    };
    let (id, secret) = random.split_at(16);
    Ok((format!("AKIA{}", spell(id, ID)), spell(secret, SECRET).into()))
}

async fn create(tx: &mut Tx, role: Role, description: &str) -> Result<AccessKeyRecord> {
    let length = description.chars().count();
    if length > LONGEST_DESCRIPTION || description.chars().any(char::is_control) {
        return Err(RegistryError::InvalidRequest(format!(
            "the description of an access key is 0 to {LONGEST_DESCRIPTION} characters without control characters"
        )));
    }
    if tx.rows(Table::AccessKeys, b"").await?.len() >= MOST_KEYS {
        return Err(RegistryError::LimitExceeded(format!(
            "there are {MOST_KEYS} access keys already: delete those that nobody uses"
        )));
    }
    let (id, secret) = generate()?;
    let record = AccessKeyRecord {
        id,
        secret,
        role,
        status: AccessKeyStatus::Active,
        description: description.into(),
        created_at: tx.now(),
    };
    tx.put(&record)?;
    tx.made("accessKeyId", &record.id);
    Ok(record)
}

async fn set_status(tx: &mut Tx, id: &str, status: AccessKeyStatus) -> Result<()> {
    let record: AccessKeyRecord = tx.require(id).await?;
    tx.put(&AccessKeyRecord { status, ..record })
}

async fn delete(tx: &mut Tx, id: &str) -> Result<()> {
    tx.require::<AccessKeyRecord>(id).await?;
    tx.delete::<AccessKeyRecord>(id);
    Ok(())
}

async fn list(tx: &mut Tx) -> Result<Vec<AccessKeyRecord>> {
    let rows = tx.rows(Table::AccessKeys, b"").await?;
    let records = rows.iter().map(|(key, row)| decode(Table::AccessKeys, key, row));
    Ok(records.collect::<std::result::Result<_, _>>()?)
}

impl Registry {
    /// Makes an active access key. The record carries its secret.
    pub async fn create_access_key(&self, role: Role, description: &str) -> Result<AccessKeyRecord> {
        transact!(self, |tx| create(tx, role, description))
    }
    /// All stored access keys by id, at most 500. For people, do not show their secrets.
    pub async fn access_keys(&self) -> Result<Vec<AccessKeyRecord>> {
        list(&mut self.begin()).await
    }
    /// A stored access key, to verify a signature with.
    pub async fn access_key(&self, id: &str) -> Result<Option<AccessKeyRecord>> {
        self.begin().get(id).await
    }
    /// Activates or deactivates a stored access key: the next call already meets it.
    pub async fn set_access_key_status(&self, id: &str, status: AccessKeyStatus) -> Result<()> {
        transact!(self, |tx| set_status(tx, id, status))
    }
    /// Deletes a stored access key.
    pub async fn delete_access_key(&self, id: &str) -> Result<()> {
        transact!(self, |tx| delete(tx, id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_has_the_rights_below_its_own() {
        use Right::{Administer, Operate, Read};
        let rights = |role: Role| [Read, Operate, Administer].map(|right| role.allows(right));
        assert_eq!(rights(Role::Viewer), [true, false, false]);
        assert_eq!(rights(Role::Operator), [true, true, false]);
        assert_eq!(rights(Role::Admin), [true, true, true]);
    }

    #[test]
    fn a_generated_pair_has_the_form_of_aws_and_is_never_the_same() {
        let (id, secret) = generate().unwrap();
        assert!(id.strip_prefix("AKIA").is_some_and(|rest| rest.len() == 16));
        assert!(id.bytes().all(|b| b.is_ascii_uppercase() || (b'2'..=b'7').contains(&b)), "{id}");
        assert_eq!(secret.expose().len(), 40);
        assert_ne!(generate().unwrap().0, id);
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let (id, secret) = generate().unwrap();
        let record = AccessKeyRecord {
            id,
            secret: secret.clone(),
            role: Role::Admin,
            status: AccessKeyStatus::Active,
            description: String::new(),
            created_at: Timestamp(0),
        };
        assert!(!format!("{record:?}").contains(secret.expose()));
    }
}
