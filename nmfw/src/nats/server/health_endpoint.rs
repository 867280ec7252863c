//! The `_health` endpoint: `grpc.health.v1` over NATS.

use prost::Message as _;

use super::instance_endpoint::InstanceEndpoint;
use nmfw_core::service::{health::Serving, instance::Instance};

/// The message of `grpc.health.v1`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

impl From<Serving> for HealthCheckResponse {
    fn from(serving: Serving) -> Self {
        // Numbered as in `ServingStatus`; 0 is UNKNOWN.
        let status = match serving {
            Serving::Serving => 1,
            _ => 2,
        };
        Self { status }
    }
}

/// The health of an instance, whatever the request.
pub(crate) struct HealthEndpoint;

impl InstanceEndpoint for HealthEndpoint {
    const NAME: &'static str = "health";
    const REQUEST: &'static str = "a health request";

    fn answer(&mut self, instance: &Instance, _: &[u8], _: usize) -> Option<Vec<u8>> {
        let response = HealthCheckResponse::from(instance.health().status);
        Some(response.encode_to_vec())
    }
}
