//! Decides which environment variables are meant for nova. Kubernetes and Docker describe a service in variables that
//! carry the service's name, and a service that is not this program may also be called nova. The variables that
//! describe a service named nova are no misspelt settings of nova.

/// Prefixes of nova's own variables that are not settings.
const OTHER_VARIABLES: [&str; 3] = ["NOVA_TEST_", "NOVA_FUZZ_", "NOVA_TOKEN"];
/// The address in a service link begins with one of these URL schemes.
const LINK_SCHEMES: [&str; 3] = ["tcp://", "udp://", "sctp://"];
const LINK_PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// The purpose of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The variable sets the setting with this name (`section.key`), even if no such setting exists.
    Setting(String),
    /// The environment variable belongs to a program other than nova.
    Foreign,
    /// The variable's name does not begin with `NOVA_`, or code outside the configuration reads the variable.
    Nothing,
}

/// Decides the purpose of a variable. `is_setting` says whether nova has a setting, and `is_section` says whether a
/// section exists.
pub(super) fn meaning(
    (name, value): (&str, &str),
    is_section: impl Fn(&str) -> bool,
    is_setting: impl Fn(&str) -> bool,
) -> Meaning {
    let other = OTHER_VARIABLES.iter().any(|prefix| name.starts_with(prefix));
    let Some(rest) = name.strip_prefix("NOVA_").filter(|_| !other) else { return Meaning::Nothing };
    let (section, key) = rest.split_once('_').unwrap_or((rest, ""));
    let setting = format!("{}.{}", section.to_lowercase(), key.to_lowercase());
    if !is_setting(&setting) && (!is_section(&section.to_lowercase()) || is_service_link(key, value)) {
        return Meaning::Foreign;
    }
    Meaning::Setting(setting)
}

/// Whether a variable's name ends like a service link: `…_SERVICE_HOST`, `…_SERVICE_PORT[_NAME]`, `…_PORT=tcp://…`,
/// `…_PORT_8080_TCP[_ADDR|_PORT|_PROTO]` (Kubernetes, "Discovering services: Environment variables"), `…_NAME=/a/b` and
/// `…_ENV_…` (Docker, "Legacy container links"). The name of the service, before the ending, may contain underscores.
fn is_service_link(key: &str, value: &str) -> bool {
    let parts: Vec<_> = key.split('_').collect();
    let port = |at: usize| {
        matches!(&parts[at..], ["PORT", number, protocol, rest @ ..]
        if number.parse::<u16>().is_ok() && LINK_PROTOCOLS.contains(protocol)
            && matches!(rest, [] | ["ADDR" | "PORT" | "PROTO"]))
    };
    let service = |at: usize| matches!(&parts[at..], ["SERVICE", "HOST"] | ["SERVICE", "PORT", ..]);
    let address = parts.last() == Some(&"PORT") && LINK_SCHEMES.iter().any(|scheme| value.starts_with(scheme));
    let alias = parts.last() == Some(&"NAME") && value.starts_with('/');
    let of_container = parts.len() > 1 && parts.first() == Some(&"ENV");
    address || alias || of_container || (0..parts.len()).any(|at| port(at) || service(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &str) -> Meaning {
        let section = |section: &str| ["http", "clickhouse", "postgres"].contains(&section);
        let setting = |name: &str| ["http.listen", "clickhouse.url"].contains(&name);
        meaning((name, value), section, setting)
    }

    #[test]
    fn variables_of_service_links_are_no_settings() {
        for service in ["", "HTTP_", "CLICKHOUSE_", "HTTP_V2_", "POSTGRES_READ_ONLY_"] {
            for (end, value) in [
                ("SERVICE_HOST", "10.96.12.7"),
                ("SERVICE_PORT", "8080"),
                ("SERVICE_PORT_HTTP", "8080"),
                ("SERVICE_PORT_HTTP_ALT", "8080"),
                ("PORT", "tcp://10.96.12.7:8080"),
                ("PORT", "udp://[fd00::1]:53"),
                ("PORT_8080_TCP", "tcp://10.96.12.7:8080"),
                ("PORT_8080_TCP_ADDR", "10.96.12.7"),
                ("PORT_8080_TCP_PORT", "8080"),
                ("PORT_132_SCTP_PROTO", "sctp"),
                ("NAME", "/web/nova"),
            ] {
                assert_eq!(read(&format!("NOVA_{service}{end}"), value), Meaning::Foreign, "{service}{end}");
            }
        }
        for name in ["NOVA_VERSION", "NOVA_LICENSE_KEY", "NOVA_GUARD", "NOVA_", "NOVA_ENV_PATH", "NOVA_HTTP_ENV_PATH"] {
            assert_eq!(read(name, "x"), Meaning::Foreign, "{name}");
        }
    }

    #[test]
    fn a_misspelt_setting_of_a_section_is_refused_and_a_setting_is_one_whatever_it_looks_like() {
        for (name, value) in [
            ("NOVA_HTTP_LISTEN", "x"),
            ("NOVA_HTTP_LISSTEN", "x"),
            ("NOVA_HTTP_PORT", "8080"),
            ("NOVA_CLICKHOUSE_HOST", "db"),
            ("NOVA_HTTP_PORT_8080", "x"),
            ("NOVA_HTTP_PORT_X_TCP", "x"),
            ("NOVA_POSTGRES_NAME", "app"),
        ] {
            assert!(matches!(read(name, value), Meaning::Setting(_)), "{name}");
        }
        let all = meaning(("NOVA_A_SERVICE_HOST", "x"), |_| true, |_| true);
        assert_eq!(all, Meaning::Setting("a.service_host".to_owned()));
        for name in ["PATH", "NOVATION", "NOVA_TEST_KAFKA", "NOVA_TOKEN", "nova_http_listen"] {
            assert_eq!(read(name, "x"), Meaning::Nothing, "{name}");
        }
    }
}
