//! The certificate provider: which program of the operator's signs what devices ask for with a signing request
//! (`spec/fleet-provisioning.md` section 9).
use super::tags::{self, Tags};
use super::{Registry, Result};
use crate::arn::ResourceKind;
use crate::error::RegistryError;
use crate::issuing::program::check_known;
use crate::names::CertificateProviderName;
use crate::records::CertificateProviderRecord;
use crate::store::Table;
use crate::stored::{Stored, decode};
use crate::transact::transact;
use crate::tx::Tx;

/// CreateCertificateProvider.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct CreateCertificateProvider {
    pub name: CertificateProviderName,
    /// Which program.
    pub function_arn: String,
    /// Tells a repetition of this call from another one.
    pub client_token: Option<String>,
    pub tags: Tags,
}

async fn create(tx: &mut Tx, provider: &CreateCertificateProvider) -> Result<CertificateProviderRecord> {
    tags::check(&provider.tags)?;
    check_function(tx, &provider.function_arn)?;
    let name = &provider.name;
    match current(tx).await? {
        Some(known) if known.name == *name => {
            let is_repetition = provider.client_token.is_some()
                && (&known.client_token, &known.function_arn, &known.tags)
                    == (&provider.client_token, &provider.function_arn, &provider.tags);
            if is_repetition {
                return Ok(known);
            }
            return Err(RegistryError::AlreadyExists {
                kind: CertificateProviderRecord::KIND,
                id: name.to_string(),
                arn: tx.arn(ResourceKind::CertificateProvider, name.as_str()).to_string(),
                hint: ": update it instead".into(),
            });
        }
        Some(other) => {
            return Err(RegistryError::LimitExceeded(format!(
                "there is a certificate provider already, {}, and one is allowed: delete it first",
                other.name
            )));
        }
        None => {}
    }
    let record = CertificateProviderRecord {
        name: name.clone(),
        function_arn: provider.function_arn.clone(),
        client_token: provider.client_token.clone(),
        created_at: tx.now(),
        modified_at: tx.now(),
        tags: provider.tags.clone(),
    };
    tx.put(&record)?;
    Ok(record)
}

async fn update(
    tx: &mut Tx,
    name: &CertificateProviderName,
    function_arn: Option<&str>,
) -> Result<CertificateProviderRecord> {
    let mut record: CertificateProviderRecord = tx.require(name).await?;
    if let Some(arn) = function_arn.filter(|arn| *arn != record.function_arn) {
        check_function(tx, arn)?;
        record.function_arn = arn.to_owned();
        record.modified_at = tx.now();
        tx.put(&record)?;
    }
    Ok(record)
}

async fn delete(tx: &mut Tx, name: &CertificateProviderName) -> Result<()> {
    tx.require_exists::<CertificateProviderRecord>(name).await?;
    tx.delete::<CertificateProviderRecord>(name);
    Ok(())
}

/// The provider, if there is one.
pub(crate) async fn current(tx: &mut Tx) -> Result<Option<CertificateProviderRecord>> {
    let table = Table::CertificateProviders;
    match tx.rows(table, b"").await?.first() {
        Some((key, row)) => Ok(Some(decode(table, key, row)?)),
        None => Ok(None),
    }
}

fn check_function(tx: &Tx, arn: &str) -> Result<()> {
    check_known(&tx.options().callbacks, "lambdaFunctionArn: the program", arn)
}

impl Registry {
    /// CreateCertificateProvider: there can be one.
    pub async fn create_certificate_provider(
        &self,
        provider: CreateCertificateProvider,
    ) -> Result<CertificateProviderRecord> {
        transact!(self, |tx| create(tx, &provider))
    }
    /// DescribeCertificateProvider.
    pub async fn certificate_provider(
        &self,
        name: &CertificateProviderName,
    ) -> Result<CertificateProviderRecord> {
        self.begin().require(name).await
    }
    /// ListCertificateProviders: none or one.
    pub async fn certificate_providers(&self) -> Result<Vec<CertificateProviderRecord>> {
        Ok(current(&mut self.begin()).await?.into_iter().collect())
    }
    /// UpdateCertificateProvider.
    pub async fn update_certificate_provider(
        &self,
        name: &CertificateProviderName,
        function_arn: Option<String>,
    ) -> Result<CertificateProviderRecord> {
        transact!(self, |tx| update(tx, name, function_arn.as_deref()))
    }
    /// DeleteCertificateProvider: the issuing CA signs again.
    pub async fn delete_certificate_provider(&self, name: &CertificateProviderName) -> Result<()> {
        transact!(self, |tx| delete(tx, name))
    }
}
