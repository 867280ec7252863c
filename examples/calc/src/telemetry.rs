//! Exports traces to an OpenTelemetry collector by OTLP, with the feature `otel`. The runner
//! handles logs.

use std::error::Error;

/// The exporter of spans, if there is one. Call [`stop`](Self::stop) at the end.
#[derive(Debug)]
pub(crate) struct Telemetry {
    #[cfg(feature = "otel")]
    traces: Option<opentelemetry_sdk::trace::SdkTracerProvider>,
}

#[cfg(not(feature = "otel"))]
#[allow(
    clippy::unnecessary_wraps,
    clippy::unused_async,
    reason = "the signature is that of the version with the feature"
)]
impl Telemetry {
    pub(crate) fn start() -> Result<Self, Box<dyn Error>> {
        Ok(Self {})
    }

    pub(crate) async fn stop(self) -> Result<(), Box<dyn Error>> {
        Ok(())
    }
}

#[cfg(feature = "otel")]
impl Telemetry {
    /// Starts the export if `$OTEL_EXPORTER_OTLP_ENDPOINT` is set (for example
    /// `http://localhost:4317`). Spans are sent over gRPC, with the service name
    /// `$OTEL_SERVICE_NAME` or `calc`. Log lines are then plain text on standard error, filtered by
    /// `$RUST_LOG`.
    pub(crate) fn start() -> Result<Self, Box<dyn Error>> {
        use opentelemetry::trace::TracerProvider;
        use tracing::level_filters::LevelFilter;
        use tracing_subscriber::{
            EnvFilter, Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt,
        };

        let traces = otlp::traces()?;
        if let Some(traces) = &traces {
            let filter =
                EnvFilter::try_from_default_env().unwrap_or_else(|_| "info,async_nats=warn".into());
            let lines = tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_filter(filter);
            // The exporter's own spans are not exported.
            let own = [("nmfw", LevelFilter::INFO), ("calc", LevelFilter::INFO)];
            let spans = tracing_opentelemetry::layer()
                .with_tracer(traces.tracer("calc"))
                .with_filter(Targets::new().with_targets(own));
            tracing_subscriber::registry()
                .with(lines)
                .with(spans)
                .try_init()?;
        }
        Ok(Self { traces })
    }

    /// Exports the remaining spans.
    pub(crate) async fn stop(self) -> Result<(), Box<dyn Error>> {
        if let Some(traces) = self.traces {
            // Blocks until the collector has received everything.
            tokio::task::spawn_blocking(move || traces.shutdown()).await??;
        }
        Ok(())
    }
}

#[cfg(feature = "otel")]
mod otlp {
    use std::error::Error;

    use opentelemetry_otlp::SpanExporter;
    use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};

    /// Returns `None` if no collector is configured.
    pub(super) fn traces() -> Result<Option<SdkTracerProvider>, Box<dyn Error>> {
        if std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_none() {
            return Ok(None);
        }
        // Reads this and other variables of OpenTelemetry.
        let exporter = SpanExporter::builder().with_tonic().build()?;
        let name = std::env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| "calc".to_owned());
        let resource = Resource::builder().with_service_name(name).build();
        let traces = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build();
        Ok(Some(traces))
    }
}
