//! Point 6: where images may go.

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::policy_types::ExportFacts;

use crate::findings::listed;
use crate::reference::Reference;
use crate::rules::Code;
use crate::settings::{Settings, Verdict};

pub(crate) fn check(settings: &Settings, facts: &ExportFacts) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    if !settings.outputs.is_empty() && !settings.outputs.contains(&facts.kind) {
        findings.push(
            Code::OutputNotAllowed
                .found(format!("an output of type `{}` is none of those that are allowed", facts.kind))
                .help(format!("outputs may be of type {}", listed(&settings.outputs))),
        );
    }
    if facts.kind == "registry" {
        findings.extend(pushes(settings, &facts.names));
    }
    findings
}

/// Judges names that are pushed.
pub(crate) fn pushes(settings: &Settings, names: &[String]) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    for name in names {
        let reference = Reference::parse(name);
        match settings.destinations.judge(|pattern| pattern.matches(&reference)) {
            Verdict::Fine => {}
            Verdict::Denied(pattern) => findings.push(
                Code::DestinationDenied
                    .found(format!("a push to `{reference}` is denied by `{pattern}`"))
                    .help("give it another name with `-t`"),
            ),
            Verdict::NotAllowed => findings.push(
                Code::DestinationNotAllowed
                    .found(format!("a push to `{reference}` is none of those that are allowed"))
                    .help(format!("pushes may go to {}", listed(&settings.destinations.allow))),
            ),
        }
        let Some(tag) = reference.effective_tag() else { continue };
        match settings.tags.judge(|pattern| pattern.matches(tag)) {
            Verdict::Fine => {}
            Verdict::Denied(pattern) => findings.push(
                Code::TagDenied
                    .found(format!("the tag of `{reference}` is denied by `{}`", pattern.as_str()))
                    .help("give it another tag with `-t`"),
            ),
            Verdict::NotAllowed => {
                let allowed: Vec<&str> = settings.tags.allow.iter().map(|pattern| pattern.as_str()).collect();
                findings.push(
                    Code::TagNotAllowed
                        .found(format!("the tag of `{reference}` is none of those that are allowed"))
                        .help(format!("tags are {}", listed(&allowed))),
                );
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{codes, settings};

    fn ask(options: &[(&str, &str)], kind: &str, name: &str) -> Vec<Diagnostic> {
        let facts = ExportFacts {
            kind: kind.into(),
            destination: String::new(),
            names: vec![name.into()],
            digests: Vec::new(),
            images: Vec::new(),
            options: Vec::new(),
        };
        check(&settings(options), &facts)
    }

    #[test]
    fn an_image_goes_where_it_may() {
        let allow = [("allow-destinations", "registry.example.com/team/*")];
        assert_eq!(codes(&ask(&allow, "registry", "registry.example.com/team/app:1")), [""; 0]);
        assert_eq!(
            codes(&ask(&allow, "registry", "registry.example.com/other/app:1")),
            ["destination-not-allowed"]
        );
        assert_eq!(codes(&ask(&allow, "store", "app:1")), [""; 0], "nothing is pushed");
        let deny = [("deny-destinations", "docker.io/**")];
        assert_eq!(codes(&ask(&deny, "registry", "me/app:1")), ["destination-denied"]);
        assert_eq!(codes(&ask(&[("deny-tags", "latest")], "registry", "me/app")), ["tag-denied"]);
        assert_eq!(codes(&ask(&[("allow-tags", "v*.*.*")], "registry", "me/app:v1.2.3")), [""; 0]);
        assert_eq!(codes(&ask(&[("allow-tags", "v*.*.*")], "registry", "me/app:dev")), ["tag-not-allowed"]);
        let outputs = [("allow-outputs", "registry"), ("allow-outputs", "store")];
        assert_eq!(codes(&ask(&outputs, "tar", "")), ["output-not-allowed"]);
        assert_eq!(codes(&ask(&outputs, "store", "")), [""; 0]);
    }
}
