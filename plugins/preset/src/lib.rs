//! What presets for languages share: a builder image, its facts, and the shape of the image they make.
//!
//! A preset is a frontend component. What it does about its language is its own; this library has what is the same in
//! all of them. The usual course of a build:
//!
//! 1. [`Common::read`] takes the options that mean the same everywhere, [`check_build_args`] and [`check_target`] what else
//!    the person said.
//! 2. [`Builder::open`] looks up the image with the toolchain (a `--build-context` of its name goes first) and installs
//!    packages in it. [`Builder::facts`] says which tools it has and where certificates and time zones lie;
//!    [`Facts::need`] is the error for a tool that is missing.
//! 3. [`Builder::produce`] is a step whose result is what it puts into [`OUT`]; [`Builder::ask`] runs such steps now and
//!    opens what came out. Steps that are asked are cached like all others, so keep the files they see few.
//! 4. [`Reasons::say`] at each decision: one code, one sentence.
//! 5. [`Furniture::new`] and [`Furniture::layer`] for an image on nothing; an image on a runtime gets none, since the
//!    runtime has its own. [`libraries`] finds shared libraries; the component answers `derive` with [`derive`].
//! 6. [`Shape`] puts the layers together; [`answer`] is what `build` returns.
//! 7. [`Dockerfile`] writes the same as text for `eject`, with [`Furniture::script`] and [`commands`].
//!
//! The builder runs on the machine that builds: a preset that makes images for other platforms lets its compiler do it. One
//! [`GraphBuilder`](kiln_sdk::GraphBuilder) goes through the whole build: what was asked while planning is in the final
//! graph again, and is found and not done twice.
//!
//! ```no_run
//! use kiln_preset::{Builder, Common, Furniture, Reasons, Shape, Wanted, answer};
//! use kiln_sdk::GraphBuilder;
//! use kiln_sdk::wit::frontend_types::{BuildFailure, BuildRequest, BuildResult};
//! use kiln_sdk::wit::graph::CopyAction;
//!
//! fn build(request: &BuildRequest) -> Result<BuildResult, BuildFailure> {
//!     let (mut graph, mut reasons) = (GraphBuilder::new(), Reasons::new());
//!     let common = Common::read(request)?;
//!     let image = common.builder.clone().unwrap_or_else(|| "gcc:13".to_owned());
//!     reasons.say("builder", format!("builder `{image}`, as nothing else was asked for"));
//!     let builder = Builder::open(&mut graph, request, "c", &image, &common)?;
//!     let facts = builder.facts(&graph, &["cc"], "")?;
//!     facts.need("cc")?;
//!
//!     let source = graph.build_context("");
//!     let mut exec = builder.script("cc -static -o /kiln/out/app /src/main.c");
//!     exec.mounts = vec![kiln_sdk::wit::graph::Mount::bind("/src", source)];
//!     let built = builder.produce(&mut graph, builder.root, exec, "compiling");
//!
//!     let wanted = Wanted { certificates: false, zoneinfo: false };
//!     let furniture = Furniture::new(&common.user, &facts, wanted, "c", &mut reasons)?;
//!     let platform = &request.build_platform;
//!     let mut shape = Shape::new("c", platform, None, &common.user);
//!     shape.layer(furniture.layer(&mut graph, &builder), "furniture");
//!     let program = graph.copy(None, CopyAction::new(built, vec!["/app".into()], "/usr/local/bin/app"));
//!     shape.layer(program, "program");
//!     shape.config.entrypoint = Some(vec!["/usr/local/bin/app".into()]);
//!     let target = shape.finish(&mut graph, request);
//!     answer(graph, vec![target], reasons, request)
//! }
//! ```

mod builder;
mod dockerfile;
mod furniture;
mod image;
mod libraries;
mod options;
mod reasons;
mod result;
mod rules;

pub use builder::{Builder, Facts, OUT, set_pair};
pub use dockerfile::{Dockerfile, literal, word};
pub use furniture::{CERTIFICATES, Furniture, NSSWITCH, Wanted, ZONEINFO, ZONEINFO_BESIDES};
pub use image::{Image, platform_text};
pub use kiln_closure::Request as ClosureRequest;
pub use libraries::{commands, derive, libraries};
pub use options::{Common, USER, bad};
pub use reasons::Reasons;
pub use result::{Shape, answer, check_build_args, check_target, epoch};
pub use rules::rules;
