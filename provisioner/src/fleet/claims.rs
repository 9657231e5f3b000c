//! Claim certificates as labels of a metric: as many as are worth telling apart, and never more.
use crate::names::CertificateId;
use parking_lot::Mutex;
use std::collections::HashSet;

/// Claims that are told apart. Temporary ones come and go; a label stays as long as the process.
const TOLD_APART: usize = 1000;

#[derive(Debug, Default)]
pub(crate) struct Claims(Mutex<HashSet<CertificateId>>);

impl Claims {
    /// The label of a claim certificate: its id, or `other`.
    pub(super) fn label(&self, claim: CertificateId) -> String {
        let mut known = self.0.lock();
        if known.contains(&claim) || (known.len() < TOLD_APART && known.insert(claim)) {
            return claim.to_string();
        }
        "other".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_thousand_claims_new_ones_are_one_label_and_known_ones_stay() {
        let claims = Claims::default();
        let id = |n: u16| {
            let mut bytes = [0; 32];
            bytes[..2].copy_from_slice(&n.to_be_bytes());
            CertificateId::from_bytes(bytes)
        };
        for n in 0..1000 {
            assert_eq!(claims.label(id(n)), id(n).to_string());
        }
        assert_eq!(claims.label(id(1000)), "other");
        assert_eq!(claims.label(id(7)), id(7).to_string());
    }
}
