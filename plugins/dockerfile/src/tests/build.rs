//! What files mean: graphs, configurations and history.

use kiln_sdk::wit::diagnostics::Span;
use kiln_sdk::wit::graph::{MountKind, OpKind};

use super::world::{World, context, pair, platform};

#[test]
fn section_9_a_build_of_two_stages() {
    let built = World::new(
        "FROM alpine AS build\nRUN make\nFROM alpine\nCOPY --from=build /app /app\nCMD [\"/app\"]\n",
    )
    .build();
    assert_eq!(
        built.names(),
        [
            "[build 1/2] FROM alpine",
            "[build 2/2] RUN make",
            "[stage-1 1/2] FROM alpine",
            "[stage-1 2/2] COPY --from=build /app /app",
        ]
    );
    assert_eq!(built.args("RUN make"), ["/bin/sh", "-c", "make"]);
    let OpKind::File(file) = &built.op("COPY").kind else { panic!() };
    assert_eq!(file.base.map(|base| base.op), Some(2));
    assert_eq!(built.target().root.map(|root| root.op), Some(3));
    assert_eq!(built.history(), ["COPY /app /app # buildkit", "CMD [\"/app\"]"]);
    assert_eq!(built.target().history[0].layer, Some(3));
    assert_eq!(built.target().history[1].layer, None);
    assert_eq!(built.target().history[0].comment, "kiln.dockerfile.v0");
    assert_eq!(built.config().cmd, Some(vec!["/app".to_owned()]));
    assert_eq!(built.target().base_name, "docker.io/library/alpine:latest");
    assert!(built.target().base_digest.starts_with("sha256:22"));
    let run = built.op("RUN make");
    assert_eq!((run.group.as_str(), run.spans[0].start.line), ("build", 2));
    assert_eq!(built.findings(), Vec::<&str>::new());
}

#[test]
fn an_independent_layer_carries_the_text_of_its_line() {
    let built = World::new("FROM alpine\nCOPY --link a /a").build();
    assert!(matches!(built.op("[2/2] COPY --link a /a").kind, OpKind::File(_)));
    assert!(matches!(built.op("[2/2] stack layers").kind, OpKind::Merge(_)));
}

#[test]
fn section_9_7_only_reachable_stages_are_resolved() {
    let world = World::new(
        "FROM nope AS a\nFROM alpine AS b\nRUN b\nFROM missing AS c\nCOPY --from=a / /\nFROM b\nRUN d\n",
    );
    assert_eq!(world.build().names(), ["[b 1/2] FROM alpine", "[b 2/2] RUN b", "[stage-3 1/1] RUN d"]);
    assert_eq!(*world.calls.borrow(), ["contexts ", "images alpine"]);
    let world = world.ask(|request| request.target = "C".to_owned());
    assert_eq!(world.error_codes(), ["image-not-found", "image-not-found"]);
    assert_eq!(World::new("FROM Bad AS a\nFROM alpine").error_codes(), ["invalid-reference"]);
    let text = "FROM alpine AS a\nCOPY --from=Bad a /\nFROM alpine";
    assert_eq!(World::new(text).error_codes(), ["unknown-stage"]);
    assert!(World::new(text).context("Bad", "local").build().findings().is_empty());
}

#[test]
fn section_9_4_what_from_means() {
    for (copy, op) in [
        ("COPY --from=0 /x /x", "RUN one"),
        ("COPY --from=ONE /x /x", "RUN one"),
        ("RUN --mount=from=One,target=/x true", "RUN one"),
        ("COPY --from=busybox /x /x", "FROM busybox"),
        ("RUN --mount=from=busybox,target=/x true", "FROM busybox"),
        ("COPY --from=mine /x /x", "load the build context mine"),
        ("COPY x /x", "load the build context"),
    ] {
        let text = format!("FROM alpine AS one\nRUN one\nFROM alpine\n{copy}\n");
        let built = World::new(&text).image("busybox", |_| {}).context("mine", "local").build();
        assert!(built.names().iter().any(|name| name.contains(op)), "{copy}: {:?}", built.names());
    }
    let built = World::new("FROM alpine\nCOPY --from=scratch /x /x").build();
    assert!(matches!(built.op("scratch").kind, OpKind::Scratch));
}

#[test]
fn section_9_5_stages_have_to_come_before() {
    for (line, code) in [
        ("COPY --from=b /x /x", "stage-not-before"),
        ("COPY --from=1 /x /x", "stage-not-before"),
        ("COPY --from=a /x /x", "stage-not-before"),
        ("COPY --from=7 /x /x", "unknown-stage"),
        ("COPY --from=-1 /x /x", "unknown-stage"),
        ("RUN --mount=from=b,target=/x true", "stage-not-before"),
    ] {
        let text = format!("FROM alpine AS a\n{line}\nFROM a AS b\nRUN x");
        assert_eq!(World::new(&text).error_codes(), [code], "{line}");
    }
}

#[test]
fn section_9_5_the_order_of_stages_that_are_not_built_does_not_matter() {
    for line in ["COPY --from=b /x /x", "RUN --mount=from=b,target=/x true"] {
        let text = format!("FROM alpine AS a\n{line}\nFROM alpine AS b\nRUN x");
        assert_eq!(World::new(&text).build().names(), ["[b 1/2] FROM alpine", "[b 2/2] RUN x"], "{line}");
        let world = World::new(&text).ask(|request| request.target = "a".to_owned());
        assert_eq!(world.error_codes(), ["stage-not-before"], "{line}");
    }
    for (from, code) in [("7", "unknown-stage"), ("a", "stage-not-before"), ("0", "stage-not-before")] {
        let text = format!("FROM alpine AS a\nCOPY --from={from} /x /x\nFROM alpine AS b\nRUN x");
        assert_eq!(World::new(&text).error_codes(), [code], "{from}");
    }
}

#[test]
fn section_9_4_an_unknown_stage_is_told_with_the_near_one() {
    let error = &World::new("FROM alpine AS builder\nFROM alpine\nCOPY --from=biulder /x /x").errors()[0];
    assert_eq!(error.code, "unknown-stage");
    assert!(error.message.contains("no stage is called `biulder`, so it was taken for an image"));
    assert_eq!(error.help, "write `--from=builder`");
    let at = error.primary.as_ref().unwrap();
    assert_eq!((at.start.line, at.start.column), (3, 13));
    let error =
        &World::new("FROM alpine AS builder\nFROM alpine\nCOPY --from=Wholly_Other /x /x").errors()[0];
    assert_eq!((error.code.as_str(), error.help.as_str()), ("unknown-stage", "the stages are `builder`"));
}

#[test]
fn section_9_3_of_stages_with_one_name_the_last_counts() {
    let text = "FROM alpine AS a\nRUN one\nFROM alpine AS a\nRUN two\nFROM alpine\nCOPY --from=a /x /x";
    assert!(!World::new(text).build().names().contains(&"[a 2/2] RUN one"));
    let text = "FROM alpine AS a\nRUN one\nFROM a\nRUN between\nFROM alpine AS a\nRUN two";
    let world = World::new(text).ask(|request| request.target = "a".to_owned());
    assert_eq!(world.build().names(), ["[a 1/2] FROM alpine", "[a 2/2] RUN two"]);
    let text = "FROM alpine AS a\nFROM alpine AS b\nCOPY --from=a /x /x\nFROM alpine AS a\nFROM b";
    assert_eq!(World::new(text).error_codes(), ["stage-not-before"]);
}

#[test]
fn section_9_6_a_context_replaces_a_stage_of_its_name() {
    let text = "FROM nope AS dep\nRUN never\nFROM alpine\nCOPY --from=dep /x /x";
    let built = World::new(text).context("dep", "local").build();
    assert_eq!(
        built.names(),
        ["load the build context dep", "[stage-1 1/2] FROM alpine", "[stage-1 2/2] COPY --from=dep /x /x"]
    );
}

#[test]
fn section_20_6_a_context_replaces_an_image() {
    let mut world = World::new("FROM alpine\nRUN x").context("alpine", "image");
    let image = world.images["alpine"].clone();
    world.contexts.get_mut("alpine").unwrap().image = Some(image);
    let built = world.build();
    assert_eq!(built.names(), ["[1/2] load the build context alpine", "[2/2] RUN x"]);
    assert_eq!(built.config().cmd, Some(vec!["/bin/sh".to_owned()]));
    assert_eq!(*world.calls.borrow(), ["contexts ,alpine"]);
    let files = World::new("FROM files\nENV a=1").context("files", "local").build();
    assert_eq!(files.config().working_dir, "/");
}

#[test]
fn section_9_10_platforms_of_stages() {
    let text = "FROM --platform=$BUILDPLATFORM alpine AS a\nRUN a $TARGETARCH\nFROM alpine\nCOPY --from=a /x /x\nRUN b\nFROM a\nRUN c";
    let world = World::new(text).ask(|request| request.platforms = vec![platform("linux/arm64")]);
    let built = world.ask(|request| request.target = String::new()).build();
    let of = |name| crate::platform::format(built.op(name).platform.as_ref().unwrap());
    assert_eq!((of("RUN a"), of("RUN c")), ("linux/amd64".to_owned(), "linux/amd64".to_owned()));
    assert_eq!(crate::platform::format(&built.target().platform), "linux/arm64");
}

#[test]
fn section_9_11_several_platforms_are_several_targets() {
    let text = "FROM alpine\nARG TARGETARCH\nRUN build $TARGETARCH";
    let world = World::new(text)
        .ask(|request| request.platforms = vec![platform("linux/amd64"), platform("linux/arm64")]);
    let built = world.build();
    assert_eq!(built.0.targets.len(), 2);
    assert_eq!(built.names()[1], "[linux/amd64 2/2] RUN build $TARGETARCH");
    let arm = &built.0.graph.ops[built.0.targets[1].root.unwrap().op as usize];
    assert_eq!(arm.platform, Some(platform("linux/arm64")));
    let OpKind::Exec(exec) = &arm.kind else { panic!() };
    assert!(exec.env.contains(&pair("TARGETARCH", "arm64")));
    assert_eq!(*world.calls.borrow(), ["contexts ", "contexts ", "images alpine,alpine"]);
    assert_eq!(built.findings(), ["InvalidBaseImagePlatform"]);
}

#[test]
fn section_9_12_the_target_follows_its_base_image() {
    let world = World::new("FROM arm\nRUN x").image("arm", |image| image.platform = platform("linux/arm64"));
    assert_eq!(crate::platform::format(&world.request().build_platform), "linux/amd64");
    let built = world.build();
    assert_eq!(built.target().platform, platform("linux/arm64"));
    assert_eq!(built.op("RUN x").platform, Some(platform("linux/arm64")));
    assert_eq!(built.findings(), Vec::<&str>::new());
}

#[test]
fn section_10_bases() {
    let built = World::new("FROM scratch\nCOPY a /a").build();
    assert_eq!(built.names(), ["load the build context", "[1/1] COPY a /a"]);
    assert_eq!(built.config().working_dir, "/");
    assert_eq!(built.config().env, [pair("PATH", crate::eval::DEFAULT_PATH)]);
    assert_eq!(built.target().base_name, "");
    assert_eq!(World::new("FROM scratch\nENV a=1").build().target().root, None);
    let bare = World::new("FROM bare").image("bare", |image| {
        image.config.env.clear();
        image.config.user = "me".to_owned();
        image.layers = 0;
    });
    let built = bare.build();
    assert_eq!((built.config().user.as_str(), built.target().root), ("me", None));
    assert_eq!(built.config().env, [pair("PATH", crate::eval::DEFAULT_PATH)]);
}

#[test]
fn section_10_errors_in_from() {
    for (text, code) in [
        ("ARG v\nFROM $v", "blank-reference"),
        ("FROM alpine:$undefined", "invalid-reference"),
        ("FROM ${v", "bad-substitution"),
        ("FROM ${v:?needed}", "required-variable"),
        ("FROM --platform=$nope alpine", "invalid-platform"),
        ("FROM --platform=a/b/c/d alpine", "invalid-platform"),
        ("FROM debain", "image-not-found"),
    ] {
        assert_eq!(World::new(text).error_codes(), [code], "{text}");
    }
    assert_eq!(World::new("FROM debain").errors()[0].help, "write `debian`, if that is meant");
    let other_tag = World::new("FROM debian:9.99");
    assert_eq!(other_tag.errors()[0].help, "check the name; for a private registry log in first");
    let error = &World::new("FROM base AS x\nFROM alpine AS base\nFROM x").errors()[0];
    assert_eq!(error.help, "a stage `base` begins on line 2: it has to come before");
}

#[test]
fn section_8_2_values_of_arguments() {
    let text =
        "ARG g=global\nARG n\nFROM alpine\nRUN before $g\nARG g\nARG n\nARG d=$g-x b=1 c=$b\nRUN after\n";
    let built = World::new(text).arg("b", "2").build();
    assert_eq!(built.env("RUN before", "g"), None);
    let value = |name| built.env("RUN after", name);
    assert_eq!(
        (value("g"), value("n"), value("d"), value("b"), value("c")),
        (Some("global"), None, Some("global-x"), Some("2"), Some("2"))
    );
    assert_eq!(
        built.history(),
        [
            "RUN /bin/sh -c before $g # buildkit",
            "ARG g=global",
            "ARG n",
            "ARG d=global-x b=2 c=2",
            "RUN |5 g=global n= d=global-x b=2 c=2 /bin/sh -c after # buildkit"
        ]
    );
    assert_eq!(built.config().env, [pair("PATH", "/usr/bin:/bin")]);
}

#[test]
fn section_8_5_env_and_arg_of_one_name() {
    let built = World::new("FROM alpine\nARG v=arg\nENV v=env\nRUN x").build();
    assert_eq!(built.env("RUN x", "v"), Some("env"));
    let built = World::new("FROM alpine\nENV v=env\nARG v=arg\nRUN x\nENV w=$v").build();
    assert_eq!(built.env("RUN x", "v"), Some("arg"));
    assert!(built.config().env.contains(&pair("v", "env")) && built.config().env.contains(&pair("w", "arg")));
    let built = World::new("FROM alpine\nENV v=env\nARG v\nRUN x").build();
    assert_eq!(built.env("RUN x", "v"), Some("env"));
    let built = World::new("FROM alpine\nARG V\nENV V=${V:-v1}\nRUN x").arg("V", "2").build();
    assert!(built.config().env.contains(&pair("V", "2")));
    assert!(World::new("FROM alpine\nARG V\nENV V=${V:-v1}").build().config().env.contains(&pair("V", "v1")));
}

#[test]
fn section_8_2_arguments_reach_stages_built_on_this_one() {
    let built = World::new(
        "FROM alpine AS a\nARG v=1\nFROM a\nRUN x\nFROM alpine AS c\nRUN y\nFROM a\nCOPY --from=c / /\nRUN z",
    )
    .ask(|request| request.target = String::new())
    .build();
    assert_eq!(built.env("RUN z", "v"), Some("1"));
    assert_eq!(built.env("RUN y", "v"), None);
    assert_eq!(built.history()[0], "ARG v=1");
}

#[test]
fn section_8_6_platform_arguments() {
    let text =
        "FROM --platform=$BUILDPLATFORM alpine AS last\nARG TARGETPLATFORM\nARG TARGETSTAGE BUILDOS\nRUN x";
    let built = World::new(text).ask(|request| request.platforms = vec![platform("linux/arm/v7")]).build();
    assert_eq!(built.env("RUN x", "TARGETPLATFORM"), Some("linux/arm/v7"));
    assert_eq!(built.env("RUN x", "TARGETSTAGE"), Some("last"));
    assert_eq!(built.env("RUN x", "BUILDOS"), Some("linux"));
}

#[test]
fn section_8_8_special_arguments() {
    let built = World::new("FROM alpine\nRUN --mount=type=cache,target=/c x")
        .arg("BUILDKIT_SANDBOX_HOSTNAME", "box")
        .arg("BUILDKIT_CACHE_MOUNT_NS", "ns")
        .arg("BUILDKIT_INLINE_CACHE", "1")
        .arg("BUILDKIT_MULTI_PLATFORM", "true")
        .arg("BUILDKIT_BUILD_NAME", "n")
        .arg("SOURCE_DATE_EPOCH", "12")
        .build();
    let OpKind::Exec(exec) = &built.op("RUN").kind else { panic!() };
    assert_eq!(exec.hostname, "box");
    assert!(
        exec.mounts.iter().any(|mount| matches!(&mount.kind, MountKind::Cache(cache) if cache.id == "ns//c"))
    );
    assert_eq!(
        built.0.export_options,
        [pair("index", "true"), pair("inline-cache", "true"), pair("build-name", "n")]
    );
    assert_eq!(built.0.source_date_epoch, "12");
    assert_eq!(built.findings(), Vec::<&str>::new());
}

#[test]
fn section_8_8_scans() {
    let text = "FROM alpine AS a\nRUN a\nFROM alpine AS b\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nRUN b\nFROM alpine\nCOPY --from=a /x /x\nCOPY --from=b x .\nCOPY . .\nRUN c";
    let scans =
        |world: World| world.build().target().scans.iter().map(|scan| scan.name.clone()).collect::<Vec<_>>();
    assert_eq!(scans(World::new(text)), ["b"]);
    assert_eq!(World::new(text).build().env("RUN b", "BUILDKIT_SBOM_SCAN_STAGE"), None);
    assert_eq!(scans(World::new(text).arg("BUILDKIT_SBOM_SCAN_STAGE", "a")), ["a"]);
    assert_eq!(scans(World::new(text).arg("BUILDKIT_SBOM_SCAN_CONTEXT", "1")), ["b", "context"]);
}

#[test]
fn section_8_9_unused_build_arguments_are_told() {
    let world = World::new("ARG used\nFROM alpine\nONBUILD ARG later").arg("usde", "1").arg("later", "1");
    let built = world.arg("used", "1").arg("HTTP_PROXY", "x").build();
    assert_eq!(built.findings(), ["unused-build-arg"]);
    assert_eq!(built.0.diagnostics[0].help, "write `--build-arg used=…`");
}

#[test]
fn section_13_and_14_configuration_passes_through() {
    let text = "FROM alpine\nENV a=1 b=$a\nWORKDIR /w\nUSER me\nEXPOSE 80\nVOLUME /v\nLABEL k=v\nSTOPSIGNAL 9\nENTRYPOINT [\"e\"]\n";
    let built =
        World::new(text).ask(|request| request.labels = vec![pair("k", "cli"), pair("l", "m")]).build();
    let config = built.config();
    assert_eq!((config.working_dir.as_str(), config.user.as_str()), ("/w", "me"));
    assert_eq!(config.labels, [pair("k", "cli"), pair("l", "m")]);
    assert_eq!(config.cmd, None);
    assert_eq!(
        built.history(),
        [
            "ENV a=1 b=",
            "WORKDIR /w",
            "USER me",
            "EXPOSE [80/tcp]",
            "VOLUME [/v]",
            "LABEL k=v",
            "STOPSIGNAL 9",
            "ENTRYPOINT [\"e\"]"
        ]
    );
}

#[test]
fn section_16_triggers_run_first_and_once() {
    let world = World::new("FROM base AS a\nRUN own\nFROM a\nRUN more").image("base", |image| {
        image.config.on_build =
            vec!["ARG t=1".to_owned(), "RUN trigger $t".to_owned(), "COPY --from=tool /x /x".to_owned()];
    });
    let built = world.image("tool", |_| {}).build();
    assert_eq!(
        built.names(),
        [
            "[a 1/4] FROM base",
            "[a 2/4] ONBUILD RUN trigger $t",
            "FROM tool",
            "[a 3/4] ONBUILD COPY --from=tool /x /x",
            "[a 4/4] RUN own",
            "[stage-1 1/1] RUN more"
        ]
    );
    assert_eq!(built.config().on_build, Vec::<String>::new());
    assert_eq!(built.op("ONBUILD RUN").spans[0].start.line, 1);
}

#[test]
fn section_16_2_triggers_of_stages_run_in_the_stage_above() {
    let text = "FROM alpine AS a\nONBUILD RUN one\nRUN two\nFROM a\nFROM a AS c\nRUN three";
    let built = World::new(text).build();
    assert_eq!(
        built.names(),
        ["[a 1/2] FROM alpine", "[a 2/2] RUN two", "[c 1/2] ONBUILD RUN one", "[c 2/2] RUN three"]
    );
    assert_eq!(
        built.history(),
        ["RUN /bin/sh -c two # buildkit", "RUN /bin/sh -c one # buildkit", "RUN /bin/sh -c three # buildkit"]
    );
    let built = World::new("FROM alpine\nONBUILD RUN one\nONBUILD COPY <<E /x\nbody\nE\n").build();
    assert_eq!(built.config().on_build, ["RUN one", "COPY <<E /x\nbody\nE"]);
    assert!(built.history().is_empty());
}

#[test]
fn section_16_3_triggers_make_stages_reachable() {
    let text = "FROM alpine AS dep\nRUN dep\nFROM base\nRUN x";
    let world = World::new(text)
        .image("base", |image| image.config.on_build = vec!["COPY --from=dep / /".to_owned()]);
    assert!(world.build().names().contains(&"[dep 2/2] RUN dep"));
    assert_eq!(*world.calls.borrow(), ["contexts ", "images base", "images alpine"]);
}

#[test]
fn section_16_5_bad_triggers_are_reported_at_from() {
    let world = World::new("FROM alpine AS a\nFROM base").image("base", |image| {
        image.config.on_build = vec!["NOPE x".to_owned(), "RUN --bad x".to_owned(), "COPY a".to_owned()];
    });
    let errors = world.errors();
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(errors.iter().all(|error| error.primary.as_ref().unwrap().start.line == 2));
}

#[test]
fn section_18_6_no_cache_is_for_stages() {
    let text = "FROM alpine AS a\nRUN a\nFROM alpine\nCOPY --from=a /x /x";
    let built = World::new(text).ask(|request| request.no_cache = vec!["A".to_owned()]).build();
    assert!(built.op("RUN a").no_cache && !built.op("COPY").no_cache);
    let built = World::new(text).ask(|request| request.no_cache = vec!["*".to_owned()]).build();
    assert!(built.op("RUN a").no_cache && built.op("COPY").no_cache);
}

#[test]
fn section_19_1_the_ignore_file_of_a_build_file() {
    let ignore = |world: &World| match &world.build().op("load the build context").kind {
        OpKind::Context(source) => source.ignore.clone(),
        other => panic!("{other:?}"),
    };
    let mut world = World::new("FROM alpine\nCOPY . .");
    assert_eq!(ignore(&world), None);
    world = world.file("Dockerfile.dockerignore", "#x\n a/ \n!a/b\n");
    assert_eq!(ignore(&world), Some(vec!["a".to_owned(), "!a/b".to_owned()]));
    world = world.file("Dockerfile.dockerignore", "");
    assert_eq!(ignore(&world), Some(Vec::new()));
    world.contexts.insert(String::new(), context("", "git"));
    assert_eq!(ignore(&world), None);
    let world = World::new("FROM alpine\nCOPY . .").file("Dockerfile.dockerignore", "[");
    assert_eq!(world.error_codes(), ["bad-ignore-file"]);
}

#[test]
fn section_1_file_selection() {
    let text = "FROM alpine\nRUN x";
    let mut world = World::new(text);
    world.files.remove("Dockerfile");
    assert_eq!(
        world.errors()[0].message,
        "there is no build file: looked for `Dockerfile`, `dockerfile`, `Containerfile`"
    );
    assert_eq!(world.build_with("Containerfile", text), "Containerfile");
    assert_eq!(world.build_with("dockerfile", text), "dockerfile");
    world.request.file = "sub/my.Dockerfile".to_owned();
    assert_eq!(world.errors()[0].message, "there is no build file `sub/my.Dockerfile`");
    assert_eq!(world.build_with("sub/my.Dockerfile", text), "sub/my.Dockerfile");
}

impl World {
    /// Adds a file and tells which one is built.
    fn build_with(&mut self, name: &str, text: &str) -> String {
        self.files.insert(name.to_owned(), text.as_bytes().to_vec());
        self.build().op("RUN x").spans[0].file.clone()
    }
}

#[test]
fn section_9_7_unknown_targets_are_told_with_the_near_one() {
    let world =
        World::new("FROM alpine AS build\nFROM alpine").ask(|request| request.target = "biuld".to_owned());
    let error = &world.errors()[0];
    assert_eq!((error.code.as_str(), error.help.as_str()), ("unknown-target", "write `--target build`"));
    let world =
        World::new("FROM alpine AS build\nFROM alpine").ask(|request| request.target = "0".to_owned());
    assert_eq!(world.error_codes(), ["unknown-target"]);
}

#[test]
fn section_23_1_the_epoch() {
    let epoch = |world: World| world.build().0.source_date_epoch;
    let text = "FROM scratch AS src\nARG v=1\nADD https://example.com/x /\nFROM alpine\nRUN x";
    let with = |value: &str| World::new(text).arg("SOURCE_DATE_EPOCH", value);
    assert_eq!(epoch(with("")), "");
    assert_eq!(epoch(with("0012")), "12");
    assert_eq!(epoch(with("context")), "");
    assert_eq!(epoch(with("src")), "1500000000");
    let mut world = with("lib").context("lib", "git");
    world.contexts.get_mut("lib").unwrap().modified = Some(7);
    assert_eq!(epoch(world), "7");
    assert_eq!(with("nope").error_codes(), ["bad-epoch"]);
    assert_eq!(with("1.5").error_codes(), ["bad-epoch"]);
    assert_eq!(epoch(World::new("ARG SOURCE_DATE_EPOCH=5\nFROM alpine")), "5");
    let git = text.replace("https://example.com/x", "https://example.com/x.git#main");
    assert_eq!(epoch(World::new(&git).arg("SOURCE_DATE_EPOCH", "src")), "1600000000");
    let other = World::new("FROM alpine AS src\nRUN x\nFROM alpine").arg("SOURCE_DATE_EPOCH", "src");
    assert_eq!(other.error_codes(), ["bad-epoch"]);
}

#[test]
fn expansions_are_read_in_place() {
    let world = World::new("FROM alpine AS dep\nRUN dep\nFROM alpine\nINCLUDE more\nRUN $V\n")
        .file("more", "# comment\nENV V=set\n\nCOPY --from=dep /x /x\nCOPY --from=tool /y /y\nINCLUDE last\n")
        .file("last", "ARG a=1\nCOPY $a /\n")
        .image("tool", |_| {});
    let built = world.build();
    assert_eq!(
        built.names(),
        [
            "[dep 1/2] FROM alpine",
            "[dep 2/2] RUN dep",
            "[stage-1 1/5] FROM alpine",
            "[stage-1 2/5] COPY --from=dep /x /x",
            "FROM tool",
            "[stage-1 3/5] COPY --from=tool /y /y",
            "load the build context",
            "[stage-1 4/5] COPY $a /",
            "[stage-1 5/5] RUN $V"
        ]
    );
    let at = &built.op("COPY --from=tool").spans[0];
    assert_eq!((at.file.as_str(), at.start.line), ("more", 5));
    assert_eq!(built.env("RUN $V", "V"), Some("set"));
    assert_eq!(
        World::new("FROM alpine\nINCLUDE me").file("me", "INCLUDE me").error_codes(),
        ["expansion-too-deep"]
    );
    let wrong = World::new("FROM alpine\nINCLUDE me").file("me", "FROM x\nNOPE\nENV a\nONBUILD FROM x\n");
    assert_eq!(
        wrong.error_codes(),
        ["from-in-expansion", "unknown-instruction", "bad-onbuild", "dockerfile/pair-without-value"]
    );
}

#[test]
fn what_is_wrong_in_text_that_was_read_in_says_how_it_came_there() {
    let world = World::new("FROM alpine\nRUN a\nINCLUDE one\n")
        .file("one", "RUN b\nINCLUDE two\n")
        .file("two", "RUN c\n\nENV a\nCOPY --from=nowhere:none a /\nRUN --mout=x y\nFROM x\n");
    let errors = world.errors();
    assert_eq!(errors.len(), 4, "{errors:#?}");
    for error in &errors {
        let place = |at: &Span| (at.file.clone(), at.start.line);
        assert_eq!(error.primary.as_ref().map(|at| at.file.as_str()), Some("two"), "{error:?}");
        let ways: Vec<_> = error.related.iter().map(|label| place(&label.at)).collect();
        assert_eq!(ways, [("one".to_owned(), 2), ("Dockerfile".to_owned(), 3)], "{error:?}");
    }
    let world = World::new("FROM alpine\nINCLUDE one\n").file("one", "\nRUN b\n");
    let spans = world.build().op("RUN b").spans.clone();
    let places: Vec<_> = spans.iter().map(|at| (at.file.as_str(), at.start.line)).collect();
    assert_eq!(places, [("one", 2), ("Dockerfile", 2)]);
}

#[test]
fn checks_hold_in_text_that_was_read_in() {
    let lines = "CMD echo a\n# check=skip=JSONArgsRecommended\nENTRYPOINT echo b\n";
    let world = World::new("FROM alpine\nINCLUDE one\n").file("one", lines);
    assert_eq!(world.findings(), ["dockerfile/JSONArgsRecommended"]);
    // Two files may have the same finding on the same line.
    let world =
        World::new("FROM alpine\nINCLUDE one\nINCLUDE two\n").file("one", "ENV a\n").file("two", "ENV a\n");
    assert_eq!(world.errors().len(), 2);
}

#[test]
fn a_trigger_may_read_text_in() {
    let world = |text| {
        World::new("ARG a\nFROM based\nRUN own")
            .file("more", text)
            .image("based", |image| image.config.on_build = vec!["INCLUDE more".to_owned()])
    };
    let built = world("ARG x=1\nRUN given $x\n").build();
    assert_eq!(built.names(), ["[1/3] FROM based", "[2/3] ONBUILD RUN given $x", "[3/3] RUN own"]);
    let error = &world("NOPE\n").errors()[0];
    assert_eq!(error.primary.as_ref().map(|at| at.file.as_str()), Some("more"));
    assert_eq!(error.related[0].at.start.line, 2, "{error:?}");
}

#[test]
fn text_that_brings_itself_in_many_times_comes_to_an_end() {
    let wide = "INCLUDE me\n".repeat(20);
    let world = World::new("FROM alpine\nINCLUDE me").file("me", &wide);
    assert!(world.error_codes().iter().all(|code| code == "expansion-too-deep"));
    assert!(world.applied.borrow().len() < 30_000, "{}", world.applied.borrow().len());
}

#[test]
fn section_6_heredocs_reach_the_graph() {
    let text = "FROM alpine\nARG v=1\nCOPY <<a <<'b' /d/\n$v\na\n$v\nb\nRUN <<-E\n\techo $v\n\tE\n";
    let built = World::new(text).build();
    let data: Vec<_> = built
        .0
        .graph
        .ops
        .iter()
        .filter_map(|op| match &op.kind {
            OpKind::File(file) => Some(&file.actions),
            _ => None,
        })
        .flatten()
        .filter_map(|action| match action {
            kiln_sdk::wit::graph::FileAction::MakeFile(file) => {
                Some(String::from_utf8_lossy(&file.data).into_owned())
            }
            _ => None,
        })
        .collect();
    assert_eq!(data, ["1\n", "$v\n"]);
    let copies: Vec<_> = built.names().into_iter().filter(|name| name.contains("2/3")).collect();
    assert_eq!(copies, ["[2/3] write a b", "[2/3] COPY <<a <<'b' /d/"]);
    assert_eq!(built.op("RUN").name, "[3/3] RUN <<-E (echo $v)");
    assert_eq!(built.args("RUN <<-E"), ["/bin/sh", "-c", "echo $v\n"]);
}

#[test]
fn thousands_of_instructions_are_planned_quickly() {
    let mut text = "FROM alpine\n".to_owned();
    for number in 0..3000 {
        text.push_str(&format!("LABEL key{}=value{number}\n", number % 20));
    }
    let world = World::new(&text);
    let begin = std::time::Instant::now();
    assert_eq!(world.build().history().len(), 3000);
    // Without optimisation and with everything else that runs: quadratic work would take minutes.
    assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
}

#[test]
fn lines_that_do_not_see_each_other_are_applied_in_one_call() {
    let mut text = String::from("ARG v=0\nFROM alpine\nARG v\n");
    for number in 0..300 {
        text += &format!("ENV E{number}={number}\nLABEL l{number}=$v\nEXPOSE {}\n", number + 1000);
    }
    let world = World::new(&text);
    let built = world.build();
    assert_eq!(*world.applied.borrow(), [1, 128, 128, 128, 128, 128, 128, 128, 3]);
    assert_eq!(built.config().labels.len(), 300);
    assert!(built.config().labels.iter().all(|label| label.value == "0"));
    assert_eq!(built.history().len(), 901);
}

#[test]
fn a_line_sees_what_lines_before_it_set_however_they_are_applied() {
    let text = "FROM alpine\nENV A=1\nARG B=2 C=${A}0\nLABEL one=$A$B$C\nLABEL two=$A\nENV A=3\nARG B=$A\n\
                LABEL three=$A$B$C four=${D:-none}\nARG D=5\nENV A=$D\nUSER $A\nEXPOSE $D$A\nSHELL [\"/s\"]\nCMD $A";
    let world = World::new(text);
    let built = world.build();
    let labels: Vec<_> =
        built.config().labels.iter().map(|label| format!("{}={}", label.key, label.value)).collect();
    assert_eq!(labels, ["one=1210", "two=1", "three=3310", "four=none"]);
    assert_eq!(
        (built.config().user.as_str(), &*built.config().exposed_ports),
        ("5", &["55/tcp".to_owned()][..])
    );
    assert_eq!(built.config().cmd, Some(vec!["/s".to_owned(), "$A".to_owned()]));
    let env: Vec<_> = built.config().env.iter().map(|pair| format!("{}={}", pair.key, pair.value)).collect();
    assert_eq!(env.last().map(String::as_str), Some("A=5"));
    assert_eq!(
        built.history(),
        [
            "ENV A=1",
            "ARG B=2 C=10",
            "LABEL one=1210",
            "LABEL two=1",
            "ENV A=3",
            "ARG B=3",
            "LABEL three=3310 four=none",
            "ARG D=5",
            "ENV A=5",
            "USER 5",
            "EXPOSE [55/tcp]",
            "SHELL [/s]",
            "CMD [\"/s\" \"$A\"]",
        ]
    );
}

#[test]
fn a_variable_that_an_argument_hides_is_back_in_the_next_stage() {
    let text = "FROM alpine AS a\nENV A=image\nARG A=argument\nLABEL in=$A\nFROM a\nLABEL after=$A";
    let built = World::new(text).build();
    let labels: Vec<_> = built.config().labels.iter().map(|label| label.value.as_str()).collect();
    assert_eq!(labels, ["argument", "image"]);
}
