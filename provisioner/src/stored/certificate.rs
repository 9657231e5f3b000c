//! Device certificates in the store: a format version, what is noted of a certificate in postcard's encoding, and its DER.
//! Half of what JSON with PEM takes, and read on every connection. The id is the key.
use super::{Stored, damaged};
use crate::clock::Timestamp;
use crate::error::ResourceKindName;
use crate::names::CertificateId;
use crate::records::{CertificateMode, CertificateRecord, CertificateStatus};
use crate::store::{Key, StoreError, Table};

/// The version of the format that this program writes. It rises with every change to [`Noted`].
const FORMAT_VERSION: u8 = 3;
/// The version before: without [`Noted::retires`].
const WITHOUT_RETIRES: u8 = 2;

#[derive(serde::Serialize, serde::Deserialize)]
struct Noted<'a> {
    status: CertificateStatus,
    mode: CertificateMode,
    ca_certificate_id: Option<CertificateId>,
    created_at: Timestamp,
    modified_at: Timestamp,
    version: u32,
    generation_id: &'a str,
    last_error: Option<&'a str>,
}

impl Stored for CertificateRecord {
    const TABLE: Table = Table::Certificates;
    const KIND: ResourceKindName = "certificate";
    type Id = CertificateId;
    fn key_of(id: &CertificateId) -> Key {
        id.as_bytes().to_vec()
    }
    fn describe(id: &CertificateId) -> String {
        id.to_string()
    }
    fn key(&self) -> Key {
        Self::key_of(&self.certificate_id)
    }
    fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let noted = Noted {
            status: self.status,
            mode: self.mode,
            ca_certificate_id: self.ca_certificate_id,
            created_at: self.created_at,
            modified_at: self.modified_at,
            version: self.version,
            generation_id: &self.generation_id,
            last_error: self.last_error.as_deref(),
        };
        let mut bytes = Vec::with_capacity(128 + self.der.len());
        bytes.push(FORMAT_VERSION);
        let mut bytes = postcard::to_extend(&(noted, self.retires), bytes)
            .map_err(|e| StoreError::Corrupt(format!("a certificate could not be encoded: {e}")))?;
        bytes.extend_from_slice(&self.der);
        Ok(bytes)
    }
    fn decode(key: &[u8], bytes: &[u8]) -> Result<Self, StoreError> {
        let broken = |why: String| damaged(Self::TABLE, key, &why);
        let (version, encoded) = match bytes.split_first() {
            Some((version @ (&FORMAT_VERSION | &WITHOUT_RETIRES), encoded)) => (*version, encoded),
            Some((version, _)) => {
                return Err(broken(format!(
                    "it has format version {version}, and this program reads versions {WITHOUT_RETIRES} and \
                     {FORMAT_VERSION}"
                )));
            }
            None => return Err(broken("it is empty".into())),
        };
        let id = key.try_into().map_err(|_| broken("its key is not a certificate id".into()))?;
        let unreadable = |e: postcard::Error| broken(e.to_string());
        let (noted, rest): (Noted<'_>, &[u8]) = postcard::take_from_bytes(encoded).map_err(unreadable)?;
        let (retires, der) = match version {
            WITHOUT_RETIRES => (None, rest),
            _ => postcard::take_from_bytes(rest).map_err(unreadable)?,
        };
        Ok(Self {
            certificate_id: CertificateId::from_bytes(id),
            der: der.into(),
            status: noted.status,
            mode: noted.mode,
            ca_certificate_id: noted.ca_certificate_id,
            created_at: noted.created_at,
            modified_at: noted.modified_at,
            version: noted.version,
            generation_id: noted.generation_id.to_owned(),
            last_error: noted.last_error.map(str::to_owned),
            retires,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> CertificateRecord {
        CertificateRecord {
            certificate_id: CertificateId::from_bytes([1; 32]),
            der: (*b"any bytes").into(),
            status: CertificateStatus::PendingActivation,
            mode: CertificateMode::SniOnly,
            ca_certificate_id: Some(CertificateId::from_bytes([2; 32])),
            created_at: Timestamp(1_767_225_600_456),
            modified_at: Timestamp(1_767_225_600_457),
            version: 3,
            generation_id: "g".into(),
            last_error: Some("POLICY_NOT_FOUND: create it".into()),
            retires: Some(CertificateId::from_bytes([3; 32])),
        }
    }

    #[test]
    fn a_certificate_reads_back() {
        let bare = CertificateRecord { ca_certificate_id: None, last_error: None, retires: None, ..record() };
        for record in [record(), bare] {
            let bytes = record.encode().unwrap();
            assert_eq!(CertificateRecord::decode(&record.key(), &bytes).unwrap(), record);
        }
    }

    #[test]
    fn a_certificate_of_the_version_before_reads_back() {
        let bare = CertificateRecord { retires: None, ..record() };
        let mut bytes = bare.encode().unwrap();
        bytes[0] = WITHOUT_RETIRES;
        let der = bytes.len() - bare.der.len();
        assert_eq!(bytes.remove(der - 1), 0, "no certificate to retire");
        assert_eq!(CertificateRecord::decode(&bare.key(), &bytes).unwrap(), bare);
    }

    #[test]
    fn another_format_and_damage_are_errors_that_say_where() {
        let (key, bytes) = (record().key(), record().encode().unwrap());
        let newer = [&[4], &bytes[1..]].concat();
        let json = br#"{"v":1,"r":{}}"#.to_vec();
        for bytes in [newer, json, bytes[..40].to_vec(), Vec::new()] {
            let text = CertificateRecord::decode(&key, &bytes).unwrap_err().to_string();
            assert!(text.contains("\"certificates\""), "{text}");
        }
        assert!(CertificateRecord::decode(b"short", &bytes).is_err());
    }
}
