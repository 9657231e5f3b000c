//! The requests of fleet provisioning (`spec/fleet-provisioning.md` section 2) and of renewal by their topics.
use super::encoding::Encoding;

/// What a PUBLISH to a topic asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Api {
    /// CreateKeysAndCertificate
    CreateKeys { encoding: Encoding },
    /// CreateCertificateFromCsr
    CreateFromCsr { encoding: Encoding },
    /// RegisterThing
    RegisterThing { template: Box<str>, encoding: Encoding },
    /// jitp's own: the next certificate of this device.
    Renew { encoding: Encoding },
}

impl Api {
    /// `None`: the topic is no request. Level for level, nothing before and nothing behind.
    pub(crate) fn of(topic: &str) -> Option<Self> {
        // Nearly every topic ends here.
        let reserved = topic.strip_prefix('$')?;
        if let Some(encoding) = reserved.strip_prefix("jitp/certificates/renew/") {
            return Some(Self::Renew { encoding: Encoding::of(encoding)? });
        }
        let rest = reserved.strip_prefix("aws/")?;
        let (head, encoding) = rest.rsplit_once('/')?;
        let encoding = Encoding::of(encoding)?;
        match head {
            "certificates/create" => Some(Self::CreateKeys { encoding }),
            "certificates/create-from-csr" => Some(Self::CreateFromCsr { encoding }),
            _ => {
                let template = head.strip_prefix("provisioning-templates/")?.strip_suffix("/provision")?;
                let is_one_level = !template.is_empty() && !template.contains('/');
                is_one_level.then(|| Self::RegisterThing { template: template.into(), encoding })
            }
        }
    }

    pub(crate) const fn encoding(&self) -> Encoding {
        match self {
            Self::CreateKeys { encoding }
            | Self::CreateFromCsr { encoding }
            | Self::RegisterThing { encoding, .. }
            | Self::Renew { encoding } => *encoding,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_from_their_topics_exactly() {
        let register = |template: &str, encoding| Api::RegisterThing { template: template.into(), encoding };
        for (topic, api) in [
            ("$aws/certificates/create/json", Api::CreateKeys { encoding: Encoding::Json }),
            ("$aws/certificates/create/cbor", Api::CreateKeys { encoding: Encoding::Cbor }),
            ("$aws/certificates/create-from-csr/cbor", Api::CreateFromCsr { encoding: Encoding::Cbor }),
            ("$aws/provisioning-templates/pumps/provision/json", register("pumps", Encoding::Json)),
            ("$jitp/certificates/renew/cbor", Api::Renew { encoding: Encoding::Cbor }),
            ("$aws/provisioning-templates/provision/provision/cbor", register("provision", Encoding::Cbor)),
        ] {
            assert_eq!(Api::of(topic), Some(api), "{topic}");
        }
        for topic in [
            "$aws/certificates/create",
            "$aws/certificates/create/xml",
            "$aws/certificates/create/JSON",
            "$aws/certificates/create/json/",
            "$aws/certificates/create/json/accepted",
            "$aws/certificates/create//json",
            "$aws/certificates/create-from-csr/json/rejected",
            "$aws/certificates/json",
            "/$aws/certificates/create/json",
            "aws/certificates/create/json",
            "$AWS/certificates/create/json",
            "$aws/provisioning-templates/pumps/provision",
            "$aws/provisioning-templates//provision/json",
            "$aws/provisioning-templates/a/b/provision/json",
            "$aws/provisioning-templates/provision/json",
            "$aws/provisioning-templates/pumps/provision/json/accepted",
            "$jitp/certificates/renew/est",
            "$jitp/certificates/renew/json/accepted",
            "$jitp/certificates/create/json",
            "$aws//json",
            "$aws/json",
            "$aws/",
            "",
        ] {
            assert_eq!(Api::of(topic), None, "{topic}");
        }
    }
}
