//! Traces of `ingest`: the program itself, over a mock Kafka, with the variables that name a collector.

use std::process::Output;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use serde_json::json;
use tempfile::TempDir;

#[cfg(feature = "otel")]
mod collector;

const TOPIC: &str = "flights";
/// Stands in every event, those included that cannot be read.
const MARK: &str = "of-an-event";
/// Events that become rows, and events that cannot be read.
const EVENTS: i64 = 200;
const DEAD: i64 = 3;
/// Rows of a commit.
const COMMIT: i64 = 20;

/// A stream on the local disk whose events are there.
struct Stream {
    folder: TempDir,
    _cluster: MockCluster<'static, DefaultProducerContext>,
}

impl Stream {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, 2, 1).unwrap();
        let (bootstrap, root) = (cluster.bootstrap_servers(), folder.path().display());
        let text = format!(
            "stream: traced\ncontrol: '{root}/control'\ntable: {{format: delta, location: '{root}/live'}}\ncolumns:\n  - {{name: n, \
             type: int64, required: true}}\n  - {{name: text, type: string}}\n  - {{name: day, type: date}}\ntime: {{column: day, \
             grain: day}}\nkafka: {{bootstrap: '{bootstrap}', topics: [{TOPIC}]}}\ncommit: {{rows: {COMMIT}}}\n"
        );
        std::fs::write(folder.path().join("stream.yaml"), text).unwrap();
        let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &bootstrap).create().unwrap();
        for n in 0..EVENTS + DEAD {
            let day = if n < EVENTS { format!("2001-01-{:02}", n % 4 + 1) } else { MARK.to_owned() };
            let event = json!({"n": n, "text": MARK, "day": day}).to_string();
            let record = BaseRecord::<(), _>::to(TOPIC).partition(i32::try_from(n % 2).unwrap()).payload(&event);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(Duration::from_secs(30)).unwrap();
        Self { folder, _cluster: cluster }
    }

    /// Runs `ingest --once` with these variables, and no others of OpenTelemetry.
    async fn ingest(&self, variables: &[(&str, &str)]) -> Output {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_lakeshift"));
        command.args(["ingest", "--once", "--format", "json"]).arg(self.folder.path().join("stream.yaml"));
        let inherited = std::env::vars_os().map(|(name, _)| name);
        for name in inherited.filter(|name| name.to_string_lossy().starts_with("OTEL_")) {
            command.env_remove(name);
        }
        command.env_remove("RUST_LOG").envs(variables.iter().copied()).kill_on_drop(true).output().await.unwrap()
    }
}

/// What the command said on stderr, once all events were committed or set aside.
fn said(output: &Output) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(output.status.success(), "{said}");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["rows"], &answer["dead_letters"]), (&json!(EVENTS), &json!(DEAD)), "{answer}");
    said
}

#[cfg(not(feature = "otel"))]
#[tokio::test]
async fn a_program_without_the_feature_says_once_that_it_sends_no_traces() {
    let stream = Stream::new();
    let said = said(&stream.ingest(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")]).await);
    assert_eq!(said.matches("no traces are sent").count(), 1, "{said}");
    assert!(said.contains("OTEL_EXPORTER_OTLP_ENDPOINT") && said.contains("--features otel"), "{said}");
}
