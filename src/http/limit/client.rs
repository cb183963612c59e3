//! Finds the address of a request's client, also behind trusted proxies.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::FORWARDED;
use ipnet::IpNet;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The network of one customer: an IPv4 address, or an IPv6 network of 64 bits. An IPv4 address in IPv6 form counts as
/// IPv4.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The address of the nearest untrusted hop. If the socket's peer is no trusted proxy, the result is the peer's
/// address. Otherwise the result is the last address in `X-Forwarded-For` or `Forwarded` (RFC 7239) that does not
/// belong to a trusted proxy. nova ignores the addresses before the nearest untrusted hop, because anyone may have
/// written them.
///
/// A proxy writes one of the headers `X-Forwarded-For` and `Forwarded`, and forwards the other header as the client
/// sent it. If a request has both headers, nova uses the address that both headers give, or the proxy's own address if
/// the two headers differ.
pub fn address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let peer = peer.to_canonical();
    if !is_trusted(&peer) {
        return peer;
    }
    let lines = |name: &str| headers.get_all(name).iter().map(|line| line.to_str().unwrap_or_default()).collect();
    let (plain, standard): (Vec<&str>, Vec<&str>) = (lines(X_FORWARDED_FOR), lines(FORWARDED.as_str()));
    let hops = plain.iter().rev().flat_map(|line| line.rsplit(',')).map(node);
    let by_plain = nearest(peer, hops, is_trusted);
    if standard.is_empty() {
        return by_plain;
    }
    let elements = standard.iter().rev().flat_map(|line| split_quoted(line, ',').into_iter().rev());
    let by_standard = nearest(peer, elements.map(forwarded_for), is_trusted);
    if plain.is_empty() || by_plain == by_standard { by_standard } else { peer }
}

/// The nearest hop that is not a trusted proxy. A hop without an address hides the hops before it.
fn nearest(peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>, is_trusted: impl Fn(&IpAddr) -> bool) -> IpAddr {
    let mut nearest = peer;
    for hop in hops {
        let Some(address) = hop else { break };
        nearest = address;
        if !is_trusted(&nearest) {
            break;
        }
    }
    nearest
}

/// Parses an address that may have a port; an IPv6 address may be in brackets: `192.0.2.1:80`, `[2001:db8::1]:443`.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse().map(|address: SocketAddr| address.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

/// The address that `for=` gives in one element of `Forwarded`. The result is `None` for `unknown`, for a name such as
/// `_hidden`, or if the element has no `for=`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pairs = split_quoted(element, ';').into_iter().filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for")).map(|(_, value)| value.trim());
    let (value, None) = (values.next()?, values.next()) else { return None };
    node(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

/// Splits a text at separators outside of quoted strings (RFC 9110 §5.6.4).
fn split_quoted(text: &str, separator: char) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |one: char| {
        let divides = one == separator && !quoted;
        match one {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        divides
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed_and_only_their_own_hop() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (peer, lines, expected) in [
            ("8.8.8.8", vec!["1.1.1.1"], "8.8.8.8"),
            ("10.0.0.1", vec![], "10.0.0.1"),
            ("10.0.0.1", vec!["1.1.1.1"], "1.1.1.1"),
            ("::ffff:10.0.0.1", vec!["1.1.1.1"], "1.1.1.1"),
            ("10.0.0.1", vec!["6.6.6.6, 1.1.1.1, 10.0.0.9"], "1.1.1.1"),
            ("10.0.0.1", vec!["6.6.6.6", "1.1.1.1", "fd00::1"], "1.1.1.1"),
            ("10.0.0.1", vec!["6.6.6.6, unknown"], "10.0.0.1"),
            ("10.0.0.1", vec!["6.6.6.6, , 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", vec!["10.0.0.2,10.0.0.3"], "10.0.0.2"),
            ("10.0.0.1", vec!["6.6.6.6, 1.1.1.1:5678, 10.0.0.9:1"], "1.1.1.1"),
            ("10.0.0.1", vec!["[2001:db8::1]:443"], "2001:db8::1"),
            ("10.0.0.1", vec!["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1", vec!["2001:db8::1"], "2001:db8::1"),
            ("10.0.0.1", vec!["[::ffff:1.1.1.1]:80"], "1.1.1.1"),
            ("10.0.0.1", vec!["1.1.1.1:"], "10.0.0.1"),
            ("10.0.0.1", vec!["1.1.1.1:99999"], "10.0.0.1"),
            ("10.0.0.1", vec!["[1.1.1.1]"], "1.1.1.1"),
        ] {
            let mut headers = HeaderMap::new();
            for line in &lines {
                headers.append(X_FORWARDED_FOR, line.parse().unwrap());
            }
            assert_eq!(address(ip(peer), &headers, &trusted), ip(expected), "{peer} {lines:?}");
        }
        assert_eq!(address(ip("10.0.0.1"), &HeaderMap::new(), &[]), ip("10.0.0.1"));
    }

    #[test]
    fn forwarded_is_read_as_its_standard_says_and_beside_the_older_one_only_where_they_agree() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (standard, older, expected) in [
            (vec!["for=1.1.1.1"], None, "1.1.1.1"),
            (vec!["For=\"1.1.1.1:5678\";proto=https;by=10.0.0.1"], None, "1.1.1.1"),
            (vec!["proto=http; FOR=\"[2001:db8::1]:4711\""], None, "2001:db8::1"),
            (vec!["for=6.6.6.6, for=1.1.1.1, for=10.0.0.9"], None, "1.1.1.1"),
            (vec!["for=6.6.6.6", "for=1.1.1.1;host=\"a,b;for=7.7.7.7\"", "for=10.0.0.9"], None, "1.1.1.1"),
            (vec!["for=6.6.6.6, for=_hidden"], None, "10.0.0.1"),
            (vec!["for=6.6.6.6, for=unknown"], None, "10.0.0.1"),
            (vec!["for=6.6.6.6, host=x"], None, "10.0.0.1"),
            (vec!["for=1.1.1.1;for=6.6.6.6"], None, "10.0.0.1"),
            (vec!["for=1.1.1.1"], Some("1.1.1.1:80"), "1.1.1.1"),
            (vec!["for=6.6.6.6"], Some("1.1.1.1"), "10.0.0.1"),
        ] {
            let mut headers = HeaderMap::new();
            for line in &standard {
                headers.append(FORWARDED, line.parse().unwrap());
            }
            if let Some(line) = older {
                headers.append(X_FORWARDED_FOR, line.parse().unwrap());
            }
            assert_eq!(address(ip("10.0.0.1"), &headers, &trusted), ip(expected), "{standard:?} {older:?}");
            assert_eq!(address(ip("8.8.8.8"), &headers, &trusted), ip("8.8.8.8"));
        }
    }
}
