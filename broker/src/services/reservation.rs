//! Which topics are reserved, and who may do what with them (`spec/events.md` section 5, `spec/mqtt-behaviour.md`
//! section 6). The requests of the APIs among them are told apart before: see [`super::Api`].

/// A topic or filter by what its first levels reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reservation {
    /// Does not start with `$`: anyone's, as the policies say.
    None,
    /// `$aws/events/…`, `$jitp/events/…`: clients subscribe, the broker publishes.
    Events,
    /// `$aws/certificates/…`, `$aws/provisioning-templates/…`, `$jitp/certificates/…`: the APIs of fleet provisioning, and
    /// renewal.
    FleetProvisioning,
    /// Everything else with a `$`.
    Unsupported,
}

impl Reservation {
    /// Of a topic, or of a filter without `$share/<group>/`.
    pub(crate) fn of(topic: &str) -> Self {
        const EVENTS: [&str; 2] = ["$aws/events/", "$jitp/events/"];
        const FLEET: [&str; 3] =
            ["$aws/certificates/", "$aws/provisioning-templates/", "$jitp/certificates/"];
        if !topic.starts_with('$') {
            Self::None
        } else if EVENTS.iter().any(|prefix| topic.starts_with(prefix)) {
            Self::Events
        } else if FLEET.iter().any(|prefix| topic.starts_with(prefix)) {
            Self::FleetProvisioning
        } else {
            Self::Unsupported
        }
    }

    /// May a client publish there, if its policies allow it? The text says why not.
    pub(crate) const fn check_publish(self) -> Result<(), &'static str> {
        match self {
            Self::None => Ok(()),
            Self::Events => Err("event topics are published by the broker only"),
            Self::FleetProvisioning => Err(
                "it is no request of fleet provisioning: those topics are $aws/certificates/create/<fmt>, \
                 $aws/certificates/create-from-csr/<fmt>, $aws/provisioning-templates/<template>/provision/<fmt> and \
                 $jitp/certificates/renew/<fmt>, with json or cbor",
            ),
            Self::Unsupported => Err("the topic is reserved and nothing serves it"),
        }
    }

    /// May a client subscribe there, if its policies allow it? The text says why not.
    pub(crate) const fn check_subscribe(self) -> Result<(), &'static str> {
        match self {
            Self::None | Self::Events | Self::FleetProvisioning => Ok(()),
            Self::Unsupported => Err("the filter is reserved and nothing serves it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_may_listen_to_events_and_not_make_them() {
        for topic in
            ["$aws/events/#", "$aws/events/presence/connected/a", "$jitp/events/attempts/refused/unknown"]
        {
            assert_eq!(Reservation::of(topic), Reservation::Events);
            assert!(Reservation::of(topic).check_subscribe().is_ok());
            assert!(Reservation::of(topic).check_publish().is_err());
        }
    }

    #[test]
    fn of_fleet_provisioning_clients_may_listen_to_everything_and_publish_nothing_to_others() {
        for topic in
            ["$aws/certificates/create/json", "$aws/certificates/#", "$aws/provisioning-templates/t/x"]
        {
            assert_eq!(Reservation::of(topic), Reservation::FleetProvisioning);
            assert!(Reservation::of(topic).check_subscribe().is_ok());
            assert!(Reservation::of(topic).check_publish().is_err());
        }
    }

    #[test]
    fn unknown_reserved_topics_are_refused_both_ways() {
        for topic in ["$SYS/broker", "$", "$aws", "$aws/#", "$aws/+/x", "$aws/things/a/shadow/get", "$jitp/#"]
        {
            assert!(Reservation::of(topic).check_subscribe().is_err(), "{topic}");
            assert!(Reservation::of(topic).check_publish().is_err(), "{topic}");
        }
        assert!(Reservation::of("a/$aws").check_publish().is_ok());
    }
}
