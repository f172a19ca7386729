//! Why a step runs again: what its key was made of in the last build beside what it is made of now.

use std::collections::HashSet;

use kiln_core::explain::{FETCHED, SELECTION, difference};
use kiln_core::fileop::FileOpError;
use kiln_core::graph::{Op, SourceOp};
use kiln_core::key::{self, Explainer, InputKey};
use kiln_core::select::Selection;
use kiln_core::{Diagnostic, Digest, Graph, Vertex, VertexId};
use serde::{Deserialize, Serialize};

use crate::error::BuildError;
use crate::request::{BuildFile, ContextLocation};
use crate::resolve::Pinned;
use crate::session::Session;

/// What one step's definition key is made of.
pub(crate) struct StepNote {
    group: String,
    title: String,
    fields: Vec<(String, String)>,
    /// Texts of selections; the selections themselves take three times the memory.
    selected: Vec<String>,
    /// What was found of sources on other machines.
    fetched: Vec<String>,
}

impl StepNote {
    pub(crate) fn new(
        graph: &Graph,
        vertex: &Vertex,
        inputs: &[InputKey],
        selections: Vec<Selection>,
    ) -> Self {
        let mut explainer = Explainer::default();
        key::write_key(vertex, inputs, &mut explainer);
        Self {
            group: vertex.group.clone(),
            title: title(&vertex.name).to_owned(),
            fields: explainer.fields,
            selected: selections.iter().map(Selection::text).collect(),
            fetched: vertex.inputs.iter().filter_map(|input| fetched(&graph[input.vertex].op)).collect(),
        }
    }

    fn kept(&self) -> KeptNote {
        let selected = self.selected.iter().map(|text| (SELECTION.to_owned(), text.clone()));
        let fetched = self.fetched.iter().map(|text| (FETCHED.to_owned(), text.clone()));
        KeptNote {
            group: self.group.clone(),
            title: self.title.clone(),
            fields: selected.chain(fetched).chain(self.fields.iter().cloned()).collect(),
        }
    }
}

/// The beginning of a download's digest or of a repository's commit.
fn fetched(op: &Op) -> Option<String> {
    let whole = match op {
        Op::Source(SourceOp::Http(http)) => http.checksum.as_deref()?,
        Op::Source(SourceOp::Git(git)) => &git.commit,
        _ => return None,
    };
    let digits = whole.split_once(':').map_or(whole, |(_, hex)| hex);
    Some(digits.chars().take(12).collect())
}

/// The notes of a build that did work, as the store keeps them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Notes {
    steps: Vec<KeptNote>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptNote {
    group: String,
    title: String,
    fields: Vec<(String, String)>,
}

/// A step's name without the counter before it: `[build 2/5] RUN make` is `RUN make`.
fn title(name: &str) -> &str {
    match name.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((_, title)) => title,
        None => name,
    }
}

impl Session<'_> {
    /// Under which name this build's notes are kept: that of its context, build file and target.
    fn notes_id(&self) -> Digest {
        let context = match &self.request.context {
            ContextLocation::Directory(root) => {
                std::fs::canonicalize(root).unwrap_or_else(|_| root.clone()).display().to_string()
            }
            ContextLocation::Remote(address) => address.clone(),
            ContextLocation::Empty | ContextLocation::Archive(_) => String::new(),
        };
        let file = match &self.request.build_file {
            BuildFile::Path(path) => path.display().to_string(),
            BuildFile::Remote(address) => address.clone(),
            BuildFile::InContext => self.request.frontend.file.clone(),
            BuildFile::Text { name, .. } => format!("- {name}"),
        };
        Digest::of(format!("kiln notes 1\n{context}\n{file}\n{}", self.request.frontend.target).as_bytes())
    }

    /// Notes of the last build like this one; none is no reason to fail.
    pub(crate) fn last_notes(&self) -> Notes {
        let bytes = self.driver.store.build_notes(&self.notes_id()).ok().flatten();
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Keeps the notes of a build that did work, for the next one to be compared with.
    pub(crate) fn keep_notes(&self, pinned: &Pinned) {
        let notes = Notes { steps: pinned.notes.iter().flatten().map(StepNote::kept).collect() };
        if let Ok(bytes) = serde_json::to_vec(&notes) {
            // Without them the next build only says less.
            let _ = self.driver.store.put_build_notes(&self.notes_id(), &bytes);
        }
    }
}

impl Pinned {
    /// Why a step was not found in the cache, in words; `None` when nothing is known of an earlier build.
    pub(crate) fn reason(&self, id: VertexId) -> Option<String> {
        let vertex = &self.graph[id];
        if vertex.no_lookup {
            return Some("the cache is not to be used".to_owned());
        }
        let now = self.notes[id].as_ref()?;
        if self.before.steps.is_empty() {
            return None;
        }
        let keyword = now.title.split(' ').next().unwrap_or_default();
        let Some(before) = self.pair(id, now) else { return Some(format!("{keyword} is new")) };
        let kept = now.kept();
        Some(match difference(&before.fields, &kept.fields) {
            None => "its result is not in the store".to_owned(),
            Some(why) if why == "the command changed" => format!("{keyword} changed"),
            Some(why) if why == "an earlier step changed" => why,
            Some(why) => format!("{}: {why}", subject(&now.title)),
        })
    }

    /// The step of the last build that this one is: the same text in the same stage, else the one in its place, unless
    /// that has a namesake elsewhere.
    fn pair(&self, id: VertexId, now: &StepNote) -> Option<&KeptNote> {
        let mine = |note: &&StepNote| note.group == now.group;
        let earlier = self.notes[..id].iter().flatten().filter(mine);
        let (place, nth) = earlier
            .fold((0, 0), |(place, nth), note| (place + 1, nth + usize::from(note.title == now.title)));
        let there = self.before.steps.iter().filter(|note| note.group == now.group);
        if let Some(same) = there.clone().filter(|note| note.title == now.title).nth(nth) {
            return Some(same);
        }
        let titles: HashSet<&str> =
            self.notes.iter().flatten().filter(mine).map(|note| &*note.title).collect();
        there.clone().nth(place).filter(|note| !titles.contains(&*note.title))
    }
}

/// Keyword and sources: `COPY src/ /app` is `COPY src/`.
fn subject(title: &str) -> String {
    let mut words: Vec<&str> = title.split_whitespace().collect();
    if matches!(words.first(), Some(&("COPY" | "ADD"))) && words.len() > 2 {
        words.pop();
    }
    let text = words.join(" ");
    match text.char_indices().nth(60) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

/// A file op's error as a finding at the place in the build file that asks for it.
pub(crate) fn file_error(session: &Session<'_>, vertex: &Vertex, error: &FileOpError) -> BuildError {
    if session.cancel.is_cancelled() {
        return BuildError::Cancelled;
    }
    let mut help = error.help();
    let mut message = crate::forms::one_line(error);
    if let FileOpError::SourceNotFound { path, near, excluded: false, .. } = error {
        // A path that was written without a leading slash counts from the root of the stage all the same.
        let words: Vec<&str> = title(&vertex.name).split_whitespace().collect();
        let from_stage = words.iter().any(|word| word.starts_with("--from="));
        if from_stage {
            message = format!(
                "{message} in the stage copied from; paths there count from its root, not from its WORKDIR"
            );
        }
        if let [near, ..] = &near[..]
            && let Some(line) = corrected(&words, path, &near.display())
        {
            help = format!("found at `{}`; write `{line}`", near.display());
        }
    }
    let diagnostic = Diagnostic::error(error.code(), message).at_origin(&vertex.origin).help(help);
    match error {
        FileOpError::Read { .. } => BuildError::Refused(vec![diagnostic]),
        _ => BuildError::wrong(diagnostic),
    }
}

/// The instruction with one source replaced.
fn corrected(words: &[&str], wrong: &str, right: &str) -> Option<String> {
    let plain = |path: &str| path.trim_start_matches("./").trim_matches('/').to_owned();
    let place = words.iter().position(|word| !word.starts_with("--") && plain(word) == plain(wrong))?;
    let mut words = words.to_vec();
    words[place] = right;
    Some(words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_called_by_keyword_and_sources() {
        assert_eq!(title("[build 2/5] RUN make"), "RUN make");
        assert_eq!(title("[ -f x ]"), "[ -f x ]");
        assert_eq!(subject("COPY src/ lib/ /app"), "COPY src/ lib/");
    }

    #[test]
    fn the_corrected_line_has_the_path_that_exists() {
        let words = ["COPY", "--from=buildstage", "hello", "."];
        assert_eq!(
            corrected(&words, "hello", "/go/hello").as_deref(),
            Some("COPY --from=buildstage /go/hello .")
        );
        assert_eq!(corrected(&words, "other", "/x"), None);
    }
}
