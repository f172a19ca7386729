//! Build files: as lines, and as plans for a host that has next to nothing.

use kiln_dockerfile::host::{Host, Remote};
use kiln_dockerfile::parse::{Keywords, Place, parse as read};
use kiln_dockerfile::scope::StageScope;
use kiln_dockerfile::{answer, arguments, onbuild};
use kiln_instructions::Instructions;
use kiln_sdk::plugin::Instruction;
use kiln_sdk::wit::diagnostics::{Diagnostic, Span};
use kiln_sdk::wit::frontend_types::BuildRequest;
use kiln_sdk::wit::instruction_types::{Descriptor, InstructionError, Invocation, Outcome, Statement};
use kiln_sdk::wit::source_types::{ContextInfo, ImageInfo, ImageRequest};
use kiln_sdk::wit::types::{HostError, Platform};

/// Longer inputs tell nothing that shorter ones do not.
const MAX_BYTES: usize = 1 << 16;

/// Lines, their parts and what is said of them stay within the file.
pub fn parse(text: &str) {
    if text.len() > MAX_BYTES {
        return;
    }
    let keywords = Keywords::new(Instructions::instructions());
    let place = Place { file: "Dockerfile".into(), fixed: None };
    let parsed = read(text, &place, 1, None, &keywords);
    let count = text.split('\n').count() as u32;
    let inside = |span: &Span| assert!((1..=count).contains(&span.start.line) && span.end.line <= count, "{span:?}");
    let scope = StageScope::default();
    let mut held = 0;
    for line in &parsed.lines {
        inside(&line.whole());
        inside(&line.arguments_span());
        let nested = line.nested(parsed.escape);
        inside(&nested.keyword_span());
        held += line.logical.text.len();
        held += line.heredocs.iter().map(|heredoc| heredoc.content.len()).sum::<usize>();
        // What is wrong with the lines themselves has been said by then.
        if line.keyword == "ONBUILD" && parsed.problems.is_empty() {
            let mut problems = Vec::new();
            if onbuild::judge(line, parsed.escape, &keywords, &mut problems).is_some() && parsed.escape == '\\' {
                let trigger = onbuild::trigger(&onbuild::stored(line), &line.whole(), &keywords);
                assert_eq!(trigger.expect("it was judged to be good").keyword, nested.keyword);
            }
        }
        let Some(descriptor) = keywords.get(&line.keyword) else { continue };
        let cut = arguments::cut(line, descriptor, parsed.escape, Some(&scope));
        for argument in &cut.statement.arguments {
            inside(&argument.at);
        }
        cut.problems.iter().filter_map(|problem| problem.primary.as_ref()).for_each(inside);
    }
    assert!(held <= text.len(), "{held} bytes out of {}", text.len());
    parsed.problems.iter().filter_map(|problem| problem.primary.as_ref()).for_each(inside);
}

/// Every file has a plan or an error.
pub fn plan(text: &str) {
    if text.len() > MAX_BYTES {
        return;
    }
    let request = BuildRequest {
        file: String::new(),
        target: String::new(),
        platforms: Vec::new(),
        build_platform: Platform::default(),
        build_args: Vec::new(),
        labels: Vec::new(),
        options: Vec::new(),
        no_cache: Vec::new(),
        secret_ids: Vec::new(),
        ssh_ids: Vec::new(),
    };
    if let Err(failure) = answer::build(&Alone(text), &request) {
        assert!(failure.diagnostics.iter().any(Diagnostic::is_error), "it fails and does not say why");
    }
}

/// A build file, an empty build context, and no images.
struct Alone<'t>(&'t str);

impl Host for Alone<'_> {
    fn build_file(&self, path: &str) -> Result<Option<Vec<u8>>, HostError> {
        Ok((path == "Dockerfile").then(|| self.0.as_bytes().to_vec()))
    }

    fn context_file(&self, _: &str) -> Result<Option<Vec<u8>>, HostError> {
        Ok(None)
    }

    fn context_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn contexts(&self, names: &[String], _: &Platform) -> Vec<Option<ContextInfo>> {
        let main = || ContextInfo {
            name: String::new(),
            kind: "local".to_owned(),
            location: String::new(),
            image: None,
            modified: None,
        };
        names.iter().map(|name| name.is_empty().then(main)).collect()
    }

    fn images(&self, requests: &[ImageRequest]) -> Vec<Result<ImageInfo, HostError>> {
        let missing = || HostError { code: "not-found".to_owned(), message: "there are no images".to_owned() };
        requests.iter().map(|_| Err(missing())).collect()
    }

    fn remote_time(&self, _: &Remote) -> Result<Option<u64>, HostError> {
        Ok(None)
    }

    fn known(&self) -> Vec<Descriptor> {
        Instructions::instructions()
    }

    fn validate(&self, statements: &[Statement]) -> Vec<Diagnostic> {
        Instructions::validate(statements.to_vec())
    }

    fn apply(&self, invocation: &Invocation) -> Vec<Result<Outcome, InstructionError>> {
        let Invocation { stage, statements, .. } = invocation;
        statements.iter().map(|statement| Instructions::apply(statement.clone(), stage, &[])).collect()
    }
}
