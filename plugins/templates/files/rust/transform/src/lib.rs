//! Copies labels that the OCI image specification names into the annotations of the manifest.

use kiln_sdk::plugin::{Plugin, Transform};
use kiln_sdk::wit::describe::PluginInfo;
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::image_transform::Changes;
use kiln_sdk::wit::policy_types::{BuildFacts, ImageFacts};
use kiln_sdk::wit::trees::Tree;
use kiln_sdk::wit::types::Pair;

/// The component.
struct Component;

const PREFIX: &str = "org.opencontainers.";

impl Plugin for Component {
    fn describe() -> PluginInfo {
        PluginInfo::new("{{name}}", env!("CARGO_PKG_VERSION"), "copies labels into annotations")
    }
}

impl Transform for Component {
    fn transform(
        _: BuildFacts,
        image: ImageFacts,
        _: &Tree,
        _: Vec<(String, Tree)>,
    ) -> Result<Changes, Vec<Diagnostic>> {
        Ok(Changes { set_annotations: annotations(&image.config.labels), ..Changes::default() })
    }
}

fn annotations(labels: &[Pair]) -> Vec<Pair> {
    labels.iter().filter(|label| label.key.starts_with(PREFIX)).cloned().collect()
}

kiln_sdk::export_transform!(Component);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_labels_of_the_specification_are_copied() {
        let label = |key: &str| Pair { key: key.into(), value: "x".into() };
        let found = annotations(&[label("org.opencontainers.image.title"), label("com.example.team")]);
        assert_eq!(found, [label("org.opencontainers.image.title")]);
    }
}
