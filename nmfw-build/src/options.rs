//! Reads and checks the options of `nmfw/options.proto`.
//!
//! prost-types drops unknown options, so they are read through prost-reflect. Fields are looked up
//! by name and treated as unset if they are missing, because a project may have its own copy of the
//! file, from another version.

use std::borrow::Cow;

use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage, Value};

use crate::names;

/// The name under which the options are imported.
pub(crate) const FILE: &str = "nmfw/options.proto";
/// The options file itself, so that projects need no copy.
pub(crate) const SOURCE: &str = include_str!("../proto/nmfw/options.proto");

pub(crate) const SERVICE: &str = "nmfw.service";
pub(crate) const METHOD: &str = "nmfw.method";

/// A problem of an option.
#[derive(Debug)]
pub(crate) struct Complaint {
    /// The faulty field of the options.
    pub(crate) field: &'static str,
    pub(crate) what: String,
    pub(crate) help: String,
}

/// Options that services and methods have in common.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Common {
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) metadata: Vec<(String, String)>,
    pub(crate) queue_group: Option<QueueGroup>,
    pub(crate) concurrency: Option<u32>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum QueueGroup {
    Named(String),
    None,
}

/// Options of a service.
#[derive(Debug, Default)]
pub(crate) struct ServiceOptions {
    pub(crate) name: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) common: Common,
}

/// Reads the options of a service from its `google.protobuf.ServiceOptions`.
pub(crate) fn service(
    pool: &DescriptorPool,
    options: &DynamicMessage,
    complaints: &mut Vec<Complaint>,
) -> ServiceOptions {
    let Some(message) = extension(pool, options, SERVICE) else {
        return ServiceOptions::default();
    };
    let mut read = ServiceOptions {
        name: string(&message, "name"),
        subject: string(&message, "subject"),
        version: string(&message, "version"),
        description: string(&message, "description"),
        common: Common::default(),
    };
    if let Some(name) = read
        .name
        .as_deref()
        .filter(|name| !names::is_discovery_name(name))
    {
        complaints.push(Complaint {
            field: "name",
            what: format!("the name {name:?} is not valid in discovery"),
            help: "use letters, digits, `-` and `_` only".to_owned(),
        });
    }
    if let Some(subject) = &read.subject
        && let Err(reason) = names::check_subject(subject)
    {
        complaints.push(Complaint {
            field: "subject",
            what: format!("the subject {subject:?} {reason}"),
            help: "use tokens of letters, digits, `-` and `_`, separated by dots: `acme.billing`"
                .to_owned(),
        });
    }
    if let Some(version) = &read.version
        && let Err(reason) = semver::Version::parse(version)
    {
        complaints.push(Complaint {
            field: "version",
            what: format!("the version {version:?} is not a semantic version: {reason}"),
            help: "use a version such as \"1.4.2\"".to_owned(),
        });
    }
    read.common = common(&message, complaints);
    read
}

/// Reads the options of a method from its `google.protobuf.MethodOptions`.
pub(crate) fn method(
    pool: &DescriptorPool,
    options: &DynamicMessage,
    complaints: &mut Vec<Complaint>,
) -> Common {
    extension(pool, options, METHOD)
        .map_or_else(Common::default, |message| common(&message, complaints))
}

fn common(message: &DynamicMessage, complaints: &mut Vec<Complaint>) -> Common {
    Common {
        timeout_ms: timeout(message, complaints),
        metadata: metadata(message, complaints),
        queue_group: queue_group(message, complaints),
        concurrency: concurrency(message, complaints),
    }
}

fn extension(
    pool: &DescriptorPool,
    options: &DynamicMessage,
    name: &str,
) -> Option<DynamicMessage> {
    let extension = pool.get_extension_by_name(name)?;
    if extension.containing_message() != options.descriptor() || !options.has_extension(&extension)
    {
        return None;
    }
    options.get_extension(&extension).as_message().cloned()
}

/// Returns the value of a field that is set.
fn field<'a>(message: &'a DynamicMessage, name: &str) -> Option<Cow<'a, Value>> {
    if message.has_field_by_name(name) {
        message.get_field_by_name(name)
    } else {
        None
    }
}

fn string(message: &DynamicMessage, name: &str) -> Option<String> {
    field(message, name)?.as_str().map(str::to_owned)
}

fn timeout(message: &DynamicMessage, complaints: &mut Vec<Complaint>) -> Option<u64> {
    const HELP: &str = "use at least a millisecond, such as `timeout: { seconds: 2 }`";
    // The limits of google.protobuf.Duration.
    const MAX_SECONDS: i64 = 315_576_000_000;
    let value = field(message, "timeout")?;
    let duration = value.as_message()?;
    let seconds = field(duration, "seconds")
        .and_then(|value| value.as_i64())
        .unwrap_or(0);
    let nanos = i64::from(
        field(duration, "nanos")
            .and_then(|value| value.as_i32())
            .unwrap_or(0),
    );
    let mut complain = |reason: &str| {
        complaints.push(Complaint {
            field: "timeout",
            what: format!("the timeout (seconds: {seconds}, nanos: {nanos}) {reason}"),
            help: HELP.to_owned(),
        });
        None
    };
    if seconds < 0 || (seconds == 0 && nanos < 0) {
        return complain("is negative");
    }
    if seconds > MAX_SECONDS || !(0..1_000_000_000).contains(&nanos) {
        return complain("is not a valid google.protobuf.Duration");
    }
    if seconds == 0 && nanos == 0 {
        return complain("is zero");
    }
    if seconds == 0 && nanos < 1_000_000 {
        return complain("is shorter than a millisecond");
    }
    // Rounded up, so that a call never gets less time than specified.
    let millis = seconds * 1000 + (nanos + 999_999) / 1_000_000;
    u64::try_from(millis).ok()
}

fn metadata(message: &DynamicMessage, complaints: &mut Vec<Complaint>) -> Vec<(String, String)> {
    let Some(value) = field(message, "metadata") else {
        return Vec::new();
    };
    let mut entries: Vec<(String, String)> = value
        .as_map()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str()?.to_owned(), value.as_str()?.to_owned())))
        .collect();
    // The map is unordered, but generated code has to be deterministic.
    entries.sort();
    for (key, _) in &entries {
        if key.is_empty() {
            complaints.push(Complaint {
                field: "metadata",
                what: "the metadata has an empty key".to_owned(),
                help: "use a key that is not empty".to_owned(),
            });
        } else if key.starts_with("nmfw.") {
            complaints.push(Complaint {
                field: "metadata",
                what: format!("the metadata key {key:?} is reserved"),
                help: "use a key that does not begin with `nmfw.`".to_owned(),
            });
        }
    }
    entries
}

fn queue_group(message: &DynamicMessage, complaints: &mut Vec<Complaint>) -> Option<QueueGroup> {
    let name = string(message, "queue_group");
    let none = field(message, "no_queue_group")
        .and_then(|value| value.as_bool())
        .unwrap_or(false);
    if let Some(name) = &name {
        if let Err(reason) = names::check_queue_group(name) {
            complaints.push(Complaint {
                field: "queue_group",
                what: format!("the queue group {name:?} {reason}"),
                help: "use a name such as `workers`, or `no_queue_group: true` for none".to_owned(),
            });
        }
        if none {
            complaints.push(Complaint {
                field: "no_queue_group",
                what: format!("`no_queue_group` is set together with the queue group {name:?}"),
                help: "remove one of the two".to_owned(),
            });
        }
    }
    if none {
        Some(QueueGroup::None)
    } else {
        name.map(QueueGroup::Named)
    }
}

fn concurrency(message: &DynamicMessage, complaints: &mut Vec<Complaint>) -> Option<u32> {
    let value = field(message, "concurrency")?.as_u32()?;
    if value == 0 {
        complaints.push(Complaint {
            field: "concurrency",
            what: "a concurrency of 0 would refuse all requests".to_owned(),
            help: "use at least 1, or omit the option for the default".to_owned(),
        });
    }
    Some(value)
}
