//! Puts the image together as it was planned.

use kiln_preset::{Furniture, Reasons, Shape, Wanted, answer};
use kiln_sdk::wit::frontend_types::{BuildFailure, BuildRequest, BuildResult};
use kiln_sdk::wit::types::Platform;

use crate::plan::{Plan, Runtime};
use crate::runtime::{self, HOME};

/// Flags for a JVM that has the memory of a container and is started again by somebody else.
const CONTAINER_FLAGS: [&str; 2] = ["-XX:MaxRAMPercentage=75", "-XX:+ExitOnOutOfMemoryError"];

/// What the image starts: the JVM with its flags as words, so that a person's own `JDK_JAVA_OPTIONS` stays theirs and the
/// JVM has nothing to say about it.
pub(crate) fn entrypoint(plan: &Plan, java: &str) -> Vec<String> {
    let mut words = vec![java.to_owned()];
    words.extend(CONTAINER_FLAGS.map(str::to_owned));
    // Since 18 it is the default.
    if plan.version < 18 {
        words.push("-Dfile.encoding=UTF-8".to_owned());
    }
    words.extend(plan.options.jvm_flags.iter().cloned());
    words.extend(plan.layout.start.iter().cloned());
    words
}

pub(crate) fn say_flags(reasons: &mut Reasons) {
    let sentence = format!(
        "the JVM starts with {}: three quarters of the container's memory are for the heap, and it ends when that is full",
        CONTAINER_FLAGS.join(" ")
    );
    reasons.say("flags", sentence);
}

/// Variables of the image: where Java is, and that text is UTF-8.
pub(crate) fn environment(runtime: &Runtime) -> Vec<(&'static str, String)> {
    let mut variables = vec![("LANG", "C.UTF-8".to_owned())];
    if let Runtime::Linked { below, .. } = runtime {
        let path = below.as_ref().and_then(|image| {
            image.config.env.iter().find(|pair| pair.key == "PATH").map(|pair| pair.value.clone())
        });
        let path = path.unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".to_owned());
        variables.push(("PATH", format!("{HOME}/bin:{path}")));
        variables.push(("JAVA_HOME", HOME.to_owned()));
    }
    variables
}

/// What an image on nothing is furnished with. The JVM has time zones and certificates of its own, and libraries in C may ask for
/// the others.
pub(crate) fn furniture(plan: &mut Plan) -> Result<Furniture, BuildFailure> {
    let wanted = Wanted { certificates: true, zoneinfo: false };
    Furniture::new(&plan.options.common.user, &plan.facts, wanted, "java", &mut plan.reasons)
}

/// The image without its own layers: what it is started with, and what it lies on.
pub(crate) fn shape(plan: &Plan, platform: &Platform, chosen: &Runtime) -> Shape {
    let (below, java) = match chosen {
        Runtime::Image { image, java } => (Some(image), java.clone()),
        Runtime::Linked { below, .. } => (below.as_ref(), format!("{HOME}/bin/java")),
    };
    let mut shape = Shape::new("java", platform, below, &plan.options.common.user);
    for (name, value) in environment(chosen) {
        shape.env(name, &value);
    }
    shape.config.entrypoint = Some(entrypoint(plan, &java));
    shape
}

/// # Errors
///
/// The user or the time of the image is none.
pub(crate) fn build(mut plan: Plan, request: &BuildRequest) -> Result<BuildResult, BuildFailure> {
    let application: Vec<_> = plan
        .layout
        .layers
        .iter()
        .map(|layer| {
            let output = plan.unpacked.layer(&mut plan.graph, plan.built, &layer.title, &layer.pieces);
            (output, layer.title.clone())
        })
        .collect();
    let mut targets = Vec::new();
    for (platform, chosen) in plan.runtimes.clone() {
        let mut shape = shape(&plan, &platform, &chosen);
        if let Runtime::Linked { modules, below } = &chosen {
            if below.is_none() {
                let furniture = furniture(&mut plan)?;
                let output = furniture.layer(&mut plan.graph, &plan.builder);
                shape.layer(output, "furniture");
            }
            let below = below.as_ref().and_then(|image| image.root);
            let (graph, version, fonts) = (&mut plan.graph, plan.version, plan.options.fonts);
            let output = runtime::layer(graph, &plan.builder, &plan.facts, modules, version, fonts, below);
            shape.layer(output, "runtime");
        }
        for (output, title) in &application {
            shape.layer(*output, title);
        }
        targets.push(shape.finish(&mut plan.graph, request));
    }
    answer(plan.graph, targets, plan.reasons, request)
}
