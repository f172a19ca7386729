//! A plugin away from any build, to be asked what somebody wrote down.

use std::path::Path;
use std::sync::Arc;

use kiln_core::seams::{Services, TreeView};
use kiln_core::{Cancel, Platform};
use serde_json::Value;

use super::fixture::{Ending, Fixture, HostCall};
use super::hooks::{self, AskError};
use super::host::Played;
use super::tape::Tape;
use crate::bridge::serve;
use crate::call::Instance;
use crate::component::Plugin;
use crate::contract;
use crate::error::{CallError, LoadError, PluginId};
use crate::limits::Limits;
use crate::plugins::Host;
use crate::state::Session;
use crate::summary::PluginSummary;

/// A loaded component that takes part in nothing. Every question starts it anew.
pub struct Rehearsal {
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) summary: PluginSummary,
    limits: Limits,
}

/// What came of one question.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub ending: Ending,
    /// What the plugin asked the host, in order.
    pub calls: Vec<HostCall>,
    /// What it asked when it was recorded, and did not now.
    pub unasked: Vec<HostCall>,
    /// Units of work, roughly instructions.
    pub fuel: u64,
    /// Linear memory at the end, in bytes.
    pub memory_bytes: usize,
}

/// A question cannot be put.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    #[error("the record is of {theirs}, and this kiln speaks {ours}")]
    Contract { theirs: String, ours: String },
    #[error("{0}")]
    Question(String),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("cancelled")]
    Cancelled,
}

impl Host {
    /// Loads a plugin for questions alone: whatever it wants, it is given, and whoever asks answers it.
    ///
    /// # Errors
    ///
    /// As [`Host::inspect`].
    pub fn rehearse(&self, file: &Path) -> Result<Rehearsal, LoadError> {
        let (plugin, summary) = self.apart(file)?;
        Ok(Rehearsal { plugin: Arc::new(plugin), summary, limits: self.limits })
    }
}

impl Rehearsal {
    pub fn id(&self) -> &PluginId {
        &self.plugin.id
    }

    /// What it says about itself.
    pub fn summary(&self) -> &PluginSummary {
        &self.summary
    }

    /// Asks what a record has, and answers the plugin's own questions from it.
    ///
    /// # Errors
    ///
    /// When the record is of another contract, has arguments that fit no hook, or nobody waits any more. A plugin that
    /// fails is a [`Reply`].
    pub fn replay(&self, fixture: &Fixture, cancel: &Cancel) -> Result<Reply, RehearsalError> {
        let ours = contract::package();
        if !contract::is_readable(&fixture.contract) {
            return Err(RehearsalError::Contract { theirs: fixture.contract.clone(), ours });
        }
        let tape = Tape::playing(fixture.calls.clone());
        let [reply] =
            self.put(&fixture.hook, &fixture.arguments, &|_| Arc::new(Played), None, [tape], cancel)?;
        Ok(reply)
    }

    /// Asks with arguments as [`Fixture`] has them, and the same again; `services` and `trees` answer the plugin's
    /// questions. As in builds, a component with instructions is one and the same both times, and others start anew.
    ///
    /// # Errors
    ///
    /// As [`Self::replay`].
    pub fn ask_twice(
        &self,
        hook: &str,
        arguments: &[Value],
        trees: &(dyn Fn(u32) -> Arc<dyn TreeView> + Sync),
        services: &dyn Services,
        cancel: &Cancel,
    ) -> Result<[Reply; 2], RehearsalError> {
        if hook.starts_with("instruction.") {
            return self.put(hook, arguments, trees, Some(services), Default::default(), cancel);
        }
        let ask = || self.put(hook, arguments, trees, Some(services), [Tape::default()], cancel);
        let ([first], [second]) = (ask()?, ask()?);
        Ok([first, second])
    }

    /// Asks one component once for each tape.
    fn put<const TIMES: usize>(
        &self,
        hook: &str,
        arguments: &[Value],
        trees: &(dyn Fn(u32) -> Arc<dyn TreeView> + Sync),
        services: Option<&dyn Services>,
        tapes: [Tape; TIMES],
        cancel: &Cancel,
    ) -> Result<[Reply; TIMES], RehearsalError> {
        let plugin = &self.plugin;
        let asked = serve(plugin.component.engine(), services, cancel, |line| {
            let session = Session::open(line, self.limits, Platform::host());
            let mut instance = Instance::start(plugin, &session, 0)?;
            Ok::<_, AskError>(tapes.map(|tape| {
                instance.tape(tape);
                let answer = hooks::ask(&mut instance, hook, arguments, &|number| trees(number));
                let (fuel, memory_bytes) = instance.used();
                let (calls, unasked) = instance.untape();
                (answer, Reply { ending: Ending::Answer(Value::Null), calls, unasked, fuel, memory_bytes })
            }))
        })
        .map_err(|source| LoadError::Thread { source })?;
        let replies = match asked {
            Ok(asked) => asked.map(|(answer, reply)| {
                let ending = answer.map(Ending::Answer).or_else(failed)?;
                Ok(Reply { ending, ..reply })
            }),
            Err(error) => {
                let ending = failed(error)?;
                std::array::from_fn(|_| {
                    Ok(Reply {
                        ending: ending.clone(),
                        calls: Vec::new(),
                        unasked: Vec::new(),
                        fuel: 0,
                        memory_bytes: 0,
                    })
                })
            }
        };
        let replies: Vec<Reply> = replies.into_iter().collect::<Result<_, RehearsalError>>()?;
        Ok(replies.try_into().unwrap_or_else(|_| unreachable!("there is a reply for each tape")))
    }
}

fn failed(error: AskError) -> Result<Ending, RehearsalError> {
    match error {
        AskError::Call(CallError::Cancelled) => Err(RehearsalError::Cancelled),
        AskError::Call(CallError::Failed(error)) => Ok(Ending::Failure(error.failure.to_string())),
        wrong => Err(RehearsalError::Question(wrong.to_string())),
    }
}
