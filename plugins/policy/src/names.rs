//! Names of variables, arguments and labels whose values are probably secret.

/// Parts of a name, in lower case and between underscores or at the ends of words.
const WORDS: [&str; 14] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "apikey",
    "api_key",
    "api-key",
    "credential",
    "credentials",
    "private_key",
    "access_key",
    "auth",
];

/// Ends of names that say where a secret is, or something about it.
const HARMLESS: [&str; 22] = [
    "file",
    "path",
    "dir",
    "url",
    "uri",
    "endpoint",
    "host",
    "name",
    "id",
    "type",
    "ttl",
    "expiry",
    "length",
    "algorithm",
    "method",
    "provider",
    "sock",
    "enabled",
    "required",
    "mode",
    "version",
    "issuer",
];

/// What a pair of name and value looks like; nothing when it is probably no secret.
pub(crate) fn suspect(name: &str, value: &str) -> Option<&'static str> {
    if !is_secret_name(name) || !is_value(value) {
        return None;
    }
    Some("a secret by its name")
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace(['-', '.'], "_");
    let parts: Vec<&str> = name.split('_').filter(|part| !part.is_empty()).collect();
    let Some(last) = parts.last() else { return false };
    if HARMLESS.contains(last) || parts.contains(&"public") {
        return false;
    }
    // `PWD` and `OLDPWD` are directories.
    if name == "pwd" || name == "oldpwd" {
        return false;
    }
    WORDS.iter().any(|word| {
        let word = word.replace('-', "_");
        match word.split_once('_') {
            Some((first, second)) => parts.windows(2).any(|pair| pair[0] == first && pair[1] == second),
            None => {
                parts.contains(&&*word) || (word.len() > 4 && parts.iter().any(|part| part.ends_with(&word)))
            }
        }
    })
}

/// A flag, a number of few digits, a path or a reference to something else is no secret.
fn is_value(value: &str) -> bool {
    let value = value.trim();
    let is_word = ["", "true", "false", "yes", "no", "on", "off", "none", "null"]
        .iter()
        .any(|word| value.eq_ignore_ascii_case(word));
    let is_placeholder = value.bytes().all(|byte| byte == b'*' || byte == b'x' || byte == b'X')
        || value.starts_with('<') && value.ends_with('>')
        || value.starts_with('$');
    let is_path = value.starts_with('/') || value.starts_with("./") || value.starts_with("~/");
    let is_number = value.len() < 6 && value.bytes().all(|byte| byte.is_ascii_digit());
    !(is_word || is_placeholder || is_path || is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_a_secret_from_its_place() {
        for name in [
            "PASSWORD",
            "DB_PASSWORD",
            "MYSQL_ROOT_PASSWORD",
            "NPM_TOKEN",
            "api_key",
            "API-KEY",
            "AWS_SECRET_ACCESS_KEY",
            "GITHUB_TOKEN",
            "NPM_AUTH",
            "dbpassword",
            "PGPASSWORD",
            "CLIENT_SECRET",
        ] {
            assert!(suspect(name, "hunter2").is_some(), "{name}");
        }
        for name in [
            "PWD",
            "OLDPWD",
            "PASSWORD_FILE",
            "TOKEN_URL",
            "AWS_ACCESS_KEY_ID",
            "SECRET_NAME",
            "PUBLIC_KEY",
            "PUBLIC_TOKEN",
            "AUTHOR",
            "TOKENIZER",
            "SECRETARY",
            "KEYBOARD",
            "SSH_AUTH_SOCK",
            "PATH",
            "AUTH_MODE",
        ] {
            assert_eq!(suspect(name, "hunter2"), None, "{name}");
        }
        for value in ["", "true", "/run/secrets/x", "300", "$TOKEN", "${TOKEN}", "xxxx", "<token>", "***"] {
            assert_eq!(suspect("TOKEN", value), None, "{value}");
        }
    }
}
