//! `ACCOUNT app`: a user with a group and a home directory, and everything that follows runs as that user, there.
//!
//! Base images differ in how one adds a user (`adduser`, `useradd`, nothing at all), so Dockerfiles copy three lines
//! from one another that fit the base they were written for. This instruction needs a shell and `grep`.

use kiln_sdk::GraphBuilder;
use kiln_sdk::plugin::{Instruction, Plugin};
use kiln_sdk::wit::describe::{Example, PluginInfo, Rule};
use kiln_sdk::wit::diagnostics::{Diagnostic, Severity};
use kiln_sdk::wit::graph::ExecOp;
use kiln_sdk::wit::instruction_types::{
    Argument, ArgumentForm, ConfigChange, Descriptor, FlagKind, FlagSpec, HeredocForm, InstructionError,
    Outcome, Split, Stage, Statement,
};
use kiln_sdk::wit::types::Pair;

/// The component.
pub struct Account;

const KEYWORD: &str = "ACCOUNT";
const USAGE: &str = "ACCOUNT [--uid=NUMBER] [--home=PATH] NAME";
const FIRST_UID: u32 = 1000;
/// Above are the numbers of `nobody` and of user namespaces.
const LAST_UID: u32 = 65_533;

/// Name, number and home directory come as arguments, so that nothing in them is shell text.
const SCRIPT: &str = r#"set -eu
if grep -q "^$1:" /etc/passwd 2>/dev/null; then
    echo "there is a user $1 already" >&2
    exit 1
fi
mkdir -p /etc "$3"
echo "$1:x:$2:$2::$3:/bin/sh" >>/etc/passwd
echo "$1:x:$2:" >>/etc/group
chown "$2:$2" "$3""#;

/// What one line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    name: String,
    uid: u32,
    home: String,
}

impl Wanted {
    /// Everything that is wrong with the line, each at its place.
    fn read(statement: &Statement) -> Result<Self, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let name = match &statement.arguments[..] {
            [name] => {
                problems.extend(name_problem(name));
                name.value.clone()
            }
            [] => {
                let problem = Diagnostic::error("account-name", "ACCOUNT needs the name of a user");
                problems.push(problem.at(&statement.at).help(format!("write `{USAGE}`")));
                String::new()
            }
            [_, second, ..] => {
                let problem = Diagnostic::error("account-name", "ACCOUNT makes one user");
                problems.push(problem.at(&second.at).help("write one line for each"));
                String::new()
            }
        };
        let uid = match flag(statement, "uid") {
            None => FIRST_UID,
            Some(value) => match value.value.parse() {
                Ok(uid @ 1..=LAST_UID) => uid,
                _ => {
                    let message = format!("`{}` is no number of a user", value.value);
                    let help = format!("numbers go from 1 to {LAST_UID}");
                    problems.push(Diagnostic::error("account-uid", message).at(&value.at).help(help));
                    FIRST_UID
                }
            },
        };
        let home = match flag(statement, "home") {
            None => format!("/home/{name}"),
            Some(value) => {
                if !value.value.starts_with('/') || value.value.contains([':', '\n']) {
                    let message = format!("`{}` is no home directory", value.value);
                    let help = "write an absolute path without colons";
                    problems.push(Diagnostic::error("account-home", message).at(&value.at).help(help));
                }
                value.value.clone()
            }
        };
        if problems.is_empty() { Ok(Self { name, uid, home }) } else { Err(problems) }
    }
}

fn name_problem(name: &Argument) -> Option<Diagnostic> {
    const LONGEST: usize = 32;
    let text = &name.value;
    let fine = text.len() <= LONGEST
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b));
    if fine {
        return None;
    }
    let problem = Diagnostic::error("account-name", format!("`{text}` is no name of a user"));
    Some(problem.at(&name.at).help("use lower-case letters, digits, `_` and `-`, and begin with a letter"))
}

fn flag<'s>(statement: &'s Statement, name: &str) -> Option<&'s Argument> {
    statement.flag_values.iter().find(|flag| flag.name == name).and_then(|flag| flag.values.first())
}

impl Plugin for Account {
    fn describe() -> PluginInfo {
        let rule = |code: &str, summary: &str| Rule {
            code: code.into(),
            summary: summary.into(),
            url: String::new(),
            severity: Severity::Error,
            experimental: false,
        };
        PluginInfo {
            name: "account".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "adds a user to an image and lets it run there".into(),
            homepage: String::new(),
            license: "Apache-2.0".into(),
            options: Vec::new(),
            rules: vec![
                rule("account-name", "the name of the user is missing or cannot be one"),
                rule("account-uid", "the number of the user cannot be one"),
                rule("account-home", "the home directory is no absolute path"),
            ],
            examples: vec![Example {
                title: "A service that is not root".into(),
                text: "FROM debian\nACCOUNT --uid=1500 app\nCOPY server .\nCMD [\"./server\"]\n".into(),
            }],
        }
    }
}

impl Instruction for Account {
    fn instructions() -> Vec<Descriptor> {
        let text = |name: &str| FlagSpec {
            name: name.into(),
            kind: FlagKind::Text,
            repeatable: false,
            expand: true,
        };
        vec![Descriptor {
            keyword: KEYWORD.into(),
            summary: "Adds a user, and runs what follows as that user in its home directory.".into(),
            usage: USAGE.into(),
            form: ArgumentForm { split: Split::Words, json: false, expand: true },
            heredocs: HeredocForm::Refused,
            flag_specs: vec![text("uid"), text("home")],
            traits: vec!["environment".into()],
        }]
    }

    /// Variables are not expanded here, so a line that has some is judged only when it is applied.
    fn validate(statements: Vec<Statement>) -> Vec<Diagnostic> {
        statements
            .iter()
            .filter(|statement| !statement.original.contains('$'))
            .filter_map(|statement| Wanted::read(statement).err())
            .flatten()
            .collect()
    }

    fn apply(statement: Statement, stage: &Stage, _: &[Pair]) -> Result<Outcome, InstructionError> {
        let Wanted { name, uid, home } = Wanted::read(&statement).map_err(InstructionError::Invalid)?;
        if !stage.has_base {
            let problem =
                Diagnostic::error("account-name", "there is no shell to add a user with in `scratch`");
            let problem =
                problem.at(&statement.at).help("write `USER` with a number, or begin with another image");
            return Err(InstructionError::Invalid(vec![problem]));
        }
        let mut graph = GraphBuilder::new().at(&statement.at, statement.original);
        let base = graph.base();
        let root = graph.exec(
            base,
            ExecOp {
                args: ["/bin/sh", "-c", SCRIPT, "account", &name, &uid.to_string(), &home]
                    .map(String::from)
                    .into(),
                env: stage.environment.clone(),
                cwd: "/".into(),
                user: "0:0".into(),
                network: "none".into(),
                ..ExecOp::default()
            },
        );
        Ok(Outcome {
            fragment: graph.finish(),
            root: Some(root),
            changes: vec![ConfigChange::User(name), ConfigChange::WorkingDir(home)],
            ..Outcome::default()
        })
    }
}

kiln_sdk::export_instruction!(Account);

#[cfg(test)]
mod tests {
    use kiln_sdk::testing;
    use kiln_sdk::wit::diagnostics::Span;
    use kiln_sdk::wit::graph::OpKind;
    use kiln_sdk::wit::instruction_types::FlagValue;

    use super::*;

    fn argument(value: &str) -> Argument {
        Argument {
            key: String::new(),
            value: value.into(),
            original: value.into(),
            heredoc: None,
            at: Span::on_line("Dockerfile", 2, 9, 12),
        }
    }

    fn apply(names: &[&str], flags: &[(&str, &str)]) -> Result<Outcome, InstructionError> {
        let at = Span::on_line("Dockerfile", 2, 1, 12);
        let flag = |(name, value): &(&str, &str)| FlagValue {
            name: (*name).into(),
            values: vec![argument(value)],
            at: at.clone(),
        };
        let statement = Statement {
            keyword: KEYWORD.into(),
            json: false,
            arguments: names.iter().map(|name| argument(name)).collect(),
            flag_values: flags.iter().map(flag).collect(),
            heredocs: Vec::new(),
            original: format!("{KEYWORD} {}", names.join(" ")),
            at: at.clone(),
        };
        Account::apply(statement, &testing::stage(), &[])
    }

    #[test]
    fn the_user_is_made_and_used() {
        let outcome = apply(&["app"], &[("uid", "1500")]).expect("an outcome");
        let changes = [ConfigChange::User("app".into()), ConfigChange::WorkingDir("/home/app".into())];
        assert_eq!(outcome.changes, changes);
        let root = outcome.root.expect("a file system");
        let OpKind::Exec(exec) = &outcome.fragment.ops[root.op as usize].kind else { panic!("no command") };
        assert_eq!(exec.args[4..], ["app", "1500", "/home/app"]);
    }

    #[test]
    fn each_mistake_has_its_code() {
        for (names, flags, code) in [
            (&[][..], &[][..], "account-name"),
            (&["a", "b"], &[], "account-name"),
            (&["Root User"], &[], "account-name"),
            (&["app"], &[("uid", "0")], "account-uid"),
            (&["app"], &[("uid", "many")], "account-uid"),
            (&["app"], &[("home", "here")], "account-home"),
        ] {
            let Err(InstructionError::Invalid(problems)) = apply(names, flags) else {
                panic!("{names:?} {flags:?}");
            };
            assert_eq!(problems.iter().map(|problem| &*problem.code).collect::<Vec<_>>(), [code]);
            assert!(problems[0].primary.is_some());
        }
    }
}
