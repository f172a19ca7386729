//! One build under way: what was asked, what names turned out to mean, and how to look into what is there.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use kiln_core::fileop::{self, FileWorld, Remark, WorldError};
use kiln_core::graph::{CopyAction, FileAction, FileOp, Op, SourceOp, Unpack};
use kiln_core::merged::Merged;
use kiln_core::tree::{Content, Place, Time};
use kiln_core::{
    BlobDigest, Cancel, Diagnostic, Digest, Event, EventSink, FileDigest, LayerId, Platform, Span, Stack,
    Tree, TreePath, Vertex,
};

use kiln_sandbox::Sandbox;

use crate::agent::KeyAgent;
use crate::context::LocalContext;
use crate::early::Early;
use crate::error::BuildError;
use crate::forms::{Forms, lock, one_line};
use crate::frontend::Choice;
use crate::outcome::{SourceTexts, UsedPlugin};
use crate::policy::Policies;
use crate::request::BuildRequest;
use crate::source::git::Commit;
use crate::source::http::Download;
use crate::source::image::PinnedImage;
use crate::source::remote::Found;
use crate::{Driver, archive};

/// Images by what was asked for.
type Images = HashMap<(String, Option<Platform>), Arc<PinnedImage>>;

/// Contexts by name and the ignore patterns of the frontend.
type Contexts = HashMap<(String, Option<Vec<String>>), Arc<LocalContext>>;

/// Everything the passes of one build share.
pub(crate) struct Session<'a> {
    pub(crate) driver: &'a Driver,
    pub(crate) request: &'a BuildRequest,
    pub(crate) sources: &'a SourceTexts,
    pub(crate) events: &'a dyn EventSink,
    pub(crate) cancel: &'a Cancel,
    pub(crate) forms: Forms<'a>,
    pub(crate) plugins: Arc<kiln_plugin::Host>,
    pub(crate) policies: Policies,
    /// Whom to ask for a plan.
    pub(crate) choice: Choice,
    /// Those that were started so far.
    pub(crate) used: Mutex<BTreeMap<Digest, UsedPlugin>>,
    /// When the build began, or its epoch: the time of what kiln itself makes.
    pub(crate) now: Mutex<Time>,
    pub(crate) images: Mutex<Images>,
    pub(crate) manifests: Mutex<HashMap<BlobDigest, Arc<PinnedImage>>>,
    pub(crate) contexts: Mutex<Contexts>,
    /// Agents that hold keys given as files, by id.
    pub(crate) agents: Mutex<HashMap<String, KeyAgent>>,
    /// By address, or by checksum and address.
    pub(crate) downloads: Found<Download>,
    /// By repository and what was asked of it.
    pub(crate) commits: Found<Commit>,
    /// The build has one time for everything it makes.
    pub(crate) has_epoch: AtomicBool,
    /// Seconds since 1970, by commit.
    pub(crate) commit_times: Found<i64>,
    /// The helper of a build with a cgroup of its own.
    own_sandbox: OnceLock<Sandbox>,
    /// That steps share the machine's network has been said.
    pub(crate) told_network: AtomicBool,
    /// A registry or server could not be asked, or would not answer: not the fault of the build file.
    pub(crate) refused: AtomicBool,
    /// What plugins have had built while they plan.
    pub(crate) early: Mutex<Early>,
    /// Vertices that events have told of. Those of a graph follow those of the one before it.
    pub(crate) vertices: AtomicUsize,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        driver: &'a Driver,
        request: &'a BuildRequest,
        sources: &'a SourceTexts,
        events: &'a dyn EventSink,
        cancel: &'a Cancel,
    ) -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Self {
            driver,
            request,
            sources,
            events,
            cancel,
            forms: Forms::new(&driver.store, &driver.registries, events, cancel),
            plugins: driver.host(),
            policies: Policies::new(driver.rules(), &lock(&driver.noticed), now.tv_sec),
            choice: Choice::default(),
            used: Mutex::default(),
            now: Mutex::new(Time {
                seconds: now.tv_sec,
                nanoseconds: u32::try_from(now.tv_nsec).unwrap_or(0),
            }),
            images: Mutex::default(),
            manifests: Mutex::default(),
            contexts: Mutex::default(),
            agents: Mutex::default(),
            downloads: Found::default(),
            commits: Found::default(),
            has_epoch: AtomicBool::new(false),
            commit_times: Found::default(),
            own_sandbox: OnceLock::new(),
            told_network: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            early: Mutex::default(),
            vertices: AtomicUsize::new(0),
        }
    }

    /// The helper that runs this build's steps.
    pub(crate) fn sandbox(&self) -> Result<&Sandbox, BuildError> {
        match &self.request.cgroup_parent {
            None => self.driver.sandbox(),
            Some(parent) => self.driver.started(&self.own_sandbox, Some(parent)),
        }
    }

    pub(crate) fn note_refusal(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    pub(crate) fn now(&self) -> Time {
        *lock(&self.now)
    }

    /// The trees of a stack, base first.
    pub(crate) fn trees(&self, stack: &Stack) -> Result<Vec<Arc<Tree>>, BuildError> {
        stack.0.iter().map(|layer| self.forms.tree(layer)).collect()
    }

    pub(crate) fn merged(&self, stack: &Stack) -> Result<Merged, BuildError> {
        self.forms.merged(stack)
    }

    /// The context that an input is, if it is one.
    pub(crate) fn context_of(
        &self,
        graph: &kiln_core::Graph,
        vertex: &Vertex,
        input: usize,
    ) -> Option<Arc<LocalContext>> {
        match &graph[vertex.inputs[input].vertex].op {
            Op::Source(SourceOp::Context(source)) => {
                lock(&self.contexts).get(&(source.name.clone(), source.ignore.clone())).cloned()
            }
            _ => None,
        }
    }

    /// What file ops of `vertex` may ask.
    pub(crate) fn world(&self, graph: &kiln_core::Graph, vertex: &Vertex) -> World<'_> {
        let contexts = (0..vertex.inputs.len()).map(|input| self.context_of(graph, vertex, input)).collect();
        World { forms: &self.forms, contexts, remarks: Some((self.events, vertex.origin.first().cloned())) }
    }

    /// A context as a layer with all that it holds.
    pub(crate) fn whole_context(&self, context: &LocalContext) -> Result<Stack, BuildError> {
        context.read_below(&["/"])?;
        let merged = context.view();
        Ok(Stack(vec![self.selected_layer(&merged, &TreePath::root(), true)?]))
    }

    /// A layer with what lies at `path`: the contents of a directory at its root, or the file under its own name.
    pub(crate) fn selected_layer(
        &self,
        merged: &Merged,
        path: &TreePath,
        directory: bool,
    ) -> Result<LayerId, BuildError> {
        let copy = CopyAction {
            input: 0,
            paths: vec![String::from_utf8_lossy(path.as_bytes()).into_owned()],
            dest: "/".to_owned(),
            owner: None,
            mode: String::new(),
            include_patterns: Vec::new(),
            exclude_patterns: Vec::new(),
            follow_symlinks: false,
            contents_only: directory,
            create_dest: true,
            allow_wildcard: false,
            allow_empty_wildcard: false,
            unpack: Unpack::Nothing,
            keep_parents: false,
        };
        let op = FileOp { base: None, actions: vec![FileAction::Copy(copy)] };
        let tree = fileop::apply(
            &op,
            &Merged::default(),
            std::slice::from_ref(merged),
            &mut World::alone(&self.forms),
            self.now(),
        )
        .map_err(|error| BuildError::world(format!("could not select `{}`", path.display()), error))?;
        self.forms.keep(tree)
    }
}

/// What file ops may ask while they are evaluated.
pub(crate) struct World<'a> {
    pub(crate) forms: &'a Forms<'a>,
    /// Which of the vertex's inputs are contexts.
    pub(crate) contexts: Vec<Option<Arc<LocalContext>>>,
    /// Who is told of remarks, and where the step was written.
    remarks: Option<(&'a dyn EventSink, Option<Span>)>,
}

impl<'a> World<'a> {
    /// Of no step: no context, and nobody to hear remarks.
    pub(crate) fn alone(forms: &'a Forms<'a>) -> Self {
        Self { forms, contexts: Vec::new(), remarks: None }
    }
}

impl FileWorld for World<'_> {
    fn read(&mut self, content: &Content, limit: u64) -> Result<Vec<u8>, WorldError> {
        let mut bytes = Vec::new();
        self.forms
            .open(None, &TreePath::root(), content)
            .map_err(|error| one_line(&error))?
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| error.to_string())?;
        if bytes.len() as u64 > limit {
            return Err(format!("it has more than {limit} bytes").into());
        }
        Ok(bytes)
    }

    fn digest(&mut self, content: &Content, _size: u64) -> Result<FileDigest, WorldError> {
        if self.forms.cancel.is_cancelled() {
            return Err("interrupted".to_owned().into());
        }
        match &content.place {
            Place::Context { context, path } => {
                self.forms.context(*context).digest(path).map_err(|error| one_line(&error).into())
            }
            _ => unreachable!("a file outside of contexts has no digest"),
        }
    }

    fn unpack(
        &mut self,
        content: &Content,
        _size: u64,
        kind: Unpack,
    ) -> Result<Option<(LayerId, Arc<Tree>)>, WorldError> {
        archive::unpack(self.forms, content, kind).map_err(|error| one_line(&error).into())
    }

    fn excluded(&mut self, input: usize, path: &TreePath) -> bool {
        self.contexts.get(input).and_then(Option::as_ref).is_some_and(|context| context.is_ignored(path))
    }

    fn remark(&mut self, remark: Remark) {
        if let Some((events, span)) = &self.remarks {
            let told = Diagnostic::warning(remark.code(), remark.to_string());
            events.emit(Event::Diagnostic(told.at(span.clone()).help(remark.help())));
        }
    }
}
