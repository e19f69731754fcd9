//! [`Sent`]: spans over OTLP/HTTP, by the SDK's thread beside the command. What a collector does not take is lost; nothing waits for it.

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lakeshift_stream::spans::TARGET;
use opentelemetry::trace::TracerProvider;
use opentelemetry::{Key, KeyValue};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{ExporterBuildError, Protocol, RetryPolicy, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tokio::runtime::Handle;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;

use super::BoxedLayer;

/// How long the end of a command waits for what is left.
const END_MAX: Duration = Duration::from_secs(5);
/// How long a collector may take for one request, unless a variable says otherwise.
const REQUEST_MAX: Duration = Duration::from_secs(10);
const TIMEOUTS_MS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];

/// Spans on their way to a collector.
#[derive(Debug)]
pub(super) struct Sent {
    provider: SdkTracerProvider,
    failed: Failed,
}

impl Sent {
    /// By the standard variables: where to, with which headers, how many at once.
    ///
    /// # Errors
    /// Why these are none that it can go by.
    pub fn begin() -> Result<(Self, BoxedLayer), ExporterBuildError> {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(Client::new().map_err(|error| ExporterBuildError::InternalFailure(error.to_string()))?)
            // The next batch comes in seconds; a thread that waits for a collector would hold up the end.
            .with_retry_policy(RetryPolicy::disabled())
            .build()?;
        let failed = Failed::default();
        let exporter = Telling { exporter, failed: failed.clone() };
        let provider = SdkTracerProvider::builder().with_resource(resource()).with_batch_exporter(exporter).build();
        let layer = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("lakeshift"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(TARGET, LevelFilter::TRACE));
        Ok((Self { provider, failed }, Box::new(layer)))
    }

    pub async fn end(self) {
        let Self { provider, failed } = self;
        let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(END_MAX)).await;
        if !matches!(ended, Ok(Ok(()))) {
            failed.tell(format_args!("not all of them were taken within {END_MAX:?}"));
        }
    }
}

/// Who sends them; the variables `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say more.
fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let given = Resource::builder().build().get(&Key::from_static_str("service.name"));
    let is_given = given.is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let builder = Resource::builder().with_attribute(version);
    if is_given { builder.build() } else { builder.with_service_name("lakeshift").build() }
}

/// Whether it was told that traces are lost.
#[derive(Debug, Clone, Default)]
struct Failed(Arc<AtomicBool>);

impl Failed {
    fn tell(&self, why: impl std::fmt::Display) {
        if !self.0.swap(true, Ordering::Relaxed) {
            tracing::warn!("could not send traces: {why}; the stream goes on without them, and this is said once");
        }
    }
}

/// An exporter that tells of its first failure.
#[derive(Debug)]
struct Telling<E> {
    exporter: E,
    failed: Failed,
}

impl<E: SpanExporter> SpanExporter for Telling<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.exporter.export(batch).await;
        if let Err(error) = &sent {
            self.failed.tell(error);
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.exporter.shutdown()
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Our own HTTP client, on the command's runtime: the SDK's thread has none.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    runtime: Handle,
}

impl Client {
    fn new() -> Result<Self, reqwest::Error> {
        let ms = TIMEOUTS_MS.iter().find_map(|name| env::var(name).ok()?.parse().ok());
        let timeout = ms.map_or(REQUEST_MAX, Duration::from_millis);
        // A collector that redirects would get the headers' credentials where nobody has sent them.
        let http = reqwest::Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { http, runtime: Handle::current() })
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let http = self.http.clone();
        let request = reqwest::Request::try_from(request)?;
        let answer = self.runtime.spawn(async move { http.execute(request).await }).await??;
        // Its status says all that matters here.
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = answer.status();
        Ok(response)
    }
}
