//! Every way to provision, one after the other, each on a jitp of its own, in one table.
//!
//! A figure is devices per second of whole cycles: whatever a device or a caller does from its first packet until it has
//! been told that all is done.
mod bulk;
mod first_connection;
mod fleet;
mod hook;
mod jitr;
mod keys;
mod ledger;
mod renewal;
mod rest;
mod site;
mod templates;
mod trusted_user;
mod way;

pub use way::Way;

use super::lanes::{self, Work};
use crate::lab::Lab;
use crate::peers::Kind;
use crate::report::{Case, Report, progress};
use keys::Keys;
use site::Site;
use std::sync::Arc;

/// Devices made for each second of a round: more than these cores can provision. A round ends when there are no more.
const DEVICES_PER_SECOND: u64 = 3000;

pub async fn run(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    if !lab.options.peers.contains(&Kind::Jitp) {
        return Ok(());
    }
    let mut cases = Vec::new();
    for way in &lab.options.ways {
        cases.extend(measure(lab, *way).await?);
    }
    report.add_together("provision: devices per second", cases)
}

async fn measure(lab: &Lab, way: Way) -> anyhow::Result<Vec<Case>> {
    let case = match way {
        Way::FirstConnection => first_connection::shared_policy(lab, way).await,
        Way::FirstConnectionPolicyEach => first_connection::policy_each(lab, way).await,
        Way::Jitr => jitr::measure(lab, way).await,
        Way::RegisterThing => rest::register_thing(lab, way).await,
        Way::CreateFromCsr => rest::create_from_csr(lab, way).await,
        Way::CreateKeys => rest::create_keys(lab, way, Keys::InStock).await,
        Way::CreateKeysP256 => rest::create_keys(lab, way, Keys::P256).await,
        Way::FleetKeys => fleet::keys(lab, way, Keys::InStock).await,
        Way::FleetKeysMade => fleet::keys(lab, way, Keys::Made).await,
        Way::FleetKeysP256 => fleet::keys(lab, way, Keys::P256).await,
        Way::FleetCsr => fleet::signing_requests(lab, way).await,
        Way::FleetCsrHook => fleet::with_hook(lab, way).await,
        Way::Claim => rest::claims(lab, way, Keys::InStock).await,
        Way::ClaimP256 => rest::claims(lab, way, Keys::P256).await,
        Way::TrustedUser => trusted_user::measure(lab, way).await,
        Way::Renewal => renewal::measure(lab, way).await,
        Way::Bulk => return bulk::measure(lab).await,
    };
    Ok(vec![case?])
}

/// Rounds of a way on one broker; what was promised is looked for after a kill. `prepare` makes the work of a round before
/// the clock starts.
async fn rounds<W: Work>(
    lab: &Lab,
    way: Way,
    site: Site,
    mut prepare: impl AsyncFnMut(&Site, u32) -> anyhow::Result<W>,
) -> anyhow::Result<Case> {
    let mut case = way.case();
    let time = lab.options.window();
    for round in 0..lab.options.rounds {
        progress(&format!("provision: {}, round {}", case.variant, round + 1));
        let work = Arc::new(prepare(&site, round).await?);
        case.rounds.push(lanes::measure(&site.peer, round, work, time).await?);
    }
    case.notes.push(site.verify(lab).await?);
    Ok(case)
}

/// How many devices are made for a round.
fn devices(lab: &Lab) -> anyhow::Result<usize> {
    Ok(usize::try_from(lab.options.seconds * DEVICES_PER_SECOND)?)
}
