//! [`Traces`]: the spans of `ingest` for an OpenTelemetry collector, where the standard variables name one. Feature `otel`; a
//! program without it says once that it sends none.

use std::ffi::OsString;

use tracing_subscriber::{Layer, Registry};

use crate::args::Command;

#[cfg(feature = "otel")]
mod otlp;

/// Either of them names a collector; the first counts.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// Traces of one command, if it sends any.
#[derive(Debug)]
pub struct Traces {
    #[cfg(feature = "otel")]
    sent: Option<otlp::Sent>,
    /// What is to be said once there are logs.
    notice: Option<String>,
}

/// What looks at a program's spans and lines of its log.
pub type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

impl Traces {
    /// Begins, where the environment asks for traces and `command` has spans. In a Tokio runtime that goes on until
    /// [`end`](Self::end).
    pub fn begin(command: &Command) -> (Self, Option<BoxedLayer>) {
        let asked = matches!(command, Command::Ingest(_)).then(|| asked_by(|name| std::env::var_os(name))).flatten();
        asked.map_or_else(|| (Self::none(None), None), Self::asked)
    }

    #[cfg(feature = "otel")]
    fn asked(variable: &str) -> (Self, Option<BoxedLayer>) {
        match otlp::Sent::begin() {
            Ok((sent, layer)) => (Self { sent: Some(sent), notice: None }, Some(layer)),
            // The error repeats the address, which may have a password.
            Err(_) => {
                let hint = "no exporter can be made of the variables OTEL_… (not shown); check that it is an http URL";
                (Self::none(Some(format!("no traces are sent, although {variable} asks for them: {hint}"))), None)
            }
        }
    }

    #[cfg(not(feature = "otel"))]
    fn asked(variable: &str) -> (Self, Option<BoxedLayer>) {
        let notice = format!("no traces are sent, although {variable} asks for them: build with `--features otel`");
        (Self::none(Some(notice)), None)
    }

    fn none(notice: Option<String>) -> Self {
        Self {
            #[cfg(feature = "otel")]
            sent: None,
            notice,
        }
    }

    /// Says why there are none where some were asked for.
    pub fn tell(&self) {
        if let Some(notice) = &self.notice {
            tracing::warn!("{notice}");
        }
    }

    /// Sends what is left, and waits for that a few seconds at most.
    pub async fn end(self) {
        #[cfg(feature = "otel")]
        if let Some(sent) = self.sent {
            sent.end().await;
        }
    }
}

/// The variable that asks for traces, where none says that there shall not be any. An empty one is as good as none.
fn asked_by(variable: impl Fn(&str) -> Option<OsString>) -> Option<&'static str> {
    let says = |name: &str, word: &str| variable(name).is_some_and(|value| value.eq_ignore_ascii_case(word));
    if says("OTEL_SDK_DISABLED", "true") || says("OTEL_TRACES_EXPORTER", "none") {
        return None;
    }
    ENDPOINTS.into_iter().find(|name| variable(name).is_some_and(|value| !value.is_empty()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const TRACES: &str = ENDPOINTS[0];
    const ALL: &str = ENDPOINTS[1];

    #[rstest]
    #[case::nothing(&[], None)]
    #[case::one_for_all(&[(ALL, "http://c:4318")], Some(ALL))]
    #[case::one_for_traces(&[(TRACES, "http://c:4318/v1/traces")], Some(TRACES))]
    #[case::both(&[(ALL, "http://c:4318"), (TRACES, "http://d:4318/x")], Some(TRACES))]
    #[case::empty(&[(ALL, "")], None)]
    #[case::disabled(&[(ALL, "http://c:4318"), ("OTEL_SDK_DISABLED", "True")], None)]
    #[case::not_disabled(&[(ALL, "http://c:4318"), ("OTEL_SDK_DISABLED", "false")], Some(ALL))]
    #[case::no_exporter(&[(ALL, "http://c:4318"), ("OTEL_TRACES_EXPORTER", "none")], None)]
    fn the_standard_variables_ask_for_traces(#[case] set: &[(&str, &str)], #[case] expected: Option<&str>) {
        let variable = |name: &str| set.iter().find(|(set, _)| *set == name).map(|(_, value)| OsString::from(value));
        assert_eq!(asked_by(variable), expected);
    }
}
