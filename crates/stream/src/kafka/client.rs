//! [`Properties`] of a client, and what librdkafka's errors come to. Neither tells a value.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::FutureProducer;
use rdkafka::types::RDKafkaConfRes;
use rdkafka::{ClientConfig, TopicPartitionList};

use crate::error::StreamError;

/// What exactly-once rests on.
const OWN: [(&str, &str); 6] = [
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    ("enable.partition.eof", "true"),
    ("queued.max.messages.kbytes", "65536"),
];

/// Properties of a Kafka client, as librdkafka knows them; `bootstrap.servers` among them. Prints none of its values.
#[derive(Clone, Default)]
pub struct Properties {
    /// The group under which brokers are told how far the stream is. Nobody joins it, and nothing is read by it.
    pub group: String,
    /// By name; those that a stream sets itself are overridden.
    pub by_name: BTreeMap<String, String>,
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

/// Sends librdkafka's own words to the log.
#[derive(Default)]
pub(super) struct Quiet {
    /// Whether it was said that brokers do not take the group's offsets.
    warned: AtomicBool,
}

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Debug | RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => {
                tracing::debug!(facility, "{message}");
            }
            _ => tracing::warn!(facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(code = ?error.rdkafka_error_code(), "{reason}");
    }
}

impl ConsumerContext for Quiet {
    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        let Err(error) = result else { return };
        if !self.warned.swap(true, Ordering::Relaxed) {
            let code = error.rdkafka_error_code();
            tracing::warn!(
                ?code,
                "brokers do not take the group's offsets, so their tools show no lag; the stream does not need them"
            );
        }
    }
}

/// A consumer; brokers are not asked yet.
pub(super) fn connect(properties: &Properties) -> Result<BaseConsumer<Quiet>, StreamError> {
    let mut config = ClientConfig::new();
    for (key, value) in &properties.by_name {
        config.set(key, value);
    }
    config.set("group.id", &properties.group);
    for (key, value) in OWN {
        config.set(key, value);
    }
    config.create_with_context(Quiet::default()).map_err(|error| refused(&error))
}

/// A producer whose letters arrive once, however often the broker is asked, at all replicas that are in step.
pub(super) fn producer(properties: &Properties, patience: Duration) -> Result<FutureProducer<Quiet>, StreamError> {
    let mut config = ClientConfig::new();
    for (key, value) in properties.by_name.iter().filter(|(key, _)| *key != "transactional.id") {
        config.set(key, value);
    }
    config.set("enable.idempotence", "true").set("acks", "all");
    config.remove("request.required.acks").remove("delivery.timeout.ms");
    config.set("message.timeout.ms", patience.as_millis().to_string());
    config.create_with_context(Quiet::default()).map_err(|error| refused(&error))
}

fn refused(error: &KafkaError) -> StreamError {
    match error {
        // Its text holds the value.
        KafkaError::ClientConfig(kind, _, key, _) => {
            let reason = match kind {
                RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN => "librdkafka has no such property; correct its name",
                _ => "librdkafka refuses the value; correct it",
            };
            StreamError::Source { object: format!("the property {key}"), reason: reason.to_owned() }
        }
        KafkaError::ClientCreation(reason) => {
            StreamError::Source { object: "the client".to_owned(), reason: reason.clone() }
        }
        other => failed("the client", other),
    }
}

/// An error of librdkafka, about a topic or a partition.
pub(super) fn failed(object: impl fmt::Display, error: &KafkaError) -> StreamError {
    let code = error.rdkafka_error_code();
    let advice = match code {
        Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition) => {
            "; create the topic, or correct its name"
        }
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => "; give this client its rights on the topic",
        Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed) => "; check its credentials",
        _ => "",
    };
    let reason = code.map_or_else(|| error.to_string(), |code| code.to_string());
    StreamError::Source { object: object.to_string(), reason: format!("{reason}{advice}") }
}

/// Whether librdkafka goes on trying by itself.
pub(super) fn passes(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::AllBrokersDown
            | Code::BrokerTransportFailure
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::NotCoordinator
            | Code::CoordinatorNotAvailable
            | Code::CoordinatorLoadInProgress
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::BrokerNotAvailable
            | Code::NetworkException
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::KafkaStorageError
            // Of the group, which is told and not needed.
            | Code::GroupAuthorizationFailed
    )
}
