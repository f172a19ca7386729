//! What policies are told, and what they answer, checked.

use kiln_core::graph::{Network, Security};
use kiln_core::seams::FileInfo;

use super::{Fault, answers, config, questions, text, told, told_pairs};
use crate::bindings::wit::{policy_types as wit, trees};
use crate::policy::{
    BuildFacts, Change, ChangeKind, ExecLimits, ExportFacts, ImageFacts, LayerInfo, PolicySource, SourceCheck,
};

pub(crate) fn build_facts(facts: &BuildFacts, options: &[(String, String)]) -> wit::BuildFacts {
    wit::BuildFacts {
        frontend: facts.frontend.clone(),
        frontend_digest: facts.frontend_digest.clone(),
        target: facts.target.clone(),
        platforms: facts.platforms.iter().map(answers::platform).collect(),
        build_args: told_pairs(&facts.build_args),
        allowed: facts.allowed.clone(),
        push_to: facts.push_to.clone(),
        today: facts.today,
        options: told_pairs(options),
    }
}

/// The word for a kind of source in messages.
pub(crate) fn kind(source: &PolicySource) -> &'static str {
    match source {
        PolicySource::Image(_) => "image",
        PolicySource::Context(_) => "context",
        PolicySource::Git(_) => "git repository",
        PolicySource::Http(_) => "download",
        PolicySource::Plugin(_) => "plugin",
    }
}

pub(crate) fn source_check(check: &SourceCheck) -> wit::SourceCheck {
    wit::SourceCheck {
        source: match &check.source {
            PolicySource::Image(source) => wit::Source::Image(told::image_source(source)),
            PolicySource::Context(source) => wit::Source::Context(told::context_source(source)),
            PolicySource::Git(source) => wit::Source::Git(told::git_source(source)),
            PolicySource::Http(source) => wit::Source::Http(told::http_source(source)),
            PolicySource::Plugin(source) => wit::Source::Plugin(told::image_source(source)),
        },
        platform: check.platform.as_ref().map(answers::platform),
        spans: told::spans(&check.spans),
        round: check.round,
        found: check.found.as_ref().map(|found| wit::FoundSource {
            pin: found.pin.clone(),
            image: found.image.clone().map(answers::image_info),
        }),
    }
}

/// # Errors
///
/// When it is no source, or of another kind than `asked`.
pub(crate) fn rewrite(source: wit::Source, asked: &str) -> Result<PolicySource, Fault> {
    let at = |fault: Fault| fault.at("the rewritten source");
    let source = match source {
        wit::Source::Image(source) => PolicySource::Image(questions::image_source(source).map_err(at)?),
        wit::Source::Context(source) => PolicySource::Context(questions::context_source(source)),
        wit::Source::Git(source) => PolicySource::Git(questions::git_source(source)),
        wit::Source::Http(source) => PolicySource::Http(questions::checked_http_source(source).map_err(at)?),
        wit::Source::Plugin(source) => PolicySource::Plugin(questions::image_source(source).map_err(at)?),
    };
    let (there, name) = (kind(&source), |text: &str| super::text("the rewritten source", text.to_owned()));
    match &source {
        PolicySource::Image(image) | PolicySource::Plugin(image) => name(&image.reference)?,
        PolicySource::Git(git) => name(&git.url)?,
        PolicySource::Http(http) => name(&http.url)?,
        PolicySource::Context(context) => name(&context.name)?,
    };
    match there == asked {
        true => Ok(source),
        false => Err(Fault::new(format!("it answers with a source of another kind ({there} for {asked})"))),
    }
}

/// # Errors
///
/// For a word that is not known, or that would be more than a command has by itself.
pub(crate) fn limits(limits: Option<wit::ExecLimits>) -> Result<ExecLimits, Fault> {
    let Some(limits) = limits else { return Ok(ExecLimits::default()) };
    let network = text("network", limits.network)?;
    let security = text("security", limits.security)?;
    Ok(ExecLimits {
        network: match network.as_str() {
            "" => None,
            "none" => Some(Network::None),
            "default" => Some(Network::Default),
            other => {
                return Err(Fault::new(format!("network `{other}` is no limit (known: `none`, `default`)")));
            }
        },
        security: match security.as_str() {
            "" => None,
            "sandbox" => Some(Security::Sandbox),
            other => return Err(Fault::new(format!("security `{other}` is no limit (known: `sandbox`)"))),
        },
        seconds: Some(limits.seconds).filter(|seconds| *seconds > 0),
        memory_mib: Some(limits.memory_mib).filter(|memory| *memory > 0),
    })
}

pub(crate) fn layer_info(layer: &LayerInfo) -> wit::LayerInfo {
    wit::LayerInfo {
        digest: layer.digest.to_string(),
        media_type: layer.media_type.clone(),
        size: layer.size,
        created_by: layer.created_by.clone(),
        from_base: layer.from_base,
        spans: told::spans(&layer.spans),
    }
}

pub(crate) fn change(change: &Change) -> trees::Change {
    let file = match change.kind {
        ChangeKind::Removed => FileInfo { path: change.file.path.clone(), ..removed() },
        _ => change.file.clone(),
    };
    trees::Change {
        kind: match change.kind {
            ChangeKind::Added => trees::ChangeKind::Added,
            ChangeKind::Modified => trees::ChangeKind::Modified,
            ChangeKind::Removed => trees::ChangeKind::Removed,
        },
        file: answers::file_info(file),
        content: change.content.as_ref().map(ToString::to_string),
    }
}

/// Of what is not there any more.
fn removed() -> FileInfo {
    FileInfo {
        path: String::new(),
        kind: kiln_core::seams::FileKind::Regular,
        size: 0,
        mode: 0,
        uid: 0,
        gid: 0,
        target: String::new(),
    }
}

pub(crate) fn image_facts(image: &ImageFacts) -> wit::ImageFacts {
    wit::ImageFacts {
        platform: answers::platform(&image.platform),
        config: config::tell(image.config.clone()),
        annotations: told_pairs(&image.annotations),
        layers: image.layers.iter().map(layer_info).collect(),
        history: image
            .history
            .iter()
            .map(|line| wit::HistoryLine {
                created_by: line.created_by.clone(),
                comment: line.comment.clone(),
                layer: line.layer,
            })
            .collect(),
        base: image.base.clone().map(answers::image_info),
        total_size: image.total_size,
        attestation_types: image.attestation_types.clone(),
    }
}

pub(crate) fn export_facts(export: &ExportFacts) -> wit::ExportFacts {
    wit::ExportFacts {
        kind: export.kind.clone(),
        destination: export.destination.clone(),
        names: export.names.clone(),
        digests: export.digests.iter().map(ToString::to_string).collect(),
        images: export.images.iter().map(image_facts).collect(),
        options: told_pairs(&export.options),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_core::graph::{HttpSource, ImageSource};

    fn limited(network: &str, security: &str) -> Result<ExecLimits, Fault> {
        limits(Some(wit::ExecLimits {
            network: network.to_owned(),
            security: security.to_owned(),
            seconds: 0,
            memory_mib: 5,
        }))
    }

    #[test]
    fn a_limit_is_less_than_what_a_command_has() {
        let limits = limited("none", "sandbox").unwrap();
        assert_eq!((limits.network, limits.security), (Some(Network::None), Some(Security::Sandbox)));
        assert_eq!((limits.seconds, limits.memory_mib), (None, Some(5)));
        for (network, security) in [("host", ""), ("", "insecure"), ("off", ""), ("", "none")] {
            let fault = limited(network, security).unwrap_err().to_string();
            assert!(fault.contains("is no limit"), "{fault}");
        }
    }

    #[test]
    fn a_source_stays_of_its_kind() {
        let image = || PolicySource::Image(ImageSource { reference: "a".to_owned(), pinned: None });
        let wit = |source: &PolicySource| {
            let check = SourceCheck {
                source: source.clone(),
                platform: None,
                spans: Vec::new(),
                round: 0,
                found: None,
            };
            source_check(&check).source
        };
        assert_eq!(rewrite(wit(&image()), "image"), Ok(image()));
        let http = HttpSource { url: "https://x/y".to_owned(), checksum: None, filename: String::new() };
        let fault = rewrite(wit(&PolicySource::Http(http)), "image").unwrap_err().to_string();
        assert!(fault.contains("(download for image)"), "{fault}");
    }
}
