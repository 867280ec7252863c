//! Every pattern of a subject or name: build and validate.

pub(crate) use nmfw_core::call::address::{check_subject, method};

/// Where a service is asked how it is.
pub(crate) fn health(base: &str) -> String {
    format!("{base}._health")
}

/// The three subjects on which one verb of ADR-32 is answered: for everybody, for the services of
/// a name, for one instance.
pub(crate) fn discovery(verb: &str, name: &str, id: &str) -> [String; 3] {
    [
        format!("$SRV.{verb}"),
        format!("$SRV.{verb}.{name}"),
        format!("$SRV.{verb}.{name}.{id}"),
    ]
}

/// The subject on which all instances of a service of a name answer one verb.
pub(crate) fn discovery_of(verb: &str, name: &str) -> String {
    format!("$SRV.{verb}.{name}")
}

/// The subject on which sessions with a service are opened.
pub(crate) fn open(base: &str) -> String {
    format!("{base}._open")
}

/// A subject below an instance's own, for its round trips through the server and its sessions.
pub(crate) fn instance(base: &str, id: &str, what: &str) -> String {
    format!("{base}._i.{id}.{what}")
}

/// Where packets of an instance's sessions arrive that were opened on a method's subject. A
/// permission for those of one method is none for others.
pub(crate) fn method_session(base: &str, method: &str, id: &str, session: &str) -> String {
    format!("{base}._m.{method}.{id}.{session}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_passes_is_a_nats_subject(subject in "\\PC{0,20}") {
            if check_subject(&subject).is_ok() {
                prop_assert!(async_nats::Subject::from(subject).is_valid());
            }
        }
    }
}
