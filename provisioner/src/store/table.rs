//! The tables of the registry.

macro_rules! tables {
    ($($(#[doc = $doc:literal])+ $table:ident = $name:literal),+ $(,)?) => {
        /// A table: an ordered map of keys to values. `\0` separates the parts of a composed key; no name contains it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) enum Table {
            $($(#[doc = $doc])+ $table),+
        }
        impl Table {
            /// All tables.
            pub(crate) const ALL: &'static [Table] = &[$(Table::$table),+];
            /// The name on disk and in errors. Never changes.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Table::$table => $name),+ }
            }
        }
    };
}

tables! {
    /// Written by the engine only: revision, and what the engine needs.
    Engine = "engine",
    /// consumer → [`Cursor`](super::Cursor).
    Cursors = "cursors",
    /// `account`, `region`, `registration-code`, `event-configurations` → record.
    Settings = "settings",
    /// CA certificate id → record.
    CaCertificates = "ca-certificates",
    /// SHA-256 of the subject's DER, CA certificate id → nothing.
    CaCertificatesBySubject = "ca-certificates-by-subject",
    /// template, CA certificate id → nothing.
    CaCertificatesByTemplate = "ca-certificates-by-template",
    /// CA certificate id → provisioning runs used so far.
    CaRuns = "ca-runs",
    /// certificate id → record.
    Certificates = "certificates",
    /// CA certificate id, certificate id → nothing.
    CertificatesByCa = "certificates-by-ca",
    /// when it ends (milliseconds, 8 bytes, big endian), certificate id → what ends: `pending`, `claim` or `renewed`.
    Expiring = "expiring",
    /// certificate id of a provisioning claim → record.
    Claims = "claims",
    /// certificate id → which one it renews, and which one renewed it.
    Renewals = "renewals",
    /// name → record.
    CertificateProviders = "certificate-providers",
    /// CA certificate id, id of a certificate of it that waits for activation → nothing.
    PendingCertificates = "pending-certificates",
    /// name → record.
    Things = "things",
    /// thing type, thing → nothing.
    ThingsByType = "things-by-type",
    /// thing, certificate id → attachment.
    PrincipalsOfThing = "principals-of-thing",
    /// certificate id, thing → attachment.
    ThingsOfPrincipal = "things-of-principal",
    /// name → record.
    ThingTypes = "thing-types",
    /// name → record.
    ThingGroups = "thing-groups",
    /// parent, child → nothing.
    ChildGroups = "child-groups",
    /// dynamic group → when it was created, and its query.
    DynamicGroups = "dynamic-groups",
    /// group, thing → nothing.
    ThingsOfGroup = "things-of-group",
    /// thing, group → nothing.
    GroupsOfThing = "groups-of-thing",
    /// name → record.
    BillingGroups = "billing-groups",
    /// billing group, thing → nothing.
    ThingsOfBillingGroup = "things-of-billing-group",
    /// name → record.
    Policies = "policies",
    /// policy, version (4 bytes, big endian) → record.
    PolicyVersions = "policy-versions",
    /// target, policy → nothing.
    PoliciesOfTarget = "policies-of-target",
    /// policy, target → nothing.
    TargetsOfPolicy = "targets-of-policy",
    /// name → record.
    Templates = "templates",
    /// template, version (4 bytes, big endian) → record.
    TemplateVersions = "template-versions",
    /// expiry of an ownership token (8 bytes, big endian), certificate id → what RegisterThing answered.
    FleetAnswers = "fleet-answers",
    /// sequence (8 bytes, big endian) → attempt.
    Attempts = "attempts",
    /// id → registration task, with the secret of its links.
    RegistrationTasks = "registration-tasks",
    /// registration task that has not ended → nothing.
    RunningRegistrationTasks = "running-registration-tasks",
    /// registration task → how far it is.
    RegistrationProgress = "registration-progress",
    /// registration task, offset of a line (8 bytes, big endian) → what became of it, until that is in a report.
    RegistrationLines = "registration-lines",
    /// id → access key, with its secret.
    AccessKeys = "access-keys",
    /// sequence (8 bytes, big endian) → audited call.
    Audit = "audit",
    /// what it is for → secret bytes.
    Secrets = "secrets",
    /// session (8 bytes, big endian) → its client id, and until when it waits.
    Sessions = "sessions",
    /// session, filter → options.
    SessionSubscriptions = "session-subscriptions",
    /// session, packet id (2 bytes, big endian) → the message in flight towards the client.
    SessionInFlight = "session-in-flight",
    /// session, packet id → nothing: a QoS 2 message from the client that was not released yet.
    SessionReceived = "session-received",
    /// session, sequence (8 bytes, big endian) → a message for it, or a reference to one.
    SessionQueues = "session-queues",
    /// number (8 bytes, big endian) → a message that several sessions refer to.
    SessionMessages = "session-messages",
    /// topic → retained message.
    RetainedMessages = "retained-messages",
    /// session, number (8 bytes, big endian) → a last will that is neither published nor withdrawn.
    SessionWills = "session-wills",
}

impl Table {
    /// What MQTT sessions leave behind, and retained messages. No commit expects anything of these tables: each row has one
    /// writer, the broker that has the session. Their order never changes: it is in the redo log.
    pub(crate) const OF_SESSIONS: [Table; 8] = [
        Table::Sessions,
        Table::SessionSubscriptions,
        Table::SessionInFlight,
        Table::SessionReceived,
        Table::SessionQueues,
        Table::SessionMessages,
        Table::RetainedMessages,
        Table::SessionWills,
    ];
    /// Is it one of them?
    pub(crate) const fn is_of_sessions(self) -> bool {
        matches!(
            self,
            Self::Sessions
                | Self::SessionSubscriptions
                | Self::SessionInFlight
                | Self::SessionReceived
                | Self::SessionQueues
                | Self::SessionMessages
                | Self::RetainedMessages
                | Self::SessionWills
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_of_sessions_are_known_one_by_one_and_together() {
        for table in Table::ALL {
            assert_eq!(table.is_of_sessions(), Table::OF_SESSIONS.contains(table), "{table:?}");
        }
    }
}
