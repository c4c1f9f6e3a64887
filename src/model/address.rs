//! Which addresses are everybody's, and which lead into a private network.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// How far requests may go whose addresses come from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Wherever this machine can: its user gave the address.
    Anywhere,
    /// The public internet, and these hosts of private networks, as `host` or `host:port`.
    Public(BTreeSet<String>),
}

impl Reach {
    /// By a setting that lists hosts; `*` among them stands for all.
    pub fn listed(hosts: &[String]) -> Self {
        if hosts.iter().any(|host| host == "*") {
            return Self::Anywhere;
        }
        Self::Public(hosts.iter().map(|host| host.to_lowercase()).collect())
    }

    /// Whether a URL may be asked for at all. What its name leads to is known later:
    /// see [`Reach::may_connect`].
    pub fn may_ask(&self, url: &Url) -> bool {
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else { return false };
        self.may_ask_host(&host, port)
    }

    /// As [`Reach::may_ask`], for a host and a port.
    pub fn may_ask_host(&self, host: &Host<&str>, port: u16) -> bool {
        let Self::Public(listed) = self else { return true };
        let address = match host {
            Host::Ipv4(address) => IpAddr::V4(*address),
            Host::Ipv6(address) => IpAddr::V6(*address),
            // A name that is listed with ports has these ports alone, wherever it leads.
            Host::Domain(name) => {
                let name = name.to_lowercase();
                let with_port = listed.contains(&format!("{name}:{port}"));
                return with_port || listed.contains(&name) || !lists_ports(listed, &name);
            }
        };
        let text = address.to_string();
        is_public(address) || listed.contains(&text) || listed.contains(&format!("{text}:{port}"))
    }

    /// Whether a connection to `address`, which is what `name` leads to, may be made.
    pub fn may_connect(&self, name: &str, address: IpAddr) -> bool {
        let Self::Public(listed) = self else { return true };
        let name = name.to_lowercase();
        is_public(address) || listed.contains(&name) || lists_ports(listed, &name)
    }
}

fn lists_ports(listed: &BTreeSet<String>, name: &str) -> bool {
    listed.iter().any(|one| one.rsplit_once(':').is_some_and(|(host, _)| host == name))
}

/// Whether an address is one of the public internet. What a stranger names must
/// not lead to this machine, to its neighbours, or to a cloud's metadata.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let protocols = (a, b, c) == (192, 0, 0);
    let benchmarks = a == 198 && (b == 18 || b == 19);
    let relays = (a, b, c) == (192, 88, 99);
    !(a == 0
        || a >= 240
        || shared
        || protocols
        || benchmarks
        || relays
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let parts = address.segments();
    if let Some(inner) = embedded(parts) {
        return is_public_v4(inner);
    }
    // Only 2000::/3 is given out; of it, documentation and special uses are not.
    let global = parts[0] & 0xe000 == 0x2000;
    let documentation = parts[0] == 0x2001 && parts[1] == 0xdb8 || parts[0] == 0x3fff;
    let special = parts[0] == 0x2001 && parts[1] < 0x200;
    global && !documentation && !special
}

/// The IPv4 address that a gateway would take out of an IPv6 address.
fn embedded(parts: [u16; 8]) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match parts {
        // ::a.b.c.d, which holds ::1 and :: too, and ::ffff:a.b.c.d
        // Translation: 64:ff9b::/96, and 64:ff9b:1::/48 by its last part. 6to4: 2002::/16
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, .., high, low] | [0x2002, high, low, ..] => {
            Some(of(high, low))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_may_be_reached_and_nothing_else_that_is_private() {
        let hosts = ["127.0.0.1:9000", "10.0.0.7", "nas.local", "Intern.Example:8080"].map(String::from);
        let reach = Reach::listed(&hosts);
        let may = |text: &str| reach.may_ask(&Url::parse(text).unwrap());
        for good in [
            "https://site.example/x",
            "http://1.1.1.1/",
            "http://127.0.0.1:9000/",
            "http://10.0.0.7:81/",
            "http://NAS.local/",
            "http://intern.example:8080/",
        ] {
            assert!(may(good), "{good}");
        }
        for bad in [
            "http://127.0.0.1/",
            "http://127.1:80/",
            "http://2130706433/",
            "http://017700000001/",
            "http://0x7f.1/",
            "http://[::1]/",
            "http://[::ffff:169.254.169.254]/",
            "http://169.254.169.254/latest",
            "http://0/",
            "http://10.0.0.1/",
            "http://intern.example/",
        ] {
            assert!(!may(bad), "{bad}");
        }
        let home = "127.0.0.1".parse().unwrap();
        assert!(reach.may_connect("nas.local", home) && reach.may_connect("INTERN.example", home));
        assert!(!reach.may_connect("elsewhere.example", home));
        assert!(reach.may_connect("elsewhere.example", "1.1.1.1".parse().unwrap()));
        assert_eq!(Reach::listed(&["*".to_owned()]), Reach::Anywhere);
        assert!(!reach.may_connect("localhost.", home) && Reach::Anywhere.may_connect("localhost.", home));
    }

    #[test]
    fn private_networks_are_told_from_the_internet() {
        for public in ["1.1.1.1", "93.184.216.34", "100.128.0.1", "2606:4700::1111", "2001:4860:4860::8888"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for private in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "203.0.113.7",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::a00:1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
    }
}
