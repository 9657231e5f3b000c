//! From method and raw path to an operation. The path is split before it is decoded, so that a name may hold an
//! encoded slash.
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;

use crate::call::Call;
use crate::error::ApiError;
use crate::reply::Reply;
use jitp_provisioner::Right;

/// What an operation's function gives.
pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = Result<Reply, ApiError>> + Send + 'a>>;

/// One operation: how it is called over HTTP, and its function.
pub(crate) struct Route {
    pub method: &'static str,
    /// What the caller's access key must allow.
    pub right: Right,
    /// Segments in braces are labels: `/things/{thingName}`.
    pub path: &'static str,
    pub operation: &'static str,
    pub run: for<'a> fn(&'a Call) -> Running<'a>,
}

impl Route {
    /// Does the operation change anything that stays? What it does is then audited.
    pub fn changes(&self) -> bool {
        self.method != "GET" && self.right != Right::Read && !self.is_message()
    }
    /// Does it read, and make what it reads if there is none yet? What it made is then audited, what it read is not.
    pub fn makes_if_absent(&self) -> bool {
        self.operation == "GetRegistrationCode"
    }
    /// Is the body a payload for devices? Messages are too many to be audited each, and no settings.
    pub fn is_message(&self) -> bool {
        self.operation == "Publish"
    }
}

/// All routes, indexed.
pub(crate) struct Routes {
    /// By method, first segment and number of segments; the most literal first.
    index: HashMap<(&'static str, &'static str, usize), Vec<&'static Route>>,
}

/// A route that fits a request, with its labels still encoded.
pub(crate) struct Match<'a> {
    pub route: &'static Route,
    pub labels: Vec<(&'static str, &'a str)>,
}

impl Routes {
    /// Indexes a table. Every path starts with a literal segment.
    pub fn new(table: impl IntoIterator<Item = &'static Route>) -> Self {
        let mut index: HashMap<_, Vec<&'static Route>> = HashMap::new();
        for route in table {
            let first = segments(route.path).next().unwrap_or_default();
            index.entry((route.method, first, segments(route.path).count())).or_default().push(route);
        }
        for routes in index.values_mut() {
            routes.sort_by_key(|route| segments(route.path).filter(|s| label(s).is_some()).count());
        }
        Self { index }
    }

    /// The route of a method and a raw path. A label is never empty.
    pub fn find<'a>(&self, method: &str, path: &'a str) -> Option<Match<'a>> {
        let first = segments(path).next()?;
        let count = segments(path).count();
        self.index.get(&(method, first, count))?.iter().find_map(|route| {
            let mut labels = Vec::new();
            for (pattern, segment) in segments(route.path).zip(segments(path)) {
                match label(pattern) {
                    Some(name) if !segment.is_empty() => labels.push((name, segment)),
                    None if pattern == segment => {}
                    _ => return None,
                }
            }
            Some(Match { route, labels })
        })
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

fn label(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::ROUTES;

    fn find(method: &str, path: &str) -> Option<String> {
        let routes = Routes::new(ROUTES);
        let found = routes.find(method, path)?;
        let labels: Vec<String> = found.labels.iter().map(|(name, raw)| format!(" {name}={raw}")).collect();
        Some(format!("{}{}", found.route.operation, labels.concat()))
    }

    #[test]
    fn literal_segments_win_over_labels() {
        assert_eq!(
            find("PUT", "/thing-groups/addThingToThingGroup").as_deref(),
            Some("AddThingToThingGroup")
        );
        assert_eq!(
            find("GET", "/thing-groups/addThingToThingGroup").as_deref(),
            Some("DescribeThingGroup thingGroupName=addThingToThingGroup")
        );
        assert_eq!(find("GET", "/principals/things").as_deref(), Some("ListPrincipalThings"));
    }

    #[test]
    fn a_label_may_hold_colons_and_encoded_slashes() {
        assert_eq!(
            find("POST", "/attached-policies/arn%3Aaws:iot%2Fx").as_deref(),
            Some("ListAttachedPolicies target=arn%3Aaws:iot%2Fx")
        );
    }

    #[test]
    fn what_fits_no_route_is_unknown() {
        for (method, path) in [
            ("GET", "/"),
            ("GET", ""),
            ("GET", "*"),
            ("GET", "/things/"),
            ("GET", "//things"),
            ("GET", "/things/a/"),
            ("GET", "/things/a/b/c/d"),
            ("PUT", "/things/a"),
            ("get", "/things/a"),
            ("GET", "/Things/a"),
        ] {
            assert_eq!(find(method, path), None, "{method} {path}");
        }
    }

    #[test]
    fn no_two_operations_share_a_name_or_a_method_and_path() {
        let mut names: Vec<_> = ROUTES.iter().map(|r| r.operation).collect();
        let mut shapes: Vec<_> = ROUTES
            .iter()
            .map(|r| {
                let shape: Vec<_> =
                    segments(r.path).map(|s| if label(s).is_some() { "{}" } else { s }).collect();
                (r.method, shape)
            })
            .collect();
        names.sort_unstable();
        shapes.sort_unstable();
        assert!(names.windows(2).all(|w| w[0] != w[1]));
        assert!(shapes.windows(2).all(|w| w[0] != w[1]));
    }
}
