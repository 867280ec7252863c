//! [`Site`]: the NATS server that a side is connected to.

use smol_str::SmolStr;

/// Longer names are taken for none: they are kept for each session.
const MAX_NAME: usize = 256;

/// The NATS server that a side is connected to. Of a service, the client learns it from ACCEPT.
///
/// The server of the client says "no responders" both when the service has lost its connection and
/// when a link between servers was cut, such as that of a leaf node. Only the first is likely to be
/// for good, and it is what has happened where there is no such link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Site {
    /// The server's id; empty if it is not known.
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

    /// Whether no link between clusters, nor one to a leaf node, lies between the two.
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
        // A peer that does not say.
        assert!(!near(("A", "eu"), ("", "")));
        assert!(!near(("", ""), ("", "")));
        let long = "x".repeat(MAX_NAME + 1);
        assert!(!near((&long, &long), (&long, &long)));
    }
}
