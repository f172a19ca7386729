//! Hands each instruction to the component that owns its keyword.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use crate::bindings::{hooks, wit};
use crate::call::{Instance, failed};
use crate::component::Plugin;
use crate::convert::{findings, told_pairs};
use crate::error::{CallError, Failure, LoadError, PlanError};
use crate::keywords::Keywords;
use crate::record;
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
            let mut found = live.instance.recorded(
                "instruction.validate",
                record::arguments!(share),
                || "validate".to_owned(),
                |store| guest.call_validate(store, &share),
            )?;
            prefix(&mut found, &registry.plugins[owner].id.name);
            all.append(&mut found);
            self.live.borrow_mut().insert(owner, live);
        }
        Ok(all)
    }

    /// Lines of one stage, each applied by its owner. A component that fails is not used again.
    pub(crate) fn apply(
        self: &Rc<Self>,
        invocation: Invocation,
        depth: u32,
    ) -> wasmtime::Result<Vec<Result<Outcome, InstructionError>>> {
        let registry = self.registry();
        let owner = |statement: &Statement| registry.keywords.owner(&statement.keyword);
        let first = invocation.statements.first().and_then(owner);
        if let Some(first) = first
            && invocation.statements.iter().all(|statement| owner(statement) == Some(first))
        {
            return Ok(self.apply_by(&registry, first, invocation, depth)?);
        }
        let mut shares: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut answers = Vec::with_capacity(invocation.statements.len());
        for (index, statement) in invocation.statements.iter().enumerate() {
            if let Some(owner) = owner(statement) {
                shares.entry(owner).or_default().push(index);
            }
            answers.push(Err(InstructionError::Unknown(registry.keywords.unknown(&statement.keyword))));
        }
        for (owner, share) in shares {
            let statements = share.iter().map(|index| invocation.statements[*index].clone()).collect();
            let invocation = Invocation { statements, ..invocation.clone() };
            for (index, answer) in share.into_iter().zip(self.apply_by(&registry, owner, invocation, depth)?)
            {
                answers[index] = answer;
            }
        }
        Ok(answers)
    }

    /// Lines that all belong to one component.
    fn apply_by(
        self: &Rc<Self>,
        registry: &Registry,
        owner: usize,
        invocation: Invocation,
        depth: u32,
    ) -> Result<Vec<Result<Outcome, InstructionError>>, CallError> {
        let plugin = &registry.plugins[owner];
        // They come from the user, never from a frontend.
        let invocation = Invocation { options: told_pairs(&plugin.options), ..invocation };
        let hook = || called(&invocation.statements);
        let mut live = self.live(owner, depth)?;
        let guest = &live.guest;
        let mut answers =
            live.instance.recorded("instruction.apply", record::arguments!(invocation), hook, |store| {
                guest.call_apply(store, &invocation)
            })?;
        self.live.borrow_mut().insert(owner, live);
        if answers.len() != invocation.statements.len() {
            let fault = format!("{} answers to {} lines", answers.len(), invocation.statements.len());
            return Err(failed(plugin, &hook(), Failure::Answer(fault)));
        }
        for answer in &mut answers {
            match answer {
                Ok(outcome) => {
                    for op in &mut outcome.fragment.ops {
                        if let wit::graph::OpKind::Derive(derive) = &mut op.kind
                            && derive.plugin.is_empty()
                        {
                            derive.plugin = plugin.id.digest.to_string();
                        }
                    }
                    prefix(&mut outcome.diagnostics, &plugin.id.name);
                    for whole in outcome.expansion.iter().filter(|text| text.first_line <= 1) {
                        let (name, text) = (whole.file.clone(), whole.text.clone());
                        // Only messages would miss it, and nobody reads any when the call is over.
                        let _ = self.line.tell(move |services| services.keep_text(&name, &text));
                    }
                }
                Err(InstructionError::Invalid(diagnostics)) => prefix(diagnostics, &plugin.id.name),
                Err(InstructionError::Unknown(_)) => {}
            }
        }
        Ok(answers)
    }
}

fn prefix(diagnostics: &mut [Diagnostic], name: &str) {
    for diagnostic in diagnostics {
        findings::prefix(diagnostic, name);
    }
}

/// What a call is called in messages: by the beginning of its first line.
fn called(statements: &[Statement]) -> String {
    let line = statements.first().and_then(|statement| statement.original.lines().next());
    let line = crate::state::printable(line.unwrap_or_default(), 60);
    match statements.len() {
        0 | 1 => format!("apply({line:?})"),
        several => format!("apply({line:?} and {} more)", several - 1),
    }
}
