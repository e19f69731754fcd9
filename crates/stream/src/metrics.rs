//! [`Metrics`]: what a stream does, as text for Prometheus, and [`serve`], which answers with it on a port.
//!
//! Nothing is counted or listened for where nobody asks. No metric holds a value of an event.

use std::sync::Arc;
use std::time::Duration;

use lakeshift_journal::Clock;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::ingest::Step;
use crate::ledger::Ledger;
use crate::offsets::{Positions, SourcePartition};

/// The least commit that has a bucket of its own, in seconds; eleven more follow, each twice as long: up to 20 s.
const COMMIT_SECONDS_MIN: f64 = 0.01;
const COMMIT_BUCKETS: u16 = 12;
/// Bytes that a question may have.
const QUESTION_BYTES_MAX: usize = 8 << 10;
/// How long whoever asks may take.
const ASKING_MAX: Duration = Duration::from_secs(2);
/// How long nothing is accepted after the system had no socket to give.
const NO_SOCKET: Duration = Duration::from_secs(1);

type Labels = Vec<(&'static str, String)>;

/// Counts of one process that ingests.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    records: Counter,
    rows: Counter,
    replayed: Counter,
    dead: Counter,
    failures: Counter,
    commit: Histogram,
    committed_at: Gauge,
    lag: Family<Labels, Gauge>,
    parked: Family<Labels, Gauge>,
}

impl Metrics {
    /// Counts of the stream of this name, all zero.
    pub fn new(stream: &str) -> Self {
        let labels = [("stream".into(), stream.to_owned().into())];
        let mut metrics = Self {
            registry: Registry::with_prefix_and_labels("lakeshift_stream", labels.into_iter()),
            records: Counter::default(),
            rows: Counter::default(),
            replayed: Counter::default(),
            dead: Counter::default(),
            failures: Counter::default(),
            commit: Histogram::new(exponential_buckets(COMMIT_SECONDS_MIN, 2.0, COMMIT_BUCKETS)),
            committed_at: Gauge::default(),
            lag: Family::default(),
            parked: Family::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("records", "Events that were read", metrics.records.clone());
        registry.register("rows", "Rows that were committed to the table", metrics.rows.clone());
        registry.register("replayed_rows", "Of them from events that a backfill had parked", metrics.replayed.clone());
        registry.register("dead_letters", "Events that could not be read", metrics.dead.clone());
        registry.register("failures", "Readings that failed and are tried again", metrics.failures.clone());
        let help = "From rows in hand to rows in the table and in the journal";
        registry.register_with_unit("commit", help, Unit::Seconds, metrics.commit.clone());
        let help = "When the last commit ended, since 1970-01-01T00:00:00Z; 0 before the first";
        registry.register_with_unit("last_commit_timestamp", help, Unit::Seconds, metrics.committed_at.clone());
        registry.register("lag_offsets", "Offsets that the topic has and the stream has not read", metrics.lag.clone());
        registry.register("parked_events", "Events that wait for a backfill", metrics.parked.clone());
        metrics
    }

    /// Counts what a step did.
    pub fn step(&self, step: &Step, clock: &dyn Clock) {
        self.records.inc_by(step.records);
        self.rows.inc_by(step.rows);
        self.replayed.inc_by(step.replayed);
        self.dead.inc_by(step.dead);
        if let Some(commit) = step.commit {
            self.commit.observe(commit.as_secs_f64());
            self.committed_at.set(clock.now().timestamp());
        }
    }

    /// Counts a reading that failed.
    pub fn failure(&self) {
        self.failures.inc();
    }

    /// Tells how far behind the topics' `ends` the stream is.
    pub fn lag(&self, ends: &Positions, ledger: &Ledger) {
        let positions = ledger.positions();
        for (partition, end) in ends {
            let behind = end.saturating_sub(positions.get(partition).copied().unwrap_or(0)).max(0);
            self.lag.get_or_create(&labels(partition)).set(behind);
        }
    }

    /// Tells what is parked.
    pub fn parked(&self, ledger: &Ledger) {
        for (partition, account) in ledger.accounts() {
            let parked = i64::try_from(account.all_parked().len()).unwrap_or(i64::MAX);
            self.parked.get_or_create(&labels(partition)).set(parked);
        }
    }

    /// All of it, as Prometheus and OpenMetrics read it.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // A string takes whatever is written.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

fn labels(partition: &SourcePartition) -> Labels {
    vec![("topic", partition.topic.clone()), ("partition", partition.partition.to_string())]
}

/// Answers `GET /metrics`, one asker after the other, for as long as this runs. It is all of HTTP that Prometheus needs, and no server
/// is among the dependencies.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) {
    loop {
        match listener.accept().await {
            Ok((mut asker, _)) => {
                let answered = tokio::time::timeout(ASKING_MAX, answer(&mut asker, &metrics)).await;
                if let Ok(Err(error)) = answered {
                    tracing::debug!(%error, "somebody asked for metrics and went away");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection for metrics");
                clock.sleep(NO_SOCKET).await;
            }
        }
    }
}

async fn answer(asker: &mut TcpStream, metrics: &Metrics) -> std::io::Result<()> {
    let (status, text) = match question(asker).await?.as_deref() {
        Some("GET /metrics") => ("200 OK", metrics.text()),
        Some(_) => ("404 Not Found", "ask for GET /metrics\n".to_owned()),
        None => ("400 Bad Request", "this is no request of HTTP/1.1\n".to_owned()),
    };
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let kind = if status.starts_with("200") { kind } else { "text/plain; charset=utf-8" };
    let length = text.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    asker.write_all(head.as_bytes()).await?;
    asker.write_all(text.as_bytes()).await?;
    asker.shutdown().await
}

/// Method and path, without what follows a `?`, once the whole head is there.
async fn question(asker: &mut TcpStream) -> std::io::Result<Option<String>> {
    let mut head = Vec::with_capacity(1024);
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        let mut more = [0; 1024];
        let read = asker.read(&mut more).await?;
        if read == 0 || head.len() + read > QUESTION_BYTES_MAX {
            return Ok(None);
        }
        head.extend_from_slice(&more[..read]);
    }
    let first = std::str::from_utf8(&head).ok().and_then(|head| head.lines().next());
    let mut words = first.unwrap_or_default().split(' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    Ok(match (method, target, version) {
        (Some(method), Some(target), Some(version)) if version.starts_with("HTTP/1.") => {
            let path = target.split('?').next().unwrap_or_default();
            Some(format!("{method} {path}"))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use lakeshift_testkit::ManualClock;

    use super::*;
    use crate::event::{Part, Reading, StreamEvent};
    use crate::offsets::OffsetSet;

    fn ledger() -> Ledger {
        let part = Part {
            partition: SourcePartition::new("flights", 1),
            from: 10,
            to: 40,
            applied: OffsetSet::range(10, 32),
            absent: OffsetSet::default(),
            dead: OffsetSet::default(),
            parked: vec![(lakeshift_journal::Epoch(1), OffsetSet::range(32, 40))],
            superseded: Vec::new(),
        };
        let reading = Reading { replay: None, locks_seen: 0, parts: vec![part], dead_letters: None };
        let mut ledger = Ledger::default();
        ledger.apply(&StreamEvent::Noted(reading));
        ledger
    }

    fn metrics() -> Metrics {
        let metrics = Metrics::new("flights");
        let step =
            Step { records: 30, rows: 22, replayed: 2, held_back: 8, dead: 3, commit: Some(Duration::from_millis(300)) };
        metrics.step(&step, &ManualClock::new());
        metrics.step(&Step { records: 5, ..Step::default() }, &ManualClock::new());
        metrics.failure();
        let ends = [(SourcePartition::new("flights", 0), 7), (SourcePartition::new("flights", 1), 100)];
        metrics.lag(&ends.into(), &ledger());
        metrics.parked(&ledger());
        metrics
    }

    async fn asked(question: &[u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, Arc::new(metrics()), Arc::new(ManualClock::new())));
        let mut asker = TcpStream::connect(address).await.unwrap();
        asker.write_all(question).await.unwrap();
        let mut answer = String::new();
        asker.read_to_string(&mut answer).await.unwrap();
        server.abort();
        answer
    }

    #[tokio::test]
    async fn whoever_asks_for_metrics_has_them_as_text() {
        let answer = asked(b"GET /metrics?x=1 HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let (head, text) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}\r\n", text.len())), "{head}");
        for line in [
            r#"lakeshift_stream_records_total{stream="flights"} 35"#,
            r#"lakeshift_stream_rows_total{stream="flights"} 22"#,
            r#"lakeshift_stream_replayed_rows_total{stream="flights"} 2"#,
            r#"lakeshift_stream_dead_letters_total{stream="flights"} 3"#,
            r#"lakeshift_stream_failures_total{stream="flights"} 1"#,
            r#"lakeshift_stream_commit_seconds_count{stream="flights"} 1"#,
            r#"lakeshift_stream_commit_seconds_bucket{stream="flights",le="0.16"} 0"#,
            r#"lakeshift_stream_commit_seconds_bucket{stream="flights",le="0.32"} 1"#,
            r#"lakeshift_stream_lag_offsets{stream="flights",topic="flights",partition="0"} 7"#,
            r#"lakeshift_stream_lag_offsets{stream="flights",topic="flights",partition="1"} 60"#,
            r#"lakeshift_stream_parked_events{stream="flights",topic="flights",partition="1"} 8"#,
        ] {
            assert!(text.lines().any(|one| one == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[tokio::test]
    async fn other_questions_have_an_answer_too() {
        assert!(asked(b"GET / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404 "));
        assert!(asked(b"POST /metrics HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404 "));
        assert!(asked(b"hello\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
        assert!(asked(&[b'x'; 8193]).await.starts_with("HTTP/1.1 400 "));
    }
}
