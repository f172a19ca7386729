//! What images are built on.

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::graph::{Graph, MountKind, OpKind, Output};

use crate::findings::listed;
use crate::reference::Reference;
use crate::rules::Code;
use crate::settings::{Settings, Verdict};

/// A finding when an image may not be built on this; `None` is the empty base.
pub(crate) fn judge(settings: &Settings, base: Option<&Reference>) -> Option<Diagnostic> {
    let name = base.map_or_else(|| "scratch".to_owned(), Reference::to_string);
    match settings.bases.judge(|pattern| pattern.matches(base)) {
        Verdict::Fine => None,
        Verdict::Denied(pattern) => Some(
            Code::BaseDenied
                .found(format!("the image is built on `{name}`, which is denied by `{pattern}`"))
                .help("build it on another one"),
        ),
        Verdict::NotAllowed => Some(
            Code::BaseNotAllowed
                .found(format!("the image is built on `{name}`, which is none of those that are allowed"))
                .help(format!("images may be built on {}", listed(&settings.bases.allow))),
        ),
    }
}

/// The image that a filesystem of the graph began as, by index; nothing when it began empty, or when that is not known
/// yet.
pub(crate) fn find(graph: &Graph, root: Output) -> Option<usize> {
    let mut at = root;
    loop {
        let index = at.op as usize;
        let below = match &graph.ops.get(index)?.kind {
            OpKind::Image(_) => return Some(index),
            // A mount other than the first is no base of anything.
            OpKind::Exec(exec) if at.slot == 0 => match &exec.mounts.first()?.kind {
                MountKind::Bind(bind) => bind.input?,
                _ => return None,
            },
            OpKind::File(file) => file.base?,
            OpKind::Merge(layers) => *layers.first()?,
            _ => return None,
        };
        // References go backwards, or there would be no end.
        if below.op >= at.op {
            return None;
        }
        at = below;
    }
}
