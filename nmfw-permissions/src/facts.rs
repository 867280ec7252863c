//! [`ServiceFacts`]: what a service is called on NATS.

use crate::Error;

/// What a service is called on NATS: its subject, its name in discovery, its methods and their queue
/// groups.
///
/// `nmfw` makes one of the facts that generated code has, `&CALC_SPEC`, or of a service as it is
/// about to be served. What a program sets when it runs has to be told here too, or the permissions
/// are those of the defaults:
///
/// | set for a service or a channel | here |
/// |---|---|
/// | `Service::subject`, `Channel::subject` | [`with_subject`](Self::with_subject) |
/// | `Service::name` | [`with_name`](Self::with_name) |
/// | `Service::queue_group`, `Service::no_queue_group` | [`with_queue_group`](Self::with_queue_group) |
/// | the same for a method | [`with_method_queue_group`](Self::with_method_queue_group) |
/// | `Service::only` | [`Permissions::methods`](crate::Permissions::methods) |
///
/// All texts that get into permissions are checked: a wildcard in one would allow more than was
/// asked for.
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
    /// A service without methods: its full name in the `.proto`, its name in discovery, the subject
    /// that methods' names are appended to, its queue group if it has one.
    ///
    /// # Errors
    /// One of them cannot be used on NATS.
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
    /// One of them cannot be used on NATS.
    pub fn with_method(mut self, name: &str, queue_group: Option<&str>) -> Result<Self, Error> {
        check_subject("method", name)?;
        self.methods.push(Method {
            name: name.to_owned(),
            queue_group: checked_group(queue_group)?,
        });
        Ok(self)
    }

    /// Sets the subject that methods' names are appended to.
    ///
    /// # Errors
    /// It has a wildcard, an empty token, white space, or a token that begins with `_` or `$`.
    pub fn with_subject(mut self, subject: &str) -> Result<Self, Error> {
        check_subject("subject", subject)?;
        subject.clone_into(&mut self.subject);
        Ok(self)
    }

    /// Sets the name in discovery.
    ///
    /// # Errors
    /// It has something else than letters, digits, `-` and `_`, or nothing at all.
    pub fn with_name(mut self, name: &str) -> Result<Self, Error> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if name.is_empty() || !name.bytes().all(allowed) {
            return Err(Error::new(format!(
                "the name {name:?} cannot be used in discovery: it takes letters, digits, '-' and '_' only"
            )));
        }
        name.clone_into(&mut self.name);
        Ok(self)
    }

    /// Sets the queue group of the service and of all methods that there are; `None` lets every
    /// instance get every request.
    ///
    /// # Errors
    /// It has a wildcard or white space, or is empty.
    pub fn with_queue_group(mut self, group: Option<&str>) -> Result<Self, Error> {
        self.queue_group = checked_group(group)?;
        for method in &mut self.methods {
            method.queue_group.clone_from(&self.queue_group);
        }
        Ok(self)
    }

    /// Sets the queue group of a method; `None` lets every instance get every request.
    ///
    /// # Errors
    /// There is no such method, or the group has a wildcard or white space, or is empty.
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

    /// The full name in the `.proto`, for example `calc.Calc`.
    #[must_use]
    pub fn full_name(&self) -> &str {
        &self.full_name
    }

    /// The name in discovery, for example `calc`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The subject that methods' names are appended to, for example `nmfw.calc`.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The names of all methods, as in the `.proto`.
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
                "no method of {} is named: name one, or none at all for all of them",
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

/// What facts of a service are made of: generated code's, those of a service as it is about to be
/// served, or [`ServiceFacts`].
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

/// Where the inboxes of a connection are: unlike subjects of services they may begin with `_`.
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

    /// What would allow more than it says, or end a line of a script.
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
        // Inboxes are where subjects of services are not.
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
        assert!(client.methods([""; 0]).is_err(), "none is not all");
        assert!(facts().with_method_queue_group("Sub", None).is_err());
    }
}
