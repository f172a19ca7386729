//! The kinds of component there are, and the macro for each that makes a Rust type one.

use core::marker::PhantomData;

use crate::wit::generated::exports::kiln::plugin as exports;
use crate::wit::{
    derive::Derivation,
    describe::PluginInfo,
    diagnostics::Diagnostic,
    frontend_types::{BuildFailure, BuildRequest, BuildResult, Detection, Outline, TargetInfo, TextFile},
    graph::{Graph, Output},
    image_transform::Changes,
    instruction_types::{Descriptor, InstructionError, Invocation, Outcome, Statement},
    policy_types::{BuildFacts, ExecVerdict, ExportFacts, ImageFacts, LayerInfo, SourceCheck, SourceVerdict},
    trees::{ChangeList, Tree},
};
use crate::{crash, plugin};

/// Stands between the host and the plugin type `T`: every entry makes panics readable first.
#[doc(hidden)]
pub struct Guarded<T>(PhantomData<T>);

macro_rules! guard {
    ($($interface:ident as $role:ident {
        $(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*
    })*) => {$(
        impl<T: plugin::$role> exports::$interface::Guest for Guarded<T> {
            $(fn $name($($argument: $type),*) -> $result {
                crash::install();
                T::$name($($argument),*)
            })*
        }
    )*};
}

guard! {
    describe as Plugin {
        fn describe() -> PluginInfo;
    }
    derive as Derive {
        fn derive(task: String, inputs: Vec<Tree>) -> Result<Derivation, Vec<Diagnostic>>;
    }
    frontend as Frontend {
        fn build(request: BuildRequest) -> Result<BuildResult, BuildFailure>;
    }
    frontend_check as Check {
        fn check(request: BuildRequest) -> Vec<Diagnostic>;
    }
    frontend_outline as Outline {
        fn list_targets(request: BuildRequest) -> Result<Vec<TargetInfo>, BuildFailure>;
        fn describe_target(request: BuildRequest) -> Result<Outline, BuildFailure>;
    }
    frontend_detect as Detect {
        fn detect(context: &Tree) -> Detection;
    }
    frontend_eject as Eject {
        fn eject(request: BuildRequest) -> Result<Vec<TextFile>, BuildFailure>;
    }
    policy_source as SourcePolicy {
        fn check_source(build: BuildFacts, check: SourceCheck) -> SourceVerdict;
    }
    policy_graph as GraphPolicy {
        fn check_graph(build: BuildFacts, graph: Graph, roots: Vec<Output>) -> Vec<Diagnostic>;
    }
    policy_exec as ExecPolicy {
        fn check_exec(build: BuildFacts, graph: Graph, execs: Vec<u32>) -> Vec<ExecVerdict>;
    }
    policy_layer as LayerPolicy {
        fn check_layer(build: BuildFacts, layer: LayerInfo, changes: &ChangeList, root: &Tree) -> Vec<Diagnostic>;
    }
    policy_image as ImagePolicy {
        fn check_image(build: BuildFacts, image: ImageFacts, root: &Tree) -> Vec<Diagnostic>;
    }
    policy_export as ExportPolicy {
        fn check_export(build: BuildFacts, facts: ExportFacts) -> Vec<Diagnostic>;
    }
    image_transform as Transform {
        fn transform(build: BuildFacts, image: ImageFacts, root: &Tree, scans: Vec<(String, Tree)>)
            -> Result<Changes, Vec<Diagnostic>>;
    }
}

impl<T: plugin::Instruction> exports::instruction::Guest for Guarded<T> {
    fn instructions() -> Vec<Descriptor> {
        crash::install();
        T::instructions()
    }

    fn validate(statements: Vec<Statement>) -> Vec<Diagnostic> {
        crash::install();
        T::validate(statements)
    }

    fn apply(invocation: Invocation) -> Vec<Result<Outcome, InstructionError>> {
        crash::install();
        let Invocation { stage, statements, options } = invocation;
        statements.into_iter().map(|statement| T::apply(statement, &stage, &options)).collect()
    }
}

/// The functions that the component ABI calls, per interface. Called by the macros below and not by plugins.
#[doc(hidden)]
pub mod abi {
    pub use crate::wit::generated::exports::kiln::plugin::{
        derive, describe, frontend, frontend_check, frontend_detect, frontend_eject, frontend_outline,
        image_transform, instruction, policy_exec, policy_export, policy_graph, policy_image, policy_layer,
        policy_source,
    };
}

// Defines one export macro and the encoded world that goes with it. `$d` is a dollar sign.
macro_rules! world {
    ($d:tt $(#[$doc:meta])* $name:ident, $world:ident = $file:literal: $($interface:ident $abi:ident)*) => {
        #[doc(hidden)]
        pub const $world: [u8; include_bytes!(concat!(env!("OUT_DIR"), $file)).len()] =
            *include_bytes!(concat!(env!("OUT_DIR"), $file));

        $(#[$doc])*
        #[macro_export]
        macro_rules! $name {
            ($d component:ty) => {
                // The names of the exports mean nothing to a native linker, and native tests call the traits.
                #[cfg(target_family = "wasm")]
                const _: () = {
                    type Exported = $d crate::worlds::Guarded<$d component>;
                    $($d crate::$abi!(Exported with_types_in $d crate::worlds::abi::$interface);)*

                    #[unsafe(link_section = concat!("component-type:kiln-sdk", $file))]
                    static WORLD: [u8; $d crate::worlds::$world.len()] = $d crate::worlds::$world;
                };
            };
        }
    };
}

world! { $
    /// Makes the crate a component of the world `instruction-plugin`: an instruction that sees its arguments and the
    /// stage, nothing else. The type implements [`Plugin`](crate::plugin::Plugin) and
    /// [`Instruction`](crate::plugin::Instruction).
    export_instruction, INSTRUCTION = "/instruction-plugin.world":
        describe __export_kiln_plugin_describe_0_1_0_cabi
        instruction __export_kiln_plugin_instruction_0_1_0_cabi
}

world! { $
    /// As [`export_instruction!`](crate::export_instruction) for an instruction that also sees finished files when they
    /// are there: world `deriving-instruction-plugin`. The type implements [`Derive`](crate::plugin::Derive) as well.
    export_deriving_instruction, DERIVING_INSTRUCTION = "/deriving-instruction-plugin.world":
        describe __export_kiln_plugin_describe_0_1_0_cabi
        instruction __export_kiln_plugin_instruction_0_1_0_cabi
        derive __export_kiln_plugin_derive_0_1_0_cabi
}

world! { $
    /// As [`export_instruction!`](crate::export_instruction) for an instruction that reads the build context through
    /// [`contexts`](crate::wit::contexts): world `reading-instruction-plugin`.
    export_reading_instruction, READING_INSTRUCTION = "/reading-instruction-plugin.world":
        describe __export_kiln_plugin_describe_0_1_0_cabi
        instruction __export_kiln_plugin_instruction_0_1_0_cabi
}

world! { $
    /// Makes the crate a component of the world `frontend-plugin`. The type implements
    /// [`Plugin`](crate::plugin::Plugin) and [`Frontend`](crate::plugin::Frontend).
    export_frontend, FRONTEND = "/frontend-plugin.world":
        describe __export_kiln_plugin_describe_0_1_0_cabi
        frontend __export_kiln_plugin_frontend_0_1_0_cabi
}

world! { $
    /// As [`export_frontend!`](crate::export_frontend), for a type that implements [`Check`](crate::plugin::Check) and
    /// [`Outline`](crate::plugin::Outline) as well.
    export_checking_frontend, CHECKING_FRONTEND = "/checking-frontend-plugin.world":
        describe __export_kiln_plugin_describe_0_1_0_cabi
        frontend __export_kiln_plugin_frontend_0_1_0_cabi
        frontend_check __export_kiln_plugin_frontend_check_0_1_0_cabi
        frontend_outline __export_kiln_plugin_frontend_outline_0_1_0_cabi
}

world! { $
    /// As [`export_checking_frontend!`](crate::export_checking_frontend), for a type that implements
    /// [`Detect`](crate::plugin::Detect) as well.
    export_detecting_frontend, DETECTING_FRONTEND = "/detecting-frontend-plugin.world":
        describe __export_kiln_plugin_describe_0_1_0_cabi
        frontend __export_kiln_plugin_frontend_0_1_0_cabi
        frontend_check __export_kiln_plugin_frontend_check_0_1_0_cabi
        frontend_outline __export_kiln_plugin_frontend_outline_0_1_0_cabi
        frontend_detect __export_kiln_plugin_frontend_detect_0_1_0_cabi
}

world! { $
    /// As [`export_frontend!`](crate::export_frontend), for a type that implements [`Check`](crate::plugin::Check),
    /// [`Detect`](crate::plugin::Detect) and [`Derive`](crate::plugin::Derive) as well.
    export_composing_frontend, COMPOSING_FRONTEND = "/composing-frontend-plugin.world":
        describe __export_kiln_plugin_describe_0_1_0_cabi
        frontend __export_kiln_plugin_frontend_0_1_0_cabi
        frontend_check __export_kiln_plugin_frontend_check_0_1_0_cabi
        frontend_detect __export_kiln_plugin_frontend_detect_0_1_0_cabi
        derive __export_kiln_plugin_derive_0_1_0_cabi
}

world! { $
    /// As [`export_frontend!`](crate::export_frontend), for a preset that decides everything while it plans: a type that
    /// implements [`Check`](crate::plugin::Check), [`Outline`](crate::plugin::Outline), [`Detect`](crate::plugin::Detect)
    /// and [`Eject`](crate::plugin::Eject) as well.
    export_ejecting_frontend, EJECTING_FRONTEND = "/ejecting-frontend-plugin.world":
        describe __export_kiln_plugin_describe_0_1_0_cabi
        frontend __export_kiln_plugin_frontend_0_1_0_cabi
        frontend_check __export_kiln_plugin_frontend_check_0_1_0_cabi
        frontend_outline __export_kiln_plugin_frontend_outline_0_1_0_cabi
        frontend_detect __export_kiln_plugin_frontend_detect_0_1_0_cabi
        frontend_eject __export_kiln_plugin_frontend_eject_0_1_0_cabi
}

world! { $
    /// As [`export_frontend!`](crate::export_frontend), for a type that implements [`Derive`](crate::plugin::Derive) as
    /// well.
    export_deriving_frontend, DERIVING_FRONTEND = "/deriving-frontend-plugin.world":
        describe __export_kiln_plugin_describe_0_1_0_cabi
        frontend __export_kiln_plugin_frontend_0_1_0_cabi
        derive __export_kiln_plugin_derive_0_1_0_cabi
}

world! { $
    /// Makes the crate a component of the world `frontend-plugin-full`. The type implements
    /// [`Plugin`](crate::plugin::Plugin), [`Frontend`](crate::plugin::Frontend),
    /// [`Check`](crate::plugin::Check), [`Outline`](crate::plugin::Outline),
    /// [`Detect`](crate::plugin::Detect), [`Eject`](crate::plugin::Eject) and
    /// [`Derive`](crate::plugin::Derive).
    export_full_frontend, FULL_FRONTEND = "/frontend-plugin-full.world":
        describe __export_kiln_plugin_describe_0_1_0_cabi
        frontend __export_kiln_plugin_frontend_0_1_0_cabi
        frontend_check __export_kiln_plugin_frontend_check_0_1_0_cabi
        frontend_outline __export_kiln_plugin_frontend_outline_0_1_0_cabi
        frontend_detect __export_kiln_plugin_frontend_detect_0_1_0_cabi
        frontend_eject __export_kiln_plugin_frontend_eject_0_1_0_cabi
        derive __export_kiln_plugin_derive_0_1_0_cabi
}

world! { $
    /// Makes the crate a component of the world `source-policy-plugin`. The type implements
    /// [`Plugin`](crate::plugin::Plugin) and [`SourcePolicy`](crate::plugin::SourcePolicy).
    export_source_policy, SOURCE_POLICY = "/source-policy-plugin.world":
        describe __export_kiln_plugin_describe_0_1_0_cabi
        policy_source __export_kiln_plugin_policy_source_0_1_0_cabi
}

world! { $
    /// Makes the crate a component of the world `graph-policy-plugin`. The type implements
    /// [`Plugin`](crate::plugin::Plugin) and [`GraphPolicy`](crate::plugin::GraphPolicy).
    export_graph_policy, GRAPH_POLICY = "/graph-policy-plugin.world":
        describe __export_kiln_plugin_describe_0_1_0_cabi
        policy_graph __export_kiln_plugin_policy_graph_0_1_0_cabi
}

world! { $
    /// Makes the crate a component of the world `exec-policy-plugin`. The type implements
    /// [`Plugin`](crate::plugin::Plugin) and [`ExecPolicy`](crate::plugin::ExecPolicy).
    export_exec_policy, EXEC_POLICY = "/exec-policy-plugin.world":
        describe __export_kiln_plugin_describe_0_1_0_cabi
        policy_exec __export_kiln_plugin_policy_exec_0_1_0_cabi
}

world! { $
    /// Makes the crate a component of the world `layer-policy-plugin`. The type implements
    /// [`Plugin`](crate::plugin::Plugin) and [`LayerPolicy`](crate::plugin::LayerPolicy).
    export_layer_policy, LAYER_POLICY = "/layer-policy-plugin.world":
        describe __export_kiln_plugin_describe_0_1_0_cabi
        policy_layer __export_kiln_plugin_policy_layer_0_1_0_cabi
}

world! { $
    /// Makes the crate a component of the world `image-policy-plugin`. The type implements
    /// [`Plugin`](crate::plugin::Plugin) and [`ImagePolicy`](crate::plugin::ImagePolicy).
    export_image_policy, IMAGE_POLICY = "/image-policy-plugin.world":
        describe __export_kiln_plugin_describe_0_1_0_cabi
        policy_image __export_kiln_plugin_policy_image_0_1_0_cabi
}

world! { $
    /// Makes the crate a component of the world `exec-image-policy-plugin`: commands and the finished image. The type
    /// implements [`Plugin`](crate::plugin::Plugin), [`ExecPolicy`](crate::plugin::ExecPolicy) and
    /// [`ImagePolicy`](crate::plugin::ImagePolicy).
    export_exec_image_policy, EXEC_IMAGE_POLICY = "/exec-image-policy-plugin.world":
        describe __export_kiln_plugin_describe_0_1_0_cabi
        policy_exec __export_kiln_plugin_policy_exec_0_1_0_cabi
        policy_image __export_kiln_plugin_policy_image_0_1_0_cabi
}

world! { $
    /// Makes the crate a component of the world `export-policy-plugin`. The type implements
    /// [`Plugin`](crate::plugin::Plugin) and [`ExportPolicy`](crate::plugin::ExportPolicy).
    export_export_policy, EXPORT_POLICY = "/export-policy-plugin.world":
        describe __export_kiln_plugin_describe_0_1_0_cabi
        policy_export __export_kiln_plugin_policy_export_0_1_0_cabi
}

world! { $
    /// Makes the crate a component of the world `policy-plugin`, asked at all six points. The type implements
    /// [`Plugin`](crate::plugin::Plugin) and the six policy traits.
    export_policy, POLICY = "/policy-plugin.world":
        describe __export_kiln_plugin_describe_0_1_0_cabi
        policy_source __export_kiln_plugin_policy_source_0_1_0_cabi
        policy_graph __export_kiln_plugin_policy_graph_0_1_0_cabi
        policy_exec __export_kiln_plugin_policy_exec_0_1_0_cabi
        policy_layer __export_kiln_plugin_policy_layer_0_1_0_cabi
        policy_image __export_kiln_plugin_policy_image_0_1_0_cabi
        policy_export __export_kiln_plugin_policy_export_0_1_0_cabi
}

world! { $
    /// Makes the crate a component of the world `transform-plugin`. The type implements
    /// [`Plugin`](crate::plugin::Plugin) and [`Transform`](crate::plugin::Transform).
    export_transform, TRANSFORM = "/transform-plugin.world":
        describe __export_kiln_plugin_describe_0_1_0_cabi
        image_transform __export_kiln_plugin_image_transform_0_1_0_cabi
}
