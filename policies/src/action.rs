//! What a connection asks for.
use crate::glob;

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
    /// Every action, in the order of `spec/policies.md` section 2.
    pub const ALL: [Self; 9] = [
        Self::Connect,
        Self::Publish,
        Self::RetainPublish,
        Self::Subscribe,
        Self::Receive,
        Self::GetRetainedMessage,
        Self::ListRetainedMessages,
        Self::DeleteConnection,
        Self::AssumeRoleWithCertificate,
    ];

    /// `iot:Connect`, as written in policies, events and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "iot:Connect",
            Self::Publish => "iot:Publish",
            Self::RetainPublish => "iot:RetainPublish",
            Self::Subscribe => "iot:Subscribe",
            Self::Receive => "iot:Receive",
            Self::GetRetainedMessage => "iot:GetRetainedMessage",
            Self::ListRetainedMessages => "iot:ListRetainedMessages",
            Self::DeleteConnection => "iot:DeleteConnection",
            Self::AssumeRoleWithCertificate => "iot:AssumeRoleWithCertificate",
        }
    }

    /// The action of this name, in any case; `None` if jitp checks no such action.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name().eq_ignore_ascii_case(name))
    }

    /// The kind before the slash in the resource ARN: `client`, `topic`, `topicfilter`, `rolealias`, or empty for `*`.
    pub const fn resource_kind(self) -> &'static str {
        self.kind().name()
    }

    pub(crate) const fn kind(self) -> ResourceKind {
        match self {
            Self::Connect | Self::DeleteConnection => ResourceKind::Client,
            Self::Publish | Self::RetainPublish | Self::Receive | Self::GetRetainedMessage => {
                ResourceKind::Topic
            }
            Self::Subscribe => ResourceKind::TopicFilter,
            Self::AssumeRoleWithCertificate => ResourceKind::RoleAlias,
            Self::ListRetainedMessages => ResourceKind::Everything,
        }
    }
}

/// What the resource of an action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResourceKind {
    Client,
    Topic,
    TopicFilter,
    RoleAlias,
    /// The one resource `*`, without a name.
    Everything,
}

impl ResourceKind {
    pub(crate) const ALL: [Self; 5] =
        [Self::Client, Self::Topic, Self::TopicFilter, Self::RoleAlias, Self::Everything];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Topic => "topic",
            Self::TopicFilter => "topicfilter",
            Self::RoleAlias => "rolealias",
            Self::Everything => "",
        }
    }

    /// What every resource of this kind starts with, after `arn_prefix`; for `Everything`, all of it.
    pub(crate) fn resource_prefix(self, arn_prefix: &str) -> String {
        match self {
            Self::Everything => "*".to_owned(),
            kind => [arn_prefix, kind.name(), "/"].concat(),
        }
    }
}

/// A set of actions, as named by `Action` patterns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ActionSet(u16);

impl ActionSet {
    pub(crate) const fn of(action: Action) -> Self {
        Self(1 << action as u16)
    }

    /// The actions that one element of `Action` names: `*` and `?` as wildcards, any case, no variables.
    pub(crate) fn named_by(pattern: &str) -> Self {
        let pattern = glob::Pattern::with_wildcards(&pattern.to_ascii_lowercase());
        Action::ALL
            .into_iter()
            .filter(|action| pattern.matches(&action.name().to_ascii_lowercase()))
            .fold(Self::default(), |set, action| set.union(Self::of(action)))
    }

    pub(crate) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) const fn contains(self, action: Action) -> bool {
        self.0 & Self::of(action).0 != 0
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL.into_iter().filter(move |action| self.contains(*action))
    }

    /// Those of a kind.
    pub(crate) fn of_kind(self, kind: ResourceKind) -> Self {
        self.iter()
            .filter(|action| action.kind() == kind)
            .fold(Self::default(), |set, action| set.union(Self::of(action)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pattern: &str) -> Vec<&'static str> {
        ActionSet::named_by(pattern).iter().map(Action::name).collect()
    }

    #[test]
    fn an_action_pattern_names_actions_in_any_case() {
        assert_eq!(names("iot:Publish"), ["iot:Publish"]);
        assert_eq!(names("IOT:publISH"), ["iot:Publish"]);
        assert_eq!(names("iot:Pub*"), ["iot:Publish"]);
        assert_eq!(names("iot:*Publish"), ["iot:Publish", "iot:RetainPublish"]);
        assert_eq!(names("iot:?eceive"), ["iot:Receive"]);
        assert_eq!(names("iot:*").len(), Action::ALL.len());
        assert_eq!(names("*").len(), Action::ALL.len());
    }

    #[test]
    fn an_unknown_action_names_nothing() {
        for pattern in ["", "iot:Fly", "Publish", "iot:Publish ", "s3:*", "${iot:ClientId}"] {
            assert!(names(pattern).is_empty(), "{pattern}");
        }
    }

    #[test]
    fn every_action_is_found_by_its_name() {
        for action in Action::ALL {
            assert_eq!(Action::from_name(&action.name().to_uppercase()), Some(action));
        }
        assert_eq!(Action::from_name("iot:Pub*"), None);
    }
}
