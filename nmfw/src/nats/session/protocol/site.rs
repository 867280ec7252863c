//! [`Site`]: the NATS server of a side.

use smol_str::SmolStr;

/// Longer names are ignored, because they are kept per session.
const MAX_NAME: usize = 256;

/// The NATS server of a side. The client receives the service's in ACCEPT.
///
/// The client's server reports "no responders" both when the service has lost its connection and
/// when a link between servers was cut, such as that of a leaf node. Only the former is likely to
/// be permanent, and it is the only possible cause where there is no such link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Site {
    /// The server's id; empty if unknown.
    pub(super) server: SmolStr,
    /// The name of its cluster; empty if it has none.
    pub(super) cluster: SmolStr,
}

impl Site {
    pub(crate) fn new(server: &str, cluster: &str) -> Self {
        let name = |name: &str| match name.len() {
            0..=MAX_NAME => SmolStr::new(name),
            _ => SmolStr::default(),
        };
        Self {
            server: name(server),
            cluster: name(cluster),
        }
    }

    /// Returns whether the two sides are connected without a link between clusters or to a leaf
    /// node.
    pub(super) fn is_near(&self, other: &Self) -> bool {
        let same = |a: &SmolStr, b: &SmolStr| !a.is_empty() && a == b;
        same(&self.server, &other.server) || same(&self.cluster, &other.cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_is_the_same_server_or_cluster() {
        let near =
            |a: (&str, &str), b: (&str, &str)| Site::new(a.0, a.1).is_near(&Site::new(b.0, b.1));
        assert!(near(("A", ""), ("A", "")));
        assert!(near(("A", "eu"), ("B", "eu")));
        assert!(!near(("A", "eu"), ("B", "us")));
        assert!(!near(("A", ""), ("B", "")));
        // The peer does not send its site.
        assert!(!near(("A", "eu"), ("", "")));
        assert!(!near(("", ""), ("", "")));
        let long = "x".repeat(MAX_NAME + 1);
        assert!(!near((&long, &long), (&long, &long)));
    }
}
