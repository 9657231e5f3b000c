//! How records lie in the store: their table, their key, and JSON with a format version that is read strictly. Device
//! certificates, of which there are most, are kept closer.
mod certificate;

use crate::error::{RegistryError, ResourceKindName};
use crate::names::{
    BillingGroupName, CertificateProviderName, PolicyName, TemplateName, ThingGroupName, ThingName,
    ThingTypeName,
};
use crate::records::{
    BillingGroupRecord, CaCertificateRecord, CertificateProviderRecord, PolicyRecord, PolicyVersionRecord,
    TemplateRecord, TemplateVersionRecord, ThingGroupRecord, ThingRecord, ThingTypeRecord,
};
use crate::store::{Key, StoreError, Table};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// The version of the format that this program writes. It reads this one and, from the second on, all before it.
const FORMAT_VERSION: u64 = 1;

/// A record with a table of its own.
pub(crate) trait Stored: Sized {
    /// Where it lies.
    const TABLE: Table;
    /// What it is, for a person: `thing`.
    const KIND: ResourceKindName;
    /// What it is found by.
    type Id: ?Sized;
    /// The key of the record with this id.
    fn key_of(id: &Self::Id) -> Key;
    /// The id, for a person.
    fn describe(id: &Self::Id) -> String;
    /// The key of this record.
    fn key(&self) -> Key;
    /// The bytes of this record.
    fn encode(&self) -> Result<Vec<u8>, StoreError>;
    /// Reads what [`Self::encode`] wrote; another format is an error that names table and key.
    fn decode(key: &[u8], bytes: &[u8]) -> Result<Self, StoreError>;

    /// The error for a record that is not there.
    fn not_found(id: &Self::Id) -> RegistryError {
        RegistryError::NotFound { kind: Self::KIND, name: Self::describe(id) }
    }
}

/// Parts of a composed key, separated by `\0`, which no name contains.
pub(crate) fn composed_key(parts: [&str; 2]) -> Key {
    parts.join("\0").into_bytes()
}
/// The prefix of all composed keys with this first part.
pub(crate) fn key_prefix(first: &str) -> Key {
    [first.as_bytes(), b"\0"].concat()
}
/// The key of a numbered version: ordered as the numbers are.
pub(crate) fn version_key(name: &str, version: u32) -> Key {
    [name.as_bytes(), b"\0", &version.to_be_bytes()[..]].concat()
}

/// `{"v":1,"r":…}`
pub(crate) fn encode<T: Serialize + ?Sized>(record: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::with_capacity(512);
    bytes.extend_from_slice(HEAD);
    serde_json::to_writer(&mut bytes, record)
        .map_err(|e| StoreError::Corrupt(format!("a record could not be written as JSON: {e}")))?;
    bytes.push(b'}');
    Ok(bytes)
}

/// Reads what [`encode`] wrote; an unknown version or member is an error that names table and key.
pub(crate) fn decode<T: DeserializeOwned>(table: Table, key: &[u8], bytes: &[u8]) -> Result<T, StoreError> {
    let record = match bytes.strip_prefix(HEAD).and_then(|b| b.strip_suffix(b"}")) {
        Some(record) => record,
        None => any_format(table, key, bytes)?,
    };
    serde_json::from_slice(record).map_err(|e| damaged(table, key, &e.to_string()))
}

const HEAD: &[u8] = br#"{"v":1,"r":"#;

/// The envelope spelled in another way, or of another version.
fn any_format<'a>(table: Table, key: &[u8], bytes: &'a [u8]) -> Result<&'a [u8], StoreError> {
    #[derive(serde::Deserialize)]
    struct Envelope<'a> {
        v: u64,
        #[serde(borrow)]
        r: &'a RawValue,
    }
    let envelope: Envelope<'a> =
        serde_json::from_slice(bytes).map_err(|e| damaged(table, key, &e.to_string()))?;
    if envelope.v != FORMAT_VERSION {
        return Err(StoreError::Corrupt(format!(
            "the record with key \"{}\" in the registry's table {:?} has format version {}, this program reads \
             version {FORMAT_VERSION}: it was written by a newer program; use that one",
            key.escape_ascii(),
            table.name(),
            envelope.v
        )));
    }
    Ok(envelope.r.get().as_bytes())
}

pub(crate) fn damaged(table: Table, key: &[u8], why: &str) -> StoreError {
    StoreError::Corrupt(format!(
        "the record with key \"{}\" in the registry's table {:?} cannot be read: {why}; it was written by another \
         program or is damaged: restore a backup, or delete the resource and create it again",
        key.escape_ascii(),
        table.name()
    ))
}

macro_rules! stored_by_name {
    ($($record:ty, $table:ident, $kind:literal, $name:ty;)+) => {$(
        impl Stored for $record {
            const TABLE: Table = Table::$table;
            const KIND: ResourceKindName = $kind;
            type Id = $name;
            fn key_of(id: &$name) -> Key {
                id.as_str().as_bytes().to_vec()
            }
            fn describe(id: &$name) -> String {
                id.to_string()
            }
            fn encode(&self) -> Result<Vec<u8>, StoreError> {
                encode(self)
            }
            fn decode(key: &[u8], bytes: &[u8]) -> Result<Self, StoreError> {
                decode(Self::TABLE, key, bytes)
            }
            fn key(&self) -> Key {
                Self::key_of(&self.name)
            }
        }
    )+};
}
/// Records as JSON, by a certificate id of theirs or by a text that is shown in part.
macro_rules! stored_by_id {
    ($record:ty, $table:ident, $kind:literal, certificate_id) => {
        $crate::stored::stored_by_id!(
            $record,
            $table,
            $kind,
            $crate::names::CertificateId,
            certificate_id,
            |id| id.as_bytes().to_vec(),
            |id| id.to_string()
        );
    };
    ($record:ty, $table:ident, $kind:literal, $text:ident) => {
        $crate::stored::stored_by_id!(
            $record,
            $table,
            $kind,
            str,
            $text,
            |id| id.as_bytes().to_vec(),
            |id| id.chars().take(128).collect()
        );
    };
    (
        $record:ty, $table:ident, $kind:literal, $id:ty, $member:ident,
        |$key:ident| $key_of:expr, |$shown:ident| $describe:expr
    ) => {
        impl $crate::stored::Stored for $record {
            const TABLE: $crate::store::Table = $crate::store::Table::$table;
            const KIND: $crate::error::ResourceKindName = $kind;
            type Id = $id;
            fn key_of($key: &$id) -> $crate::store::Key {
                $key_of
            }
            fn describe($shown: &$id) -> String {
                $describe
            }
            fn key(&self) -> $crate::store::Key {
                Self::key_of(&self.$member)
            }
            fn encode(&self) -> ::std::result::Result<Vec<u8>, $crate::store::StoreError> {
                $crate::stored::encode(self)
            }
            fn decode(key: &[u8], bytes: &[u8]) -> ::std::result::Result<Self, $crate::store::StoreError> {
                $crate::stored::decode(Self::TABLE, key, bytes)
            }
        }
    };
}
pub(crate) use stored_by_id;

macro_rules! stored_by_version {
    ($($record:ty, $table:ident, $kind:literal, $name:ty, $member:ident;)+) => {$(
        impl Stored for $record {
            const TABLE: Table = Table::$table;
            const KIND: ResourceKindName = $kind;
            type Id = ($name, u32);
            fn key_of((name, version): &($name, u32)) -> Key {
                version_key(name.as_str(), *version)
            }
            fn describe((name, version): &($name, u32)) -> String {
                format!("{version} of {name}")
            }
            fn encode(&self) -> Result<Vec<u8>, StoreError> {
                encode(self)
            }
            fn decode(key: &[u8], bytes: &[u8]) -> Result<Self, StoreError> {
                decode(Self::TABLE, key, bytes)
            }
            fn key(&self) -> Key {
                version_key(self.$member.as_str(), self.version)
            }
        }
    )+};
}

stored_by_name! {
    ThingRecord, Things, "thing", ThingName;
    ThingTypeRecord, ThingTypes, "thing type", ThingTypeName;
    ThingGroupRecord, ThingGroups, "thing group", ThingGroupName;
    BillingGroupRecord, BillingGroups, "billing group", BillingGroupName;
    PolicyRecord, Policies, "policy", PolicyName;
    TemplateRecord, Templates, "provisioning template", TemplateName;
    CertificateProviderRecord, CertificateProviders, "certificate provider", CertificateProviderName;
}
stored_by_id!(CaCertificateRecord, CaCertificates, "CA certificate", certificate_id);
stored_by_version! {
    PolicyVersionRecord, PolicyVersions, "policy version", PolicyName, policy;
    TemplateVersionRecord, TemplateVersions, "template version", TemplateName, template;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_a_newer_format_is_refused_with_its_table_and_key() {
        let error = decode::<u32>(Table::Things, b"pump-1", br#"{"v":2,"r":{"new":true}}"#).unwrap_err();
        let text = error.to_string();
        for part in ["version 2", "\"things\"", "pump-1", "newer"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_damaged_record_is_an_error_that_says_where() {
        for bytes in [&b""[..], b"{", b"{\"v\":1,\"r\":", b"{\"v\":1,\"r\":\"x\"}", b"\xff\xfe", b"{\"r\":1}"]
        {
            let text = decode::<u32>(Table::Things, b"p", bytes).unwrap_err().to_string();
            assert!(text.contains("\"things\""), "{text}");
        }
    }

    #[test]
    fn a_record_reads_back_however_its_envelope_is_spelled() {
        assert_eq!(decode::<u32>(Table::Things, b"p", &encode(&7).unwrap()).unwrap(), 7);
        assert_eq!(decode::<u32>(Table::Things, b"p", br#" {"r": 7, "v": 1} "#).unwrap(), 7);
    }
}
