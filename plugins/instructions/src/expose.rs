//! EXPOSE: ports on which the image listens (§13.4).

use std::net::IpAddr;

use kiln_sdk::diagnose::nearest;
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::instruction_types::{Argument, ConfigChange, HeredocForm, Outcome, Stage, Statement};

use crate::findings::{Findings, check};
use crate::history::{bracketed, configured};
use crate::keyword::{Keyword, WORDS};
use crate::statement::{at_least_one, comment_in_words, listed};

pub(crate) static EXPOSE: Keyword = Keyword {
    name: "EXPOSE",
    summary: "declares the ports on which the image listens",
    usage: "EXPOSE PORT[-PORT][/PROTOCOL]…",
    form: WORDS,
    heredocs: HeredocForm::Refused,
    flags: &[],
    traits: &["stateless", "splits-values"],
    validate,
    apply,
};

const PROTOCOLS: [&str; 3] = ["sctp", "tcp", "udp"];

fn validate(statement: &Statement, findings: &mut Findings) {
    at_least_one(statement, "a port", findings);
    comment_in_words(
        statement,
        |words| format!("{} are read as ports", listed(words.iter().map(|word| word.original.as_str()))),
        findings,
    );
}

fn apply(statement: &Statement, _: &Stage, findings: &mut Findings) -> Option<Outcome> {
    // Sorted as written; the words of one variable stay in its order.
    let mut words: Vec<&Argument> = statement.arguments.iter().collect();
    words.sort_by(|a, b| a.original.cmp(&b.original));
    let mut ports = Vec::new();
    for word in words {
        let spec = match Spec::parse(&word.value) {
            Ok(spec) => spec,
            Err(reason) => {
                let message = format!("`{}` is not a port: {reason}", word.value);
                let help = "write `EXPOSE 8080`, `EXPOSE 53/udp` or `EXPOSE 7000-7010`";
                findings.push(Diagnostic::error("invalid-port", message).at(&word.at).help(help));
                continue;
            }
        };
        if spec.has_host {
            let message =
                format!("`{}` names an address or a port of the host, which EXPOSE cannot map", word.value);
            let help = "write the container's port; the host's is chosen when the container is run";
            findings.push(check("ExposeInvalidFormat", message).at(&word.at).help(help));
        }
        let protocol = spec.protocol.to_ascii_lowercase();
        if protocol != spec.protocol {
            let message = format!("the protocol in `{}` should be in lower case", word.value);
            findings
                .push(check("ExposeProtoCasing", message).at(&word.at).help(format!("write `{protocol}`")));
        }
        ports.extend((spec.first..=spec.last).map(|port| format!("{port}/{protocol}")));
    }
    let created_by = format!("EXPOSE {}", bracketed(&ports));
    Some(configured(ports.into_iter().map(ConfigChange::ExposedPort).collect(), created_by))
}

/// One word: `[[ip:]host:]port[-port][/protocol]`.
struct Spec<'a> {
    first: u16,
    last: u16,
    protocol: &'a str,
    has_host: bool,
}

impl<'a> Spec<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        let (ports, protocol) = text.split_once('/').unwrap_or((text, ""));
        let protocol = if protocol.is_empty() { "tcp" } else { protocol };
        if !PROTOCOLS.iter().any(|known| known.eq_ignore_ascii_case(protocol)) {
            return Err(match nearest(protocol, PROTOCOLS) {
                Some(near) => format!("no protocol `{protocol}`; there is `{near}`"),
                None => format!("no protocol `{protocol}`; there are tcp, udp and sctp"),
            });
        }
        let mut parts = ports.rsplitn(3, ':');
        let (first, last) = range(parts.next().unwrap_or_default())?;
        let host = parts.next();
        if let Some(ports) = host.filter(|ports| !ports.is_empty()) {
            let (low, high) = range(ports)?;
            // Several ports of the host for one of the container leave the choice to whoever runs it.
            if first != last && high - low != last - first {
                return Err(format!(
                    "`{ports}` has {} ports, not {}",
                    u32::from(high - low) + 1,
                    u32::from(last - first) + 1
                ));
            }
        }
        let address = parts.next().filter(|address| !address.is_empty());
        if let Some(address) = address {
            let bare = address.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(address);
            bare.parse::<IpAddr>().map_err(|_| format!("`{address}` is not an address"))?;
        }
        Ok(Self {
            first,
            last,
            protocol,
            has_host: address.is_some() || host.is_some_and(|host| !host.is_empty()),
        })
    }
}

fn range(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    if first > last { Err(format!("{first} comes after {last}")) } else { Ok((first, last)) }
}

fn port(text: &str) -> Result<u16, String> {
    let number = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    number.ok_or_else(|| match text {
        "" => "the number is missing".into(),
        _ => format!("`{text}` is not a number from 0 to 65535"),
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Line;

    #[test]
    fn ports_ranges_and_protocols_are_added_in_textual_order() {
        for (text, expected) in [
            ("80", "80/tcp"),
            ("8080 443", "443/tcp 8080/tcp"),
            ("53/udp 53/tcp", "53/tcp 53/udp"),
            ("7000-7002/sctp", "7000/sctp 7001/sctp 7002/sctp"),
            ("0 65535", "0/tcp 65535/tcp"),
            ("80/", "80/tcp"),
            // Neither address nor port of the host is said.
            (":80", "80/tcp"),
        ] {
            let applied = Line::new(&format!("EXPOSE {text}")).apply();
            assert_eq!(applied.history(), [format!("EXPOSE [{expected}]")]);
            assert_eq!(applied.config().exposed_ports.join(" "), expected);
            applied.finds_nothing();
        }
    }

    #[test]
    fn a_port_is_exposed_once_and_written_as_often_as_said() {
        let mut line = Line::new("EXPOSE 80 80");
        line.config.exposed_ports = vec!["80/tcp".into()];
        let applied = line.apply();
        assert_eq!(applied.config().exposed_ports, ["80/tcp"]);
        assert_eq!(applied.history(), ["EXPOSE [80/tcp 80/tcp]"]);
    }

    #[test]
    fn what_belongs_to_the_host_is_dropped_with_a_warning() {
        for (text, expected) in [
            ("8080:80", "80/tcp"),
            ("127.0.0.1:8080:80/udp", "80/udp"),
            ("127.0.0.1::80", "80/tcp"),
            ("[::1]:80:81", "81/tcp"),
            ("::1:80:81", "81/tcp"),
            ("8000-8001:80-81", "80/tcp 81/tcp"),
            ("8000-8010:80", "80/tcp"),
        ] {
            let applied = Line::new(&format!("EXPOSE {text}")).apply();
            assert_eq!(applied.config().exposed_ports.join(" "), expected, "{text}");
            applied.finds("ExposeInvalidFormat");
        }
    }

    #[test]
    fn a_protocol_in_capitals_is_stored_in_lower_case() {
        let applied = Line::new("EXPOSE 80/TCP").apply();
        assert_eq!(applied.config().exposed_ports, ["80/tcp"]);
        applied.finds("ExposeProtoCasing");
    }

    #[test]
    fn what_is_no_port_is_an_error_where_it_is_evaluated() {
        for (text, reason) in [
            ("http", "`http` is not a number from 0 to 65535"),
            ("65536", "`65536` is not a number from 0 to 65535"),
            ("+80", "`+80` is not a number from 0 to 65535"),
            ("90-80", "90 comes after 80"),
            ("80/tpc", "no protocol `tpc`; there is `tcp`"),
            ("80/tcp/udp", "no protocol `tcp/udp`; there are tcp, udp and sctp"),
            ("1-3:80-81", "`1-3` has 3 ports, not 2"),
            ("300.0.0.1:80:80", "`300.0.0.1` is not an address"),
            ("80:", "the number is missing"),
        ] {
            let found = Line::new(&format!("EXPOSE {text}")).is_wrong_when_applied("invalid-port");
            assert_eq!(found.message, format!("`{text}` is not a port: {reason}"));
        }
        Line::new("EXPOSE").validated("argument-count");
        Line::new("EXPOSE 80 # web").validated("trailing-comment");
    }

    #[test]
    fn a_variable_without_ports_exposes_none() {
        let mut line = Line::new("EXPOSE $PORTS");
        line.statement.arguments.clear();
        assert_eq!(line.evaluate().history(), ["EXPOSE []"]);
    }
}
