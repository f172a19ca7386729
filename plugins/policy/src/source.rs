//! Point 1: whether a source may be used.

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::graph::{GitSource, HttpSource, ImageSource};
use kiln_sdk::wit::policy_types::{BuildFacts, FoundSource, Source, SourceCheck, SourceVerdict};

use crate::age;
use crate::findings::{listed, placed};
use crate::reference::Reference;
use crate::rules::Code;
use crate::settings::{Settings, Verdict};
use crate::source_policy::{self, SourcePolicy};

pub(crate) fn check(settings: &Settings, build: &BuildFacts, check: &SourceCheck) -> SourceVerdict {
    let mut diagnostics = Vec::new();
    if let Some(text) = &settings.source_policy {
        match SourcePolicy::parse(text) {
            Err(problem) => diagnostics.push(*problem),
            Ok(policy) => match policy.evaluate(check) {
                source_policy::Verdict::Fine => {}
                // The rules below are about what is used instead, which is asked about next.
                source_policy::Verdict::Rewrite(source) => {
                    return SourceVerdict { rewrite: Some(source), diagnostics };
                }
                source_policy::Verdict::Denied(problem) => diagnostics.push(problem),
            },
        }
    }
    match &check.source {
        Source::Image(image) => images(settings, build, image, check.found.as_ref(), &mut diagnostics),
        Source::Http(http) => downloads(settings, http, &mut diagnostics),
        Source::Git(git) => repositories(settings, git, &mut diagnostics),
        Source::Plugin(plugin) => plugins(settings, plugin, &mut diagnostics),
        Source::Context(_) => {}
    }
    let diagnostics = diagnostics.into_iter().map(|finding| placed(finding, &check.spans)).collect();
    SourceVerdict { rewrite: None, diagnostics }
}

fn images(
    settings: &Settings,
    build: &BuildFacts,
    image: &ImageSource,
    found: Option<&FoundSource>,
    findings: &mut Vec<Diagnostic>,
) {
    let reference = Reference::parse(&image.reference);
    match settings.images.judge(|pattern| pattern.matches(&reference)) {
        Verdict::Fine => {}
        Verdict::Denied(pattern) => findings.push(
            Code::ImageDenied
                .found(format!("the image `{reference}` is denied by `{pattern}`"))
                .help("use another image, or ask whoever keeps the policy for an exemption"),
        ),
        Verdict::NotAllowed => findings.push(
            Code::ImageNotAllowed
                .found(format!("the image `{reference}` is none of those that are allowed"))
                .help(format!("images may come from {}", listed(&settings.images.allow))),
        ),
    }
    if reference.digest.is_none() {
        let pin = found.map(|found| found.pin.as_str()).filter(|pin| pin.starts_with("sha256:"));
        if settings.require_digest {
            findings.push(
                Code::DigestMissing
                    .found(format!("the image `{reference}` is not named with a digest"))
                    .help(match pin {
                        Some(pin) => format!("write `{reference}@{pin}`"),
                        None => "write `name:tag@sha256:…`".to_owned(),
                    }),
            );
        }
        if settings.no_latest && reference.effective_tag() == Some("latest") {
            findings.push(
                Code::LatestTag
                    .found(format!("the image `{reference}` is another one each time it is published"))
                    .help("name a version, or a digest"),
            );
        }
    }
    if let (Some(limit), Some(found)) = (settings.max_image_age, found.and_then(|found| found.image.as_ref()))
        && let Some(problem) =
            too_old(Code::ImageTooOld, &format!("the image `{reference}`"), found.created, limit, build)
    {
        findings.push(problem);
    }
}

/// A finding when something was made too long ago, or does not say when.
pub(crate) fn too_old(
    code: Code,
    what: &str,
    created: Option<u64>,
    limit: u64,
    build: &BuildFacts,
) -> Option<Diagnostic> {
    let allowed = age::show(limit);
    let Some(created) = created else {
        return Some(
            code.found(format!("{what} does not say when it was made, and {allowed} are allowed"))
                .help("use an image that has the time of its making"),
        );
    };
    let age = age::over(build.today, created, limit)?;
    Some(
        code.found(format!("{what} is {} old, and {allowed} are allowed", age::show(age)))
            .help("use a newer one, or have this one built again"),
    )
}

fn downloads(settings: &Settings, http: &HttpSource, findings: &mut Vec<Diagnostic>) {
    let url = without_credentials(&http.url);
    let address = url.split(['?', '#']).next().unwrap_or_default();
    match settings.urls.judge(|pattern| pattern.matches(address)) {
        Verdict::Fine => {}
        Verdict::Denied(pattern) => findings.push(
            Code::UrlDenied
                .found(format!("the download `{address}` is denied by `{}`", pattern.as_str()))
                .help("copy the file from the build context, or from an image"),
        ),
        Verdict::NotAllowed => {
            let allowed: Vec<&str> = settings.urls.allow.iter().map(|pattern| pattern.as_str()).collect();
            findings.push(
                Code::UrlNotAllowed
                    .found(format!("the download `{address}` is none of those that are allowed"))
                    .help(format!("downloads may come from {}", listed(&allowed))),
            );
        }
    }
    if settings.require_checksum && http.checksum.is_none() {
        findings.push(
            Code::ChecksumMissing
                .found(format!("the download `{address}` has no checksum"))
                .help("write `ADD --checksum=sha256:… URL`"),
        );
    }
    plain(settings, &url, "download", findings);
}

fn plain(settings: &Settings, url: &str, what: &str, findings: &mut Vec<Diagnostic>) {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme).to_ascii_lowercase();
    if settings.no_plain_http && ["http", "git", "ftp"].contains(&&*scheme) {
        findings.push(
            Code::PlainHttp
                .found(format!("the {what} `{url}` is fetched without encryption"))
                .help("use the same address with `https://`"),
        );
    }
}

/// The address without user and password, which have no place in a message.
fn without_credentials(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let host = rest[..end].rfind('@').map_or(0, |at| at + 1);
            format!("{scheme}://{}", &rest[host..])
        }
        None => url.to_owned(),
    }
}

/// `github.com/example/x` of every way to write it: address, with or without user and `.git`, or `git@host:path`.
pub(crate) fn repository_name(url: &str) -> String {
    let url = without_credentials(url);
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.to_owned(),
        None => {
            let rest = url.split_once('@').map_or(&*url, |(_, rest)| rest);
            rest.replacen(':', "/", 1)
        }
    };
    let path = path.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    path.trim_end_matches(".git").to_owned()
}

fn repositories(settings: &Settings, git: &GitSource, findings: &mut Vec<Diagnostic>) {
    let name = repository_name(&git.url);
    match settings.repositories.judge(|pattern| pattern.matches(&name)) {
        Verdict::Fine => {}
        Verdict::Denied(pattern) => findings.push(
            Code::RepositoryDenied
                .found(format!("the repository `{name}` is denied by `{}`", pattern.as_str()))
                .help("use another repository"),
        ),
        Verdict::NotAllowed => {
            let allowed: Vec<&str> =
                settings.repositories.allow.iter().map(|pattern| pattern.as_str()).collect();
            findings.push(
                Code::RepositoryNotAllowed
                    .found(format!("the repository `{name}` is none of those that are allowed"))
                    .help(format!("repositories may be {}", listed(&allowed))),
            );
        }
    }
    let is_commit =
        |text: &str| [40, 64].contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if settings.require_commit && !is_commit(&git.commit) && !is_commit(&git.reference) {
        findings.push(
            Code::CommitMissing
                .found(format!("the repository `{name}` is not named with a whole commit"))
                .help("write all digits of a commit after `#`, or with `--checksum=`"),
        );
    }
    plain(settings, &without_credentials(&git.url), "repository", findings);
}

fn plugins(settings: &Settings, plugin: &ImageSource, findings: &mut Vec<Diagnostic>) {
    let reference = plugin.reference.strip_prefix("oci://").unwrap_or(&plugin.reference);
    let reference = Reference::parse(reference);
    if let Verdict::NotAllowed = settings.plugins.judge(|pattern| pattern.matches(&reference)) {
        findings.push(
            Code::PluginNotAllowed
                .found(format!("the plugin `{reference}` is none of those that are allowed"))
                .help(format!("plugins may come from {}", listed(&settings.plugins.allow))),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{DAY, build, codes, image_info, settings, span};

    fn ask(options: &[(&str, &str)], source: Source, found: Option<FoundSource>) -> Vec<Diagnostic> {
        let asked = SourceCheck { source, platform: None, spans: vec![span(1), span(4)], round: 0, found };
        let verdict = check(&settings(options), &build(), &asked);
        assert_eq!(verdict.rewrite, None);
        for finding in &verdict.diagnostics {
            assert_eq!(finding.primary, Some(span(1)), "{finding:?}");
            assert!(!finding.help.is_empty(), "{finding:?}");
        }
        verdict.diagnostics
    }

    fn image(reference: &str) -> Source {
        Source::Image(ImageSource { reference: reference.into(), pinned: None })
    }

    #[test]
    fn images_come_from_where_they_may() {
        let allow = [("allow-images", "docker.io/library/*"), ("allow-images", "registry.example.com")];
        assert_eq!(codes(&ask(&allow, image("alpine:3"), None)), [""; 0]);
        assert_eq!(codes(&ask(&allow, image("registry.example.com/a/b:1"), None)), [""; 0]);
        let found = ask(&allow, image("quay.io/a/b"), None);
        assert_eq!(codes(&found), ["image-not-allowed"]);
        assert_eq!(found[0].message, "the image `quay.io/a/b:latest` is none of those that are allowed");
        assert_eq!(found[0].help, "images may come from `docker.io/library/*`, `registry.example.com`");
        assert_eq!(
            codes(&ask(&[("deny-images", "alpine:3.1?")], image("alpine:3.18"), None)),
            ["image-denied"]
        );
        assert_eq!(codes(&ask(&[], image("quay.io/a/b"), None)), [""; 0], "a rule without its option is off");
    }

    #[test]
    fn a_reference_is_pinned_as_far_as_is_asked() {
        let digest = format!("sha256:{}", "1".repeat(64));
        let pinned = format!("alpine@{digest}");
        assert_eq!(codes(&ask(&[("no-latest", "true")], image("alpine"), None)), ["latest-tag"]);
        assert_eq!(codes(&ask(&[("no-latest", "true")], image("alpine:latest"), None)), ["latest-tag"]);
        assert_eq!(codes(&ask(&[("no-latest", "true")], image("alpine:3"), None)), [""; 0]);
        assert_eq!(codes(&ask(&[("no-latest", "true")], image(&pinned), None)), [""; 0]);
        assert_eq!(codes(&ask(&[("require-digest", "true")], image(&pinned), None)), [""; 0]);
        let found = FoundSource { pin: digest.clone(), image: None };
        let found = ask(&[("require-digest", "true")], image("alpine:3"), Some(found));
        assert_eq!(codes(&found), ["digest-missing"]);
        assert_eq!(found[0].help, format!("write `docker.io/library/alpine:3@{digest}`"));
    }

    #[test]
    fn an_image_is_no_older_than_it_may_be() {
        let option = [("max-image-age", "90d")];
        let made = |created| Some(FoundSource { pin: String::new(), image: Some(image_info("a", created)) });
        let today = build().today;
        assert_eq!(codes(&ask(&option, image("a"), made(Some(today - 90 * DAY)))), [""; 0]);
        let found = ask(&option, image("a"), made(Some(today - 91 * DAY)));
        assert_eq!(codes(&found), ["image-too-old"]);
        assert!(found[0].message.ends_with("is 91 days old, and 90 days are allowed"), "{found:?}");
        assert_eq!(codes(&ask(&option, image("a"), made(None))), ["image-too-old"]);
        assert_eq!(codes(&ask(&option, image("a"), None)), [""; 0], "not known at the first asking");
    }

    #[test]
    fn downloads_are_judged_by_address_and_checksum() {
        let http = |url: &str, checksum: Option<&str>| {
            Source::Http(HttpSource {
                url: url.into(),
                checksum: checksum.map(str::to_owned),
                filename: String::new(),
            })
        };
        let allow = [("allow-urls", "https://example.com/**")];
        assert_eq!(codes(&ask(&allow, http("https://example.com/a/b?c=/d", None), None)), [""; 0]);
        assert_eq!(
            codes(&ask(&allow, http("https://example.com@evil.org/a", None), None)),
            ["url-not-allowed"]
        );
        let denied = ask(&[("deny-urls", "**")], http("https://me:secret@example.com/x?token=1", None), None);
        assert_eq!(codes(&denied), ["url-denied"]);
        assert_eq!(denied[0].message, "the download `https://example.com/x` is denied by `**`");
        assert_eq!(
            codes(&ask(&[("require-checksum", "true")], http("https://a/b", None), None)),
            ["checksum-missing"]
        );
        assert_eq!(
            codes(&ask(&[("require-checksum", "true")], http("https://a/b", Some("sha256:1")), None)),
            [""; 0]
        );
        assert_eq!(codes(&ask(&[("no-plain-http", "true")], http("HTTP://a/b", None), None)), ["plain-http"]);
    }

    #[test]
    fn repositories_are_judged_by_name_and_commit() {
        let git = |url: &str, commit: &str, reference: &str| {
            Source::Git(GitSource {
                url: url.into(),
                reference: reference.into(),
                commit: commit.into(),
                fetch_by_commit: false,
                subdir: String::new(),
                submodules: false,
                keep_git_dir: false,
                commit_times: false,
            })
        };
        for url in [
            "https://me@github.com/a/b.git",
            "git@github.com:a/b.git",
            "ssh://git@github.com/a/b",
            "github.com/a/b",
        ] {
            assert_eq!(repository_name(url), "github.com/a/b", "{url}");
        }
        let allow = [("allow-repositories", "github.com/a/*")];
        assert_eq!(codes(&ask(&allow, git("git@github.com:a/b.git", "", ""), None)), [""; 0]);
        assert_eq!(
            codes(&ask(&allow, git("https://github.com/c/b.git", "", ""), None)),
            ["repository-not-allowed"]
        );
        let deny = [("deny-repositories", "**")];
        assert_eq!(
            codes(&ask(&deny, git("https://github.com/c/b.git", "", ""), None)),
            ["repository-denied"]
        );
        let commit = "a".repeat(40);
        let require = [("require-commit", "true")];
        assert_eq!(codes(&ask(&require, git("https://h/p", "", "main"), None)), ["commit-missing"]);
        assert_eq!(codes(&ask(&require, git("https://h/p", "abcdef", ""), None)), ["commit-missing"]);
        assert_eq!(codes(&ask(&require, git("https://h/p", &commit, ""), None)), [""; 0]);
        assert_eq!(codes(&ask(&require, git("https://h/p", "", &commit), None)), [""; 0]);
        assert_eq!(codes(&ask(&[("no-plain-http", "true")], git("git://h/p", "", ""), None)), ["plain-http"]);
    }

    #[test]
    fn plugins_come_from_where_they_may() {
        let plugin =
            |reference: &str| Source::Plugin(ImageSource { reference: reference.into(), pinned: None });
        let allow = [("allow-plugins", "registry.example.com/plugins/*")];
        assert_eq!(codes(&ask(&allow, plugin("oci://registry.example.com/plugins/apt:1"), None)), [""; 0]);
        assert_eq!(codes(&ask(&allow, plugin("ghcr.io/x/apt"), None)), ["plugin-not-allowed"]);
    }
}
