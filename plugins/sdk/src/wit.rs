//! The interfaces of `kiln:plugin` as Rust, each type once, whatever kind of plugin uses it.

pub(crate) mod generated {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package kiln:sdk;

            /// All that a host offers and all that a plugin can be. Of the first, a component has what it calls; of
            /// the second, what the macros of `worlds.rs` pick.
            world everything {
                include kiln:plugin/host-offer@0.1.0;
                include kiln:plugin/frontend-plugin-full@0.1.0;
                include kiln:plugin/instruction-plugin@0.1.0;
                include kiln:plugin/policy-plugin@0.1.0;
                include kiln:plugin/transform-plugin@0.1.0;
            }
        ",
        world: "kiln:sdk/everything",
        additional_derives: [Clone, PartialEq],
        pub_export_macro: true,
        generate_all,
    });
}

pub use generated::kiln::plugin::{
    contexts, diagnostics, frontend_types, graph, instruction_types, instructions, policy_types, progress,
    resolver, solver, source_types, trees, types,
};

/// What a plugin says about itself.
pub mod describe {
    pub use super::generated::exports::kiln::plugin::describe::{
        Example, OptionKind, OptionSpec, PluginInfo, Rule,
    };
}

/// What the second half of a `derive-op` answers.
pub mod derive {
    pub use super::generated::exports::kiln::plugin::derive::Derivation;
}

/// What a transform answers.
pub mod image_transform {
    pub use super::generated::exports::kiln::plugin::image_transform::{Changes, Squash};
}
