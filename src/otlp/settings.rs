//! Reads OpenTelemetry's standard variables of the exporter for traces
//! (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/> and "Environment Variable Specification").

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::http_client::address;

/// The address of a collector on nova's machine that speaks OTLP over HTTP.
const DEFAULT_ENDPOINT: &str = "http://localhost:4318";
const TIMEOUT_DEFAULT_MS: u64 = 10_000;
const DELAY_DEFAULT_MS: u64 = 5_000;
const BATCH_DEFAULT_SPANS: usize = 512;
/// The prefix of every variable that this module reads.
pub const PREFIX: &str = "OTEL_";

/// The encoding in which nova sends spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Protobuf,
    Json,
}

/// The number of different trace numbers: the sampler takes 63 bits of a trace id.
const ALL: u64 = 1 << 63;

/// Decides which traces nova sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    /// Whether the sampling decision of the caller applies.
    parent_based: bool,
    /// nova sends a trace without a caller's decision if 63 bits of the trace's id are a number lower than `below`.
    below: u64,
}

impl Sampler {
    /// Whether nova sends a trace. `parent` is the sampling decision of the caller. Without a decision of the caller,
    /// the trace id decides, so that all services make the same decision about a trace.
    pub fn takes(self, trace_id: u128, parent: Option<bool>) -> bool {
        match parent.filter(|_| self.parent_based) {
            Some(decided) => decided,
            None => (trace_id as u64 >> 1) < self.below,
        }
    }
}

/// The address of the collector, and how nova sends spans to it.
#[derive(Clone, PartialEq, Eq)]
pub struct OtlpSettings {
    pub endpoint: String,
    /// The headers of each request to the collector. The headers for the collector may contain secrets.
    pub headers: Vec<(String, String)>,
    pub encoding: Encoding,
    /// The timeout of one request to the collector.
    pub timeout: Duration,
    /// The maximum time that a span waits for more spans in its batch.
    pub delay: Duration,
    /// The maximum number of spans in one request.
    pub batch_spans: usize,
    pub ca_file: Option<PathBuf>,
    pub sampler: Sampler,
    /// The attributes that describe this process, including `service.name`.
    pub resource: Vec<(String, String)>,
}

/// Prints the endpoint without the headers, which may contain secrets.
impl std::fmt::Debug for OtlpSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OtlpSettings({})", self.endpoint)
    }
}

impl OtlpSettings {
    /// Reads the settings from environment variables. Returns `None` if the variables name neither an endpoint nor an
    /// exporter. Returns all problems of the variables together.
    pub fn of(variables: &BTreeMap<String, String>) -> Result<Option<OtlpSettings>, Vec<String>> {
        let set = |name: &str| variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
        let either = |name: &str| {
            let of_traces = format!("OTEL_EXPORTER_OTLP_TRACES_{name}");
            set(&of_traces).or(set(&format!("OTEL_EXPORTER_OTLP_{name}")))
        };
        let exporter = set("OTEL_TRACES_EXPORTER");
        let disabled = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if disabled || exporter == Some("none") || (either("ENDPOINT").is_none() && exporter != Some("otlp")) {
            return Ok(None);
        }
        let mut problems = Vec::new();
        let endpoint = match set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
            Some(whole) => whole.to_owned(),
            None => {
                let base = set("OTEL_EXPORTER_OTLP_ENDPOINT").unwrap_or(DEFAULT_ENDPOINT);
                format!("{}/v1/traces", base.trim_end_matches('/'))
            }
        };
        if address(&endpoint).is_none() {
            problems.push("OTEL_EXPORTER_OTLP_ENDPOINT: expected http://host:port or https://host:port".to_owned());
        }
        let encoding = match either("PROTOCOL") {
            None | Some("http/protobuf") => Encoding::Protobuf,
            Some("http/json") => Encoding::Json,
            Some(other) => {
                let way_out = "nova speaks http/protobuf and http/json; collectors take them on port 4318";
                problems.push(format!("OTEL_EXPORTER_OTLP_PROTOCOL: {other:?}: {way_out}"));
                Encoding::Protobuf
            }
        };
        let number = |name: &str, value: Option<&str>, default: u64, problems: &mut Vec<String>| {
            let read = value.map_or(Some(default), |text| text.parse().ok().filter(|number| *number > 0));
            read.unwrap_or_else(|| {
                problems.push(format!("{name}: expected a whole number above 0"));
                default
            })
        };
        let timeout = either("TIMEOUT");
        let timeout_ms = number("OTEL_EXPORTER_OTLP_TIMEOUT", timeout, TIMEOUT_DEFAULT_MS, &mut problems);
        let (delay, batch) = ("OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE");
        let delay_ms = number(delay, set(delay), DELAY_DEFAULT_MS, &mut problems);
        let batch_spans = number(batch, set(batch), BATCH_DEFAULT_SPANS as u64, &mut problems);
        let sampler = sampler(set("OTEL_TRACES_SAMPLER"), set("OTEL_TRACES_SAMPLER_ARG"));
        let mut resource = pairs(set("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default());
        let named = set("OTEL_SERVICE_NAME").map(str::to_owned);
        let known = resource.iter().position(|(name, _)| name == "service.name").map(|at| resource.remove(at).1);
        resource.insert(0, ("service.name".to_owned(), named.or(known).unwrap_or_else(|| "nova".to_owned())));
        let settings = OtlpSettings {
            endpoint,
            headers: pairs(either("HEADERS").unwrap_or_default()),
            encoding,
            timeout: Duration::from_millis(timeout_ms),
            delay: Duration::from_millis(delay_ms),
            batch_spans: usize::try_from(batch_spans).unwrap_or(BATCH_DEFAULT_SPANS).min(super::span::QUEUE_MAX_SPANS),
            ca_file: either("CERTIFICATE").map(PathBuf::from),
            sampler: sampler.unwrap_or_else(|problem| {
                problems.push(problem);
                Sampler { parent_based: true, below: ALL }
            }),
            resource,
        };
        if problems.is_empty() { Ok(Some(settings)) } else { Err(problems) }
    }
}

/// Parses `name=value,name=value` with percent-encoded values (W3C Baggage).
fn pairs(text: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| percent_encoding::percent_decode_str(text.trim()).decode_utf8_lossy().into_owned();
    let parts = text.split(',').filter_map(|part| part.split_once('='));
    parts.map(|(name, value)| (name.trim().to_owned(), decoded(value))).collect()
}

fn sampler(name: Option<&str>, argument: Option<&str>) -> Result<Sampler, String> {
    let name = name.unwrap_or("parentbased_always_on");
    let (parent_based, kind) = match name.strip_prefix("parentbased_") {
        Some(kind) => (true, kind),
        None => (false, name),
    };
    let ratio = match kind {
        "always_on" => 1.0,
        "always_off" => 0.0,
        "traceidratio" => match argument.map_or(Ok(1.0), str::parse::<f64>) {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
            _ => return Err("OTEL_TRACES_SAMPLER_ARG: expected a number from 0 to 1".to_owned()),
        },
        _ => {
            return Err(format!(
                "OTEL_TRACES_SAMPLER: {name:?}: expected always_on, always_off or traceidratio, with or without parentbased_"
            ));
        }
    };
    Ok(Sampler { parent_based, below: (ratio * ALL as f64) as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<OtlpSettings>, Vec<String>> {
        OtlpSettings::of(&variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn nothing_is_told_unless_somebody_asks() {
        assert_eq!(of(&[("OTEL_SERVICE_NAME", "x")]), Ok(None));
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/");
        assert_eq!(of(&[endpoint, ("OTEL_SDK_DISABLED", "true")]), Ok(None));
        assert_eq!(of(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]), Ok(None));
        assert_eq!(of(&[endpoint]).unwrap().unwrap().endpoint, "http://c:4318/v1/traces");
        assert_eq!(
            of(&[("OTEL_TRACES_EXPORTER", "otlp")]).unwrap().unwrap().endpoint,
            "http://localhost:4318/v1/traces"
        );
    }

    #[test]
    fn the_variables_of_traces_go_before_those_of_all_signals() {
        let settings = of(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces:4318/custom"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc,x=1"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=feeds,deployment.environment=test"),
        ]);
        let settings = settings.unwrap().unwrap();
        assert_eq!((settings.endpoint.as_str(), settings.encoding), ("https://traces:4318/custom", Encoding::Json));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(settings.headers, [pair("authorization", "Bearer abc"), pair("x", "1")]);
        assert_eq!(settings.resource, [pair("service.name", "feeds"), pair("deployment.environment", "test")]);
        assert!(!format!("{settings:?}").contains("abc"));
    }

    #[test]
    fn every_problem_names_its_variable() {
        let problems = of(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ]);
        let problems = problems.unwrap_err();
        for (name, problem) in ["ENDPOINT", "PROTOCOL", "TIMEOUT", "SAMPLER_ARG"].iter().zip(&problems) {
            assert!(problem.contains(name), "{problem}");
        }
        assert_eq!(problems.len(), 4);
    }

    #[test]
    fn a_ratio_takes_its_part_and_a_caller_decides_for_its_traces() {
        let sampler = sampler(Some("parentbased_traceidratio"), Some("0.25")).unwrap();
        let mut rng = fastrand::Rng::with_seed(1);
        let taken = (0..10_000).filter(|_| sampler.takes(rng.u128(..), None)).count();
        assert!((2_300..2_700).contains(&taken), "{taken}");
        assert!(sampler.takes(u128::MAX, Some(true)) && !sampler.takes(0, Some(false)));
        let own = Sampler { parent_based: false, below: ALL };
        assert!(own.takes(u128::MAX, Some(false)));
    }
}
