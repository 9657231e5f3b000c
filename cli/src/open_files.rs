//! Every connection is an open file. The limit of this process is raised to what the system allows, and what that leaves for
//! devices is known before the first one comes: beyond it they are refused in order, instead of waiting where nobody accepts.
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// About how many files the rest needs: the registry, listeners, calls to hooks, the runtime.
const OWN: usize = 128;

/// Raises the limit to what the system allows without privileges. Gives the one in force; `None`: there is none.
pub fn raise() -> Option<usize> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files could not be raised");
            limit.current
        }
    };
    current.map(|files| usize::try_from(files).unwrap_or(usize::MAX))
}

/// How many devices may be connected with so many files, of as many as are wanted, beside the connections of the API.
/// However small the limit, devices get half of it.
pub fn connections(wanted: usize, files: Option<usize>, of_api: usize) -> usize {
    let Some(files) = files else { return wanted };
    let reserved = OWN.saturating_add(of_api).min(files / 2);
    wanted.min(files - reserved)
}

/// The same for this process. Says so where it is fewer than wanted.
pub fn raise_for(wanted: usize, of_api: usize) -> usize {
    let files = raise();
    let connections = connections(wanted, files, of_api);
    if connections < wanted {
        tracing::warn!(
            "the limit of open files ({}) allows {connections} connections at the same time, and not the {wanted} of \
             broker.max_connections; further ones are closed. Raise the limit (ulimit -Hn, LimitNOFILE of systemd, \
             --ulimit nofile of Docker), or lower broker.max_connections",
            files.unwrap_or(usize::MAX)
        );
    }
    connections
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_get_what_the_rest_does_not_need_and_at_least_half() {
        assert_eq!(connections(100_000, None, 1024), 100_000);
        assert_eq!(connections(100_000, Some(1 << 20), 1024), 100_000);
        assert_eq!(connections(100_000, Some(20_000), 1024), 18_848);
        assert_eq!(connections(100, Some(20_000), 1024), 100);
        assert_eq!(connections(100_000, Some(1024), 1024), 512);
        assert_eq!(connections(100_000, Some(0), usize::MAX), 0);
    }

    #[test]
    fn the_limit_is_the_one_that_the_system_allows() {
        raise();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
