//! The policy as a component: the six points, each with the options read first.

use kiln_sdk::plugin::{
    ExecPolicy, ExportPolicy, GraphPolicy, ImagePolicy, LayerPolicy, Plugin, SourcePolicy,
};
use kiln_sdk::wit::describe::{Example, PluginInfo};
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::graph::{Graph, Output};
use kiln_sdk::wit::policy_types::{
    BuildFacts, ExecVerdict, ExportFacts, ImageFacts, LayerInfo, SourceCheck, SourceVerdict,
};
use kiln_sdk::wit::trees::{ChangeList, Tree};

use crate::settings::Settings;
use crate::{exec, export, graph, image, layer, options, rules, source};

#[cfg(target_family = "wasm")]
#[global_allocator]
static MEMORY: kiln_sdk::memory::Shelves = kiln_sdk::memory::Shelves::new();

/// The component.
#[derive(Debug)]
pub struct Policy;

impl Plugin for Policy {
    fn describe() -> PluginInfo {
        PluginInfo {
            name: "policy".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "the rules that organisations ask for, configured without code".into(),
            homepage: String::new(),
            license: env!("CARGO_PKG_LICENSE").into(),
            options: options::specs(),
            rules: rules::rules(),
            examples: vec![Example {
                title: "What a site may ask of its builds".into(),
                text: "[plugins.stock]\nsource = \"builtin:policy\"\n\n[plugins.stock.options]\npreset = \"baseline\"\n\
                       allow-images = [\"docker.io/library/*\", \"registry.example.com\"]\nrequire-user = true\n\
                       max-size = \"500MB\"\n"
                    .into(),
            }],
        }
    }
}

impl SourcePolicy for Policy {
    fn check_source(build: BuildFacts, check: SourceCheck) -> SourceVerdict {
        match Settings::read(&build.options) {
            Ok(settings) => source::check(&settings, &build, &check),
            Err(diagnostics) => SourceVerdict { rewrite: None, diagnostics },
        }
    }
}

impl GraphPolicy for Policy {
    fn check_graph(build: BuildFacts, graph: Graph, roots: Vec<Output>) -> Vec<Diagnostic> {
        match Settings::read(&build.options) {
            Ok(settings) => graph::check(&settings, &build, &graph, &roots),
            Err(problems) => problems,
        }
    }
}

impl ExecPolicy for Policy {
    fn check_exec(build: BuildFacts, graph: Graph, execs: Vec<u32>) -> Vec<ExecVerdict> {
        match Settings::read(&build.options) {
            Ok(settings) => exec::check(&settings, &graph, &execs),
            // There is one verdict for each step, and the same problems once.
            Err(problems) => execs
                .iter()
                .enumerate()
                .map(|(index, _)| ExecVerdict {
                    limits: None,
                    diagnostics: if index == 0 { problems.clone() } else { Vec::new() },
                })
                .collect(),
        }
    }
}

impl LayerPolicy for Policy {
    fn check_layer(
        build: BuildFacts,
        layer: LayerInfo,
        changes: &ChangeList,
        root: &Tree,
    ) -> Vec<Diagnostic> {
        match Settings::read(&build.options) {
            Ok(settings) => layer::check(&settings, &layer, changes, root),
            Err(problems) => problems,
        }
    }
}

impl ImagePolicy for Policy {
    fn check_image(build: BuildFacts, image: ImageFacts, root: &Tree) -> Vec<Diagnostic> {
        match Settings::read(&build.options) {
            Ok(settings) => image::check(&settings, &build, &image, root),
            Err(problems) => problems,
        }
    }
}

impl ExportPolicy for Policy {
    fn check_export(build: BuildFacts, facts: ExportFacts) -> Vec<Diagnostic> {
        match Settings::read(&build.options) {
            Ok(settings) => export::check(&settings, &facts),
            Err(problems) => problems,
        }
    }
}

kiln_sdk::export_policy!(Policy);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{build, codes, pair};

    #[test]
    fn every_option_and_code_is_in_the_reference() {
        let page = include_str!("../../../docs/reference/stock-policy.md");
        let info = Policy::describe();
        let options = info.options.iter().map(|option| &option.name);
        for name in options.chain(info.rules.iter().map(|rule| &rule.code)) {
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn a_wrong_option_is_told_at_every_point() {
        let mut facts = build();
        facts.options = vec![pair("max-size", "large")];
        let found = Policy::check_graph(facts.clone(), Graph::default(), Vec::new());
        assert_eq!(codes(&found), ["bad-option"]);
        let verdicts = Policy::check_exec(facts, Graph::default(), vec![0, 1]);
        assert_eq!(verdicts.iter().map(|verdict| verdict.diagnostics.len()).collect::<Vec<_>>(), [1, 0]);
    }
}
