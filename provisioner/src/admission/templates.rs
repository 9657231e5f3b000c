//! Templates ready to run, parsed once each.
use crate::cache::Cache;
use jitp_policies::Document;
use jitp_templates::{Caller, Problems, Rules, Template};
use std::sync::Arc;

/// Most parsed templates kept: the default limit of templates times their versions.
const KEPT: usize = 1280;

/// Parsed templates by the hash of their text, so that an edited, deleted or recreated one is never taken for another.
pub(crate) struct Templates {
    functions_in_fleet_only: bool,
    parsed: Cache<[u8; 32], Arc<Template>>,
}

impl Templates {
    pub(crate) fn new(functions_in_fleet_only: bool) -> Self {
        Self { functions_in_fleet_only, parsed: Cache::new(KEPT) }
    }
    /// The template of a body, for a first connection.
    pub(crate) fn jitp(&self, body: &str) -> Result<Arc<Template>, Problems> {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body.as_bytes());
        let key: Option<[u8; 32]> = digest.as_ref().try_into().ok();
        if let Some(template) = key.and_then(|key| self.parsed.get(&key)) {
            return Ok(template);
        }
        let policy = |document: &str| Document::parse(document).map(drop).map_err(|e| e.to_string());
        let rules = Rules {
            caller: Caller::Jitp,
            policy: &policy,
            functions_in_fleet_only: self.functions_in_fleet_only,
        };
        let template = Arc::new(Template::parse(body, rules)?);
        if let Some(key) = key {
            self.parsed.put(key, Arc::clone(&template));
        }
        Ok(template)
    }
}
