//! Which addresses are of the public internet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Can a host anywhere in the internet have this address? No: loopback, this network, link-local,
/// private, shared, reserved, multicast, and what is set aside for tests and examples. Of an
/// address that carries another one, which a gateway may unwrap, that one must be public, too.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(short) => is_public_v4(short),
        IpAddr::V6(long) => is_public_v6(long),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let not_public = match address.octets() {
        [0 | 10 | 127 | 224.., ..] => true,
        [100, second, ..] => second & 0xc0 == 64,
        [169, 254, ..] | [192, 168, ..] => true,
        [172, second, ..] => second & 0xf0 == 16,
        [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => true,
        // The former relays of 6to4.
        [192, 88, 99, _] => true,
        [198, second, ..] => second & 0xfe == 18,
        _ => false,
    };
    !not_public
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        // NAT64 with the well-known prefix, and 6to4.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        // Teredo, benchmarks, ORCHID and other protocols; examples.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
        [0x3fff, second, ..] if second < 0x1000 => false,
        // All that is given out for unicast.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        let check = |addresses: &[&str], expected: bool| {
            for address in addresses {
                let parsed = address.parse().expect("an address");
                assert_eq!(is_public(parsed), expected, "{address}");
            }
        };
        check(&["127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255"], false);
        check(&["192.168.0.1", "169.254.169.254", "100.64.0.1", "100.127.0.1"], false);
        check(&["192.0.0.8", "192.0.2.1", "198.51.100.1", "203.0.113.1"], false);
        check(&["192.88.99.1", "198.18.0.1", "198.19.0.1", "224.0.0.1"], false);
        check(&["240.0.0.1", "255.255.255.255"], false);
        check(&["::1", "::", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "fec0::1"], false);
        check(&["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1"], false);
        check(&["64:ff9b:1::1", "2002:7f00:1::1", "2002:a00:1::1", "2001::1"], false);
        check(&["2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "100::1"], false);
        check(&["3fff::1"], false);
        check(&["1.1.1.1", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1"], true);
        check(&["192.0.1.1", "198.17.0.1", "198.20.0.1", "223.255.255.255", "11.0.0.1"], true);
        check(&["2606:4700::1111", "2001:4860:4860::8888", "2a00::1", "::ffff:8.8.8.8"], true);
        check(&["64:ff9b::808:808", "2002:808:808::1", "3ffe::1"], true);
    }
}
