//! Hands each instruction to the component that owns its keyword.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use crate::bindings::{hooks, wit};
use crate::call::Instance;
use crate::component::Plugin;
use crate::convert::findings;
use crate::error::{CallError, LoadError, PlanError};
use crate::keywords::Keywords;
use crate::state::Session;

use wit::diagnostics::Diagnostic;
use wit::instruction_types::{Descriptor, InstructionError, Invocation, Outcome, Statement};

/// Every component with instructions, and which keyword is whose.
#[derive(Default)]
pub(crate) struct Registry {
    plugins: Vec<Arc<Plugin>>,
    keywords: Keywords,
}

/// A component with instructions, and what they are as far as that is known already.
pub(crate) struct Definer {
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) descriptors: Option<Vec<Descriptor>>,
}

/// A started component with instructions.
pub(crate) struct Live {
    instance: Instance,
    guest: hooks::instruction::Guest,
}

impl Registry {
    fn new(
        plugins: Vec<(Arc<Plugin>, Vec<Descriptor>)>,
        preferred: &[(String, String)],
    ) -> Result<Self, LoadError> {
        let mut registry = Self::default();
        for (plugin, descriptors) in plugins {
            registry
                .keywords
                .define(&plugin.id.name, descriptors, preferred)
                .map_err(|refusal| LoadError::Refused { plugin: Box::new(plugin.id.clone()), refusal })?;
            registry.plugins.push(plugin);
        }
        match registry.keywords.unfulfilled(preferred) {
            Some((keyword, plugin)) => Err(LoadError::Preference { keyword, plugin }),
            None => Ok(registry),
        }
    }

    /// One entry per keyword, sorted.
    pub(crate) fn known(&self) -> Vec<Descriptor> {
        self.keywords.known()
    }
}

impl Session {
    /// Learns who owns which keyword. What is not known of a component yet is asked of it, and the component kept for
    /// the lines that follow.
    pub(crate) fn know(
        self: &Rc<Self>,
        definers: Vec<Definer>,
        preferred: &[(String, String)],
        remembered: &OnceLock<Arc<Registry>>,
    ) -> Result<(), PlanError> {
        let registry = match remembered.get() {
            Some(registry) => Arc::clone(registry),
            None => {
                let mut known = Vec::with_capacity(definers.len());
                for (owner, Definer { plugin, descriptors }) in definers.into_iter().enumerate() {
                    let descriptors = match descriptors {
                        Some(descriptors) => descriptors,
                        None => {
                            let mut instance = Instance::start(&plugin, self, 1)?;
                            let guest = instance.instruction()?;
                            let asked =
                                instance.call("instructions", |store| guest.call_instructions(store))?;
                            self.live.borrow_mut().insert(owner, Live { instance, guest });
                            asked
                        }
                    };
                    known.push((plugin, descriptors));
                }
                let registry = Arc::new(Registry::new(known, preferred)?);
                Arc::clone(remembered.get_or_init(|| registry))
            }
        };
        *self.registry.borrow_mut() = registry;
        Ok(())
    }

    fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry.borrow())
    }

    /// Starts the component, or takes the one that served an earlier line. One that calls itself gets a second.
    fn live(self: &Rc<Self>, owner: usize, depth: u32) -> Result<Live, CallError> {
        if let Some(mut live) = self.live.borrow_mut().remove(&owner) {
            live.instance.set_depth(depth);
            return Ok(live);
        }
        let registry = self.registry();
        let mut instance = Instance::start(&registry.plugins[owner], self, depth)?;
        let guest = instance.instruction()?;
        Ok(Live { instance, guest })
    }

    /// Grammar of all lines, each judged by its owner, in the order given within each owner.
    pub(crate) fn validate(
        self: &Rc<Self>,
        statements: Vec<Statement>,
        depth: u32,
    ) -> wasmtime::Result<Vec<Diagnostic>> {
        let registry = self.registry();
        let mut shares: BTreeMap<usize, Vec<Statement>> = BTreeMap::new();
        for statement in statements {
            if let Some(owner) = registry.keywords.owner(&statement.keyword) {
                shares.entry(owner).or_default().push(statement);
            }
        }
        let mut all = Vec::new();
        for (owner, share) in shares {
            let mut live = self.live(owner, depth)?;
            let guest = &live.guest;
            let mut found = live.instance.call("validate", |store| guest.call_validate(store, &share))?;
            prefix(&mut found, &registry.plugins[owner].id.name);
            all.append(&mut found);
            self.live.borrow_mut().insert(owner, live);
        }
        Ok(all)
    }

    /// One line. A component that fails is not used again.
    pub(crate) fn apply(
        self: &Rc<Self>,
        mut invocation: Invocation,
        depth: u32,
    ) -> wasmtime::Result<Result<Outcome, InstructionError>> {
        let registry = self.registry();
        let keyword = &invocation.statement.keyword;
        let Some(owner) = registry.keywords.owner(keyword) else {
            return Ok(Err(InstructionError::Unknown(registry.keywords.unknown(keyword))));
        };
        let id = &registry.plugins[owner].id;
        // Options come from the user's configuration, never from a frontend.
        invocation.options.clear();
        let mut live = self.live(owner, depth)?;
        let guest = &live.guest;
        let answer = live.instance.call_as(
            || format!("apply({:?})", shorten(&invocation.statement.original)),
            |store| guest.call_apply(store, &invocation),
        )?;
        self.live.borrow_mut().insert(owner, live);
        Ok(match answer {
            Ok(mut outcome) => {
                for op in &mut outcome.fragment.ops {
                    if let wit::graph::OpKind::Derive(derive) = &mut op.kind
                        && derive.plugin.is_empty()
                    {
                        derive.plugin = id.digest.to_string();
                    }
                }
                prefix(&mut outcome.diagnostics, &id.name);
                Ok(outcome)
            }
            Err(InstructionError::Invalid(mut diagnostics)) => {
                prefix(&mut diagnostics, &id.name);
                Err(InstructionError::Invalid(diagnostics))
            }
            Err(unknown) => Err(unknown),
        })
    }
}

fn prefix(diagnostics: &mut [Diagnostic], name: &str) {
    for diagnostic in diagnostics {
        findings::prefix(diagnostic, name);
    }
}

/// The beginning of a line, for messages.
fn shorten(line: &str) -> String {
    let first = line.lines().next().unwrap_or_default();
    crate::state::printable(first, 60)
}
