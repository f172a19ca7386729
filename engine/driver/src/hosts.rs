//! The two files of /etc that a step is given: names of hosts, and where to ask for others.

/// The word for an address of the machine that kiln runs on.
pub(crate) const GATEWAY: &str = "host-gateway";

/// Lines for the loop-back addresses, the step's own name, and what was added.
///
/// [`GATEWAY`] as an address is loop-back: the machine itself, where its network is shared.
pub(crate) fn hosts_file<'a>(hostname: &str, added: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut text = format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (name, address) in added {
        let address = if address == GATEWAY { "127.0.0.1" } else { address };
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text.into_bytes()
}

/// Where systemd-resolved writes the servers that it asks itself.
const UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";

/// The machine's resolver configuration. Unless the step shares the machine's network, name servers on loop-back,
/// which it could not reach, are left out; if none is left, public ones stand in (Dockerfile specification §11.11).
pub(crate) fn resolv_conf(shared_network: bool) -> Vec<u8> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut text = read("/etc/resolv.conf");
    if shared_network {
        return text.into_bytes();
    }
    if servers(&text).all(|server| server == "127.0.0.53") {
        let upstream = read(UPSTREAM);
        if servers(&upstream).next().is_some() {
            text = upstream;
        }
    }
    without_loopback(&text).into_bytes()
}

fn servers(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.trim().strip_prefix("nameserver").map(str::trim))
}

fn without_loopback(text: &str) -> String {
    let loopback = |line: &str| {
        let server = line.trim().strip_prefix("nameserver").map(str::trim);
        server.is_some_and(|server| server.starts_with("127.") || server == "::1")
    };
    let mut kept: String =
        text.lines().filter(|line| !loopback(line)).flat_map(|line| [line, "\n"]).collect();
    if servers(&kept).next().is_none() {
        kept.push_str("nameserver 8.8.8.8\nnameserver 8.8.4.4\n");
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_servers_are_left_out() {
        let text = "search example.org\nnameserver 127.0.0.53\nnameserver 10.0.0.2\n";
        assert_eq!(without_loopback(text), "search example.org\nnameserver 10.0.0.2\n");
        assert_eq!(without_loopback("nameserver ::1\n"), "nameserver 8.8.8.8\nnameserver 8.8.4.4\n");
    }

    #[test]
    fn added_hosts_come_last() {
        let file = String::from_utf8(hosts_file("box", [("db", "10.0.0.5")].into_iter())).unwrap();
        assert_eq!(
            file,
            "127.0.0.1\tlocalhost box\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.0.5\tdb\n"
        );
    }
}
