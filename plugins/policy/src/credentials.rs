//! Which files are searched for secrets, and what it is that files of credentials hold.

use crate::{names, tokens};

/// A secret in a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Secret {
    Key {
        line: usize,
    },
    Token {
        kind: &'static str,
        line: usize,
    },
    /// By the name of the file and what it says.
    Credential {
        kind: &'static str,
    },
}

/// Why a file is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Candidate {
    /// Its name says that it holds credentials; such files are looked at first.
    Named(&'static Kind),
    /// People write such files, and secrets into them.
    Text,
}

/// A file of credentials of some program.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Ends of the path, from a slash or the beginning on.
    ends: &'static [&'static str],
    what: &'static str,
    holds: fn(&str) -> bool,
}

static KINDS: [Kind; 16] = [
    Kind { ends: &[".npmrc", "etc/npmrc"], what: "the password of a registry of npm", holds: npm },
    Kind { ends: &[".netrc", "_netrc"], what: "passwords", holds: |text| has_word(text, "password") },
    Kind { ends: &[".pypirc"], what: "the password of PyPI", holds: |text| assigned(text, "password", '=') },
    Kind { ends: &[".git-credentials"], what: "passwords of git", holds: url_password },
    Kind {
        ends: &[".docker/config.json", ".dockercfg", ".dockerconfigjson", "containers/auth.json"],
        what: "passwords of registries",
        holds: |text| json_value(text, &["auth", "identitytoken", "password"]),
    },
    Kind {
        ends: &[".aws/credentials"],
        what: "keys of AWS",
        holds: |text| assigned(text, "aws_secret_access_key", '='),
    },
    Kind {
        ends: &["application_default_credentials.json", "gcloud/credentials.db", "gcloud/access_tokens.db"],
        what: "credentials of Google",
        holds: |text| text.contains("refresh_token") || text.contains("private_key"),
    },
    Kind {
        ends: &[".kube/config", "kubeconfig", "etc/kubernetes/admin.conf"],
        what: "credentials of Kubernetes",
        holds: |text| ["client-key-data", "token", "password"].iter().any(|key| assigned(text, key, ':')),
    },
    Kind { ends: &[".pgpass"], what: "passwords of PostgreSQL", holds: some_line },
    Kind {
        ends: &[".my.cnf", ".mylogin.cnf"],
        what: "passwords of MySQL",
        holds: |text| assigned(text, "password", '='),
    },
    Kind { ends: &[".vault-token"], what: "a token of Vault", holds: some_line },
    Kind {
        ends: &[".terraformrc", "credentials.tfrc.json"],
        what: "a token of Terraform",
        holds: |text| json_value(text, &["token"]) || assigned(text, "token", '='),
    },
    Kind { ends: &[".gem/credentials"], what: "a key of RubyGems", holds: |text| text.contains("api_key") },
    Kind { ends: &[".m2/settings.xml"], what: "passwords of Maven", holds: maven },
    Kind {
        ends: &[".cargo/credentials", ".cargo/credentials.toml"],
        what: "a token of Cargo",
        holds: |text| assigned(text, "token", '='),
    },
    Kind {
        ends: &[".env", ".env.local", ".env.production", ".env.prod", ".env.development"],
        what: "secrets",
        holds: dotenv,
    },
];

/// Of what people write, and of keys.
const EXTENSIONS: [&str; 38] = [
    "pem",
    "key",
    "p8",
    "ppk",
    "asc",
    "gpg",
    "json",
    "yaml",
    "yml",
    "toml",
    "ini",
    "conf",
    "cfg",
    "cnf",
    "config",
    "properties",
    "env",
    "sh",
    "bash",
    "py",
    "js",
    "mjs",
    "cjs",
    "ts",
    "rb",
    "php",
    "pl",
    "xml",
    "txt",
    "md",
    "tf",
    "tfvars",
    "tfstate",
    "sql",
    "log",
    "bak",
    "old",
    "orig",
];

/// Directories whose files come out of packages, with keys for their own tests.
const PACKAGED: [&str; 10] = [
    "usr/share/",
    "usr/lib/",
    "usr/lib64/",
    "usr/include/",
    "usr/libexec/",
    "lib/",
    "lib64/",
    "usr/local/lib/python",
    "usr/local/go/",
    "var/lib/",
];
const PACKAGED_WITHIN: [&str; 4] = ["node_modules/", "site-packages/", "dist-packages/", "/testdata/"];

/// A file whose name says nothing is looked at up to this size.
const MAX_NOTE_BYTES: u64 = 16 << 10;

/// Whether and why a regular file is looked at; larger ones than `max_bytes` only if their name says something.
pub(crate) fn candidate(path: &str, size: u64, max_bytes: u64) -> Option<Candidate> {
    if size == 0 {
        return None;
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_dotted = path.starts_with('.') || path.contains("/.");
    // Nearly all files of an image end here.
    if is_dotted
        || name.contains("onfig")
        || name.contains("redential")
        || name.contains("auth")
        || name.starts_with('_')
        || name.ends_with("npmrc")
    {
        for kind in &KINDS {
            if kind.ends.iter().any(|end| ends_with(path, end)) {
                return Some(Candidate::Named(kind));
            }
        }
    }
    if size > max_bytes
        || PACKAGED.iter().any(|dir| path.starts_with(dir))
        || PACKAGED_WITHIN.iter().any(|dir| path.contains(dir))
    {
        return None;
    }
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let is_key = name.starts_with("id_")
        || name.starts_with("ssh_host_")
        || name.ends_with("_key")
        || name.ends_with("_rsa");
    let is_text = EXTENSIONS.contains(&extension) || name.starts_with(".env") || name.ends_with("_history");
    // `token`, `key`, or anything else that somebody redirected a secret into; programs are larger.
    let is_note = !name.contains('.') && size <= MAX_NOTE_BYTES;
    ((is_key && extension != "pub") || is_text || is_note).then_some(Candidate::Text)
}

fn ends_with(path: &str, end: &str) -> bool {
    path.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
}

/// What is secret in a file that was looked at.
pub(crate) fn secrets(candidate: Candidate, bytes: &[u8]) -> Vec<Secret> {
    let mut secrets: Vec<Secret> = tokens::find(bytes)
        .into_iter()
        .map(|found| match found.is_key {
            true => Secret::Key { line: found.line },
            false => Secret::Token { kind: found.kind, line: found.line },
        })
        .collect();
    if let Candidate::Named(kind) = candidate
        && secrets.is_empty()
        && (kind.holds)(&String::from_utf8_lossy(bytes))
    {
        secrets.push(Secret::Credential { kind: kind.what });
    }
    secrets
}

/// Lines that say something.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';']))
}

fn some_line(text: &str) -> bool {
    lines(text).next().is_some()
}

/// `${NAME}` and the like stand for a secret and are none.
fn is_literal(value: &str) -> bool {
    let value = value.trim().trim_matches(['"', '\'']);
    !value.is_empty() && !value.starts_with('$') && !value.starts_with('<') && !value.starts_with("{{")
}

fn assigned(text: &str, key: &str, sign: char) -> bool {
    lines(text).any(|line| {
        line.split_once(sign).is_some_and(|(name, value)| {
            name.trim().trim_start_matches("- ").trim().eq_ignore_ascii_case(key) && is_literal(value)
        })
    })
}

fn has_word(text: &str, word: &str) -> bool {
    lines(text).any(|line| line.split_whitespace().any(|part| part == word))
}

fn npm(text: &str) -> bool {
    lines(text).any(|line| {
        line.split_once('=').is_some_and(|(name, value)| {
            let name = name.trim();
            ["_authToken", "_auth", "_password"]
                .iter()
                .any(|key| name == *key || name.ends_with(&format!(":{key}")))
                && is_literal(value)
        })
    })
}

fn url_password(text: &str) -> bool {
    lines(text).any(|line| {
        line.split_once("://")
            .and_then(|(_, rest)| rest.split_once('@'))
            .is_some_and(|(user, _)| user.split_once(':').is_some_and(|(_, password)| is_literal(password)))
    })
}

/// Whether a member of one of these names has a text that is not empty.
fn json_value(text: &str, names: &[&str]) -> bool {
    names.iter().any(|name| {
        text.match_indices(&format!("\"{name}\"")).any(|(at, key)| {
            let rest = text[at + key.len()..].trim_start();
            let value = rest.strip_prefix(':').map(str::trim_start).and_then(|rest| rest.strip_prefix('"'));
            value.is_some_and(|value| {
                !value.starts_with('"') && is_literal(value.split('"').next().unwrap_or_default())
            })
        })
    })
}

fn maven(text: &str) -> bool {
    text.match_indices("<password>")
        .any(|(at, tag)| is_literal(text[at + tag.len()..].split('<').next().unwrap_or_default()))
}

fn dotenv(text: &str) -> bool {
    lines(text).any(|line| {
        let line = line.strip_prefix("export ").unwrap_or(line);
        line.split_once('=').is_some_and(|(name, value)| {
            names::suspect(name.trim(), value.trim().trim_matches(['"', '\''])).is_some()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(path: &str, text: &str) -> Option<Vec<Secret>> {
        candidate(path, text.len() as u64, 1 << 18).map(|candidate| secrets(candidate, text.as_bytes()))
    }

    #[test]
    fn files_of_credentials_are_told_by_what_they_say() {
        let check = |path: &str, text: &str, expected: bool| {
            let found = look(path, text).unwrap_or_else(|| panic!("{path} is not looked at"));
            let is_credential = matches!(found.as_slice(), [Secret::Credential { .. }]);
            assert_eq!(is_credential, expected, "{path} {text}: {found:?}");
        };
        check("root/.npmrc", "//registry.npmjs.org/:_authToken=abc\n", true);
        check("root/.npmrc", "//registry.npmjs.org/:_authToken=${NPM_TOKEN}\n", false);
        check("app/.npmrc", "registry=https://registry.example.com\n", false);
        check("root/.netrc", "machine h login me password x\n", true);
        check("root/.netrc", "# machine h password x\n", false);
        check("root/.pypirc", "[pypi]\nusername = __token__\npassword = x\n", true);
        check("root/.git-credentials", "https://me:x@github.com\n", true);
        check("root/.docker/config.json", r#"{"auths": {"h": {"auth": "eDp5"}}}"#, true);
        check("root/.docker/config.json", r#"{"auths": {"h": {"auth": ""}}, "credsStore": "x"}"#, false);
        check("home/a/.aws/credentials", "[default]\naws_secret_access_key = x\n", true);
        check("root/.kube/config", "users:\n- name: a\n  user:\n    token: x\n", true);
        check("root/.pgpass", "h:5432:d:u:x\n", true);
        check("root/.m2/settings.xml", "<server><password>x</password></server>", true);
        check("root/.m2/settings.xml", "<server><password>${env.P}</password></server>", false);
        check("root/.cargo/credentials.toml", "[registry]\ntoken = \"x\"\n", true);
        check("app/.env", "PORT=80\nDB_PASSWORD='hunter2'\n", true);
        check("app/.env", "PORT=80\nDB_PASSWORD=\n", false);
    }

    #[test]
    fn only_what_people_write_is_looked_at() {
        for path in [
            "app/config.yaml",
            "etc/ssl/private/server.key",
            "root/.ssh/id_ed25519",
            "etc/ssh/ssh_host_rsa_key",
            "a.pem",
        ] {
            assert!(look(path, "x").is_some(), "{path}");
        }
        assert!(candidate("srv/signing", 1 << 10, 1 << 18).is_some());
        assert!(candidate("usr/bin/bash", 100 << 10, 1 << 18).is_none());
        for path in [
            "usr/share/doc/x.txt",
            "app/node_modules/a/test/key.pem",
            "root/.ssh/id_ed25519.pub",
            "app/main.o",
            "usr/lib/python3/test/keycert.pem",
        ] {
            assert!(look(path, "x").is_none(), "{path}");
        }
        assert!(candidate("app/huge.json", 1 << 20, 1 << 18).is_none());
        assert!(candidate("app/.npmrc", 0, 1 << 18).is_none());
    }
}
