//! Who may call.

/// An access key of an operator. `Debug` does not show the secret.
#[derive(Clone)]
pub struct AccessKey {
    pub id: String,
    pub secret: zeroize::Zeroizing<String>,
}
impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The keys that the API accepts.
#[derive(Debug, Clone, Default)]
pub struct AccessKeys(pub Vec<AccessKey>);
