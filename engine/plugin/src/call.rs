//! Starts components and calls them, so that whatever goes wrong becomes a sentence that names component and hook.

use std::rc::Rc;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use wasmtime::component::{Instance as Started, Resource};
use wasmtime::{Store, Trap};

use crate::bindings::hooks;
use crate::bridge::HungUp;
use crate::component::Plugin;
use crate::error::{CallError, Failure, PluginError};
use crate::record::{self, Ending, HostCall, Tape};
use crate::state::{Cancelled, MAX_DEPTH, OutOfTime, Session, State, rearm};
use crate::trees::OpenTree;

/// A component in a store of its own. After a failed call it is good for nothing.
pub(crate) struct Instance {
    store: Store<State>,
    started: Started,
}

impl Instance {
    pub(crate) fn start(plugin: &Arc<Plugin>, session: &Rc<Session>, depth: u32) -> Result<Self, CallError> {
        const HOOK: &str = "start";
        if depth > MAX_DEPTH {
            return Err(failed(plugin, HOOK, Failure::Depth(MAX_DEPTH)));
        }
        let mut store = State::store(plugin, session, depth);
        match plugin.pre.instantiate(&mut store) {
            Ok(started) => {
                let id = plugin.id.clone();
                // Where nobody answers nobody wants to know.
                let _ = session.line.tell(move |services| services.used(&id.name, &id.version, &id.digest));
                Ok(Self { store, started })
            }
            Err(error) => Err(explain(&error, &store, HOOK).map_start(plugin)),
        }
    }

    pub(crate) fn set_depth(&mut self, depth: u32) {
        self.store.data_mut().depth = depth;
    }

    pub(crate) fn plugin(&self) -> &Arc<Plugin> {
        &self.store.data().plugin
    }

    pub(crate) fn call<R>(
        &mut self,
        hook: &str,
        call: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, CallError> {
        self.call_as(|| hook.to_owned(), call)
    }

    /// One call, with the whole budget of one. `hook` is asked for words only after a failure.
    pub(crate) fn call_as<R>(
        &mut self,
        hook: impl FnOnce() -> String,
        call: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, CallError> {
        rearm(&mut self.store);
        call(&mut self.store).map_err(|error| explain(&error, &self.store, &hook()))
    }

    /// As [`Self::call`], taken down where the plugin has a recorder. `hook` is its name in records, `arguments` are one
    /// for each parameter; trees among them have been lent in that order, and are numbered from 0.
    pub(crate) fn recorded<R: Serialize>(
        &mut self,
        hook: &str,
        arguments: impl FnOnce() -> Vec<Value>,
        called: impl FnOnce() -> String,
        call: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, CallError> {
        let plugin = Arc::clone(self.plugin());
        let Some(recorder) = &plugin.recorder else { return self.call_as(called, call) };
        let arguments = arguments();
        let answer = self.call_as(called, call);
        let (calls, _) = self.untape();
        self.tape(Tape::default());
        let ending = match &answer {
            Ok(answer) => Ending::Answer(record::write(answer)),
            Err(CallError::Failed(error)) => Ending::Failure(error.failure.to_string()),
            Err(CallError::Cancelled) => return answer,
        };
        recorder.write(&plugin, hook, arguments, calls, ending);
        answer
    }

    /// From here on what passes between plugin and host goes through `tape`.
    pub(crate) fn tape(&mut self, tape: Tape) {
        self.store.data_mut().tape = Some(tape);
    }

    /// What the tape took down, and what it was to play back and did not.
    pub(crate) fn untape(&mut self) -> (Vec<HostCall>, Vec<HostCall>) {
        self.store.data_mut().tape.take().map(|mut tape| tape.take()).unwrap_or_default()
    }

    /// Units of work of the last call, and bytes of linear memory.
    pub(crate) fn used(&self) -> (u64, usize) {
        let state = self.store.data();
        let left = self.store.get_fuel().unwrap_or_default();
        (state.session.limits.fuel.saturating_sub(left), state.meter.used())
    }

    /// Hands a tree over, as an argument of the next call.
    pub(crate) fn lend_next(&mut self, tree: OpenTree) -> Result<Resource<OpenTree>, CallError> {
        let lent = self.lend(tree)?;
        if let Some(tape) = &mut self.store.data_mut().tape {
            tape.opened(lent.rep());
        }
        Ok(lent)
    }

    /// As [`Self::lend_next`], for a tree that has a number already.
    pub(crate) fn lend_tree(&mut self, tree: OpenTree, number: u32) -> Result<Resource<OpenTree>, CallError> {
        let lent = self.lend(tree)?;
        if let Some(tape) = &mut self.store.data_mut().tape {
            tape.numbered(lent.rep(), number);
        }
        Ok(lent)
    }

    /// Hands something over, as an argument of the next call.
    pub(crate) fn lend<T: Send + 'static>(&mut self, it: T) -> Result<Resource<T>, CallError> {
        let pushed = self.store.data_mut().table.push(it);
        pushed.map_err(|error| failed(self.plugin(), "start", Failure::Start(error.to_string())))
    }
}

macro_rules! hook {
    ($($function:ident: $interface:ident, $name:literal;)*) => {
        impl Instance {
            $(pub(crate) fn $function(&mut self) -> Result<hooks::$interface::Guest, CallError> {
                let plugin = Arc::clone(self.plugin());
                let Some(indices) = &plugin.hooks.$interface else {
                    return Err(failed(&plugin, "start", Failure::Missing($name)));
                };
                indices
                    .load(&mut self.store, &self.started)
                    .map_err(|error| failed(&plugin, "start", Failure::Start(format!("{error:#}"))))
            })*
        }
    };
}

hook! {
    describe: describe, "description";
    frontend: frontend, "frontend";
    frontend_check: frontend_check, "check of a frontend";
    frontend_outline: frontend_outline, "outline of a frontend";
    instruction: instruction, "instruction";
    derive: derive, "second half of a derivation";
    frontend_detect: frontend_detect, "detection of a frontend";
    frontend_eject: frontend_eject, "files of a frontend for the user";
    image_transform: image_transform, "transform of images";
    policy_source: policy_source, "policy on sources";
    policy_graph: policy_graph, "policy on graphs";
    policy_exec: policy_exec, "policy on commands";
    policy_layer: policy_layer, "policy on layers";
    policy_image: policy_image, "policy on images";
    policy_export: policy_export, "policy on exports";
}

pub(crate) fn failed(plugin: &Plugin, hook: &str, failure: Failure) -> CallError {
    CallError::Failed(PluginError { plugin: Box::new(plugin.id.clone()), hook: hook.to_owned(), failure })
}

impl CallError {
    /// A trap that is no limit, while starting, is the component's way of not starting.
    fn map_start(self, plugin: &Plugin) -> Self {
        match self {
            Self::Failed(PluginError { failure: Failure::Trap(what), .. }) => {
                failed(plugin, "start", Failure::Start(what))
            }
            other => other,
        }
    }
}

/// What a failed call means. Another component's failure below this call stays that component's.
fn explain(error: &wasmtime::Error, store: &Store<State>, hook: &str) -> CallError {
    if let Some(below) = error.downcast_ref::<CallError>() {
        return below.clone();
    }
    if error.is::<Cancelled>() {
        return CallError::Cancelled;
    }
    let state = store.data();
    let limits = &state.session.limits;
    let failure = if let Some(failure) = error.downcast_ref::<Failure>() {
        failure.clone()
    } else if error.is::<OutOfTime>() {
        Failure::Time { limit: limits.time }
    } else if error.is::<HungUp>() {
        Failure::Uncalled
    } else if state.meter.denied {
        Failure::Memory { limit_bytes: limits.memory_bytes }
    } else {
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => Failure::Fuel { limit: limits.fuel },
            Some(Trap::Interrupt) => Failure::Time { limit: limits.time },
            Some(Trap::StackOverflow) => Failure::Stack,
            _ if !state.used.crash.is_empty() => Failure::Crash(state.used.crash.clone()),
            Some(Trap::MemoryOutOfBounds) if repeats(error) => Failure::Stack,
            Some(trap) => Failure::Trap(sentence(&trap.to_string())),
            None if error.to_string().contains("too much data") => {
                Failure::TooMuch { limit_bytes: limits.copied_bytes }
            }
            None => Failure::Trap(error.root_cause().to_string()),
        }
    };
    failed(&state.plugin, hook, failure)
}

/// Without wasmtime's own way to begin.
fn sentence(trap: &str) -> String {
    trap.strip_prefix("wasm trap: ").unwrap_or(trap).to_owned()
}

/// Whether the innermost frames are all of one function. Guests in most languages keep a stack of their own, which
/// ends in a wild store and not in an overflow.
fn repeats(error: &wasmtime::Error) -> bool {
    const FRAMES: usize = 8;
    let Some(backtrace) = error.downcast_ref::<wasmtime::WasmBacktrace>() else {
        return false;
    };
    let frames = backtrace.frames();
    let first = frames.first().map(wasmtime::FrameInfo::func_index);
    frames.len() >= FRAMES && frames[..FRAMES].iter().all(|frame| Some(frame.func_index()) == first)
}
