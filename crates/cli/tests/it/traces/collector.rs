//! What a collector gets, and what becomes of an `ingest` whose collector takes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lakeshift_journal::{Clock, SystemClock};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use rstest::rstest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::{COMMIT, DEAD, EVENTS, MARK, Stream, said};

/// What collectors are shown and nobody else.
const TOKEN: &str = "the-collectors-token";

/// How a collector answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Takes,
    /// It is too busy.
    Refuses,
    /// It reads, and says nothing.
    Hangs,
}

/// A request as it came.
#[derive(Debug, Clone)]
struct Received {
    head: String,
    body: Vec<u8>,
}

/// An endpoint of OTLP over HTTP on a free loopback port.
struct Collector {
    endpoint: String,
    received: Arc<Mutex<Vec<Received>>>,
    task: JoinHandle<()>,
}

impl Collector {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::<Mutex<Vec<Received>>>::default();
        let kept = received.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answer, kept.clone()));
            }
        });
        Self { endpoint, received, task }
    }

    /// Every span with the attributes of the resource that it is of.
    fn spans(&self) -> Vec<(Vec<KeyValue>, Span)> {
        let mut spans = Vec::new();
        for received in self.received.lock().unwrap().iter() {
            let request = ExportTraceServiceRequest::decode(received.body.as_slice()).unwrap();
            for resource_spans in request.resource_spans {
                let resource = resource_spans.resource.unwrap().attributes;
                let all = resource_spans.scope_spans.into_iter().flat_map(|scope| scope.spans);
                spans.extend(all.map(|span| (resource.clone(), span)));
            }
        }
        spans
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request after the other, until the client has enough.
async fn serve(mut stream: TcpStream, answer: Answer, kept: Arc<Mutex<Vec<Received>>>) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            (stream.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let all = end + length.parse::<usize>().unwrap();
        while bytes.len() < all {
            (stream.read_buf(&mut bytes).await.ok()? > 0).then_some(())?;
        }
        kept.lock().unwrap().push(Received { head, body: bytes[end..all].to_vec() });
        bytes.drain(..all);
        let status = match answer {
            Answer::Takes => "200 OK",
            Answer::Refuses => "503 Service Unavailable",
            Answer::Hangs => std::future::pending().await,
        };
        stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await.ok()?;
    }
}

fn number(span: &Span, key: &str) -> i64 {
    let of = |attribute: &KeyValue| match attribute.value.as_ref()?.value.as_ref()? {
        Value::IntValue(value) => Some(*value),
        _ => None,
    };
    span.attributes.iter().find(|attribute| attribute.key == key).and_then(of).unwrap_or_else(|| panic!("{key}: {span:?}"))
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> &'a str {
    let of = |attribute: &'a KeyValue| match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(value) => Some(value.as_str()),
        _ => None,
    };
    attributes.iter().find(|attribute| attribute.key == key).and_then(of).unwrap_or_else(|| panic!("{key}: {attributes:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_what_every_step_did_and_no_value() {
    let (stream, collector) = (Stream::new(), Collector::start(Answer::Takes).await);
    let header = format!("authorization=Bearer%20{TOKEN}");
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str()), ("OTEL_EXPORTER_OTLP_HEADERS", &header)];
    let said = said(&stream.ingest(&variables).await);
    assert!(!said.contains("traces") && !said.contains("lakeshift::spans") && !said.contains(TOKEN), "{said}");

    for Received { head, .. } in collector.received.lock().unwrap().iter() {
        assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
        assert!(
            head.contains("content-type: application/x-protobuf") && head.contains(&format!("bearer {TOKEN}")),
            "{head}"
        );
    }
    let spans = collector.spans();
    let told = format!("{spans:?}");
    assert!(
        !told.contains(MARK) && !told.contains(TOKEN) && !told.contains(&*stream.folder.path().to_string_lossy()),
        "{told}"
    );
    let mut by_name: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
    for (resource, span) in &spans {
        assert_eq!(text(resource, "service.name"), "lakeshift");
        assert_eq!(text(&span.attributes, "lakeshift.stream"), "stream-traced");
        assert_eq!(span.status.as_ref().map_or(0, |status| status.code), 0, "{span:?}");
        by_name.entry(&span.name).or_default().push(span);
    }
    each_says_its_numbers_and_nothing_else(&by_name);
    parts_are_in_their_step(&by_name);
    the_numbers_are_those_of_the_stream(&by_name);
}

fn each_says_its_numbers_and_nothing_else(by_name: &BTreeMap<&str, Vec<&Span>>) {
    let expected: [(&str, &[&str]); 7] = [
        ("ingest.commit", &["commit"]),
        ("ingest.intend", &["commit"]),
        ("ingest.judge", &["rows"]),
        ("ingest.read", &["dead_letters", "partitions", "records"]),
        ("ingest.settle", &["commit"]),
        ("ingest.step", &["held_back", "records", "replayed", "rows"]),
        ("ingest.write", &["bytes", "commit", "files", "partitions", "rows"]),
    ];
    let expected = expected.map(|(name, keys)| (name, keys.iter().chain(&["stream"]).map(|key| format!("lakeshift.{key}"))));
    let expected: BTreeMap<&str, BTreeSet<String>> = expected.map(|(name, keys)| (name, keys.collect())).into();
    let keys = |spans: &Vec<&Span>| spans.iter().flat_map(|span| &span.attributes).map(|of| of.key.clone()).collect();
    let told: BTreeMap<&str, BTreeSet<String>> = by_name.iter().map(|(name, spans)| (*name, keys(spans))).collect();
    assert_eq!(told, expected);
    assert!(by_name.values().flatten().all(|span| span.events.is_empty()), "{by_name:?}");
}

fn parts_are_in_their_step(by_name: &BTreeMap<&str, Vec<&Span>>) {
    let steps: BTreeMap<_, _> = by_name["ingest.step"].iter().map(|step| (&step.span_id, step)).collect();
    for (name, parts) in by_name {
        for part in parts {
            if *name == "ingest.step" {
                assert!(part.parent_span_id.is_empty(), "a step is a trace of its own: {part:?}");
                continue;
            }
            let step = steps[&part.parent_span_id];
            assert_eq!(step.trace_id, part.trace_id);
            assert!(
                step.start_time_unix_nano <= part.start_time_unix_nano && part.end_time_unix_nano <= step.end_time_unix_nano
            );
        }
    }
}

fn the_numbers_are_those_of_the_stream(by_name: &BTreeMap<&str, Vec<&Span>>) {
    let sum = |name: &str, key: &str| by_name[name].iter().map(|span| number(span, key)).sum::<i64>();
    for name in ["ingest.step", "ingest.read"] {
        assert_eq!(sum(name, "lakeshift.records"), EVENTS + DEAD, "{name}");
    }
    assert_eq!(sum("ingest.read", "lakeshift.dead_letters"), DEAD);
    for name in ["ingest.step", "ingest.judge", "ingest.write"] {
        assert_eq!(sum(name, "lakeshift.rows"), EVENTS, "{name}");
    }
    let commits: Vec<i64> = by_name["ingest.write"].iter().map(|span| number(span, "lakeshift.commit")).collect();
    assert!(commits.len() as i64 >= EVENTS / COMMIT, "{commits:?}");
    for name in ["ingest.intend", "ingest.commit", "ingest.settle"] {
        assert_eq!(by_name[name].iter().map(|span| number(span, "lakeshift.commit")).collect::<Vec<_>>(), commits, "{name}");
    }
    for write in &by_name["ingest.write"] {
        assert!(
            number(write, "lakeshift.bytes") > 0 && (1..=4).contains(&number(write, "lakeshift.partitions")),
            "{write:?}"
        );
        assert!(number(write, "lakeshift.files") >= number(write, "lakeshift.partitions"), "{write:?}");
    }
}

#[rstest]
#[case::is_not_there(None)]
#[case::refuses(Some(Answer::Refuses))]
#[case::hangs(Some(Answer::Hangs))]
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_takes_nothing_is_told_of_once_and_stops_nothing(#[case] answer: Option<Answer>) {
    let stream = Stream::new();
    let collector = match answer {
        Some(answer) => Some(Collector::start(answer).await),
        None => None,
    };
    // Nobody listens on a port that only root may take.
    let endpoint = collector.as_ref().map_or("http://user:secret@127.0.0.1:1", |collector| &collector.endpoint);
    let clock = SystemClock::new();
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "1")];
    let said = said(&stream.ingest(&variables).await);
    assert_eq!(said.matches("could not send traces").count(), 1, "{said}");
    assert!(!said.contains("secret"), "{said}");
    // The end waits for five seconds at most; the rest is what the machine has to do besides.
    assert!(clock.elapsed() < Duration::from_secs(60), "{:?}", clock.elapsed());
    if let Some(collector) = collector {
        assert!(!collector.received.lock().unwrap().is_empty(), "it was never asked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_none_is_told_of_and_stops_nothing() {
    let stream = Stream::new();
    let said = said(&stream.ingest(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://user:secret@no endpoint")]).await);
    assert_eq!(said.matches("no traces are sent, although OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").count(), 1, "{said}");
    assert!(!said.contains("secret"), "{said}");
}
