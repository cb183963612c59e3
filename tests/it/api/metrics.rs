//! `/metrics` as Prometheus reads it.

use std::collections::{BTreeMap, BTreeSet};

use nova::event::Id;
use serde_json::json;

use super::client::{Live, NOW_MS};

/// The metrics that outsiders rely on, by their names without the suffix of their type.
const PRODUCT: [(&str, &str); 16] = [
    ("cdc_lag_seconds", "gauge"),
    ("cdc_offset_commits", "counter"),
    ("event_processing_duration_seconds", "histogram"),
    ("cache_hit_ratio", "gauge"),
    ("cache_invalidation_lag_ms", "histogram"),
    ("job_refresh_duration_seconds", "histogram"),
    ("job_refresh", "counter"),
    ("clickhouse_query_duration_seconds", "histogram"),
    ("clickhouse_query_errors", "counter"),
    ("mv_refresh_duration_seconds", "gauge"),
    ("mv_staleness_seconds", "gauge"),
    ("feed_requests", "counter"),
    ("feed_latency_seconds", "histogram"),
    ("events_ingested", "counter"),
    ("events_deduped", "counter"),
    ("rate_limit", "counter"),
];

struct Family {
    kind: String,
    help: String,
    /// The samples of `/metrics`, each with its name, labels and value.
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

fn parse(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut last = String::new();
    assert!(text.ends_with("# EOF\n"));
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            let family = Family { kind: String::new(), help: help.to_owned(), samples: Vec::new() };
            assert!(families.insert(name.to_owned(), family).is_none(), "{name} stands twice");
            name.clone_into(&mut last);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, last);
            kind.clone_into(&mut families.get_mut(name).unwrap().kind);
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = name.split_once('{').unwrap_or((name, "}"));
            let labels = labels.strip_suffix('}').unwrap().split("\",").filter(|pair| !pair.is_empty()).map(|pair| {
                let (label, value) = pair.split_once("=\"").unwrap();
                (label.to_owned(), value.trim_end_matches('"').to_owned())
            });
            let sample = (name.to_owned(), labels.collect(), value.parse().unwrap());
            families.get_mut(&last).unwrap().samples.push(sample);
        }
    }
    families
}

#[test]
fn every_metric_has_help_and_a_type_and_every_histogram_ends_at_infinity_with_its_count() {
    let live = Live::start_in(tempfile::tempdir().unwrap());
    let (mut client, headers) = (live.client(), live.headers(Id::from_u128(1)));
    let event = json!({ "event_time": NOW_MS, "post_id": Id::from_u128(7).to_string(), "action": "view" });
    assert_eq!(client.post(&headers, json!({ "events": [event] }).to_string().as_bytes()).status, 202);
    (0..3).for_each(|_| assert_eq!(client.get("/api/v1/feed", &headers).status, 200));
    let families =
        parse(&String::from_utf8(client.get("/metrics", "Accept: application/openmetrics-text\r\n").body).unwrap());
    for (name, kind) in PRODUCT {
        assert_eq!(families.get(name).map(|family| family.kind.as_str()), Some(kind), "{name}");
    }
    let known: BTreeSet<_> = [
        "topic",
        "partition",
        "outcome",
        "structure",
        "class",
        "decision",
        "job",
        "result",
        "table",
        "target",
        "reason",
        "state",
        "version",
        "commit",
        "store_format",
        "fingerprint",
        "le",
    ]
    .into();
    for (name, Family { kind, help, samples }) in &families {
        assert!(!kind.is_empty() && help.len() > 10, "{name}: {help}");
        assert!(samples.len() <= 500, "{name} has {} series", samples.len());
        for (_, labels, value) in samples {
            assert!(labels.keys().all(|label| known.contains(label.as_str())), "{name}: {labels:?}");
            assert!(value.is_finite(), "{name}: {value}");
        }
        if kind != "histogram" {
            continue;
        }
        let mut series: BTreeMap<BTreeMap<String, String>, (f64, String)> = BTreeMap::new();
        for (of, labels, value) in samples.iter().filter(|(of, ..)| of.ends_with("_bucket")) {
            let mut labels = labels.clone();
            let bound = labels.remove("le").unwrap();
            let (below, last) = series.entry(labels).or_default();
            assert!(value >= below, "{of} falls at {bound}");
            (*below, *last) = (*value, bound);
        }
        assert!(!series.is_empty(), "{name}");
        for (labels, (below, bound)) in series {
            let count = samples.iter().find(|(of, known, _)| *of == format!("{name}_count") && *known == labels);
            assert_eq!((bound.as_str(), Some(below)), ("+Inf", count.map(|count| count.2)), "{name}: {labels:?}");
        }
    }
    let one = |name: &str| families[name].samples.iter().find(|sample| sample.0 == format!("{name}_count")).unwrap().2;
    assert_eq!((one("feed_latency_seconds"), one("cache_invalidation_lag_ms")), (3.0, 1.0));
}
