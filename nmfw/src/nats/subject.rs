//! Construction of subjects.

pub(crate) use nmfw_core::call::address::{check_subject, method};

/// Returns the subject on which any instance answers, such as that of health checks.
pub(crate) fn any_instance(base: &str, what: &str) -> String {
    format!("{base}._{what}")
}

/// Returns the three subjects of an ADR-32 verb: for all services, for services of a name, and for
/// one instance.
pub(crate) fn discovery(verb: &str, name: &str, id: &str) -> [String; 3] {
    [
        format!("$SRV.{verb}"),
        format!("$SRV.{verb}.{name}"),
        format!("$SRV.{verb}.{name}.{id}"),
    ]
}

/// Returns the subject on which all instances with a service's name answer a verb.
pub(crate) fn discovery_of(verb: &str, name: &str) -> String {
    format!("$SRV.{verb}.{name}")
}

/// Returns the subject on which sessions with a service are opened.
pub(crate) fn open(base: &str) -> String {
    format!("{base}._open")
}

/// Returns a subject below an instance's own, for its round trips and its sessions.
pub(crate) fn instance(base: &str, id: &str, what: &str) -> String {
    format!("{base}._i.{id}.{what}")
}

/// Returns the subject of packets for an instance's sessions that were opened on a method's
/// subject. A permission for one method does not include others.
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
