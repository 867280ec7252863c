//! Rules about services and methods.

use prost_reflect::{DescriptorPool, MethodDescriptor, ServiceDescriptor};
use prost_types::method_options::IdempotencyLevel;

use super::Rule;
use super::locations::{Place, tag};
use super::report::{Draft, Findings};
use super::text::shown;

/// Checks a service of the old schema, and its methods.
pub(super) fn compare(
    old: &ServiceDescriptor,
    new_pool: &DescriptorPool,
    findings: &mut Findings<'_>,
) {
    let Some(new) = new_pool.get_service_by_name(old.full_name()) else {
        findings.add(Rule::PackageServiceNoDelete, || Draft {
            element: shown(old.full_name()),
            change: "the service was deleted".to_owned(),
            effect: "calls of old clients find no service".to_owned(),
            old: Some(old.into()),
            new: new_pool
                .get_file_by_name(old.parent_file().name())
                .map(|file| Place::from(&file)),
        });
        return;
    };
    let mut new_methods: Vec<_> = new.methods().collect();
    new_methods.sort_by(|a, b| a.name().cmp(b.name()));
    for old_method in old.methods() {
        let found = new_methods.binary_search_by(|method| method.name().cmp(old_method.name()));
        match found.ok().and_then(|position| new_methods.get(position)) {
            Some(new_method) => method(&old_method, new_method, findings),
            None => findings.add(Rule::RpcNoDelete, || Draft {
                element: shown(old_method.full_name()),
                change: "the method was deleted".to_owned(),
                effect: "calls of old clients fail as unimplemented".to_owned(),
                old: Some((&old_method).into()),
                new: Some((&new).into()),
            }),
        }
    }
}

fn method(old: &MethodDescriptor, new: &MethodDescriptor, findings: &mut Findings<'_>) {
    request_type(old, new, findings);
    response_type(old, new, findings);
    streaming(old, new, findings);
    idempotency(old, new, findings);
}

fn draft(
    old: &MethodDescriptor,
    new: &MethodDescriptor,
    part: &[i32],
    change: String,
    effect: String,
) -> Draft {
    Draft {
        element: shown(old.full_name()),
        change,
        effect,
        old: Some(Place::from(old).part(part)),
        new: Some(Place::from(new).part(part)),
    }
}

fn request_type(old: &MethodDescriptor, new: &MethodDescriptor, findings: &mut Findings<'_>) {
    let (was, is) = (old.input(), new.input());
    if was.full_name() == is.full_name() {
        return;
    }
    findings.add(Rule::RpcSameRequestType, || {
        let (was, is) = (shown(was.full_name()), shown(is.full_name()));
        draft(
            old,
            new,
            &[tag::METHOD_INPUT],
            format!("its request type changed from `{was}` to `{is}`"),
            format!(
                "old clients send `{was}` where new services read `{is}`: calls fail, or are misread"
            ),
        )
    });
}

fn response_type(old: &MethodDescriptor, new: &MethodDescriptor, findings: &mut Findings<'_>) {
    let (was, is) = (old.output(), new.output());
    if was.full_name() == is.full_name() {
        return;
    }
    findings.add(Rule::RpcSameResponseType, || {
        let (was, is) = (shown(was.full_name()), shown(is.full_name()));
        draft(
            old,
            new,
            &[tag::METHOD_OUTPUT],
            format!("its response type changed from `{was}` to `{is}`"),
            format!(
                "new services send `{is}` where old clients read `{was}`: answers fail to decode, or are misread"
            ),
        )
    });
}

fn streaming(old: &MethodDescriptor, new: &MethodDescriptor, findings: &mut Findings<'_>) {
    let form = |is_streaming| {
        if is_streaming {
            "a stream"
        } else {
            "one message"
        }
    };
    if old.is_client_streaming() != new.is_client_streaming() {
        let (was, is) = (
            form(old.is_client_streaming()),
            form(new.is_client_streaming()),
        );
        findings.add(Rule::RpcSameClientStreaming, || {
            draft(
                old,
                new,
                &[],
                format!("its request changed from {was} to {is}"),
                format!("old clients send {was} where new services expect {is}: calls fail"),
            )
        });
    }
    if old.is_server_streaming() != new.is_server_streaming() {
        let (was, is) = (
            form(old.is_server_streaming()),
            form(new.is_server_streaming()),
        );
        findings.add(Rule::RpcSameServerStreaming, || {
            draft(
                old,
                new,
                &[],
                format!("its response changed from {was} to {is}"),
                format!("new services answer with {is} where old clients expect {was}: calls fail"),
            )
        });
    }
}

fn idempotency(old: &MethodDescriptor, new: &MethodDescriptor, findings: &mut Findings<'_>) {
    use IdempotencyLevel::{IdempotencyUnknown, NoSideEffects};
    let (was, is) = (level(old), level(new));
    if was == is {
        return;
    }
    findings.add(Rule::RpcSameIdempotencyLevel, || {
        let effect = match (was, is) {
            (_, IdempotencyUnknown) => "old clients may repeat calls that must not be repeated now",
            (IdempotencyUnknown, _) => {
                "new clients may repeat calls to old services, which must not be repeated there"
            }
            (_, NoSideEffects) => {
                "new clients may take calls to old services for free of side effects"
            }
            _ => "old clients may take calls for free of side effects, which they are no longer",
        };
        draft(
            old,
            new,
            &[tag::METHOD_OPTIONS, tag::OPTION_IDEMPOTENCY],
            format!(
                "its idempotency level changed from {} to {}",
                was.as_str_name(),
                is.as_str_name()
            ),
            effect.to_owned(),
        )
    });
}

fn level(method: &MethodDescriptor) -> IdempotencyLevel {
    method
        .method_descriptor_proto()
        .options
        .as_ref()
        .map_or(IdempotencyLevel::IdempotencyUnknown, |options| {
            options.idempotency_level()
        })
}
