//! A service for tests.

use crate::{MethodSpec, ServiceSpec};

pub(crate) static SPEC: ServiceSpec = ServiceSpec::new("calc", "Calc")
    .with_name("calc")
    .with_subject("nmfw.calc")
    .with_version("0.0.2")
    .with_timeout_ms(2000)
    .with_methods(&[
        MethodSpec::unary("Average"),
        MethodSpec::unary("Add")
            .with_timeout_ms(200)
            .with_concurrency(3),
    ]);
