//! Two rules for images: they say where their sources are, and no command hands a download to a shell.

use kiln_sdk::plugin::{ExecPolicy, ImagePolicy, Plugin};
use kiln_sdk::wit::describe::{OptionKind, OptionSpec, PluginInfo, Rule};
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::graph::{Graph, Op, OpKind};
use kiln_sdk::wit::policy_types::{BuildFacts, ExecVerdict, ImageFacts};
use kiln_sdk::wit::trees::Tree;

/// The component.
struct Component;

const LABEL: &str = "org.opencontainers.image.source";

impl Plugin for Component {
    fn describe() -> PluginInfo {
        let label = OptionSpec {
            name: "label".into(),
            kind: OptionKind::Text,
            summary: "the label that every image has".into(),
            preset: LABEL.into(),
            required: false,
            choices: Vec::new(),
            sensitive: false,
        };
        let info = PluginInfo::new("{{name}}", env!("CARGO_PKG_VERSION"), "asks for a label, and for no piped shells");
        PluginInfo { options: vec![label], ..info }.rules([
            Rule::error("missing-label", "an image does not say where its sources are"),
            Rule::error("piped-shell", "a command hands what it downloads to a shell"),
        ])
    }
}

impl ExecPolicy for Component {
    /// One verdict for each of `execs`, which are places in the graph.
    fn check_exec(_: BuildFacts, graph: Graph, execs: Vec<u32>) -> Vec<ExecVerdict> {
        execs
            .iter()
            .map(|exec| {
                let found = graph.ops.get(*exec as usize).and_then(piped_shell);
                ExecVerdict { limits: None, diagnostics: found.into_iter().collect() }
            })
            .collect()
    }
}

impl ImagePolicy for Component {
    fn check_image(build: BuildFacts, image: ImageFacts, _: &Tree) -> Vec<Diagnostic> {
        missing_label(&build, &image).into_iter().collect()
    }
}

fn piped_shell(op: &Op) -> Option<Diagnostic> {
    let OpKind::Exec(exec) = &op.kind else { return None };
    let command = exec.args.join(" ");
    let downloads = ["curl ", "wget "].iter().any(|tool| command.contains(tool));
    let pipes = ["| sh", "|sh", "| bash", "|bash"].iter().any(|pipe| command.contains(pipe));
    if !(downloads && pipes) {
        return None;
    }
    let problem = Diagnostic::error("piped-shell", "what this command downloads goes straight to a shell");
    let problem = problem.help("download it, compare its checksum, then run it");
    Some(match op.spans.first() {
        Some(place) => problem.at(place),
        None => problem,
    })
}

fn missing_label(build: &BuildFacts, image: &ImageFacts) -> Option<Diagnostic> {
    let label = build.options.iter().find(|option| option.key == "label").map_or(LABEL, |option| &option.value);
    if image.config.labels.iter().any(|pair| pair.key == label && !pair.value.is_empty()) {
        return None;
    }
    let problem = Diagnostic::error("missing-label", format!("the image has no label `{label}`"));
    Some(problem.help(format!("add `LABEL {label}=…`")))
}

kiln_sdk::export_exec_image_policy!(Component);

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_sdk::GraphBuilder;

    #[test]
    fn a_download_may_not_be_piped_to_a_shell() {
        let mut graph = GraphBuilder::new();
        let base = graph.scratch();
        graph.run(base, ["/bin/sh", "-c", "curl https://example.com/x | sh"]);
        graph.run(base, ["/bin/sh", "-c", "curl -o x https://example.com/x"]);
        let ops = graph.finish().ops;
        assert_eq!(ops.iter().filter_map(piped_shell).count(), 1);
    }
}
