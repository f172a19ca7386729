//! A component that was taken in: what it is called, what it can be asked, and the code.

use std::sync::Arc;

use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre};

use crate::bindings::hooks;
use crate::contract;
use crate::error::{PluginId, Refusal};
use crate::grants::Granted;
use crate::record::Recorder;
use crate::state::State;

/// Ready to be started any number of times.
pub(crate) struct Plugin {
    pub(crate) id: PluginId,
    pub(crate) component: Component,
    pub(crate) pre: InstancePre<State>,
    pub(crate) hooks: Hooks,
    /// It imports what asks registries and servers.
    pub(crate) resolves: bool,
    /// Looked at below the bindings, at each call.
    pub(crate) granted: Granted,
    /// Checked, with defaults.
    pub(crate) options: Vec<(String, String)>,
    /// Names of options whose values are secret.
    pub(crate) sensitive: Vec<String>,
    /// Takes its calls down.
    pub(crate) recorder: Option<Arc<Recorder>>,
}

/// Where in the component the functions of each interface are, for those that it exports.
pub(crate) struct Hooks {
    pub(crate) describe: Option<hooks::describe::GuestIndices>,
    pub(crate) frontend: Option<hooks::frontend::GuestIndices>,
    pub(crate) frontend_check: Option<hooks::frontend_check::GuestIndices>,
    pub(crate) frontend_outline: Option<hooks::frontend_outline::GuestIndices>,
    pub(crate) instruction: Option<hooks::instruction::GuestIndices>,
    pub(crate) derive: Option<hooks::derive::GuestIndices>,
    pub(crate) frontend_detect: Option<hooks::frontend_detect::GuestIndices>,
    pub(crate) frontend_eject: Option<hooks::frontend_eject::GuestIndices>,
    pub(crate) image_transform: Option<hooks::image_transform::GuestIndices>,
    pub(crate) policy_source: Option<hooks::policy_source::GuestIndices>,
    pub(crate) policy_graph: Option<hooks::policy_graph::GuestIndices>,
    pub(crate) policy_exec: Option<hooks::policy_exec::GuestIndices>,
    pub(crate) policy_layer: Option<hooks::policy_layer::GuestIndices>,
    pub(crate) policy_image: Option<hooks::policy_image::GuestIndices>,
    pub(crate) policy_export: Option<hooks::policy_export::GuestIndices>,
}

impl Plugin {
    /// Links the component to what is granted.
    ///
    /// # Errors
    ///
    /// [`Refusal::Newer`] and [`Refusal::Shape`].
    pub(crate) fn link(
        id: PluginId,
        engine: &Engine,
        component: Component,
        granted: Granted,
    ) -> Result<Self, Refusal> {
        let linked = contract::linker(engine, &granted).and_then(|linker| linker.instantiate_pre(&component));
        let pre = match linked {
            Ok(pre) => pre,
            // Only now: built-in components never get here.
            Err(error) => {
                contract::check_functions(&component, engine)?;
                return Err(Refusal::Shape {
                    interface: "an interface".to_owned(),
                    why: format!("{error:#}"),
                });
            }
        };
        let hooks = Hooks::of(&component, &pre)?;
        let resolver = contract::interface("resolver");
        let resolves = component.component_type().imports(engine).any(|(name, _)| *name == resolver);
        Ok(Self {
            id,
            component,
            pre,
            hooks,
            resolves,
            granted,
            options: Vec::new(),
            sensitive: Vec::new(),
            recorder: None,
        })
    }
}

impl Hooks {
    fn of(component: &Component, pre: &InstancePre<State>) -> Result<Self, Refusal> {
        // A hook that is not exported is absent; one that is there in another shape is an error.
        macro_rules! hook {
            ($interface:ident, $name:literal) => {
                match component.get_export_index(None, &contract::interface($name)) {
                    None => None,
                    Some(_) => Some(hooks::$interface::GuestIndices::new(pre).map_err(|error| {
                        Refusal::Shape { interface: contract::interface($name), why: format!("{error:#}") }
                    })?),
                }
            };
        }
        Ok(Self {
            describe: hook!(describe, "describe"),
            frontend: hook!(frontend, "frontend"),
            frontend_check: hook!(frontend_check, "frontend-check"),
            frontend_outline: hook!(frontend_outline, "frontend-outline"),
            instruction: hook!(instruction, "instruction"),
            derive: hook!(derive, "derive"),
            frontend_detect: hook!(frontend_detect, "frontend-detect"),
            frontend_eject: hook!(frontend_eject, "frontend-eject"),
            image_transform: hook!(image_transform, "image-transform"),
            policy_source: hook!(policy_source, "policy-source"),
            policy_graph: hook!(policy_graph, "policy-graph"),
            policy_exec: hook!(policy_exec, "policy-exec"),
            policy_layer: hook!(policy_layer, "policy-layer"),
            policy_image: hook!(policy_image, "policy-image"),
            policy_export: hook!(policy_export, "policy-export"),
        })
    }
}
