//! [`Rules`]: the subjects that a user may publish and subscribe to.

use std::fmt::Write;

use crate::text;

/// Every subject.
const ALL: &str = ">";

/// The subjects that a user may publish and subscribe to. Everything else is denied.
///
/// Created by [`Permissions::rules`](crate::Permissions::rules). Combine the rules of several roles
/// with [`and`](Self::and).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Rules {
    about: Vec<String>,
    publish: Vec<String>,
    subscribe: Vec<String>,
}

impl Rules {
    pub(crate) fn new(about: String, publish: Vec<String>, subscribe: Vec<String>) -> Self {
        let none = Self {
            about: Vec::new(),
            publish: Vec::new(),
            subscribe: Vec::new(),
        };
        none.and(Self {
            about: vec![about],
            publish,
            subscribe,
        })
    }

    /// Combines the rules of two roles.
    pub fn and(mut self, other: Self) -> Self {
        for (all, more) in [
            (&mut self.about, other.about),
            (&mut self.publish, other.publish),
            (&mut self.subscribe, other.subscribe),
        ] {
            for rule in more {
                if !all.contains(&rule) {
                    all.push(rule);
                }
            }
        }
        self
    }

    /// Returns the subjects for publishing.
    #[must_use]
    pub fn publish(&self) -> &[String] {
        &self.publish
    }

    /// Returns the subjects for subscribing, each followed by a blank and its queue group if it is
    /// limited to that group.
    #[must_use]
    pub fn subscribe(&self) -> &[String] {
        &self.subscribe
    }

    /// Returns the `permissions` of a user in nats-server's configuration.
    #[must_use]
    pub fn nats_config(&self) -> String {
        let mut out = String::new();
        for about in &self.about {
            // Writing to a string does not fail, here and below.
            _ = writeln!(out, "# {about}");
        }
        out.push_str("permissions: {\n");
        for (what, rules) in [("publish", &self.publish), ("subscribe", &self.subscribe)] {
            if rules.is_empty() {
                // An empty allow list would allow everything.
                _ = writeln!(out, "  {what}: {{ deny: [{}] }}", text::config(ALL));
                continue;
            }
            _ = writeln!(out, "  {what}: {{\n    allow: [");
            for rule in rules {
                _ = writeln!(out, "      {}", text::config(rule));
            }
            out.push_str("    ]\n  }\n");
        }
        out.push_str("}\n");
        out
    }

    /// Returns the `nsc` command that adds a user with these permissions to an account.
    ///
    /// For an existing user, write `nsc edit user` instead, which adds to the user's permissions.
    #[must_use]
    pub fn nsc(&self, account: &str, user: &str) -> String {
        self.nsc_quoted(&text::shell(account), &text::shell(user))
    }

    /// Returns the same command as a script for `sh`, with the account and the user as its
    /// arguments.
    #[must_use]
    pub fn nsc_script(&self) -> String {
        format!(
            "#!/bin/sh\n# usage: sh FILE ACCOUNT USER\nset -eu\naccount=${{1:?the account}}\nuser=${{2:?the user}}\n{}",
            self.nsc_quoted("\"$account\"", "\"$user\"")
        )
    }

    fn nsc_quoted(&self, account: &str, user: &str) -> String {
        let mut out = String::new();
        for about in &self.about {
            _ = writeln!(out, "# {about}");
        }
        _ = write!(out, "nsc add user --account {account} --name {user}");
        let mut option = |flag: &str, rule: &str| {
            let rule = text::shell(&text::csv(rule));
            _ = write!(out, " \\\n  {flag} {rule}");
        };
        for (what, rules) in [("pub", &self.publish), ("sub", &self.subscribe)] {
            if rules.is_empty() {
                option(&format!("--deny-{what}"), ALL);
            }
            for rule in rules {
                option(&format!("--allow-{what}"), rule);
            }
        }
        out.push('\n');
        out
    }
}
