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

/// Returns the base of an instance's own subjects for requests and for opening sessions.
pub(crate) fn pinned(base: &str, id: &str) -> String {
    instance(base, id, "m")
}

/// Returns the base of the service to which an instance's base belongs.
pub(crate) fn service_of_pinned(base: &str) -> Option<&str> {
    let (own, _id) = base.strip_suffix(".m")?.rsplit_once('.')?;
    own.strip_suffix("._i")
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

    #[test]
    fn a_pinned_subject_belongs_to_a_service() {
        let own = pinned("nmfw.calc", "ID");
        assert_eq!(method(&own, "Add"), "nmfw.calc._i.ID.m.Add");
        assert_eq!(open(&own), "nmfw.calc._i.ID.m._open");
        assert_eq!(service_of_pinned(&own), Some("nmfw.calc"));
        for other in [
            "nmfw.calc",
            "nmfw.m",
            "_i.ID.m",
            "nmfw.calc._i.ID",
            "nmfw.calc._i.m",
        ] {
            assert_eq!(service_of_pinned(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn what_passes_is_a_nats_subject(subject in "\\PC{0,20}") {
            if check_subject(&subject).is_ok() {
                prop_assert!(async_nats::Subject::from(subject).is_valid());
            }
        }
    }
}
