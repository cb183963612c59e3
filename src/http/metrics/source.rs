//! The metrics of Kafka: the records that nova reads, nova's lag, and librdkafka's statistics.

use std::sync::atomic::Ordering;

use prometheus_client::registry::Registry;

use crate::http::edge::{Log, Watch};
use crate::http::lag;
use crate::source::kafka::{BrokerFigures, Figures, KafkaStatus};

use super::family::{Labels, counters, gauges, labels, total, whole};

pub(super) fn source(watch: &Watch, log: &Log, to: &mut Registry) {
    let lags = lag::of(watch);
    let each = || {
        lags.iter()
            .map(|(name, lag)| (labels([("topic", &name.topic), ("partition", &name.partition.to_string())]), lag))
    };
    let known = || each().filter_map(|(name, lag)| Some((name, lag.as_ref()?)));
    // The local log is never behind, because the commit that makes its records durable also consumes them.
    let ages = each().map(|(name, lag)| (name, lag.as_ref().map_or(0.0, |lag| lag.age_ms as f64 / 1e3)));
    gauges(to, "cdc_lag_seconds", "Age of the oldest record that was not read yet, at most", ages);
    let records = known().filter_map(|(name, lag)| Some((name, lag.records? as f64)));
    gauges(to, "nova_lag_records", "Records that were not read yet", records);
    let help = "Records between what retention deletes next and what is read next";
    let headroom = known().filter_map(|(name, lag)| Some((name, lag.headroom_records? as f64)));
    gauges(to, "nova_retention_headroom_records", help, headroom);
    let off = KafkaStatus::default();
    let kafka = watch.kafka.as_deref().unwrap_or(&off);
    let commits = kafka.commits.load(Ordering::Relaxed);
    total(to, "cdc_offset_commits", "Commits of the store's offsets to Kafka", commits);
    whole(to, "nova_partitions_assigned", "Partitions that this node reads", kafka.assigned());
    if watch.kafka.is_some() {
        whole(to, "nova_kafka_up", "1 while a broker is connected; not there without Kafka", usize::from(kafka.up()));
    }
    if let Some(runs) = watch.connector.as_ref().and_then(|connector| connector.runs()) {
        let help = "1 while Connect says that the connector and its tasks run";
        whole(to, "nova_connector_up", help, usize::from(runs));
    }
    let stopped = kafka.stopped().into_iter().map(|(name, stop)| (name, stop.code()));
    let stalled = kafka.stalled().into_keys().map(|name| (name, "Stalled".to_owned()));
    let stands = stopped.chain(stalled).map(|(name, cause)| {
        (labels([("topic", &name.topic), ("partition", &name.partition.to_string()), ("cause", &cause)]), 1.0)
    });
    gauges(to, "nova_partition_stopped", "1 while an error of the consumer stops the partition", stands);
    let producing = if let Log::Kafka(producer) = log { producer.waiting() } else { 0 };
    whole(to, "nova_kafka_producing", "Client events that Kafka did not acknowledge yet", producing);
    consumer(&kafka.figures(), to);
}

/// Registers librdkafka's statistics of the consumer.
fn consumer(figures: &Figures, to: &mut Registry) {
    total(to, "nova_kafka_sent_bytes", "Bytes of the consumer's requests", figures.sent_bytes);
    total(to, "nova_kafka_received_bytes", "Bytes of the brokers' answers", figures.received_bytes);
    total(to, "nova_kafka_received_messages", "Messages fetched", figures.received_messages);
    total(to, "nova_kafka_rebalances", "Assignments and revocations of partitions", figures.rebalances);
    whole(to, "nova_kafka_ahead_bytes", "Bytes fetched ahead of the pipeline", figures.ahead_bytes as usize);
    let each = || figures.brokers.iter().map(|(id, one)| (labels([("broker", &id.to_string())]), one));
    let up = each().map(|(name, one)| (name, f64::from(u8::from(one.up))));
    gauges(to, "nova_kafka_broker_up", "1 while the broker is connected", up);
    let quantile = |(mut name, one): (Labels, &BrokerFigures)| {
        let mut last = name.clone();
        name.push(("quantile", "0.5".to_owned()));
        last.push(("quantile", "0.99".to_owned()));
        [(name, one.rtt_p50_seconds), (last, one.rtt_p99_seconds)]
    };
    gauges(to, "nova_kafka_broker_rtt_seconds", "Time of requests to the broker", each().flat_map(quantile));
    let throttle = each().map(|(name, one)| (name, one.throttle_seconds));
    gauges(to, "nova_kafka_broker_throttle_seconds", "Longest delay for a quota of the broker", throttle);
    let errors = each().map(|(name, one)| (name, one.errors));
    counters(to, "nova_kafka_broker_errors", "Requests that failed or timed out", errors);
    let disconnects = each().map(|(name, one)| (name, one.disconnects));
    counters(to, "nova_kafka_broker_disconnects", "Connections that were lost", disconnects);
}
