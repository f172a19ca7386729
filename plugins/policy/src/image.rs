//! Point 5: the finished image.

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::policy_types::{BuildFacts, ImageFacts};
use kiln_sdk::wit::types::Pair;

use crate::files::Files;
use crate::findings::{listed, subject};
use crate::packages::{self, Unreadable};
use crate::passwd::{self, User};
use crate::ports::Ports;
use crate::reference::Reference;
use crate::rules::Code;
use crate::settings::{Requirement, Settings};
use crate::{base, names, size, source, tokens};

pub(crate) fn check(
    settings: &Settings,
    build: &BuildFacts,
    image: &ImageFacts,
    root: &dyn Files,
) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    bases(settings, build, image, &mut findings);
    sizes(settings, image, &mut findings);
    user(settings, image, root, &mut findings);
    let needed = [
        (&settings.require_labels, &image.config.labels, "label", Code::LabelMissing, Code::LabelMismatch),
        (
            &settings.require_annotations,
            &image.annotations,
            "annotation",
            Code::AnnotationMissing,
            Code::AnnotationMismatch,
        ),
    ];
    for (required, pairs, what, missing, mismatch) in needed {
        for requirement in required {
            findings.extend(pair(requirement, pairs, what, missing, mismatch));
        }
    }
    for kind in &settings.require_attestations {
        if !image.attestation_types.contains(kind) {
            findings.push(
                Code::AttestationMissing
                    .found(format!("the image has no attestation of type `{kind}`"))
                    .help("add a transform that makes one"),
            );
        }
    }
    if settings.require_healthcheck
        && image
            .config
            .healthcheck
            .as_ref()
            .is_none_or(|check| check.test.is_empty() || check.test == ["NONE"])
    {
        findings.push(
            Code::HealthcheckMissing.found("the image has no health check").help("write `HEALTHCHECK CMD …`"),
        );
    }
    ports(settings, image, &mut findings);
    if settings.no_secrets {
        secrets(image, &mut findings);
    }
    if !settings.deny_packages.is_empty() {
        installed(settings, root, &mut findings);
    }
    findings
}

fn bases(settings: &Settings, build: &BuildFacts, image: &ImageFacts, findings: &mut Vec<Diagnostic>) {
    let reference = image.base.as_ref().map(|base| Reference::parse(&base.reference));
    if !settings.bases.is_empty() {
        findings.extend(base::judge(settings, reference.as_ref()));
    }
    if let (Some(limit), Some(base), Some(reference)) = (settings.max_base_age, &image.base, &reference) {
        let what = format!("the base `{reference}`");
        findings.extend(source::too_old(Code::BaseTooOld, &what, base.created, limit, build));
    }
}

fn sizes(settings: &Settings, image: &ImageFacts, findings: &mut Vec<Diagnostic>) {
    if let Some(limit) = settings.max_size.filter(|limit| image.total_size > *limit) {
        let largest = image.layers.iter().max_by_key(|layer| layer.size);
        let help = match largest {
            Some(layer) if !layer.created_by.is_empty() => {
                let line: String =
                    layer.created_by.lines().next().unwrap_or_default().chars().take(60).collect();
                format!("the largest layer has {}: `{line}`", size::show(layer.size))
            }
            _ => "leave in another stage what only building needs".to_owned(),
        };
        findings.push(
            Code::ImageTooLarge
                .found(format!(
                    "the image has {}, and {} are allowed",
                    size::show(image.total_size),
                    size::show(limit)
                ))
                .help(help),
        );
    }
    if let Some(limit) = settings.max_layers.filter(|limit| image.layers.len() as u64 > *limit) {
        findings.push(
            Code::TooManyLayers
                .found(format!("the image has {} layers, and {limit} are allowed", image.layers.len()))
                .help("do in one step what belongs together"),
        );
    }
}

fn user(settings: &Settings, image: &ImageFacts, root: &dyn Files, findings: &mut Vec<Diagnostic>) {
    if !settings.require_user && !settings.require_numeric_user {
        return;
    }
    let said = image.config.user.as_str();
    match passwd::look_up(said, root) {
        Ok(User::Number(0) | User::Name(Some(0))) => {
            let message = match said {
                "" => "the image says no user and so runs as root".to_owned(),
                said => format!("the image runs as `{}`, which is root", subject(said)),
            };
            findings.push(
                Code::RootUser.found(message).help("end the last stage with `USER 65532`, or another number"),
            );
        }
        Ok(User::Name(number)) if settings.require_numeric_user => {
            let help = match number {
                Some(number) => format!("write `USER {number}`"),
                None => "write its number".to_owned(),
            };
            findings.push(
                Code::UserNotNumeric
                    .found(format!(
                        "the image has its user by name, `{}`, and who that is depends on its files",
                        subject(said)
                    ))
                    .help(help),
            );
        }
        Ok(_) => {}
        Err(error) => findings.push(
            Code::RootUser
                .found(format!("who the user `{said}` is could not be found out: {}", error.message))
                .help("write its number"),
        ),
    }
}

fn pair(
    requirement: &Requirement,
    pairs: &[Pair],
    what: &str,
    missing: Code,
    mismatch: Code,
) -> Option<Diagnostic> {
    let key = &requirement.key;
    let write = match (what, &requirement.value) {
        ("label", _) => format!("write `LABEL {key}=…`"),
        (_, _) => "annotations come from the frontend or from a transform".to_owned(),
    };
    let Some(found) = pairs.iter().find(|pair| pair.key == *key) else {
        return Some(missing.found(format!("the image has no {what} `{key}`")).help(write));
    };
    let Some(pattern) = &requirement.value else {
        return found
            .value
            .trim()
            .is_empty()
            .then(|| missing.found(format!("the {what} `{key}` of the image is empty")).help(write));
    };
    (!pattern.matches(&found.value)).then(|| {
        mismatch
            .found(format!("the {what} `{key}` is `{}`, and not as `{}` says", found.value, pattern.as_str()))
            .help(write)
    })
}

fn ports(settings: &Settings, image: &ImageFacts, findings: &mut Vec<Diagnostic>) {
    if settings.ports.is_empty() {
        return;
    }
    for text in &image.config.exposed_ports {
        let Some(exposed) = Ports::parse(text) else {
            findings.push(
                Code::PortNotAllowed
                    .found(format!("the image exposes `{text}`, which is no port"))
                    .help("write a number and perhaps a protocol: `EXPOSE 8080/tcp`"),
            );
            continue;
        };
        if let Some(pattern) = settings.ports.deny.iter().find(|ports| ports.touches(&exposed)) {
            findings.push(
                Code::PortDenied
                    .found(format!("the image exposes port `{text}`, which is denied by `{pattern}`"))
                    .help("take it out of EXPOSE, and have the program listen at another one"),
            );
        } else if !settings.ports.allow.is_empty()
            && !settings.ports.allow.iter().any(|ports| ports.covers(&exposed))
        {
            findings.push(
                Code::PortNotAllowed
                    .found(format!(
                        "the image exposes port `{text}`, which is none of those that are allowed"
                    ))
                    .help(format!("ports may be {}", listed(&settings.ports.allow))),
            );
        }
    }
}

fn token_in(text: &str) -> Option<&'static str> {
    tokens::find(text.as_bytes()).first().map(|found| found.kind)
}

fn secrets(image: &ImageFacts, findings: &mut Vec<Diagnostic>) {
    let config = &image.config;
    for pair in &config.env {
        if let Some(why) = names::suspect(&pair.key, &pair.value).or_else(|| token_in(&pair.value)) {
            findings.push(
                Code::SecretInEnv
                    .found(format!(
                        "the variable `{}` of the image holds what looks like {why}",
                        subject(&pair.key)
                    ))
                    .help("give it to the container when it is started, not to the image"),
            );
        }
    }
    let commands = [("ENTRYPOINT", &config.entrypoint), ("CMD", &config.cmd)];
    let told = commands
        .into_iter()
        .flat_map(|(what, words)| words.iter().flatten().map(move |word| (what.to_owned(), word.as_str())))
        .chain(config.labels.iter().map(|pair| (format!("label `{}`", pair.key), pair.value.as_str())));
    let mut in_history: Vec<Diagnostic> = Vec::new();
    for (what, text) in told {
        if let Some(kind) = token_in(text) {
            in_history.push(Code::SecretInHistory.found(format!("{what} of the image holds {kind}")));
        }
    }
    for line in &image.history {
        let why = token_in(&line.created_by).map(str::to_owned).or_else(|| {
            let name = argument_of_history(&line.created_by)?;
            Some(format!("the argument `{name}`, a secret by its name"))
        });
        if let Some(why) = why {
            let step: String =
                line.created_by.split_whitespace().next().unwrap_or_default().chars().take(20).collect();
            in_history.push(
                Code::SecretInHistory
                    .found(format!("the history of the image, at a step `{step} …`, holds {why}")),
            );
        }
    }
    let help =
        "whoever has the image can read it: use `RUN --mount=type=secret`, and have the secret replaced";
    findings.extend(in_history.into_iter().map(|finding| finding.help(help)));
}

/// The secret argument of a line `RUN |2 A=x B=y /bin/sh -c …`, where the number says how many there are.
fn argument_of_history(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once('|')?;
    let mut words = rest.split(' ');
    let count: usize = words.next()?.parse().ok()?;
    words
        .take(count)
        .filter_map(|word| word.split_once('='))
        .find(|(name, value)| names::suspect(name, value).is_some())
        .map(|(name, _)| name)
}

fn installed(settings: &Settings, root: &dyn Files, findings: &mut Vec<Diagnostic>) {
    let packages = match packages::installed(root) {
        Ok(packages) => packages,
        Err(why) => {
            let message = match why {
                Unreadable::Unknown(path, kind) => {
                    format!("the image has packages of {kind} (`/{path}`), which this policy does not read")
                }
                Unreadable::TooLarge(path) => {
                    format!("the list of packages `/{path}` is too large to be read")
                }
                Unreadable::Host(error) => {
                    format!("the packages of the image could not be read: {}", error.message)
                }
            };
            findings.push(
                Code::PackagesUnreadable
                    .found(message)
                    .help("`deny-packages` is for images with dpkg or apk; ask for an exemption for others"),
            );
            return;
        }
    };
    for package in &packages {
        if let Some(pattern) = settings.deny_packages.iter().find(|pattern| pattern.matches(package)) {
            findings.push(
                Code::PackageDenied
                    .found(format!(
                        "the image has the package `{}` {}, which is denied by `{pattern}`",
                        package.name, package.version
                    ))
                    .help("remove it, or install it in another stage only"),
            );
        }
    }
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
