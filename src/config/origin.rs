//! Checks origins, which must have the form that browsers and web views send (RFC 6454 §6.2, WHATWG URL). An origin in
//! a form that no browser sends would match no request, so nova refuses such an origin and shows the right form.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The schemes for which browsers normalise hosts and ports, with the default ports of these schemes.
const OF_BROWSERS: [(&str, u16); 2] = [("https", 443), ("http", 80)];

/// Refuses a text that no browser sends as an origin. The text `*` stands for every origin.
pub(super) fn check(text: &str) -> Result<(), String> {
    if text == "*" {
        return Ok(());
    }
    let sent = sent(text).map_err(|problem| format!("{text}: {problem}"))?;
    match sent == text {
        true => Ok(()),
        false => Err(format!("{text}: can never match, because browsers send {sent}; write that")),
    }
}

/// Returns the origin that a browser sends for a page at this address.
fn sent(text: &str) -> Result<String, &'static str> {
    if text == "null" {
        return Err(
            "is what every page without an origin sends; write the scheme of the app, such as capacitor://localhost",
        );
    }
    let (scheme, rest) = text.split_once("://").ok_or("expected scheme://host, such as https://app.example")?;
    let scheme = scheme.to_ascii_lowercase();
    let letters = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if !letters || !scheme.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Err("expected a scheme of letters, digits, +, - and dots before ://");
    }
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = divided(authority).ok_or("expected [ and ] around an IPv6 address")?;
    let default = OF_BROWSERS.iter().find(|(name, _)| *name == scheme).map(|(_, port)| *port);
    let host = host_sent(host, default.is_some())?;
    let port = match port {
        "" => None,
        digits => Some(digits.parse::<u16>().map_err(|_| "expected a port of 0 to 65535 after the host")?),
    };
    let port = port.filter(|port| Some(*port) != default).map(|port| format!(":{port}")).unwrap_or_default();
    Ok(format!("{scheme}://{host}{port}"))
}

/// Splits the authority of a URL into host and port.
fn divided(authority: &str) -> Option<(&str, &str)> {
    match authority.starts_with('[') {
        true => {
            let (host, rest) = authority.split_at(authority.find(']')? + 1);
            Some((host, rest.strip_prefix(':').unwrap_or(rest)))
        }
        false => Some(authority.split_once(':').unwrap_or((authority, ""))),
    }
}

fn host_sent(host: &str, of_browsers: bool) -> Result<String, &'static str> {
    if let Some(literal) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let address: Ipv6Addr = literal.parse().map_err(|_| "expected an IPv6 address between [ and ]")?;
        return Ok(format!("[{address}]"));
    }
    if host.contains('*') {
        return Err("a wildcard matches nothing here; write each origin, or * alone for all");
    }
    if !host.is_ascii() {
        return Err("browsers send names in ASCII; write the name in Punycode (xn--…)");
    }
    if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)) {
        return Err("expected a host after ://");
    }
    if !of_browsers {
        return Ok(host.to_owned());
    }
    let host = host.to_ascii_lowercase();
    let last = host.strip_suffix('.').unwrap_or(&host).rsplit('.').next().unwrap_or_default();
    match last.starts_with(|first: char| first.is_ascii_digit()) && host.parse::<Ipv4Addr>().is_err() {
        true => Err("expected an IPv4 address of four numbers"),
        false => Ok(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_of_browsers_and_of_apps_are_taken() {
        for good in [
            "*",
            "https://app.example",
            "http://localhost:3000",
            "https://xn--bcher-kva.example",
            "http://127.0.0.1:8080",
            "http://[::1]:5173",
            "capacitor://localhost",
            "ionic://localhost",
            "tauri://localhost",
            "https://tauri.localhost",
            "app://.",
            "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            "moz-extension://2c127fa4-62c7-7e4f-90e5-472b45eecfdc",
            "vscode-webview://a1b2",
            "https://app.example:80",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_can_never_match_is_refused_with_what_to_write() {
        for (bad, write) in [
            ("https://app.example/", "https://app.example;"),
            ("https://app.example/path?x#y", "https://app.example;"),
            ("https://App.Example", "https://app.example;"),
            ("HTTPS://app.example", "https://app.example;"),
            ("https://app.example:443", "https://app.example;"),
            ("http://app.example:80", "http://app.example;"),
            ("https://app.example:0444", "https://app.example:444;"),
            ("https://app.example:", "https://app.example;"),
            ("https://user:secret@app.example", "https://app.example;"),
            ("http://[0:0:0:0:0:0:0:1]:80", "http://[::1];"),
            ("capacitor://localhost/", "capacitor://localhost;"),
        ] {
            let problem = check(bad).unwrap_err();
            assert!(problem.contains(&format!("browsers send {write}")), "{problem}");
        }
        for bad in [
            "",
            "null",
            "app.example",
            "https://",
            "https://*.example",
            "https://bücher.example",
            "https://a b",
            "https://::1",
            "https://[::1",
            "https://a:99999",
            "https://1.2.3",
            "://x",
            "1a://x",
            "file:///",
            "https://a,b",
        ] {
            assert!(check(bad).unwrap_err().starts_with(bad), "{bad}");
        }
    }
}
