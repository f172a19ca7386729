//! What can be built from a build file, and what can be passed in.

use kiln_core::{Platform, Span};

use crate::bindings::wit::frontend_types as wit;
use crate::convert::{findings, questions};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetInfo {
    pub name: String,
    pub description: String,
    pub is_default: bool,
    pub platform: Option<Platform>,
    pub base: String,
    pub at: Option<Span>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgumentInfo {
    pub name: String,
    pub description: String,
    pub preset: Option<String>,
    /// What it is in this request.
    pub value: Option<String>,
    pub at: Option<Span>,
}

/// A secret, key holder or cache that is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    pub id: String,
    pub required: bool,
    pub at: Option<Span>,
}

/// What one target and everything below it uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    pub target: TargetInfo,
    pub parameters: Vec<ArgumentInfo>,
    pub secrets: Vec<Need>,
    pub ssh: Vec<Need>,
    pub caches: Vec<Need>,
}

pub(crate) fn target(target: wit::TargetInfo) -> TargetInfo {
    TargetInfo {
        name: target.name,
        description: target.description,
        is_default: target.is_default,
        platform: target.platform.map(questions::platform),
        base: target.base,
        at: target.at.map(findings::span),
    }
}

pub(crate) fn outline(found: wit::Outline) -> Outline {
    let needs = |list: Vec<wit::Need>| {
        list.into_iter()
            .map(|need| Need { id: need.id, required: need.required, at: need.at.map(findings::span) })
            .collect()
    };
    Outline {
        target: target(found.target),
        parameters: found
            .parameters
            .into_iter()
            .map(|argument| ArgumentInfo {
                name: argument.name,
                description: argument.description,
                preset: argument.preset,
                value: argument.value,
                at: argument.at.map(findings::span),
            })
            .collect(),
        secrets: needs(found.secrets),
        ssh: needs(found.ssh),
        caches: needs(found.caches),
    }
}
