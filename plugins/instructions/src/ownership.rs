//! Reads `--chown` and `--chmod` (§12.6, §12.7), and `USER` as an owner (§13.1).

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::graph::Owner;
use kiln_sdk::wit::instruction_types::Statement;

use crate::findings::Findings;
use crate::statement::nonempty_flag;

/// The owner in `--chown=user[:group]`. With `by_number`, names are an error: there will be no tree to look them up in.
pub(crate) fn chown(statement: &Statement, by_number: bool, findings: &mut Findings) -> Option<Owner> {
    let value = nonempty_flag(statement, "chown")?;
    let text = value.value.as_str();
    if text.matches(':').count() > 1 {
        let message = format!("`{text}` is not an owner");
        let help = "write `--chown=user`, `--chown=user:group` or `--chown=:group`";
        findings.push(Diagnostic::error("invalid-owner", message).at(&value.at).help(help));
        return None;
    }
    let owner = owner(text);
    let names = [&owner.user, &owner.group].into_iter().filter(|part| !is_number(part)).count();
    if by_number && names > 0 {
        let message =
            format!("`--chown={text}` needs numbers, because `--link` makes its layer on an empty tree");
        let help = "there is no /etc/passwd or /etc/group to look names up in: write ids such as `--chown=1000:1000`, or leave out `--link`";
        findings.push(Diagnostic::error("invalid-owner", message).at(&value.at).help(help));
        return None;
    }
    Some(owner)
}

/// `user[:group]`. `root` is 0 whatever the files of the image say, and so is what is not written beside a `:`.
pub(crate) fn owner(text: &str) -> Owner {
    let part = |name: &str| String::from(if name == "root" { "0" } else { name });
    let group = |name: &str| if name.is_empty() { "0".to_owned() } else { part(name) };
    match text.split_once(':') {
        Some((user, name)) => Owner { user: part(user), group: group(name) },
        None => Owner { user: part(text), group: String::new() },
    }
}

fn is_number(part: &str) -> bool {
    part.bytes().all(|byte| byte.is_ascii_digit())
}

/// The mode in `--chmod`, as the engine takes it; empty without the flag.
pub(crate) fn chmod(statement: &Statement, findings: &mut Findings) -> String {
    let Some(value) = nonempty_flag(statement, "chmod") else { return String::new() };
    if !is_mode(&value.value) {
        let message = format!("`{}` is not a file mode", value.value);
        let help = "a mode is octal, 0 to 7777, or symbolic such as `u=rwX,go=rX`";
        findings.push(Diagnostic::error("invalid-mode", message).at(&value.at).help(help));
    }
    value.value.clone()
}

fn is_mode(text: &str) -> bool {
    let octal = text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    if octal {
        return !text.is_empty() && u32::from_str_radix(text, 8).is_ok_and(|mode| mode <= 0o7777);
    }
    text.split(',').all(is_clause)
}

/// `[ugoa]*` and one or more of `+`, `-`, `=` with permissions, or with the class to take them from.
fn is_clause(clause: &str) -> bool {
    let mut rest = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    if rest.is_empty() {
        return false;
    }
    while let Some(after) = rest.strip_prefix(['+', '-', '=']) {
        rest = match after.strip_prefix(['u', 'g', 'o']) {
            Some(after) => after,
            None => after.trim_start_matches(['r', 'w', 'x', 'X', 's', 't']),
        };
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal_or_symbolic() {
        for text in [
            "0",
            "755",
            "0644",
            "7777",
            "00755",
            "u=rwX,go=rX",
            "+x",
            "a-w",
            "ug+rw-x",
            "g=u",
            "u=",
            "o=g,+t",
        ] {
            assert!(is_mode(text), "{text}");
        }
        for text in
            ["", "8", "10000", "0o755", "rwx", "u", "u=rwx,", ",u=r", "u=q", "755,u=r", "+x755", "u rwx"]
        {
            assert!(!is_mode(text), "{text}");
        }
    }

    #[test]
    fn an_owner_is_a_user_a_group_or_both() {
        let check = |text, user: &str, group: &str| {
            assert_eq!(owner(text), Owner { user: user.into(), group: group.into() }, "{text}");
        };
        check("app", "app", "");
        check("1000:1000", "1000", "1000");
        check("root:root", "0", "0");
        check(":staff", "", "staff");
        check("app:", "app", "0");
    }
}
