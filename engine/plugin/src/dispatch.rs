//! Hands each instruction to the component that owns its keyword.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use crate::bindings::{hooks, wit};
use crate::call::Instance;
use crate::component::Plugin;
use crate::convert::findings;
use crate::error::{CallError, LoadError, PlanError, Refusal};
use crate::state::Session;

use wit::diagnostics::Diagnostic;
use wit::instruction_types::{Descriptor, InstructionError, Invocation, Outcome, Statement};

/// Keywords that a line-oriented build file keeps for itself.
pub(crate) const RESERVED: [&str; 3] = ["FROM", "ARG", "ONBUILD"];

/// Every instruction there is, and whose it is.
#[derive(Default)]
pub(crate) struct Registry {
    plugins: Vec<Arc<Plugin>>,
    keywords: BTreeMap<String, Entry>,
}

struct Entry {
    owner: usize,
    descriptor: Descriptor,
}

/// A started component with instructions.
pub(crate) struct Live {
    instance: Instance,
    guest: hooks::instruction::Guest,
}

impl Registry {
    /// Built-in components come first. A keyword is its first definer's, unless the user prefers another.
    ///
    /// # Errors
    ///
    /// [`Refusal::Keyword`], [`Refusal::Reserved`], [`Refusal::KeywordTaken`], and [`LoadError::Preference`] for a
    /// preference that nothing fits.
    fn new(
        plugins: Vec<(Arc<Plugin>, Vec<Descriptor>)>,
        preferred: &[(String, String)],
    ) -> Result<Self, LoadError> {
        let mut registry = Self::default();
        for (owner, (plugin, descriptors)) in plugins.into_iter().enumerate() {
            for descriptor in descriptors {
                registry
                    .define(owner, &plugin.id.name, descriptor, preferred)
                    .map_err(|refusal| LoadError::Refused { plugin: plugin.id.clone(), refusal })?;
            }
            registry.plugins.push(plugin);
        }
        for (keyword, name) in preferred {
            let fits = |entry: &Entry| registry.plugins[entry.owner].id.name == *name;
            if !registry.keywords.get(keyword).is_some_and(fits) {
                return Err(LoadError::Preference { keyword: keyword.clone(), plugin: name.clone() });
            }
        }
        Ok(registry)
    }

    fn define(
        &mut self,
        owner: usize,
        name: &str,
        descriptor: Descriptor,
        preferred: &[(String, String)],
    ) -> Result<(), Refusal> {
        let keyword = descriptor.keyword.clone();
        if !is_keyword(&keyword) {
            return Err(Refusal::Keyword(keyword));
        }
        if RESERVED.contains(&keyword.as_str()) {
            return Err(Refusal::Reserved(keyword));
        }
        if let Some(entry) = self.keywords.get(&keyword) {
            let wanted = preferred.iter().find(|(of, _)| *of == keyword).map(|(_, name)| name.as_str());
            let owner = &self.plugins[entry.owner].id.name;
            match wanted {
                Some(wanted) if wanted == name => {}
                Some(wanted) if wanted == owner => return Ok(()),
                _ => {
                    return Err(Refusal::KeywordTaken {
                        keyword,
                        owner: owner.clone(),
                        name: name.to_owned(),
                    });
                }
            }
        }
        self.keywords.insert(keyword, Entry { owner, descriptor });
        Ok(())
    }

    /// One entry per keyword, sorted.
    pub(crate) fn known(&self) -> Vec<Descriptor> {
        self.keywords.values().map(|entry| entry.descriptor.clone()).collect()
    }

    fn unknown(&self, keyword: &str) -> String {
        let mut near: Vec<_> = self
            .keywords
            .keys()
            .map(|known| (distance(keyword, known), known))
            .filter(|(distance, known)| *distance <= 2 && *distance < known.len().min(keyword.len()))
            .collect();
        near.sort();
        match near.first() {
            Some((_, known)) => format!("unknown instruction `{keyword}`; did you mean `{known}`?"),
            None => format!("unknown instruction `{keyword}`"),
        }
    }
}

/// `[A-Z][A-Z0-9_]*`.
fn is_keyword(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_uppercase())
        && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// Letters to be changed, added, taken away or swapped with their neighbour to get from one to the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let mut best =
                (above[j] + 1).min(row[j - 1] + 1).min(above[j - 1] + usize::from(a[i - 1] != b[j - 1]));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

impl Session {
    /// Learns who owns which keyword. What is not known of a component yet is asked of it, and the component kept for
    /// the lines that follow.
    pub(crate) fn know(
        self: &Rc<Self>,
        plugins: Vec<(Arc<Plugin>, Option<Vec<Descriptor>>)>,
        preferred: &[(String, String)],
        remembered: &OnceLock<Arc<Registry>>,
    ) -> Result<(), PlanError> {
        let registry = match remembered.get() {
            Some(registry) => Arc::clone(registry),
            None => {
                let mut known = Vec::with_capacity(plugins.len());
                for (owner, (plugin, descriptors)) in plugins.into_iter().enumerate() {
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
            if let Some(entry) = registry.keywords.get(&statement.keyword) {
                shares.entry(entry.owner).or_default().push(statement);
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
        let Some(entry) = registry.keywords.get(keyword) else {
            return Ok(Err(InstructionError::Unknown(registry.unknown(keyword))));
        };
        let owner = entry.owner;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swapped_or_missing_letter_is_one_step() {
        assert_eq!(distance("COPY", "COPY"), 0);
        assert_eq!(distance("CPOY", "COPY"), 1);
        assert_eq!(distance("COPPY", "COPY"), 1);
        assert_eq!(distance("RUN", "COPY"), 4);
        assert_eq!(distance("", "COPY"), 4);
    }
}
