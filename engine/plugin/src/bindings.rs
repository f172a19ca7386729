//! The contract in `wit/` as Rust: one world that holds every interface, so that each type exists once.
//!
//! Exports are looked up one interface at a time ([`crate::component`]); no component exports this whole world.

wasmtime::component::bindgen!({
    path: "../../wit",
    inline: "
        package kiln:host;

        world everything {
            include kiln:plugin/host-offer@0.1.0;
            include kiln:plugin/frontend-plugin-full@0.1.0;
            include kiln:plugin/instruction-plugin@0.1.0;
            include kiln:plugin/policy-plugin@0.1.0;
            include kiln:plugin/transform-plugin@0.1.0;
        }
    ",
    world: "kiln:host/everything",
    imports: { default: trappable },
    additional_derives: [serde::Serialize, serde::Deserialize],
    with: {
        "kiln:plugin/trees.tree": crate::trees::OpenTree,
        "kiln:plugin/trees.change-list": crate::trees::ChangeList,
    },
});

pub(crate) use exports::kiln::plugin as hooks;
pub(crate) use kiln::plugin as wit;
