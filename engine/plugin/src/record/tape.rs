//! What passes between a plugin and the host during one call: taken down, or played back.

use std::collections::{HashMap, VecDeque};

use serde::Serialize;
use serde_json::{Value, json};

use super::fixture::HostCall;
use super::spelling::write;
use crate::error::Failure;

/// Belongs to one store; holds what happened since the last call ended.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    /// Taken down so far.
    calls: Vec<HostCall>,
    /// To be played back; absent while the tape takes down.
    expected: Option<VecDeque<HostCall>>,
    /// Which number a tree has, by what the host calls its handle.
    trees: HashMap<u32, u32>,
    next_tree: u32,
}

/// How a tree is written.
pub(crate) fn tree(number: u32) -> Value {
    json!({ "tree": number })
}

/// The number of a tree as it is written.
pub(crate) fn tree_number(value: &Value) -> Option<u32> {
    value.get("tree")?.as_u64()?.try_into().ok()
}

impl Tape {
    pub(crate) fn playing(calls: Vec<HostCall>) -> Self {
        Self { expected: Some(calls.into()), ..Self::default() }
    }

    pub(crate) fn is_playing(&self) -> bool {
        self.expected.is_some()
    }

    /// What was taken down, and of what was to be played back what nobody asked for. Trees are counted anew.
    pub(crate) fn take(&mut self) -> (Vec<HostCall>, Vec<HostCall>) {
        self.trees.clear();
        self.next_tree = 0;
        let left = self.expected.take().map(Vec::from).unwrap_or_default();
        (std::mem::take(&mut self.calls), left)
    }

    /// Gives a tree that the plugin gets the next number.
    pub(crate) fn opened(&mut self, handle: u32) -> Value {
        let number = self.next_tree;
        self.numbered(handle, number);
        tree(number)
    }

    pub(crate) fn numbered(&mut self, handle: u32, number: u32) {
        self.trees.insert(handle, number);
        self.next_tree = self.next_tree.max(number + 1);
    }

    /// The arguments of a question, of one to a tree with the tree first.
    pub(crate) fn arguments<A: Serialize>(&self, asked: &A, of: Option<u32>) -> Vec<Value> {
        let mut arguments: Vec<Value> =
            of.map(|handle| tree(self.trees.get(&handle).copied().unwrap_or(u32::MAX))).into_iter().collect();
        match write(asked) {
            Value::Array(values) => arguments.extend(values),
            value => arguments.push(value),
        }
        arguments
    }

    pub(crate) fn record(&mut self, call: &str, arguments: Vec<Value>, answer: Value) {
        self.calls.push(HostCall { call: call.to_owned(), arguments, answer });
    }

    /// The answer that was given when the same was asked at this point.
    ///
    /// # Errors
    ///
    /// When something else was asked, or nothing more.
    pub(crate) fn play(&mut self, call: &str, arguments: &[Value]) -> Result<Value, Failure> {
        let asked = || format!("`{call}` with {}", Value::from(arguments.to_vec()));
        match self.expected.as_mut().and_then(VecDeque::pop_front) {
            None => Err(Failure::Unrecorded(format!("{}, where the record has no more calls", asked()))),
            Some(known) if known.call != call || known.arguments != arguments => {
                let known = format!("`{}` with {}", known.call, Value::from(known.arguments));
                Err(Failure::Unrecorded(format!("{}, where the record has {known}", asked())))
            }
            Some(known) => {
                self.calls.push(known.clone());
                Ok(known.answer)
            }
        }
    }
}
