//! The provisioning budget of a CA: an extension of jitp, set by the operator.
use crate::error::RegistryError;
use crate::names::CertificateId;
use crate::records::CaCertificateRecord;
use crate::registry::Registry;
use crate::store::Table;
use crate::stored::{decode, encode};
use crate::transact::transact;
use crate::tx::Tx;

/// How fast, and how many certificates, a CA may register by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CaBudget {
    /// Runs per second; `None`: the configured default; 0: unlimited.
    pub runs_per_second: Option<u32>,
    /// Certificates in all, counted while a total is set; `None`: unlimited.
    pub total_runs: Option<u64>,
}

/// What to change of a CA's budget. `None` leaves a limit as it is, `Some(None)` lifts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct UpdateCaBudget {
    pub runs_per_second: Option<Option<u32>>,
    pub total_runs: Option<Option<u64>>,
}

impl Registry {
    /// The budget of a CA.
    ///
    /// # Errors
    /// `NotFound` if the CA is not registered.
    pub async fn ca_budget(&self, ca: CertificateId) -> Result<CaBudget, RegistryError> {
        Ok(budget_of(&self.begin().require(&ca).await?))
    }
    /// Changes one limit of the budget of a CA, or both; the budget that it has now. What it has used of a total stays
    /// counted.
    ///
    /// # Errors
    /// `NotFound` if the CA is not registered.
    pub async fn update_ca_budget(
        &self,
        ca: CertificateId,
        update: UpdateCaBudget,
    ) -> Result<CaBudget, RegistryError> {
        transact!(self, |tx| change(tx, ca, update))
    }
    /// Sets the budget of a CA. What it has used of a total stays counted.
    ///
    /// # Errors
    /// `NotFound` if the CA is not registered.
    pub async fn set_ca_budget(&self, ca: CertificateId, budget: CaBudget) -> Result<(), RegistryError> {
        transact!(self, |tx| set(tx, ca, budget))
    }
    /// How many certificates a CA has registered while it had a total budget.
    pub async fn ca_budget_used(&self, ca: CertificateId) -> Result<u64, RegistryError> {
        used(&mut self.begin(), ca).await
    }
}

async fn change(tx: &mut Tx, ca: CertificateId, update: UpdateCaBudget) -> Result<CaBudget, RegistryError> {
    let before = budget_of(&tx.require(&ca).await?);
    let after = CaBudget {
        runs_per_second: update.runs_per_second.unwrap_or(before.runs_per_second),
        total_runs: update.total_runs.unwrap_or(before.total_runs),
    };
    if after != before {
        set(tx, ca, after).await?;
    }
    Ok(after)
}

fn budget_of(record: &CaCertificateRecord) -> CaBudget {
    CaBudget { runs_per_second: record.runs_per_second, total_runs: record.total_runs }
}

async fn set(tx: &mut Tx, ca: CertificateId, budget: CaBudget) -> Result<(), RegistryError> {
    let record: CaCertificateRecord = tx.require(&ca).await?;
    let CaBudget { runs_per_second, total_runs } = budget;
    tx.put(&CaCertificateRecord { runs_per_second, total_runs, ..record })
}

/// How many certificates a CA with a total budget has registered.
pub(crate) async fn used(tx: &mut Tx, ca: CertificateId) -> Result<u64, RegistryError> {
    let key = ca.as_bytes();
    match tx.row(Table::CaRuns, key).await? {
        Some(bytes) => Ok(decode(Table::CaRuns, key, bytes)?),
        None => Ok(0),
    }
}

/// Counts one more.
pub(crate) async fn count(tx: &mut Tx, ca: CertificateId) -> Result<(), RegistryError> {
    let used = used(tx, ca).await?.saturating_add(1);
    tx.put_row(Table::CaRuns, ca.as_bytes().to_vec(), encode(&used)?);
    Ok(())
}
