//! Templates ready to run, parsed once each.
use crate::cache::Cache;
use crate::provisioner::Options;
use crate::records::TemplateType;
use crate::registry::templates;
use jitp_templates::{Problems, Template};
use std::sync::Arc;

/// Most parsed templates kept: the default limit of templates times their versions.
const KEPT: usize = 1280;

/// Parsed templates by the hash of their text, so that an edited, deleted or recreated one is never taken for another.
pub(crate) struct Templates {
    parsed: Cache<[u8; 32], Arc<Template>>,
}

impl Templates {
    pub(crate) fn new() -> Self {
        Self { parsed: Cache::new(KEPT) }
    }
    /// The template of a body, for a first connection.
    pub(crate) fn jitp(&self, options: &Options, body: &str) -> Result<Arc<Template>, Problems> {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body.as_bytes());
        let key: Option<[u8; 32]> = digest.as_ref().try_into().ok();
        if let Some(template) = key.and_then(|key| self.parsed.get(&key)) {
            return Ok(template);
        }
        let template = Arc::new(templates::parse(options, TemplateType::Jitp, body)?);
        if let Some(key) = key {
            self.parsed.put(key, Arc::clone(&template));
        }
        Ok(template)
    }
}
