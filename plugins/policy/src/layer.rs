//! Point 4: what layers bring into an image.

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::policy_types::LayerInfo;
use kiln_sdk::wit::trees::ChangeKind;
use kiln_sdk::wit::types::{FileInfo, FileKind};

use crate::credentials::{self, Candidate, Secret};
use crate::files::{Changes, Files, read_up_to};
use crate::findings::{listed, placed};
use crate::glob::Glob;
use crate::rules::Code;
use crate::settings::Settings;
use crate::size;

/// Changes asked for at a time.
const PAGE: u32 = 1_000;

/// A file in which somebody wrote a secret is not larger.
const MAX_TEXT_BYTES: u64 = 256 << 10;
/// Of a file whose name says that it holds credentials, this much is read.
const MAX_NAMED_BYTES: usize = 1 << 20;
/// Of one layer, this much is read and no more.
const MAX_SEARCHED_BYTES: u64 = 32 << 20;
const MAX_SEARCHED_FILES: usize = 5_000;

/// More findings of a kind say nothing new.
const MAX_FINDINGS: usize = 100;

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;

/// Judges a layer. What comes with the base was judged by whoever made that.
pub(crate) fn check(
    settings: &Settings,
    layer: &LayerInfo,
    changes: &dyn Changes,
    root: &dyn Files,
) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    if layer.from_base {
        return findings;
    }
    if let Some(limit) = settings.max_layer_size.filter(|limit| layer.size > *limit) {
        findings.push(
            Code::LayerTooLarge
                .found(format!(
                    "{} makes a layer of {}, and {} are allowed",
                    made_by(layer),
                    size::show(layer.size),
                    size::show(limit)
                ))
                .help("remove in the same step what only the step needs, or leave it in another stage"),
        );
    }
    if settings.no_setuid || settings.no_secrets {
        let seen = look(settings, changes);
        if !seen.setuid.is_empty() {
            findings.push(setuid(layer, &seen));
        }
        search(layer, &seen, root, &mut findings);
    }
    findings.into_iter().map(|finding| placed(finding, &layer.spans)).collect()
}

fn made_by(layer: &LayerInfo) -> String {
    let line = layer.created_by.lines().next().unwrap_or_default();
    let short: String = line.chars().take(60).collect();
    match (short.is_empty(), short.len() < line.len()) {
        (true, _) => "a step".to_owned(),
        (false, false) => format!("`{short}`"),
        (false, true) => format!("`{short}…`"),
    }
}

/// What is worth a second look in a layer.
#[derive(Default)]
struct Seen {
    setuid: Vec<FileInfo>,
    named: Vec<(String, Candidate)>,
    texts: Vec<(String, Candidate)>,
    /// Files that were not taken up into `texts`.
    passed_over: usize,
}

fn look(settings: &Settings, changes: &dyn Changes) -> Seen {
    let mut seen = Seen::default();
    let mut bytes = 0;
    let mut start = 0;
    loop {
        let page = changes.page(start, PAGE);
        if page.is_empty() {
            return seen;
        }
        start = start.saturating_add(page.len() as u32);
        for change in page {
            let file = change.file;
            if change.kind == ChangeKind::Removed || file.kind != FileKind::Regular {
                continue;
            }
            if settings.no_setuid
                && file.mode & (SETUID | SETGID) != 0
                && !is_excepted(&settings.allow_setuid, &file.path)
            {
                seen.setuid.push(file);
                continue;
            }
            if !settings.no_secrets {
                continue;
            }
            match credentials::candidate(&file.path, file.size, MAX_TEXT_BYTES) {
                None => {}
                Some(_) if is_excepted(&settings.allow_secrets, &file.path) => {}
                Some(candidate @ Candidate::Named(_)) => seen.named.push((file.path, candidate)),
                Some(candidate @ Candidate::Text) => {
                    bytes += file.size;
                    if bytes > MAX_SEARCHED_BYTES || seen.texts.len() == MAX_SEARCHED_FILES {
                        seen.passed_over += 1;
                    } else {
                        seen.texts.push((file.path, candidate));
                    }
                }
            }
        }
    }
}

fn is_excepted(patterns: &[Glob], path: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(path))
}

fn setuid(layer: &LayerInfo, seen: &Seen) -> Diagnostic {
    let files: Vec<String> = seen
        .setuid
        .iter()
        .map(|file| format!("/{} ({:04o}, owner {}:{})", file.path, file.mode, file.uid, file.gid))
        .collect();
    let paths: Vec<String> = seen.setuid.iter().map(|file| format!("/{}", file.path)).collect();
    let what = if files.len() == 1 { "a program" } else { "programs" };
    Code::SetuidFile
        .found(format!(
            "{} adds {what} with the rights of its owner or group: {}",
            made_by(layer),
            listed(&files)
        ))
        .help(format!(
            "take the bits away in the same step: `chmod a-s {}`",
            paths.iter().take(8).cloned().collect::<Vec<_>>().join(" ")
        ))
}

fn search(layer: &LayerInfo, seen: &Seen, root: &dyn Files, findings: &mut Vec<Diagnostic>) {
    let mut unread: Vec<String> = Vec::new();
    let before = findings.len();
    for (path, candidate) in seen.named.iter().chain(&seen.texts) {
        if findings.len() - before >= MAX_FINDINGS {
            break;
        }
        let bytes = match read_up_to(root, path, MAX_NAMED_BYTES) {
            Ok(bytes) => bytes,
            Err(error) => {
                unread.push(format!("/{path} ({})", error.message));
                continue;
            }
        };
        for secret in credentials::secrets(*candidate, &bytes) {
            findings.push(found(layer, path, &secret));
        }
    }
    if seen.passed_over > 0 || !unread.is_empty() {
        let mut message = format!("not every file that {} adds was searched for secrets: ", made_by(layer));
        message += &match (seen.passed_over, unread.is_empty()) {
            (0, _) => listed(&unread),
            (count, true) => format!("{count} are beyond the limit"),
            (count, false) => {
                format!("{count} are beyond the limit, and {} could not be read", listed(&unread))
            }
        };
        findings.push(Code::SecretsNotSearched.found(message).help(format!(
            "the limit is {} in {MAX_SEARCHED_FILES} files; with `allow-secrets` directories are passed over",
            size::show(MAX_SEARCHED_BYTES)
        )));
    }
}

fn found(layer: &LayerInfo, path: &str, secret: &Secret) -> Diagnostic {
    let by = made_by(layer);
    let (code, message) = match secret {
        Secret::Key { line } => {
            (Code::PrivateKey, format!("{by} puts a private key into the image: line {line} of `/{path}`"))
        }
        Secret::Token { kind, line } => {
            (Code::TokenInFile, format!("{by} puts {kind} into the image: line {line} of `/{path}`"))
        }
        Secret::Credential { kind } => {
            (Code::SecretFile, format!("{by} puts {kind} into the image: `/{path}`"))
        }
    };
    code.found(message).help(
        "give it to the step that needs it with `RUN --mount=type=secret`, and have it replaced if the image was ever published",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Table, codes, layer, settings, span};

    fn ask(options: &[(&str, &str)], info: &LayerInfo, table: &Table) -> Vec<Diagnostic> {
        let found = check(&settings(options), info, table, table);
        for finding in &found {
            assert_eq!(finding.primary, Some(span(3)), "{finding:?}");
            assert!(!finding.help.is_empty(), "{finding:?}");
        }
        found
    }

    fn key() -> String {
        format!(
            "-----BEGIN {}-----\n{}\n",
            "PRIVATE KEY", "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"
        )
    }

    #[test]
    fn setuid_programs_are_for_whoever_made_the_base() {
        let table = Table::of(&[("usr/bin/su", "x"), ("usr/bin/wall", "x"), ("usr/bin/ls", "x")])
            .with_mode("usr/bin/su", 0o4755)
            .with_mode("usr/bin/wall", 0o2755);
        let on = [("no-setuid", "true")];
        let found = ask(&on, &layer("RUN apt-get install", 1, false), &table);
        assert_eq!(codes(&found), ["setuid-file"]);
        assert_eq!(
            found[0].message,
            "`RUN apt-get install` adds programs with the rights of its owner or group: \
             `/usr/bin/su (4755, owner 0:0)`, `/usr/bin/wall (2755, owner 0:0)`"
        );
        assert_eq!(
            found[0].help,
            "take the bits away in the same step: `chmod a-s /usr/bin/su /usr/bin/wall`"
        );
        assert_eq!(codes(&ask(&on, &layer("", 1, true), &table)), [""; 0]);
        assert_eq!(codes(&ask(&[], &layer("", 1, false), &table)), [""; 0]);
        let excepted = [("no-setuid", "true"), ("allow-setuid", "/usr/bin/su"), ("allow-setuid", "**/wall")];
        assert_eq!(codes(&ask(&excepted, &layer("", 1, false), &table)), [""; 0]);
    }

    #[test]
    fn secrets_are_found_in_what_is_added() {
        let key = key();
        let token = format!("t = ghp_{}\n", "aB3dE5gH7jK9".repeat(3));
        let table = Table::of(&[
            ("app/settings.ini", &token),
            ("app/tls/server.key", &key),
            ("root/.npmrc", "//r/:_authToken=abc\n"),
            ("usr/share/doc/x/server.key", &key),
            ("app/main", &key),
        ]);
        let found = ask(&[("no-secrets", "true")], &layer("COPY . /app", 1, false), &table);
        assert_eq!(codes(&found), ["secret-file", "token-in-file", "private-key"]);
        assert_eq!(
            found[0].message,
            "`COPY . /app` puts the password of a registry of npm into the image: `/root/.npmrc`"
        );
        assert_eq!(
            found[1].message,
            "`COPY . /app` puts a token of GitHub into the image: line 1 of `/app/settings.ini`"
        );
        assert!(!found.iter().any(|finding| finding.message.contains("ghp_")), "the secret is not told");
        let excepted =
            [("no-secrets", "true"), ("allow-secrets", "app/**"), ("allow-secrets", "/root/.npmrc")];
        assert_eq!(codes(&ask(&excepted, &layer("", 1, false), &table)), [""; 0]);
    }

    #[test]
    fn what_is_too_much_to_search_is_told() {
        let mut table = Table::default();
        for number in 0..MAX_SEARCHED_FILES + 3 {
            table.add(&format!("app/{number:05}.json"), b"{}");
        }
        let found = ask(&[("no-secrets", "true")], &layer("COPY . /app", 1, false), &table);
        assert_eq!(codes(&found), ["secrets-not-searched"]);
        assert!(!found[0].is_error());
        assert!(found[0].message.ends_with("3 are beyond the limit"), "{found:?}");
    }

    #[test]
    fn a_layer_is_no_larger_than_it_may_be() {
        let on = [("max-layer-size", "100MB")];
        let found = ask(&on, &layer("RUN make", 150_000_000, false), &Table::default());
        assert_eq!(codes(&found), ["layer-too-large"]);
        assert_eq!(found[0].message, "`RUN make` makes a layer of 150 MB, and 100 MB are allowed");
        assert_eq!(codes(&ask(&on, &layer("", 100_000_000, false), &Table::default())), [""; 0]);
        assert_eq!(codes(&ask(&on, &layer("", 150_000_000, true), &Table::default())), [""; 0]);
    }
}
