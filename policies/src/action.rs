//! What a connection asks for.

/// An action that jitp checks (`spec/policies.md` section 2). The resource kind follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Action {
    Connect,
    Publish,
    RetainPublish,
    Subscribe,
    Receive,
    GetRetainedMessage,
    ListRetainedMessages,
    DeleteConnection,
    AssumeRoleWithCertificate,
}
impl Action {
    /// `iot:Connect`, as written in policies, events and logs.
    pub const fn name(self) -> &'static str {
        unimplemented!()
    }
    /// The kind before the slash in the resource ARN: `client`, `topic`, `topicfilter`, `rolealias`, or empty for `*`.
    pub const fn resource_kind(self) -> &'static str {
        unimplemented!()
    }
}
