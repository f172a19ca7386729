//! Reads the text that an instruction asks to be read in its place.

use std::rc::Rc;

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::instruction_types::{SourceText, Statement};

use super::Evaluation;
use crate::arguments;
use crate::onbuild;
use crate::parse::{OWN, Place, parse};

/// How deep text may ask for more.
const MAX_DEPTH: usize = 8;

impl Evaluation<'_, '_> {
    /// Reads `text` as lines of this stage, after the line `statement`.
    pub(super) fn expansion(&mut self, text: &SourceText, statement: &Statement) {
        if self.depth == MAX_DEPTH {
            let message = format!("{} leads to itself more than {MAX_DEPTH} times", statement.keyword);
            let problem = Diagnostic::error("expansion-too-deep", message).at(&statement.at);
            return self.findings.add(problem.help("break the circle"), None);
        }
        let place = Place { file: Rc::from(text.file.as_str()), fixed: None };
        let parsed =
            parse(&text.text, &place, text.first_line.max(1), Some(self.around.escape), self.around.keywords);
        self.findings.extend(parsed.problems);
        self.depth += 1;
        for line in &parsed.lines {
            if line.keyword == "FROM" {
                let problem = Diagnostic::error(
                    "from-in-expansion",
                    "a stage cannot begin within text that is read in",
                )
                .at(&line.keyword_span())
                .label(&statement.at, "read in here");
                self.findings.add(problem.help("put the stage into the build file"), None);
                continue;
            }
            if line.keyword == "ONBUILD" {
                let mut problems = Vec::new();
                onbuild::judge(line, self.around.escape, self.around.keywords, &mut problems);
                let wrong = problems.iter().any(Diagnostic::is_error);
                self.findings.extend(problems);
                if wrong {
                    continue;
                }
            }
            if !OWN.contains(&line.keyword.as_str())
                && let Some(descriptor) = self.around.keywords.get(&line.keyword)
            {
                let cut = arguments::cut(line, descriptor, self.around.escape, None);
                let problems = self.around.host.validate(&[cut.statement]);
                if cut.problems.is_empty() && problems.iter().any(Diagnostic::is_error) {
                    self.findings.extend(problems);
                    continue;
                }
            }
            self.lines(std::slice::from_ref(line));
        }
        self.depth -= 1;
    }
}
