//! Whose request it is, by address.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

const FORWARDED: &str = "x-forwarded-for";

/// The address that the nearest untrusted hop had: the socket's, or, where that is a trusted proxy, the last one of
/// `X-Forwarded-For` that is not. What stands before it anyone can have written.
pub fn address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let peer = peer.to_canonical();
    if !is_trusted(&peer) {
        return peer;
    }
    let lines: Vec<_> = headers.get_all(FORWARDED).iter().map(|line| line.to_str().unwrap_or_default()).collect();
    let mut nearest = peer;
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        // Whoever wrote something else hides what is before it.
        let Ok(address) = hop.trim().parse::<IpAddr>() else { break };
        nearest = address.to_canonical();
        if !is_trusted(&nearest) {
            break;
        }
    }
    nearest
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
        ] {
            let mut headers = HeaderMap::new();
            for line in &lines {
                headers.append(FORWARDED, line.parse().unwrap());
            }
            assert_eq!(address(ip(peer), &headers, &trusted), ip(expected), "{peer} {lines:?}");
        }
        assert_eq!(address(ip("10.0.0.1"), &HeaderMap::new(), &[]), ip("10.0.0.1"));
    }
}
