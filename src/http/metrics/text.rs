//! The two text formats of metrics, and the choice between them.

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::Full;

use crate::http::edge::Edge;
use crate::http::error::Problem;
use crate::http::shared::{Kept, Shared};

use super::render::render;

pub(in crate::http) const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
pub(in crate::http) const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The time for which nova reuses a text of metrics, in microseconds.
const KEPT_US: u64 = 1_000_000;

/// The last text of the metrics in each format.
#[derive(Default)]
pub(in crate::http) struct Scrapes {
    openmetrics: Kept<u64>,
    classic: Kept<u64>,
}

impl Scrapes {
    /// Answers `GET /metrics`: OpenMetrics for a client that accepts this format, otherwise Prometheus's older format.
    /// nova makes the text of the metrics at most once a second. A server for tests makes a new text of the metrics for
    /// each request.
    pub fn answer(&self, edge: &Edge, request: &HeaderMap) -> Result<Response<Full<Bytes>>, Problem> {
        let openmetrics = wants_openmetrics(request);
        let make = || {
            let text = render(edge).map_err(|_| Problem::Unavailable("the metrics cannot be written"))?;
            Ok(match openmetrics {
                true => Shared::new(OPENMETRICS, text),
                false => Shared::new(CLASSIC, classic(&text)),
            })
        };
        let kept = if openmetrics { &self.openmetrics } else { &self.classic };
        let second = edge.gate.limiter.now_us() / KEPT_US;
        let scrape = match edge.testing {
            // A server for tests makes a new text for each request, because a test must see the effect of its last
            // call.
            Some(_) => make(),
            None => kept.get(second, |_| make()),
        };
        let mut response = scrape?.response();
        response.headers_mut().append(http::header::VARY, HeaderValue::from_static("accept"));
        Ok(response)
    }
}

/// Whether `Accept` (RFC 9110 §12.5.1) prefers OpenMetrics to plain text.
fn wants_openmetrics(request: &HeaderMap) -> bool {
    let (mut openmetrics, mut plain) = (0.0_f32, 0.0_f32);
    let values = request.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in values.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let quality = quality.map_or(1.0, |quality| quality.parse().unwrap_or(0.0));
        if name.eq_ignore_ascii_case("application/openmetrics-text") {
            openmetrics = openmetrics.max(quality);
        } else if name.eq_ignore_ascii_case("text/plain") {
            plain = plain.max(quality);
        }
    }
    openmetrics > 0.0 && openmetrics >= plain
}

/// Converts OpenMetrics to Prometheus's text format 0.0.4
/// (<https://prometheus.io/docs/instrumenting/exposition_formats/>). In Prometheus's format, the declaration of a
/// counter has the name of the samples, with `_total`. Prometheus's format has no units and no end mark.
fn classic(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len());
    let mut lines = openmetrics.lines().peekable();
    while let Some(line) = lines.next() {
        let declared = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' '));
        match declared {
            Some((name, help)) => {
                let counter = lines.peek().is_some_and(|next| *next == format!("# TYPE {name} counter"));
                let suffix = if counter { "_total" } else { "" };
                out.push_str(&format!("# HELP {name}{suffix} {help}\n"));
                if counter {
                    lines.next();
                    out.push_str(&format!("# TYPE {name}{suffix} counter\n"));
                }
            }
            None if line == "# EOF" || line.starts_with("# UNIT ") => {}
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::registry::Registry;

    #[test]
    fn who_takes_only_plain_text_gets_it() {
        let wants = |accept: Option<&str>| {
            let accept = accept.map(|accept| (ACCEPT, accept.parse().unwrap()));
            wants_openmetrics(&accept.into_iter().collect())
        };
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                          application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, expected) in [
            (Some(prometheus), true),
            (Some("application/openmetrics-text"), true),
            (Some("Application/OpenMetrics-Text; version=1.0.0, text/plain"), true),
            (Some("text/plain;version=0.0.4"), false),
            (Some("text/plain, application/openmetrics-text;q=0.5"), false),
            (Some("application/openmetrics-text;q=0, text/plain"), false),
            (Some("*/*"), false),
            (None, false),
        ] {
            assert_eq!(wants(accept), expected, "{accept:?}");
        }
    }

    #[test]
    fn the_older_format_declares_what_its_samples_are_named() {
        let mut registry = Registry::default();
        let (counter, gauge, histogram) =
            (Counter::<u64>::default(), Gauge::<i64>::default(), Histogram::new([1.0, 2.0]));
        counter.inc_by(3);
        histogram.observe(1.5);
        registry.register("events", "Events\\of \"all\"", counter);
        registry.register("depth", "Depth", gauge);
        registry.register("took", "Time", histogram);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let classic = classic(&text);
        let typed: Vec<_> = classic.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        assert_eq!(typed, ["events_total counter", "depth gauge", "took histogram"]);
        for sample in classic.lines().filter(|line| !line.starts_with('#')) {
            let of = |name: &str| sample.starts_with(name);
            assert!(typed.iter().any(|typed| of(typed.split(' ').next().unwrap())), "{sample}");
        }
        let samples = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!((samples(&classic), classic.contains("EOF")), (samples(&text), false));
        assert_eq!(classic.matches("# HELP ").count(), 3);
    }
}
