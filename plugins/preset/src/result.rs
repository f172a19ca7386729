//! Puts the image together: layers on a base or on nothing, each made without looking at the others.

use kiln_sdk::GraphBuilder;
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::frontend_types::{BuildFailure, BuildRequest, BuildResult, TargetResult};
use kiln_sdk::wit::graph::{HistoryEntry, Output};
use kiln_sdk::wit::types::{ImageConfig, Platform};

use crate::builder::set_pair;
use crate::image::Image;
use crate::reasons::Reasons;

/// An image under construction, for one platform. Layers are added in the order in which they change: what changes least
/// first.
#[derive(Clone, Debug)]
pub struct Shape {
    /// What the program needs to be told when it starts; for the preset to fill in. `user` and `working-dir` are set by
    /// [`new`](Self::new), labels and the base's own by [`finish`](Self::finish).
    pub config: ImageConfig,
    platform: Platform,
    base_name: String,
    base_digest: String,
    layers: Vec<Output>,
    history: Vec<HistoryEntry>,
    preset: &'static str,
}

impl Shape {
    /// On a runtime image, whose environment and labels stay, or on nothing. The working directory is `/`.
    pub fn new(preset: &'static str, platform: &Platform, runtime: Option<&Image>, user: &str) -> Self {
        let base = runtime.map(|image| image.config.clone()).unwrap_or_default();
        // What the base would start, how it would be asked whether it is well, and what it has to say to Dockerfiles is about
        // another program.
        let config = ImageConfig {
            user: user.to_owned(),
            working_dir: "/".to_owned(),
            entrypoint: None,
            cmd: None,
            healthcheck: None,
            on_build: Vec::new(),
            ..base
        };
        Self {
            config,
            platform: platform.clone(),
            base_name: runtime.map(|image| image.base_name.clone()).unwrap_or_default(),
            base_digest: runtime.map(|image| image.base_digest.clone()).unwrap_or_default(),
            layers: runtime.and_then(|image| image.root).into_iter().collect(),
            history: Vec::new(),
            preset,
        }
    }

    /// The files of one layer, which are all of `output`'s, and what the history of the image calls them.
    pub fn layer(&mut self, output: Output, created_by: &str) {
        self.layers.push(output);
        self.history.push(HistoryEntry {
            created_by: created_by.to_owned(),
            comment: format!("kiln {}", self.preset),
            layer: Some(output.op),
        });
    }

    /// Sets a variable that the program is started with.
    pub fn env(&mut self, key: &str, value: &str) {
        set_pair(&mut self.config.env, key, value);
    }

    /// The image, with the person's labels.
    pub fn finish(mut self, graph: &mut GraphBuilder, request: &BuildRequest) -> TargetResult {
        for label in &request.labels {
            set_pair(&mut self.config.labels, &label.key, &label.value);
        }
        let root = match &self.layers[..] {
            [] => None,
            [only] => Some(*only),
            layers => Some(graph.merge(layers.to_vec())),
        };
        let mut target = TargetResult::new(self.platform, root, self.config);
        target.history = self.history;
        target.base_name = self.base_name;
        target.base_digest = self.base_digest;
        target
    }
}

/// The answer of a build, reproducible: everything has one time, which is the person's `SOURCE_DATE_EPOCH` or 0.
///
/// # Errors
///
/// `SOURCE_DATE_EPOCH` is no time.
pub fn answer(
    graph: GraphBuilder,
    targets: Vec<TargetResult>,
    reasons: Reasons,
    request: &BuildRequest,
) -> Result<BuildResult, BuildFailure> {
    let mut result = BuildResult::new(graph.finish(), targets);
    epoch(request)?.clone_into(&mut result.source_date_epoch);
    result.diagnostics = reasons.into_diagnostics();
    Ok(result)
}

/// The one time of everything that is made: the person's `SOURCE_DATE_EPOCH` or 0.
///
/// # Errors
///
/// `bad-epoch`: it is no time.
pub fn epoch(request: &BuildRequest) -> Result<&str, BuildFailure> {
    match request.build_arg("SOURCE_DATE_EPOCH").filter(|epoch| !epoch.is_empty()) {
        None => Ok("0"),
        Some(epoch) if epoch.len() < 19 && epoch.bytes().all(|b| b.is_ascii_digit()) => Ok(epoch),
        Some(epoch) => {
            let message = format!("SOURCE_DATE_EPOCH is `{epoch}`");
            Err(Diagnostic::error("bad-epoch", message).help("it is a number of seconds since 1970").into())
        }
    }
}

/// Warns of build arguments that mean nothing. `is_known` tells the preset's own; those that every build may be given are known
/// here.
pub fn check_build_args(request: &BuildRequest, is_known: impl Fn(&str) -> bool, reasons: &mut Reasons) {
    let is_common = |name: &str| {
        name == "SOURCE_DATE_EPOCH"
            || name.starts_with("BUILDKIT_")
            || name.to_ascii_lowercase().ends_with("_proxy")
    };
    for arg in request.build_args.iter().filter(|arg| !is_common(&arg.key) && !is_known(&arg.key)) {
        let message = format!("the build argument `{}` means nothing here", arg.key);
        reasons.warn("unused-build-arg", message, "");
    }
}

/// Refuses what a preset has none of: stages to name with `--target`.
///
/// # Errors
///
/// `unknown-target`.
pub fn check_target(request: &BuildRequest, help: &str) -> Result<(), BuildFailure> {
    if request.target.is_empty() {
        return Ok(());
    }
    let message = format!("there is no target `{}`: a preset makes one image", request.target);
    Err(Diagnostic::error("unknown-target", message).help(help).into())
}

#[cfg(test)]
mod tests {
    use kiln_sdk::wit::types::Pair;

    use super::*;
    use kiln_sdk::testing::request;

    fn pair(key: &str, value: &str) -> Pair {
        Pair { key: key.into(), value: value.into() }
    }

    #[test]
    fn layers_lie_on_the_base_and_what_the_base_would_start_is_gone() {
        let mut graph = GraphBuilder::new();
        let config = ImageConfig {
            env: vec![pair("PATH", "/bin")],
            cmd: Some(vec!["sh".into()]),
            on_build: vec!["RUN x".into()],
            labels: vec![pair("a", "base")],
            ..ImageConfig::default()
        };
        let root = graph.image("debian");
        let platform = Platform::default();
        let base = Image {
            name: "debian".into(),
            root: Some(root),
            config,
            platform: platform.clone(),
            base_name: "docker.io/library/debian:latest".into(),
            base_digest: "sha256:00".into(),
        };
        let mut shape = Shape::new("go", &platform, Some(&base), "65532");
        let one = graph.make_dir(None, "/a", None);
        shape.layer(one, "a");
        shape.config.entrypoint = Some(vec!["/a".into()]);
        let mut request = request(&[]);
        request.labels = vec![pair("a", "mine")];
        let target = shape.finish(&mut graph, &request);
        assert_eq!(target.config.cmd, None);
        assert!(target.config.on_build.is_empty());
        assert_eq!(
            (target.config.env, target.config.labels),
            (vec![pair("PATH", "/bin")], vec![pair("a", "mine")])
        );
        assert_eq!(target.history[0].layer, Some(one.op));
        let merged = target.root.unwrap();
        assert_eq!(
            graph.finish().ops[merged.op as usize].kind,
            kiln_sdk::wit::graph::OpKind::Merge(vec![root, one])
        );
    }

    #[test]
    fn the_time_is_the_persons_or_the_epoch() {
        let with = |epoch: &str| {
            let mut request = request(&[]);
            request.build_args = vec![pair("SOURCE_DATE_EPOCH", epoch)];
            answer(GraphBuilder::new(), Vec::new(), Reasons::new(), &request)
                .map(|built| built.source_date_epoch)
        };
        assert_eq!(with("").unwrap(), "0");
        assert_eq!(with("1700000000").unwrap(), "1700000000");
        assert_eq!(with("yesterday").unwrap_err().diagnostics[0].code, "bad-epoch");
    }
}
