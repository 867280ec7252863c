//! [`ServiceFacts`]: the names and subjects of a service on NATS.

use crate::Error;

/// The names of a service on NATS: its subject, its name in discovery, its methods and their queue
/// groups.
///
/// `nmfw` converts the static of generated code, `&CALC_SPEC`, or a service that is about to be
/// served. Settings that a program makes at run time have to be repeated here; otherwise the
/// permissions are for the defaults:
///
/// | set for a service or a channel | here |
/// |---|---|
/// | `Service::subject`, `Channel::subject` | [`with_subject`](Self::with_subject) |
/// | `Service::name` | [`with_name`](Self::with_name) |
/// | `Service::queue_group`, `Service::no_queue_group` | [`with_queue_group`](Self::with_queue_group) |
/// | the same for a method | [`with_method_queue_group`](Self::with_method_queue_group) |
/// | `Service::only` | [`Permissions::methods`](crate::Permissions::methods) |
///
/// All texts that end up in permissions are checked, because a wildcard would allow more than
/// intended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFacts {
    full_name: String,
    name: String,
    subject: String,
    queue_group: Option<String>,
    methods: Vec<Method>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Method {
    pub(crate) name: String,
    pub(crate) queue_group: Option<String>,
}

impl ServiceFacts {
    /// Creates a service without methods, from its full name in the `.proto`, its name in
    /// discovery, the prefix of its methods' subjects, and its queue group, if it has one.
    ///
    /// # Errors
    /// Fails if one of them is not valid on NATS.
    pub fn new(
        full_name: impl Into<String>,
        name: &str,
        subject: &str,
        queue_group: Option<&str>,
    ) -> Result<Self, Error> {
        let full_name = full_name.into();
        check_token_text("full name", &full_name)?;
        let new = Self {
            full_name,
            name: String::new(),
            subject: String::new(),
            queue_group: None,
            methods: Vec::new(),
        };
        let new = new.with_name(name)?.with_subject(subject)?;
        new.with_queue_group(queue_group)
    }

    /// Adds a method, named as in the `.proto`, with its queue group if it has one.
    ///
    /// # Errors
    /// Fails if one of them is not valid on NATS.
    pub fn with_method(mut self, name: &str, queue_group: Option<&str>) -> Result<Self, Error> {
        check_subject("method", name)?;
        self.methods.push(Method {
            name: name.to_owned(),
            queue_group: checked_group(queue_group)?,
        });
        Ok(self)
    }

    /// Sets the prefix of the methods' subjects.
    ///
    /// # Errors
    /// Fails if it has a wildcard, an empty token, white space, or a token that begins with `_` or
    /// `$`.
    pub fn with_subject(mut self, subject: &str) -> Result<Self, Error> {
        check_subject("subject", subject)?;
        subject.clone_into(&mut self.subject);
        Ok(self)
    }

    /// Sets the name in discovery.
    ///
    /// # Errors
    /// Fails if it is empty or has characters other than letters, digits, `-` and `_`.
    pub fn with_name(mut self, name: &str) -> Result<Self, Error> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if name.is_empty() || !name.bytes().all(allowed) {
            return Err(Error::new(format!(
                "the name {name:?} is not valid in discovery: use letters, digits, '-' and '_' only"
            )));
        }
        name.clone_into(&mut self.name);
        Ok(self)
    }

    /// Sets the queue group of the service and of all existing methods; with `None`, every instance
    /// gets every request.
    ///
    /// # Errors
    /// Fails if it is empty or has a wildcard or white space.
    pub fn with_queue_group(mut self, group: Option<&str>) -> Result<Self, Error> {
        self.queue_group = checked_group(group)?;
        for method in &mut self.methods {
            method.queue_group.clone_from(&self.queue_group);
        }
        Ok(self)
    }

    /// Sets the queue group of a method; with `None`, every instance gets every request.
    ///
    /// # Errors
    /// Fails if there is no such method, or if the group is empty or has a wildcard or white space.
    pub fn with_method_queue_group(
        mut self,
        method: &str,
        group: Option<&str>,
    ) -> Result<Self, Error> {
        self.check_methods(&[method])?;
        let group = checked_group(group)?;
        for known in &mut self.methods {
            if known.name == method {
                known.queue_group.clone_from(&group);
            }
        }
        Ok(self)
    }

    /// Returns the full name in the `.proto`, for example `calc.Calc`.
    #[must_use]
    pub fn full_name(&self) -> &str {
        &self.full_name
    }

    /// Returns the name in discovery, for example `calc`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the prefix of the methods' subjects, for example `nmfw.calc`.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Returns the names of all methods, as in the `.proto`.
    pub fn methods(&self) -> impl Iterator<Item = &str> {
        self.methods.iter().map(|method| method.name.as_str())
    }

    pub(crate) fn all(&self) -> &[Method] {
        &self.methods
    }

    pub(crate) fn queue_group(&self) -> Option<&str> {
        self.queue_group.as_deref()
    }

    pub(crate) fn has(&self, method: &str) -> bool {
        self.methods().any(|known| known == method)
    }

    pub(crate) fn check_methods<M: AsRef<str>>(&self, methods: &[M]) -> Result<(), Error> {
        if methods.is_empty() {
            return Err(Error::new(format!(
                "the list of methods of {} is empty: name a method, or omit the list for all \
                 methods",
                self.full_name
            )));
        }
        for method in methods {
            let method = method.as_ref();
            if !self.has(method) {
                let known: Vec<_> = self.methods().collect();
                return Err(Error::new(format!(
                    "{} has no method {method:?}; it has: {}",
                    self.full_name,
                    known.join(", ")
                )));
            }
        }
        Ok(())
    }
}

impl From<&Self> for ServiceFacts {
    fn from(facts: &Self) -> Self {
        facts.clone()
    }
}

/// Converts the static of generated code, a service that is about to be served, or [`ServiceFacts`]
/// itself.
pub(crate) fn facts<S>(of: S) -> Result<ServiceFacts, Error>
where
    S: TryInto<ServiceFacts>,
    Error: From<S::Error>,
{
    Ok(of.try_into()?)
}

fn checked_group(group: Option<&str>) -> Result<Option<String>, Error> {
    let Some(group) = group else {
        return Ok(None);
    };
    check_token_text("queue group", group)?;
    Ok(Some(group.to_owned()))
}

fn check_subject(what: &str, subject: &str) -> Result<(), Error> {
    check_token_text(what, subject)?;
    let reserved = |token: &str| token.is_empty() || token.starts_with(['_', '$']);
    if subject.split('.').any(reserved) {
        return Err(Error::new(format!(
            "the {what} {subject:?} cannot be used: it has an empty token, or one that begins with '_' or '$', which is reserved"
        )));
    }
    Ok(())
}

/// Checks the prefix of a connection's inboxes. Unlike subjects of services, it may begin with `_`.
pub(crate) fn check_inbox_prefix(prefix: &str) -> Result<(), Error> {
    check_token_text("inbox prefix", prefix)?;
    let reserved = |token: &str| token.is_empty() || token.starts_with('$');
    if prefix.split('.').any(reserved) {
        return Err(Error::new(format!(
            "the inbox prefix {prefix:?} cannot be used: it has an empty token, or one that begins with '$', which is reserved"
        )));
    }
    Ok(())
}

fn check_token_text(what: &str, text: &str) -> Result<(), Error> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '*' || c == '>';
    if text.is_empty() || text.contains(bad) {
        return Err(Error::new(format!(
            "the {what} {text:?} cannot be used: it is empty, or has a wildcard or white space"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use crate::{Export, Permissions};

    fn facts() -> ServiceFacts {
        let calc = ServiceFacts::new("calc.Calc", "calc", "nmfw.calc", Some("q"));
        calc.unwrap().with_method("Add", Some("q")).unwrap()
    }

    /// Wildcards are refused because they would allow more than intended, and white space because
    /// it could end a line of a script.
    #[test]
    fn wildcards_and_white_space_are_refused() {
        for bad in ["", "*", "a.>", "a b", "a\nb", "a..b", "$SYS.a", ".a", "a."] {
            let inbox = |permissions: Permissions| permissions.inbox_prefix(bad).is_err();
            assert!(inbox(Permissions::client(facts()).unwrap()), "{bad:?}");
            let service = Permissions::service(facts()).unwrap();
            assert!(service.callers_inbox_prefix(bad).is_err(), "{bad:?}");
            assert!(facts().with_subject(bad).is_err(), "{bad:?}");
            assert!(facts().with_name(bad).is_err(), "{bad:?}");
            assert!(facts().with_method(bad, None).is_err(), "{bad:?}");
            let import = Export::of(facts()).unwrap().import_from("A");
            assert!(import.to(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "*", ">", "a b", "a\tb"] {
            assert!(facts().with_queue_group(Some(bad)).is_err(), "{bad:?}");
            let group = facts().with_method_queue_group("Add", Some(bad));
            assert!(group.is_err(), "{bad:?}");
            let service = ServiceFacts::new(bad, "calc", "nmfw.calc", None);
            assert!(service.is_err(), "{bad:?}");
        }
        assert!(facts().with_subject("a._open").is_err());
        // A prefix that is valid for inboxes is not valid for services.
        let client = Permissions::client(facts()).unwrap();
        assert!(client.inbox_prefix("_INBOX_web.eu").is_ok());
    }

    #[test]
    fn methods_that_are_not_there_are_refused() {
        let client = Permissions::client(facts()).unwrap();
        let error = client.clone().methods(["Sub"]).unwrap_err().to_string();
        assert!(
            error.contains("\"Sub\"") && error.contains("Add"),
            "{error}"
        );
        assert!(
            client.methods([""; 0]).is_err(),
            "an empty list was accepted"
        );
        assert!(facts().with_method_queue_group("Sub", None).is_err());
    }
}
