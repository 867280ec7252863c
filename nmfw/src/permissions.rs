#![doc = include_str!("docs/permissions.md")]

#[doc(inline)]
pub use nmfw_permissions::{
    Error as PermissionsError, Export, Import, Permissions, PermissionsFormat, PermissionsKind,
    PermissionsQuery, Role, Rules, ServiceFacts,
};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use nmfw_core::service::{handler::Handlers, service::Service};

    use super::*;
    use crate::{
        Error, ErrorKind, MethodSpec, ServiceSpec,
        nats::{subject, tests::SPEC},
    };

    static MIXED: ServiceSpec = ServiceSpec::new("mixed", "Mixed")
        .with_name("mixed")
        .with_subject("nmfw.mixed")
        .with_methods(&[
            MethodSpec::unary("Plain"),
            MethodSpec::unary("Everywhere").without_queue_group(),
            MethodSpec::streaming("Own").with_queue_group("slow"),
        ]);

    fn service(spec: &'static ServiceSpec) -> Service {
        Service::new(spec, Handlers::default())
    }

    /// Returns the subject of a subscribe permission, without its queue group.
    fn subject_of(rule: &str) -> String {
        rule.split(' ').take(1).collect()
    }

    fn sorted(mut subjects: Vec<String>) -> Vec<String> {
        subjects.sort_unstable();
        subjects
    }

    /// The rules are in a crate that does not know these functions, which server and client use.
    #[test]
    fn rules_match_the_subjects_in_use() {
        let base = SPEC.base_subject();
        let serves = Permissions::service(&SPEC).unwrap().rules();
        let subjects = serves.subscribe().iter().map(|rule| subject_of(rule));
        let mut used = vec![
            subject::method(base, "Average"),
            subject::method(base, "Add"),
            subject::open(base),
            subject::instance(base, "*", "s.*"),
            subject::instance(base, "*", "fence.*"),
            subject::method(&subject::pinned(base, "*"), "*"),
            subject::any_instance(base, "health"),
            subject::any_instance(base, "schema"),
            subject::instance(base, "*", "health"),
            subject::instance(base, "*", "schema"),
            subject::method_session(base, "*", "*", "*"),
        ];
        for verb in ["PING", "INFO", "STATS"] {
            used.extend(subject::discovery(verb, "calc", "*"));
        }
        assert_eq!(sorted(subjects.collect()), sorted(used));

        let calls = Permissions::client(&SPEC).unwrap().wait_ready().rules();
        let used = vec![
            subject::method(base, "Average"),
            subject::method(base, "Add"),
            subject::open(base),
            subject::instance(base, "*", "s.*"),
            subject::method_session(base, "Average", "*", "*"),
            subject::method_session(base, "Add", "*", "*"),
            subject::method(&subject::pinned(base, "*"), "Average"),
            subject::method(&subject::pinned(base, "*"), "Add"),
            subject::open(&subject::pinned(base, "*")),
            subject::any_instance(base, "schema"),
            subject::instance(base, "*", "schema"),
            subject::discovery_of("INFO", "calc"),
        ];
        assert_eq!(sorted(calls.publish().to_vec()), sorted(used));
    }

    #[test]
    fn queue_groups_are_those_of_the_server() {
        let requests = |facts: &ServiceFacts| -> Vec<String> {
            let rules = Permissions::service(facts).unwrap().rules();
            let requests = rules.subscribe().iter().take(4);
            requests
                .map(|rule| rule.replace("nmfw.mixed.", ""))
                .collect()
        };
        let facts = ServiceFacts::try_from(&MIXED).unwrap();
        let expected = ["Plain q", "Everywhere", "Own slow", "_open q"];
        assert_eq!(requests(&facts), expected);

        let set = service(&MIXED)
            .queue_group("mine")
            .method("Own", |limits| limits.queue_group("theirs"));
        let of_service = ServiceFacts::try_from(&set).unwrap();
        let expected = ["Plain mine", "Everywhere mine", "Own theirs", "_open mine"];
        assert_eq!(requests(&of_service), expected);
        let told = facts.with_queue_group(Some("mine")).unwrap();
        let told = told.with_method_queue_group("Own", Some("theirs")).unwrap();
        assert_eq!(told, of_service);

        // A client of a method without a queue group has no sessions.
        let calls = Permissions::client(&MIXED).unwrap().rules();
        let publishes = |what: &str| calls.publish().iter().any(|rule| rule.contains(what));
        assert!(publishes("_m.Own") && !publishes("_m.Everywhere"));
    }

    #[test]
    fn what_is_set_for_a_service_counts() {
        let set = service(&SPEC)
            .subject("acme.sums")
            .name("sums")
            .only(["Add"]);
        let rules = Permissions::service(&set).unwrap().rules();
        let subscribes = |what: &str| rules.subscribe().iter().any(|rule| rule.contains(what));
        assert!(subscribes("acme.sums.Add q") && subscribes("$SRV.PING.sums"));
        assert!(!subscribes("Average"));

        let wrong = service(&SPEC).subject("acme.>");
        let error = Error::from(Permissions::service(&wrong).unwrap_err());
        assert!(error.to_string().contains("wildcard"), "{error}");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    }
}
