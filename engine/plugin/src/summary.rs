//! What a plugin says about itself, for people who choose plugins.

use kiln_core::Severity;

use crate::bindings::hooks::describe::{OptionKind, PluginInfo};
use crate::bindings::wit::instruction_types::Descriptor;
use crate::contract;
use crate::convert::findings;
use crate::error::PluginId;
use crate::grants::Capability;
use crate::shape::Shape;

use kiln_core::Digest;

/// One plugin, as `kiln plugin ls` and `kiln plugin inspect` show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginSummary {
    pub name: String,
    pub version: String,
    /// One line.
    pub summary: String,
    pub homepage: String,
    pub license: String,
    /// Of the component's bytes.
    pub digest: Digest,
    /// Came with the program.
    pub builtin: bool,
    /// `frontend`, `instruction`, `policy`, `transform`; sorted.
    pub kinds: Vec<&'static str>,
    pub keywords: Vec<Keyword>,
    pub rules: Vec<Rule>,
    pub options: Vec<PluginOption>,
    /// Title and text of build files.
    pub examples: Vec<(String, String)>,
    /// Interfaces that it imports and exports, in the order of the file.
    pub imports: Vec<String>,
    pub exports: Vec<String>,
    /// What has to be granted for those imports: `context`, `resolve`, `solve`, `instructions`; sorted.
    pub capabilities: Vec<&'static str>,
    /// Of the component's bytes.
    pub size_bytes: u64,
}

/// An instruction of a line-oriented build file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyword {
    pub keyword: String,
    pub summary: String,
    /// One line, such as `EXPOSE PORT[/PROTOCOL]…`.
    pub usage: String,
}

/// A kind of finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub code: String,
    pub summary: String,
    pub url: String,
    pub severity: Severity,
    /// Off unless asked for.
    pub experimental: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginOption {
    pub name: String,
    pub summary: String,
    /// As the user would type it; empty for none.
    pub preset: String,
    pub required: bool,
    /// For an option that takes one of some words.
    pub choices: Vec<String>,
    pub sensitive: bool,
    pub repeatable: bool,
}

/// The answers from which a summary is made.
pub(crate) struct About {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) descriptors: Vec<Descriptor>,
    pub(crate) info: PluginInfo,
}

impl About {
    pub(crate) fn new(info: PluginInfo, descriptors: Vec<Descriptor>) -> Self {
        Self { name: info.name.clone(), version: info.version.clone(), descriptors, info }
    }
}

impl PluginSummary {
    pub(crate) fn new(id: &PluginId, shape: &Shape, about: &About, size_bytes: u64, builtin: bool) -> Self {
        let info = &about.info;
        Self {
            name: id.name.clone(),
            version: info.version.clone(),
            summary: info.summary.clone(),
            homepage: info.homepage.clone(),
            license: info.license.clone(),
            digest: id.digest,
            builtin,
            kinds: contract::kinds(shape),
            keywords: about.descriptors.iter().map(keyword).collect(),
            rules: info
                .rules
                .iter()
                .map(|rule| Rule {
                    code: rule.code.clone(),
                    summary: rule.summary.clone(),
                    url: rule.url.clone(),
                    severity: findings::severity(rule.severity),
                    experimental: rule.experimental,
                })
                .collect(),
            options: info
                .options
                .iter()
                .map(|option| PluginOption {
                    name: option.name.clone(),
                    summary: option.summary.clone(),
                    preset: option.preset.clone(),
                    required: option.required,
                    choices: option.choices.clone(),
                    sensitive: option.sensitive,
                    repeatable: option.kind == OptionKind::TextList,
                })
                .collect(),
            examples: info
                .examples
                .iter()
                .map(|example| (example.title.clone(), example.text.clone()))
                .collect(),
            imports: shape.imports.clone(),
            exports: shape.exports.clone(),
            capabilities: contract::capabilities(shape).into_iter().map(Capability::word).collect(),
            size_bytes,
        }
    }
}

fn keyword(descriptor: &Descriptor) -> Keyword {
    Keyword {
        keyword: descriptor.keyword.clone(),
        summary: descriptor.summary.clone(),
        usage: descriptor.usage.clone(),
    }
}
