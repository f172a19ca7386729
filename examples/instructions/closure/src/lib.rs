//! `CLOSURE --from=build /app/server`: programs with their interpreter and every shared library that they need, and
//! nothing else.
//!
//! The files are read once the stage that has them is done, and never run, so that it works for any platform. All the
//! work is done by the library `kiln-closure`; here is what makes it an instruction.

use kiln_closure::{RULES, Request};
use kiln_sdk::GraphBuilder;
use kiln_sdk::plugin::{Derive, Instruction, Plugin};
use kiln_sdk::wit::derive::Derivation;
use kiln_sdk::wit::describe::{PluginInfo, Rule};
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::graph::{CopyAction, DeriveOp, OpKind};
use kiln_sdk::wit::instruction_types::{
    Argument, Descriptor, FlagSpec, InstructionError, Outcome, Stage, Statement,
};
use kiln_sdk::wit::trees::Tree;
use kiln_sdk::wit::types::Pair;

/// The component.
pub struct Closure;

const USAGE: &str = "CLOSURE [--from=STAGE] [--with=LIBRARY]… FILE… [DESTINATION/]";

/// What one line asks for.
struct Wanted<'s> {
    files: Vec<&'s Argument>,
    destination: Option<&'s Argument>,
}

fn read(statement: &Statement) -> Result<Wanted<'_>, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let mut files: Vec<&Argument> = statement.arguments.iter().collect();
    let destination = match files.last() {
        Some(last) if last.value.ends_with('/') => files.pop(),
        _ => None,
    };
    for file in &files {
        if file.value.ends_with('/') || file.value.is_empty() || file.value.contains('\n') {
            let message = format!("`{}` is no file", file.value);
            let help = "only the last argument may be a directory, which is where the files go";
            problems.push(Diagnostic::error("closure-arguments", message).at(&file.at).help(help));
        }
    }
    if files.is_empty() {
        let problem = Diagnostic::error("closure-arguments", "CLOSURE needs a program or library");
        problems.push(problem.at(&statement.at).help(format!("write `{USAGE}`")));
    }
    for name in statement.flags("with").flat_map(|flag| &flag.values) {
        if name.value.is_empty() || name.value.contains(['/', '\n']) {
            let message = format!("`{}` is no name of a library", name.value);
            let help = "write its name without directories, such as `libnss_sss.so.2`";
            problems.push(Diagnostic::error("closure-arguments", message).at(&name.at).help(help));
        }
    }
    let elsewhere = statement.flag("from").is_some();
    if !elsewhere && destination.is_none() && problems.is_empty() {
        let message = "the files and their libraries are in this stage already";
        let help = "say with `--from` which stage has them, or end with the directory where they go";
        problems.push(Diagnostic::error("closure-arguments", message).at(&statement.at).help(help));
    }
    if problems.is_empty() { Ok(Wanted { files, destination }) } else { Err(problems) }
}

/// An absolute path; relative ones begin at `directory`.
fn absolute(directory: &str, path: &str) -> String {
    match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("{}/{path}", directory.trim_end_matches('/')),
    }
}

impl Plugin for Closure {
    fn describe() -> PluginInfo {
        let own = Rule::error("closure-arguments", "the arguments are not files and at most one directory");
        let rules = RULES.iter().map(|(code, summary, is_error)| match is_error {
            true => Rule::error(code, summary),
            false => Rule::warning(code, summary),
        });
        let text = "FROM gcc AS build\nCOPY main.c .\nRUN cc -o /app main.c\nFROM scratch\nCLOSURE --from=build /app\nCMD [\"/app\"]\n";
        PluginInfo::new(
            "closure",
            env!("CARGO_PKG_VERSION"),
            "brings programs with the shared libraries they need",
        )
        .license("Apache-2.0")
        .rules(rules.chain([own]))
        .example("A program on nothing", text)
    }
}

impl Instruction for Closure {
    fn instructions() -> Vec<Descriptor> {
        vec![
            Descriptor::new("CLOSURE", USAGE, "Copies programs with their interpreter and shared libraries.")
                .flag(FlagSpec::text("from"))
                .flag(FlagSpec::text("with").repeatable()),
        ]
    }

    /// Variables are not expanded here, so a line that has some is judged only when it is applied.
    fn validate(statements: Vec<Statement>) -> Vec<Diagnostic> {
        let constant = statements.iter().filter(|statement| statement.is_constant());
        constant.filter_map(|statement| read(statement).err()).flatten().collect()
    }

    fn apply(statement: Statement, stage: &Stage, _: &[Pair]) -> Result<Outcome, InstructionError> {
        let wanted = read(&statement)?;
        let mut graph = GraphBuilder::new().at(&statement.at, statement.original.as_str());
        let base = stage.has_base.then(|| graph.base());
        let (tree, directory) = match (statement.flag("from"), base) {
            (Some(from), _) => {
                let is_number =
                    !from.value.is_empty() && from.value.bytes().all(|byte| byte.is_ascii_digit());
                (graph.named(&from.value, is_number, &from.at), "/")
            }
            (None, Some(base)) => (base, stage.working_dir.as_str()),
            (None, None) => {
                let problem = Diagnostic::error("closure-arguments", "there are no files in `scratch`");
                return Err(problem.at(&statement.at).help("say with `--from` which stage has them").into());
            }
        };
        let files: Vec<String> = wanted.files.iter().map(|file| absolute(directory, &file.value)).collect();
        let title = format!("libraries of {}", files.join(" "));
        let with = statement.flags("with").flat_map(|flag| &flag.values).map(|it| it.value.clone());
        let into = wanted.destination.map_or("/", |it| it.value.as_str());
        let into = absolute(&stage.working_dir, into);
        let request =
            Request { files, with: with.collect(), architecture: stage.platform.arch.clone(), into };
        let inputs = [Some(tree), base].into_iter().flatten().collect();
        let derive = DeriveOp { plugin: String::new(), task: request.task(), inputs };
        // What is missing of one file is shown at that file.
        let at = match wanted.files[..] {
            [only] => only.at.clone(),
            _ => statement.at.clone(),
        };
        let closure = graph.push_at(OpKind::Derive(derive), vec![at]);
        graph.rename(closure, title);
        let copy = CopyAction { contents_only: true, ..CopyAction::new(closure, vec!["/".into()], "/") };
        let root = graph.copy(base, copy);
        Ok(Outcome::root(graph.finish(), root))
    }
}

impl Derive for Closure {
    fn derive(task: String, inputs: Vec<Tree>) -> Result<Derivation, Vec<Diagnostic>> {
        kiln_closure::derive(&task, &inputs)
    }
}

kiln_sdk::export_deriving_instruction!(Closure);

#[cfg(test)]
mod tests {
    use kiln_sdk::testing;
    use kiln_sdk::wit::graph::{FileAction, Hole};

    use super::*;

    fn statement(text: &str) -> Statement {
        testing::statement(text, &Closure::instructions()[0])
    }

    #[test]
    fn the_closure_of_a_stage_lands_where_the_linker_looks() {
        let stage = Stage { has_base: false, ..testing::stage() };
        let line = "CLOSURE --from=0 --with=libx.so bin/a /b";
        let outcome = Closure::apply(statement(line), &stage, &[]).expect("an outcome");
        let [named, derive, copy] = &outcome.fragment.ops[..] else { panic!("{:?}", outcome.fragment) };
        assert!(
            matches!(&named.kind, OpKind::Hole(Hole::Named(named)) if named.by_number && named.name == "0")
        );
        let OpKind::Derive(derive) = &derive.kind else { panic!() };
        let request = Request::read(&derive.task);
        assert_eq!(request.files, ["/bin/a", "/b"]);
        assert_eq!((request.with.len(), request.architecture.as_str()), (1, "amd64"));
        let OpKind::File(file) = &copy.kind else { panic!() };
        let FileAction::Copy(copy) = &file.actions[0] else { panic!() };
        assert!(file.base.is_none() && copy.dest == "/" && copy.contents_only);
    }

    #[test]
    fn files_of_the_stage_itself_go_into_a_directory() {
        let stage = Stage { working_dir: "/app".into(), ..testing::stage() };
        let outcome = Closure::apply(statement("CLOSURE server /rootfs/"), &stage, &[]).expect("an outcome");
        let OpKind::Derive(derive) = &outcome.fragment.ops[1].kind else { panic!() };
        let request = Request::read(&derive.task);
        assert_eq!((request.files, request.into), (vec!["/app/server".to_owned()], "/rootfs/".to_owned()));
        assert_eq!(derive.inputs.len(), 2, "the files, and what they go onto");
    }

    #[test]
    fn each_mistake_is_shown_where_it_stands() {
        for (text, column) in [
            ("CLOSURE", 1),
            ("CLOSURE --from=build", 1),
            ("CLOSURE /app", 1),
            ("CLOSURE --from=build /a/ /b", 22),
            ("CLOSURE --from=build --with=/x /b", 29),
        ] {
            let found = Closure::validate(vec![statement(text)]);
            let columns: Vec<_> =
                found.iter().map(|it| it.primary.as_ref().map_or(0, |at| at.start.column)).collect();
            assert_eq!(columns, [column], "{text}");
        }
        assert!(Closure::validate(vec![statement("CLOSURE $FILES")]).is_empty());
    }
}
