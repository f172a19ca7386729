//! Point 4: what layers bring into an image.

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::policy_types::LayerInfo;
use kiln_sdk::wit::trees::ChangeKind;
use kiln_sdk::wit::types::{FileInfo, FileKind};

use crate::credentials::{self, Candidate, Secret};
use crate::files::{Changes, Files, read_up_to};
use crate::findings::{listed, placed, subject};
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

/// More findings of a kind in one layer are one finding, which names no file.
const MAX_FINDINGS: usize = 1_000;

const REPLACE: &str = "give it to the step that needs it with `RUN --mount=type=secret`, and have it replaced if the image was ever published";

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
        setuid(layer, &seen, &mut findings);
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
                seen.setuid.push(file.clone());
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

/// One finding for each file, so that an exemption is for the files that it names and no others.
fn setuid(layer: &LayerInfo, seen: &Seen, findings: &mut Vec<Diagnostic>) {
    let by = made_by(layer);
    for file in seen.setuid.iter().take(MAX_FINDINGS) {
        let path = subject(&file.path);
        findings.push(
            Code::SetuidFile
                .found(format!(
                    "`/{path}` ({:04o}, owner {}:{}) runs with the rights of its owner or group; {by} adds it",
                    file.mode, file.uid, file.gid
                ))
                .help(format!("take the bits away in the same step: `chmod a-s /{path}`")),
        );
    }
    let more = seen.setuid.len().saturating_sub(MAX_FINDINGS);
    if more > 0 {
        let message = format!("{more} more programs that {by} adds run with the rights of owner or group");
        findings.push(Code::SetuidFile.found(message).help("take the bits away in the same step"));
    }
}

fn search(layer: &LayerInfo, seen: &Seen, root: &dyn Files, findings: &mut Vec<Diagnostic>) {
    let mut unread: Vec<String> = Vec::new();
    let before = findings.len();
    for (path, candidate) in seen.named.iter().chain(&seen.texts) {
        if findings.len() - before >= MAX_FINDINGS {
            let message = format!(
                "more than {MAX_FINDINGS} secrets are in what {} adds, and the others are not named",
                made_by(layer)
            );
            findings.push(Code::TokenInFile.found(message).help(REPLACE));
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
    let (by, path) = (made_by(layer), subject(path));
    let (code, holds) = match secret {
        Secret::Key { line } => (Code::PrivateKey, format!("a private key in line {line}")),
        Secret::Token { kind, line } => (Code::TokenInFile, format!("{kind} in line {line}")),
        Secret::Credential { kind } => (Code::SecretFile, (*kind).to_owned()),
    };
    code.found(format!("`/{path}` holds {holds}; {by} puts it into the image")).help(REPLACE)
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
        assert_eq!(codes(&found), ["setuid-file"; 2]);
        assert_eq!(
            found[0].message,
            "`/usr/bin/su` (4755, owner 0:0) runs with the rights of its owner or group; \
             `RUN apt-get install` adds it"
        );
        assert_eq!(found[0].help, "take the bits away in the same step: `chmod a-s /usr/bin/su`");
        assert!(found[1].message.starts_with("`/usr/bin/wall` (2755, owner 0:0) "), "{found:?}");
        assert_eq!(codes(&ask(&on, &layer("", 1, true), &table)), [""; 0]);
        assert_eq!(codes(&ask(&[], &layer("", 1, false), &table)), [""; 0]);
        let excepted = [("no-setuid", "true"), ("allow-setuid", "/usr/bin/su"), ("allow-setuid", "**/wall")];
        assert_eq!(codes(&ask(&excepted, &layer("", 1, false), &table)), [""; 0]);
    }

    #[test]
    fn a_backquote_in_a_path_does_not_end_what_a_finding_is_about() {
        let table = Table::of(&[("usr/bin/ping`", "x")]).with_mode("usr/bin/ping`", 0o4755);
        let found = ask(&[("no-setuid", "true")], &layer("", 1, false), &table);
        assert!(found[0].message.starts_with("`/usr/bin/ping\\x60` (4755"), "{found:?}");
    }

    #[test]
    fn of_very_many_findings_the_last_says_that_there_are_more() {
        let mut table = Table::default();
        for number in 0..MAX_FINDINGS + 2 {
            let path = format!("bin/{number:04}");
            table.add(&path, b"x");
            table = table.with_mode(&path, 0o4755);
        }
        let found = ask(&[("no-setuid", "true")], &layer("", 1, false), &table);
        assert_eq!(found.len(), MAX_FINDINGS + 1);
        assert_eq!(
            found[MAX_FINDINGS].message,
            "2 more programs that a step adds run with the rights of owner or group"
        );
    }

    #[test]
    fn secrets_are_found_in_what_is_added() {
        let key = key();
        let token = format!("t = ghp_{}\n", "aB3dE5gH7jK9".repeat(3));
        let program = key.clone() + &" ".repeat(20 << 10);
        let table = Table::of(&[
            ("app/settings.ini", &token),
            ("app/tls/server.key", &key),
            ("root/.npmrc", "//r/:_authToken=abc\n"),
            ("usr/share/doc/x/server.key", &key),
            ("opt/signing", &key),
            ("app/main", &program),
        ]);
        let found = ask(&[("no-secrets", "true")], &layer("COPY . /app", 1, false), &table);
        assert_eq!(codes(&found), ["secret-file", "token-in-file", "private-key", "private-key"]);
        assert_eq!(
            found[0].message,
            "`/root/.npmrc` holds the password of a registry of npm; `COPY . /app` puts it into the image"
        );
        assert_eq!(
            found[1].message,
            "`/app/settings.ini` holds a token of GitHub in line 1; `COPY . /app` puts it into the image"
        );
        assert!(!found.iter().any(|finding| finding.message.contains("ghp_")), "the secret is not told");
        let excepted = [
            ("no-secrets", "true"),
            ("allow-secrets", "app/**"),
            ("allow-secrets", "opt/*"),
            ("allow-secrets", "/root/.npmrc"),
        ];
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
