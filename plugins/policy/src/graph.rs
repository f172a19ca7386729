//! Point 2: the whole of a build before anything runs.

use std::collections::BTreeSet;

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::graph::{Graph, OpKind, Output};
use kiln_sdk::wit::policy_types::BuildFacts;

use crate::findings::{placed, subject};
use crate::reference::Reference;
use crate::rules::Code;
use crate::settings::Settings;
use crate::source_policy::SourcePolicy;
use crate::{base, export, names, tokens};

pub(crate) fn check(
    settings: &Settings,
    build: &BuildFacts,
    graph: &Graph,
    roots: &[Output],
) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    // A build without sources would not show that it cannot be read.
    findings.extend(
        settings
            .source_policy
            .as_deref()
            .and_then(|text| SourcePolicy::parse(text).err())
            .map(|problem| *problem),
    );
    // Of an image that begins empty nothing can be said here: this may be a part of a build that becomes none.
    if !settings.bases.is_empty() {
        let bases: BTreeSet<usize> = roots.iter().filter_map(|root| base::find(graph, *root)).collect();
        for index in bases {
            let op = &graph.ops[index];
            let OpKind::Image(image) = &op.kind else { continue };
            if let Some(finding) = base::judge(settings, Some(&Reference::parse(&image.reference))) {
                let mut finding = placed(finding, &op.spans);
                finding.nodes = vec![index as u32];
                findings.push(finding);
            }
        }
    }
    if settings.no_secrets {
        for pair in &build.build_args {
            let why = names::suspect(&pair.key, &pair.value)
                .or_else(|| tokens::find(pair.value.as_bytes()).first().map(|found| found.kind));
            if let Some(why) = why {
                findings.push(
                    Code::SecretInArg
                        .found(format!("the build argument `{}` holds what looks like {why}", subject(&pair.key)))
                        .help("arguments stay in the history of the image: use `--secret` and `RUN --mount=type=secret`"),
                );
            }
        }
    }
    // What will be refused in the end is better refused before the work.
    findings.extend(export::pushes(settings, &build.push_to));
    findings
}

#[cfg(test)]
mod tests {
    use kiln_sdk::GraphBuilder;
    use kiln_sdk::wit::graph::CopyAction;

    use super::*;
    use crate::testing::{build, codes, pair, settings, span};

    #[test]
    fn the_base_of_what_is_built_is_judged_and_no_other_image() {
        let mut graph = GraphBuilder::new().at(&span(1), "FROM");
        let tools = graph.image("docker.io/library/golang:1");
        let compiled = graph.run(tools, ["make"]);
        let base = graph.image("docker.io/library/alpine:3");
        let copied = graph.copy(Some(base), CopyAction::new(compiled, vec!["/x".into()], "/"));
        let extra = graph.copy(None, CopyAction::new(compiled, vec!["/y".into()], "/"));
        let root = graph.merge(vec![copied, extra]);
        let graph = graph.finish();
        let ask = |allow: &str, root| check(&settings(&[("allow-bases", allow)]), &build(), &graph, &[root]);
        assert_eq!(codes(&ask("alpine", root)), [""; 0]);
        let found = ask("distroless", root);
        assert_eq!(codes(&found), ["base-not-allowed"]);
        assert_eq!(
            (found[0].primary.as_ref(), found[0].nodes.as_slice()),
            (Some(&span(1)), [base.op].as_slice())
        );
        assert_eq!(codes(&ask("alpine", compiled)), ["base-not-allowed"]);
        assert_eq!(codes(&ask("alpine", extra)), [""; 0], "an empty base is judged with the image");
    }

    #[test]
    fn build_arguments_are_no_place_for_secrets() {
        let mut facts = build();
        facts.build_args = vec![pair("VERSION", "1.2.3"), pair("NPM_TOKEN", "abc")];
        let graph = GraphBuilder::new().finish();
        let found = check(&settings(&[("no-secrets", "true")]), &facts, &graph, &[]);
        assert_eq!(codes(&found), ["secret-in-arg"]);
        assert!(found[0].message.contains("`NPM_TOKEN`") && !found[0].message.contains("abc"), "{found:?}");
        assert_eq!(codes(&check(&settings(&[]), &facts, &graph, &[])), [""; 0]);
    }

    #[test]
    fn what_cannot_be_pushed_is_refused_before_the_work() {
        let mut facts = build();
        facts.push_to = vec!["evil.example.org/x:1".into()];
        let graph = GraphBuilder::new().finish();
        let found = check(&settings(&[("allow-destinations", "registry.example.com")]), &facts, &graph, &[]);
        assert_eq!(codes(&found), ["destination-not-allowed"]);
    }

    #[test]
    fn a_source_policy_is_read_even_if_nothing_is_used() {
        let graph = GraphBuilder::new().finish();
        let found = check(&settings(&[("source-policy", "{")]), &build(), &graph, &[]);
        assert_eq!(codes(&found), ["bad-option"]);
    }
}
