//! What this host offers to components and under which capability, and what it asks of them.

use wasmtime::component::types::{Component as ComponentType, ComponentItem};
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Engine, component::Component};

use crate::bindings::wit;
use crate::error::Refusal;
use crate::grants::{Capability, Granted};
use crate::record::{Taped, TapedHost};
use crate::shape::Shape;
use crate::state::State;

/// Version of `kiln:plugin` in `wit/`. The contract promises that later 0.1.x only add.
pub(crate) const VERSION: &str = "0.1.0";
const PACKAGE: &str = "kiln:plugin";

/// One interface that a component may import.
struct Offer {
    interface: &'static str,
    /// What has to be granted; nothing for types, trees and progress.
    capability: Option<Capability>,
    functions: &'static [&'static str],
}

const OFFERS: [Offer; 13] = [
    types("types"),
    types("diagnostics"),
    types("graph"),
    types("source-types"),
    types("instruction-types"),
    types("frontend-types"),
    types("policy-types"),
    Offer {
        interface: "trees",
        capability: None,
        functions: &[
            "[method]tree.read",
            "[method]tree.read-text",
            "[method]tree.stat",
            "[method]tree.real-path",
            "[method]tree.children",
            "[method]tree.glob",
            "[method]tree.hash",
            "[method]change-list.count",
            "[method]change-list.page",
        ],
    },
    Offer { interface: "progress", capability: None, functions: &["log", "crash", "report"] },
    Offer {
        interface: "contexts",
        capability: Some(Capability::Context),
        functions: &["lookup", "names", "open", "open-build-file"],
    },
    Offer {
        interface: "resolver",
        capability: Some(Capability::Resolve),
        functions: &["images", "git", "http"],
    },
    Offer { interface: "solver", capability: Some(Capability::Solve), functions: &["solve"] },
    Offer {
        interface: "instructions",
        capability: Some(Capability::Instructions),
        functions: &["known", "validate", "apply"],
    },
];

const fn types(interface: &'static str) -> Offer {
    Offer { interface, capability: None, functions: &[] }
}

/// Interfaces that a component may export, and the kind of plugin that it is by each.
pub(crate) const HOOKS: [(&str, &str); 13] = [
    ("frontend", "frontend"),
    ("frontend-check", "frontend"),
    ("frontend-outline", "frontend"),
    ("frontend-eject", "frontend"),
    ("frontend-detect", "frontend"),
    ("instruction", "instruction"),
    ("policy-source", "policy"),
    ("policy-graph", "policy"),
    ("policy-exec", "policy"),
    ("policy-layer", "policy"),
    ("policy-image", "policy"),
    ("policy-export", "policy"),
    ("image-transform", "transform"),
];

/// The contract as records name it.
pub(crate) fn package() -> String {
    format!("{PACKAGE}@{VERSION}")
}

/// Whether what was recorded under a contract of this name can be read now.
pub(crate) fn is_readable(contract: &str) -> bool {
    contract.strip_prefix(PACKAGE).and_then(|rest| rest.strip_prefix('@')).is_some_and(fits)
}

/// The name under which an interface of the contract is exported or imported.
pub(crate) fn interface(name: &str) -> String {
    format!("{PACKAGE}/{name}@{VERSION}")
}

/// The interface that a name such as `kiln:plugin/trees@0.1.0` means, if it is one of a version that fits this host.
pub(crate) fn own_interface(name: &str) -> Option<&str> {
    let (package, interface, version) = split(name)?;
    (package == PACKAGE && fits(version)).then_some(interface)
}

fn split(name: &str) -> Option<(&str, &str, &str)> {
    let (path, version) = name.split_once('@').unwrap_or((name, ""));
    let (package, interface) = path.split_once('/')?;
    Some((package, interface, version))
}

/// Any 0.1.x; what a later one has beyond this host's is found by name.
fn fits(version: &str) -> bool {
    version
        .strip_prefix("0.1.")
        .is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether a version is of a contract after 0.1.
fn is_newer(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next(), parts.next()) > (Some(0), Some(1))
}

/// Refuses imports that cannot be had, before anything is compiled.
///
/// # Errors
///
/// [`Refusal::Wasi`], [`Refusal::UnknownImport`], [`Refusal::Contract`], [`Refusal::Newer`].
pub(crate) fn check_imports(shape: &Shape) -> Result<(), Refusal> {
    let wasi: Vec<String> = shape.imports.iter().filter(|name| name.starts_with("wasi:")).cloned().collect();
    if !wasi.is_empty() {
        return Err(Refusal::Wasi { imports: wasi, fix: shape.language.without_wasi() });
    }
    for name in shape.imports.iter().chain(&shape.exports) {
        if let Some((PACKAGE, _, version)) = split(name)
            && !fits(version)
        {
            return Err(Refusal::Contract {
                theirs: version.to_owned(),
                ours: VERSION,
                newer: is_newer(version),
            });
        }
    }
    for name in &shape.imports {
        match own_interface(name) {
            None => return Err(Refusal::UnknownImport { import: name.clone() }),
            Some(interface) if offer(interface).is_none() => {
                return Err(Refusal::Newer { wanted: name.clone(), ours: VERSION });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Refuses a component that is no plugin of any kind.
///
/// # Errors
///
/// [`Refusal::NoDescribe`], [`Refusal::NoHook`].
pub(crate) fn check_exports(shape: &Shape) -> Result<(), Refusal> {
    let exports: Vec<_> = shape.exports.iter().filter_map(|name| own_interface(name)).collect();
    let known = |name: &&str| HOOKS.iter().any(|(hook, _)| hook == name);
    if !exports.iter().any(known) {
        return Err(Refusal::NoHook { exports: shape.exports.clone() });
    }
    if !exports.contains(&"describe") {
        return Err(Refusal::NoDescribe);
    }
    Ok(())
}

/// Refuses functions that only a later 0.1.x has.
///
/// # Errors
///
/// [`Refusal::Newer`].
pub(crate) fn check_functions(component: &Component, engine: &Engine) -> Result<(), Refusal> {
    let ty: ComponentType = component.component_type();
    for (name, import) in ty.imports(engine) {
        let Some(offer) = own_interface(name).and_then(offer) else {
            continue;
        };
        let ComponentItem::ComponentInstance(instance) = import.ty else {
            continue;
        };
        for (function, item) in instance.exports(engine) {
            if matches!(item.ty, ComponentItem::ComponentFunc(_)) && !offer.functions.contains(&function) {
                return Err(Refusal::Newer { wanted: format!("{name}#{function}"), ours: VERSION });
            }
        }
    }
    Ok(())
}

/// What a component asks for by importing it, sorted.
pub(crate) fn capabilities(shape: &Shape) -> Vec<Capability> {
    let mut wanted: Vec<_> =
        shape.imports.iter().filter_map(|name| offer(own_interface(name)?)?.capability).collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

/// What kinds of plugin a component is by what it exports, sorted.
pub(crate) fn kinds(shape: &Shape) -> Vec<&'static str> {
    let exported: Vec<_> = shape.exports.iter().filter_map(|name| own_interface(name)).collect();
    let mut kinds: Vec<_> =
        HOOKS.iter().filter(|(hook, _)| exported.contains(hook)).map(|(_, kind)| *kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

fn offer(interface: &str) -> Option<&'static Offer> {
    OFFERS.iter().find(|offer| offer.interface == interface)
}

/// Links what needs no grant, and of the rest what is granted. A component that is only asked to describe itself gets
/// everything linked and nobody who answers.
pub(crate) fn linker(engine: &Engine, granted: &Granted) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::<State>::new(engine);
    type Own = HasSelf<State>;
    wit::types::add_to_linker::<State, Own>(&mut linker, |state| state)?;
    wit::diagnostics::add_to_linker::<State, Own>(&mut linker, |state| state)?;
    wit::graph::add_to_linker::<State, Own>(&mut linker, |state| state)?;
    wit::source_types::add_to_linker::<State, Own>(&mut linker, |state| state)?;
    wit::instruction_types::add_to_linker::<State, Own>(&mut linker, |state| state)?;
    wit::frontend_types::add_to_linker::<State, Own>(&mut linker, |state| state)?;
    wit::policy_types::add_to_linker::<State, Own>(&mut linker, |state| state)?;
    wit::trees::add_to_linker::<State, TapedHost>(&mut linker, |state| Taped(state))?;
    wit::progress::add_to_linker::<State, Own>(&mut linker, |state| state)?;
    for capability in Capability::ALL.into_iter().filter(|capability| granted.has(*capability)) {
        match capability {
            Capability::Context => {
                wit::contexts::add_to_linker::<State, TapedHost>(&mut linker, |state| Taped(state))?
            }
            Capability::Resolve => {
                wit::resolver::add_to_linker::<State, TapedHost>(&mut linker, |state| Taped(state))?
            }
            Capability::Solve => {
                wit::solver::add_to_linker::<State, TapedHost>(&mut linker, |state| Taped(state))?
            }
            Capability::Instructions => {
                wit::instructions::add_to_linker::<State, TapedHost>(&mut linker, |state| Taped(state))?;
            }
        }
    }
    Ok(linker)
}
