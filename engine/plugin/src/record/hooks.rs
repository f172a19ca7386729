//! Asks any hook with arguments that are written down, and writes the answer down.

use std::sync::Arc;

use kiln_core::digest::FileDigest;
use kiln_core::seams::{FileInfo, FileKind, TreeView};
use serde::de::DeserializeOwned;
use serde_json::Value;
use wasmtime::component::Resource;

use super::spelling::{SpellingError, read, write};
use super::tape::tree_number;
use crate::bindings::wit;
use crate::call::Instance;
use crate::component::Plugin;
use crate::error::CallError;
use crate::policy::{Change, ChangeKind};
use crate::trees::{ChangeList, OpenTree};

use wit::frontend_types::BuildRequest;
use wit::graph::{Graph, Output};
use wit::instruction_types::{Invocation, Statement};
use wit::policy_types::{BuildFacts, ExportFacts, ImageFacts, LayerInfo, SourceCheck};

/// Whether a component exports an interface.
type Exported = fn(&Plugin) -> bool;

/// Every hook that can be asked, as records name it.
pub(crate) const HOOKS: [(&str, Exported); 18] = [
    ("describe.describe", |plugin| plugin.hooks.describe.is_some()),
    ("instruction.instructions", |plugin| plugin.hooks.instruction.is_some()),
    ("instruction.validate", |plugin| plugin.hooks.instruction.is_some()),
    ("instruction.apply", |plugin| plugin.hooks.instruction.is_some()),
    ("derive.derive", |plugin| plugin.hooks.derive.is_some()),
    ("frontend.build", |plugin| plugin.hooks.frontend.is_some()),
    ("frontend-check.check", |plugin| plugin.hooks.frontend_check.is_some()),
    ("frontend-outline.list-targets", |plugin| plugin.hooks.frontend_outline.is_some()),
    ("frontend-outline.describe-target", |plugin| plugin.hooks.frontend_outline.is_some()),
    ("frontend-detect.detect", |plugin| plugin.hooks.frontend_detect.is_some()),
    ("frontend-eject.eject", |plugin| plugin.hooks.frontend_eject.is_some()),
    ("policy-source.check-source", |plugin| plugin.hooks.policy_source.is_some()),
    ("policy-graph.check-graph", |plugin| plugin.hooks.policy_graph.is_some()),
    ("policy-exec.check-exec", |plugin| plugin.hooks.policy_exec.is_some()),
    ("policy-layer.check-layer", |plugin| plugin.hooks.policy_layer.is_some()),
    ("policy-image.check-image", |plugin| plugin.hooks.policy_image.is_some()),
    ("policy-export.check-export", |plugin| plugin.hooks.policy_export.is_some()),
    ("image-transform.transform", |plugin| plugin.hooks.image_transform.is_some()),
];

/// Arguments cannot be given to a hook, or it did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("there is no hook `{0}`")]
    UnknownHook(String),
    #[error("`{hook}` takes {wanted} arguments, and there are {found}")]
    Count { hook: String, wanted: usize, found: usize },
    #[error("argument {number} of `{hook}`: {why}")]
    Argument { hook: String, number: usize, why: String },
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Takes arguments off one by one.
struct Arguments<'a> {
    hook: &'a str,
    values: &'a [Value],
    taken: usize,
    trees: &'a dyn Fn(u32) -> Arc<dyn TreeView>,
}

impl<'a> Arguments<'a> {
    fn exactly(&self, wanted: usize) -> Result<(), AskError> {
        if self.values.len() == wanted {
            return Ok(());
        }
        Err(AskError::Count { hook: self.hook.to_owned(), wanted, found: self.values.len() })
    }

    fn wrong(&self, why: impl ToString) -> AskError {
        AskError::Argument { hook: self.hook.to_owned(), number: self.taken, why: why.to_string() }
    }

    fn value(&mut self) -> Result<&'a Value, AskError> {
        let value = self.values.get(self.taken);
        self.taken += 1;
        value.ok_or_else(|| self.wrong("it is missing"))
    }

    fn next<T: DeserializeOwned>(&mut self) -> Result<T, AskError> {
        let value = self.value()?;
        read(value).map_err(|error: SpellingError| self.wrong(error))
    }

    fn tree(&mut self, instance: &mut Instance) -> Result<Resource<OpenTree>, AskError> {
        let value = self.value()?;
        self.lent(value, instance)
    }

    fn lent(&self, value: &Value, instance: &mut Instance) -> Result<Resource<OpenTree>, AskError> {
        let Some(number) = tree_number(value) else {
            return Err(self.wrong("there is something else where a tree belongs, such as {\"tree\": 0}"));
        };
        Ok(instance.lend_tree(OpenTree((self.trees)(number)), number)?)
    }

    fn trees(&mut self, instance: &mut Instance) -> Result<Vec<Resource<OpenTree>>, AskError> {
        let value = self.value()?;
        let Some(trees) = value.as_array() else {
            return Err(self.wrong("there is something else where a list belongs"));
        };
        trees.iter().map(|tree| self.lent(tree, instance)).collect()
    }

    fn named_trees(
        &mut self,
        instance: &mut Instance,
    ) -> Result<Vec<(String, Resource<OpenTree>)>, AskError> {
        let value = self.value()?;
        let pairs: Option<Vec<(&str, &Value)>> = value.as_array().and_then(|pairs| {
            pairs.iter().map(|pair| Some((pair.get(0)?.as_str()?, pair.get(1)?))).collect()
        });
        let Some(pairs) = pairs else {
            return Err(self.wrong("there is something else where named trees belong"));
        };
        pairs.into_iter().map(|(name, tree)| Ok((name.to_owned(), self.lent(tree, instance)?))).collect()
    }

    fn changes(&mut self) -> Result<ChangeList, AskError> {
        let changes: Vec<wit::trees::Change> = self.next()?;
        let changes =
            changes.into_iter().map(|it| change(it).ok_or_else(|| self.wrong("a digest is malformed")));
        Ok(ChangeList(changes.collect::<Result<Vec<_>, _>>()?.into()))
    }
}

/// What the hook answers to arguments, which are one value for each parameter. `trees` has those that arguments name.
///
/// # Errors
///
/// When the arguments do not fit, and when the component fails.
pub(crate) fn ask(
    instance: &mut Instance,
    hook: &str,
    arguments: &[Value],
    trees: &dyn Fn(u32) -> Arc<dyn TreeView>,
) -> Result<Value, AskError> {
    let mut given = Arguments { hook, values: arguments, taken: 0, trees };
    // One line each: how many arguments, how to find the functions, how to call one.
    macro_rules! call {
        ($guest:ident.$function:ident($($argument:ident: $type:ty),*)) => {{
            given.exactly(0 $(+ { let _ = stringify!($argument); 1 })*)?;
            $(let $argument: $type = given.next()?;)*
            let guest = instance.$guest()?;
            let answer = instance.call(hook, |store| guest.$function(store $(, &$argument)*))?;
            write(&answer)
        }};
    }
    Ok(match hook {
        "describe.describe" => call!(describe.call_describe()),
        "instruction.instructions" => call!(instruction.call_instructions()),
        "instruction.validate" => call!(instruction.call_validate(statements: Vec<Statement>)),
        "instruction.apply" => {
            given.exactly(1)?;
            let invocation: Invocation = given.next()?;
            let guest = instance.instruction()?;
            let answer = instance.call(hook, |store| guest.call_apply(store, &invocation))?;
            write(&answer)
        }
        "derive.derive" => {
            given.exactly(2)?;
            let task: String = given.next()?;
            let inputs = given.trees(instance)?;
            let guest = instance.derive()?;
            let answer = instance.call(hook, |store| guest.call_derive(store, &task, &inputs))?;
            write(&answer)
        }
        "frontend.build" => call!(frontend.call_build(request: BuildRequest)),
        "frontend-check.check" => call!(frontend_check.call_check(request: BuildRequest)),
        "frontend-outline.list-targets" => call!(frontend_outline.call_list_targets(request: BuildRequest)),
        "frontend-outline.describe-target" => {
            call!(frontend_outline.call_describe_target(request: BuildRequest))
        }
        "frontend-detect.detect" => {
            given.exactly(1)?;
            let context = given.tree(instance)?;
            let guest = instance.frontend_detect()?;
            write(&instance.call(hook, |store| guest.call_detect(store, context))?)
        }
        "frontend-eject.eject" => call!(frontend_eject.call_eject(request: BuildRequest)),
        "policy-source.check-source" => {
            call!(policy_source.call_check_source(build: BuildFacts, check: SourceCheck))
        }
        "policy-graph.check-graph" => {
            call!(policy_graph.call_check_graph(build: BuildFacts, graph: Graph, roots: Vec<Output>))
        }
        "policy-exec.check-exec" => {
            call!(policy_exec.call_check_exec(build: BuildFacts, graph: Graph, execs: Vec<u32>))
        }
        "policy-layer.check-layer" => {
            given.exactly(4)?;
            let (build, layer): (BuildFacts, LayerInfo) = (given.next()?, given.next()?);
            let changes = given.changes()?;
            let changes = instance.lend(changes)?;
            let root = given.tree(instance)?;
            let guest = instance.policy_layer()?;
            let call = |store: &mut _| guest.call_check_layer(store, &build, &layer, changes, root);
            write(&instance.call(hook, call)?)
        }
        "policy-image.check-image" => {
            given.exactly(3)?;
            let (build, image): (BuildFacts, ImageFacts) = (given.next()?, given.next()?);
            let root = given.tree(instance)?;
            let guest = instance.policy_image()?;
            write(&instance.call(hook, |store| guest.call_check_image(store, &build, &image, root))?)
        }
        "policy-export.check-export" => {
            call!(policy_export.call_check_export(build: BuildFacts, facts: ExportFacts))
        }
        "image-transform.transform" => {
            given.exactly(4)?;
            let (build, image): (BuildFacts, ImageFacts) = (given.next()?, given.next()?);
            let root = given.tree(instance)?;
            let scans = given.named_trees(instance)?;
            let guest = instance.image_transform()?;
            let call = |store: &mut _| guest.call_transform(store, &build, &image, root, &scans);
            write(&instance.call(hook, call)?)
        }
        unknown => return Err(AskError::UnknownHook(unknown.to_owned())),
    })
}

/// As the host has it; nothing when the digest is no digest of a file.
fn change(change: wit::trees::Change) -> Option<Change> {
    let file = change.file;
    let content = match change.content {
        None => None,
        Some(text) => {
            Some(FileDigest(super::spelling::unhex(text.strip_prefix("blake3:")?)?.try_into().ok()?))
        }
    };
    Some(Change {
        kind: match change.kind {
            wit::trees::ChangeKind::Added => ChangeKind::Added,
            wit::trees::ChangeKind::Modified => ChangeKind::Modified,
            wit::trees::ChangeKind::Removed => ChangeKind::Removed,
        },
        file: FileInfo {
            path: file.path,
            kind: match file.kind {
                wit::types::FileKind::Regular => FileKind::Regular,
                wit::types::FileKind::Directory => FileKind::Directory,
                wit::types::FileKind::Symlink => FileKind::Symlink,
                wit::types::FileKind::CharacterDevice => FileKind::CharacterDevice,
                wit::types::FileKind::BlockDevice => FileKind::BlockDevice,
                wit::types::FileKind::Fifo => FileKind::Fifo,
                wit::types::FileKind::Socket => FileKind::Socket,
            },
            size: file.size,
            mode: file.mode,
            uid: file.uid,
            gid: file.gid,
            target: file.target,
        },
        content,
    })
}
