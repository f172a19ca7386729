//! Stands between plugins and the host's functions while somebody takes down what passes, or plays it back.

use std::sync::Arc;

use kiln_core::seams::{FileInfo, HostError, TreeView};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use wasmtime::component::{HasData, Resource};

use super::spelling::{SpellingError, read, write};
use super::tape::tree_number;
use crate::bindings::wit;
use crate::error::Failure;
use crate::state::State;
use crate::trees::{ChangeList, OpenTree};

use wit::instruction_types::{Descriptor, InstructionError, Invocation, Outcome, Statement};
use wit::source_types::{ContextInfo, GitInfo, HttpInfo, ImageInfo, ImageRequest};

/// [`Taped`] as wasmtime wants to have it named.
pub(crate) struct TapedHost;

impl HasData for TapedHost {
    type Data<'a> = Taped<'a>;
}

/// The host's functions, through a tape when there is one.
pub(crate) struct Taped<'a>(pub(crate) &'a mut State);

type HostResult<T> = Result<T, wit::types::HostError>;

impl Taped<'_> {
    fn pass<A: Serialize, R: Serialize + DeserializeOwned>(
        &mut self,
        call: &str,
        of: Option<u32>,
        asked: A,
        work: impl FnOnce(&mut State, A) -> wasmtime::Result<R>,
    ) -> wasmtime::Result<R> {
        let Some(tape) = &mut self.0.tape else { return work(self.0, asked) };
        let arguments = tape.arguments(&asked, of);
        if tape.is_playing() {
            let answer = tape.play(call, &arguments)?;
            return Ok(read(&answer).map_err(|error| malformed(call, &error))?);
        }
        let answer = work(self.0, asked)?;
        if let Some(tape) = &mut self.0.tape {
            tape.record(call, arguments, write(&answer));
        }
        Ok(answer)
    }

    /// As [`Self::pass`], for what opens trees.
    fn open<A: Serialize>(
        &mut self,
        call: &str,
        asked: A,
        work: impl FnOnce(&mut State, A) -> wasmtime::Result<HostResult<Vec<Resource<OpenTree>>>>,
    ) -> wasmtime::Result<HostResult<Vec<Resource<OpenTree>>>> {
        let Some(tape) = &mut self.0.tape else { return work(self.0, asked) };
        let arguments = tape.arguments(&asked, None);
        if tape.is_playing() {
            let answer = tape.play(call, &arguments)?;
            return self.reopen(call, &answer);
        }
        let opened = work(self.0, asked)?;
        if let Some(tape) = &mut self.0.tape {
            let answer = match &opened {
                Ok(handles) => {
                    json!({ "ok": handles.iter().map(|handle| tape.opened(handle.rep())).collect::<Vec<_>>() })
                }
                Err(error) => json!({ "err": write(error) }),
            };
            tape.record(call, arguments, answer);
        }
        Ok(opened)
    }

    /// Handles for trees that are played back.
    fn reopen(
        &mut self,
        call: &str,
        answer: &Value,
    ) -> wasmtime::Result<HostResult<Vec<Resource<OpenTree>>>> {
        if let Some(error) = answer.get("err") {
            return Ok(Err(read(error).map_err(|error| malformed(call, &error))?));
        }
        let numbers = answer.get("ok").and_then(Value::as_array);
        let numbers: Option<Vec<u32>> = numbers.and_then(|trees| trees.iter().map(tree_number).collect());
        let Some(numbers) = numbers else {
            return Err(Failure::Unrecorded(format!("`{call}`, whose recorded answer names no trees")).into());
        };
        let mut handles = Vec::with_capacity(numbers.len());
        for number in numbers {
            let handle = self.0.table.push(OpenTree(Arc::new(Played)))?;
            if let Some(tape) = &mut self.0.tape {
                tape.numbered(handle.rep(), number);
            }
            handles.push(handle);
        }
        Ok(Ok(handles))
    }
}

fn malformed(call: &str, error: &SpellingError) -> Failure {
    Failure::Unrecorded(format!("`{call}`, whose recorded answer is malformed: {error}"))
}

fn one(opened: HostResult<Vec<Resource<OpenTree>>>) -> wasmtime::Result<HostResult<Resource<OpenTree>>> {
    match opened.map(|mut handles| handles.pop()) {
        Ok(Some(handle)) => Ok(Ok(handle)),
        Ok(None) => Err(Failure::Unrecorded("a tree, whose recorded answer has none".to_owned()).into()),
        Err(error) => Ok(Err(error)),
    }
}

fn single(
    opened: wasmtime::Result<HostResult<Resource<OpenTree>>>,
) -> wasmtime::Result<HostResult<Vec<Resource<OpenTree>>>> {
    Ok(opened?.map(|handle| vec![handle]))
}

/// A tree of which only what is on the tape is known: it is never looked at itself.
pub(super) struct Played;

fn nothing<T>() -> Result<T, HostError> {
    Err(HostError::new("other", "this tree was recorded, and is not there"))
}

impl TreeView for Played {
    fn read(&self, _: &str, _: u64, _: usize) -> Result<Vec<u8>, HostError> {
        nothing()
    }
    fn stat(&self, _: &str) -> Result<FileInfo, HostError> {
        nothing()
    }
    fn real_path(&self, _: &str) -> Result<String, HostError> {
        nothing()
    }
    fn children(&self, _: &str) -> Result<Vec<FileInfo>, HostError> {
        nothing()
    }
    fn glob(&self, _: &[String], _: usize) -> Result<Vec<FileInfo>, HostError> {
        nothing()
    }
    fn hash(&self, _: &str) -> Result<String, HostError> {
        nothing()
    }
}

impl wit::contexts::Host for Taped<'_> {
    fn lookup(
        &mut self,
        names: Vec<String>,
        platform: wit::types::Platform,
    ) -> wasmtime::Result<Vec<Option<ContextInfo>>> {
        self.pass("contexts.lookup", None, (names, platform), |state, (names, platform)| {
            wit::contexts::Host::lookup(state, names, platform)
        })
    }

    fn names(&mut self) -> wasmtime::Result<Vec<String>> {
        self.pass("contexts.names", None, [(); 0], |state, _| wit::contexts::Host::names(state))
    }

    fn open(
        &mut self,
        source: wit::graph::ContextSource,
    ) -> wasmtime::Result<HostResult<Resource<OpenTree>>> {
        let opened = Taped::open(self, "contexts.open", (source,), |state, (source,)| {
            single(wit::contexts::Host::open(state, source))
        })?;
        one(opened)
    }

    fn open_build_file(&mut self) -> wasmtime::Result<HostResult<Resource<OpenTree>>> {
        let opened = Taped::open(self, "contexts.open-build-file", [(); 0], |state, _| {
            single(wit::contexts::Host::open_build_file(state))
        })?;
        one(opened)
    }
}

impl wit::resolver::Host for Taped<'_> {
    fn images(&mut self, requests: Vec<ImageRequest>) -> wasmtime::Result<Vec<HostResult<ImageInfo>>> {
        self.pass("resolver.images", None, (requests,), |state, (requests,)| {
            wit::resolver::Host::images(state, requests)
        })
    }

    fn git(&mut self, requests: Vec<wit::graph::GitSource>) -> wasmtime::Result<Vec<HostResult<GitInfo>>> {
        self.pass("resolver.git", None, (requests,), |state, (requests,)| {
            wit::resolver::Host::git(state, requests)
        })
    }

    fn http(&mut self, requests: Vec<wit::graph::HttpSource>) -> wasmtime::Result<Vec<HostResult<HttpInfo>>> {
        self.pass("resolver.http", None, (requests,), |state, (requests,)| {
            wit::resolver::Host::http(state, requests)
        })
    }
}

impl wit::solver::Host for Taped<'_> {
    fn solve(
        &mut self,
        graph: wit::graph::Graph,
        outputs: Vec<wit::graph::Output>,
    ) -> wasmtime::Result<HostResult<Vec<Resource<OpenTree>>>> {
        Taped::open(self, "solver.solve", (graph, outputs), |state, (graph, outputs)| {
            wit::solver::Host::solve(state, graph, outputs)
        })
    }
}

impl wit::instructions::Host for Taped<'_> {
    fn known(&mut self) -> wasmtime::Result<Vec<Descriptor>> {
        self.pass("instructions.known", None, [(); 0], |state, _| wit::instructions::Host::known(state))
    }

    fn validate(
        &mut self,
        statements: Vec<Statement>,
    ) -> wasmtime::Result<Vec<wit::diagnostics::Diagnostic>> {
        self.pass("instructions.validate", None, (statements,), |state, (statements,)| {
            wit::instructions::Host::validate(state, statements)
        })
    }

    fn apply(&mut self, invocation: Invocation) -> wasmtime::Result<Vec<Result<Outcome, InstructionError>>> {
        self.pass("instructions.apply", None, (invocation,), |state, (invocation,)| {
            wit::instructions::Host::apply(state, invocation)
        })
    }
}

impl wit::trees::Host for Taped<'_> {}

type Seen<T> = wasmtime::Result<HostResult<T>>;

impl wit::trees::HostTree for Taped<'_> {
    fn read(&mut self, tree: Resource<OpenTree>, path: String, offset: u32, max: u32) -> Seen<Vec<u8>> {
        self.pass("tree.read", Some(tree.rep()), (path, offset, max), |state, (path, offset, max)| {
            wit::trees::HostTree::read(state, tree, path, offset, max)
        })
    }

    fn read_text(&mut self, tree: Resource<OpenTree>, path: String) -> Seen<String> {
        self.pass("tree.read-text", Some(tree.rep()), (path,), |state, (path,)| {
            wit::trees::HostTree::read_text(state, tree, path)
        })
    }

    fn stat(&mut self, tree: Resource<OpenTree>, path: String) -> Seen<wit::types::FileInfo> {
        self.pass("tree.stat", Some(tree.rep()), (path,), |state, (path,)| {
            wit::trees::HostTree::stat(state, tree, path)
        })
    }

    fn real_path(&mut self, tree: Resource<OpenTree>, path: String) -> Seen<String> {
        self.pass("tree.real-path", Some(tree.rep()), (path,), |state, (path,)| {
            wit::trees::HostTree::real_path(state, tree, path)
        })
    }

    fn children(&mut self, tree: Resource<OpenTree>, path: String) -> Seen<Vec<wit::types::FileInfo>> {
        self.pass("tree.children", Some(tree.rep()), (path,), |state, (path,)| {
            wit::trees::HostTree::children(state, tree, path)
        })
    }

    fn glob(
        &mut self,
        tree: Resource<OpenTree>,
        patterns: Vec<String>,
        limit: u32,
    ) -> Seen<Vec<wit::types::FileInfo>> {
        self.pass("tree.glob", Some(tree.rep()), (patterns, limit), |state, (patterns, limit)| {
            wit::trees::HostTree::glob(state, tree, patterns, limit)
        })
    }

    fn hash(&mut self, tree: Resource<OpenTree>, path: String) -> Seen<String> {
        self.pass("tree.hash", Some(tree.rep()), (path,), |state, (path,)| {
            wit::trees::HostTree::hash(state, tree, path)
        })
    }

    fn drop(&mut self, tree: Resource<OpenTree>) -> wasmtime::Result<()> {
        wit::trees::HostTree::drop(self.0, tree)
    }
}

/// A list of changes is an argument, and written whole as one.
impl wit::trees::HostChangeList for Taped<'_> {
    fn count(&mut self, list: Resource<ChangeList>) -> wasmtime::Result<u32> {
        wit::trees::HostChangeList::count(self.0, list)
    }

    fn page(
        &mut self,
        list: Resource<ChangeList>,
        start: u32,
        limit: u32,
    ) -> wasmtime::Result<Vec<wit::trees::Change>> {
        wit::trees::HostChangeList::page(self.0, list, start, limit)
    }

    fn drop(&mut self, list: Resource<ChangeList>) -> wasmtime::Result<()> {
        wit::trees::HostChangeList::drop(self.0, list)
    }
}
