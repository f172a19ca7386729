//! `kiln build`: from arguments to a request, and from an outcome to words.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, anyhow, bail, ensure};
use kiln_core::graph::Ulimit;
use kiln_core::{Cancel, ImageRef, Platform, Request};
use kiln_driver::{
    BuildFile, BuildRequest, Compression, ContextLocation, Destination, Driver, LockUse, NetworkMode,
    Outcome, OutputKind, OutputSpec, Secret, SourceTexts, SshSource,
};

use crate::args::{BuildArgs, InputArgs, NetworkArg, ProgressMode};
use crate::call::{self, Call};
use crate::config::Config;
use crate::exit::{CommandLine, Exit};
use crate::loading;
use crate::parse;
use crate::progress::{Mode, Progress, Ticker};
use crate::project;
use crate::telling::Telling;

pub fn run(args: &BuildArgs, config: &Config, driver: &Driver, cancel: &Cancel) -> Result<Exit> {
    let Some(directory) = &args.record else { return perform(args, config, driver, cancel, Work::Build) };
    let recorder = driver.record_plugins(directory)?;
    let exit = perform(args, config, driver, cancel, Work::Build);
    match recorder.failure() {
        Some(error) => Err(error)
            .with_context(|| format!("could not write down a plugin's call in `{}`", directory.display())),
        None => exit,
    }
}

/// What policies say of the build, which is not made.
pub fn judge(args: &BuildArgs, config: &Config, driver: &Driver, cancel: &Cancel) -> Result<Exit> {
    perform(args, config, driver, cancel, Work::Judge)
}

/// As [`judge`], for whoever wants plugins asked and no verdict.
pub fn rehearse(args: &BuildArgs, config: &Config, driver: &Driver, cancel: &Cancel) -> Result<Exit> {
    perform(args, config, driver, cancel, Work::Rehearse)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Build,
    Judge,
    Rehearse,
}

/// What was said about a build, with the plugins that it is to have in place.
pub struct Prepared {
    pub request: BuildRequest,
    pub mode: Mode,
}

/// Adds what configuration and repository say to a request, and gives the driver its plugins.
///
/// # Errors
///
/// [`CommandLine`], or that a plugin cannot be had.
pub fn prepare(
    mut request: BuildRequest,
    args: &InputArgs,
    config: &Config,
    driver: &Driver,
) -> Result<Prepared> {
    let project = project::read(&request.context)?;
    if request.frontend.target.is_empty()
        && let Some(target) = &project.target
    {
        request.frontend.target.clone_from(target);
    }
    request.project_frontend.clone_from(&project.frontend);
    let grants: Vec<String> = request.allow.iter().filter(|right| is_grant(right)).cloned().collect();
    driver.use_lock(lock_use(args, &request));
    let mode = mode(args);
    if matches!(mode, Mode::Tty | Mode::Plain) {
        loading::tell(driver);
    }
    driver.set_up_plugins(&loading::setup(config, &project, &args.plugins, &grants)?)?;
    Ok(Prepared { request, mode })
}

fn perform(args: &BuildArgs, config: &Config, driver: &Driver, cancel: &Cancel, work: Work) -> Result<Exit> {
    let call = call(args)?;
    let notes = args.compat.notes()?;
    let Prepared { request, mode } = prepare(whole_request(args)?, &args.inputs, config, driver)?;
    if matches!(mode, Mode::Tty | Mode::Plain) {
        for note in notes {
            tellln!("note: {note}");
        }
    }
    if let Some(question) = call.question {
        return call::run(call, question, &request, driver, cancel, mode);
    }
    let progress = Arc::new(Progress::new(mode));
    let ticker = (mode == Mode::Tty).then(|| Ticker::start(&progress));
    let sources = SourceTexts::default();
    let result = match work {
        Work::Build => driver.build(&request, &sources, &*progress, cancel),
        Work::Judge | Work::Rehearse => {
            let judged = driver.judge(&request, &sources, &*progress, cancel);
            judged.map(|policy| Outcome { policy, ..Outcome::default() })
        }
    };
    drop(ticker);
    progress.finish();

    let telling = Telling { progress: &progress, sources: &sources, mode };
    telling.tell_heard(result.is_err());
    match result {
        Ok(_) if work == Work::Rehearse => Ok(Exit::Built),
        Ok(outcome) if work == Work::Judge => {
            let verdict = outcome.policy.summary();
            tellln!("{}", verdict.unwrap_or_else(|| "there is no policy that could say anything".to_owned()));
            Ok(Exit::Built)
        }
        Ok(outcome) => {
            announce(args, &request, &outcome, mode)?;
            Ok(Exit::Built)
        }
        Err(error) => telling.failed(error),
    }
}

/// What was built: on standard output its digest when quiet, else a summary on standard error; and the files asked for.
fn announce(args: &BuildArgs, request: &BuildRequest, outcome: &Outcome, mode: Mode) -> Result<()> {
    if let Some(file) = &args.iidfile
        && let Some(top) = &outcome.top
    {
        write_file(file, top.digest.to_string().as_bytes())?;
    }
    if let Some(file) = &args.metadata_file {
        write_file(file, format!("{:#}\n", outcome.metadata(request)).as_bytes())?;
    }
    if mode == Mode::Rawjson {
        tellln!("{}", serde_json::json!({ "event": "built", "metadata": outcome.metadata(request) }));
        return Ok(());
    }
    if mode == Mode::Quiet {
        if let Some(top) = &outcome.top {
            crate::table::put(&format!("{}\n", top.digest))?;
        }
        return Ok(());
    }
    for image in &outcome.images {
        let layers =
            if image.layers == 1 { "1 layer".to_owned() } else { format!("{} layers", image.layers) };
        tellln!("{} {} ({}, {layers})", image.platform, image.manifest, parse::human_size(image.size_bytes));
    }
    for plugin in &outcome.plugins {
        if let Some((origin, _)) = &plugin.source {
            tellln!("with plugin {plugin} of {origin}");
        }
    }
    for written in &outcome.written {
        tellln!("{written}");
    }
    if let Some(verdict) = outcome.policy.summary() {
        tellln!("{verdict}");
    }
    tellln!("{}", outcome.counts);
    Ok(())
}

/// Written beside and renamed, so that a reader never sees half of it.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    let beside = PathBuf::from(beside);
    std::fs::write(&beside, bytes)
        .and_then(|()| std::fs::rename(&beside, path))
        .inspect_err(|_| {
            let _ = std::fs::remove_file(&beside);
        })
        .with_context(|| format!("could not write `{}`", path.display()))
}

fn call(args: &BuildArgs) -> Result<Call> {
    match args.check {
        true => Call::read("check"),
        false => Call::read(&args.call),
    }
}

fn mode(args: &InputArgs) -> Mode {
    match args.progress {
        _ if args.quiet => Mode::Quiet,
        ProgressMode::Quiet => Mode::Quiet,
        ProgressMode::Tty => Mode::Tty,
        ProgressMode::Plain => Mode::Plain,
        ProgressMode::Rawjson => Mode::Rawjson,
        ProgressMode::Auto if std::io::stderr().is_terminal() => Mode::Tty,
        ProgressMode::Auto => Mode::Plain,
    }
}

/// All that is asked of a build, with the names and places of its results.
///
/// # Errors
///
/// As [`request`].
fn whole_request(args: &BuildArgs) -> Result<BuildRequest> {
    let tags = args
        .tags
        .iter()
        .map(|name| match ImageRef::parse(name) {
            Ok(name) if name.is_pinned() => {
                Err(CommandLine(anyhow!("`--tag {name}`: a name given to an image has a tag, not a digest"))
                    .into())
            }
            Ok(name) => Ok(name.or_latest()),
            Err(error) => Err(CommandLine(anyhow!(error).context(format!("`--tag {name}`"))).into()),
        })
        .collect::<Result<Vec<_>>>()?;
    let annotations = args.annotations.iter().map(|text| annotation(text)).collect::<Result<_>>()?;
    let outputs = outputs(args, &tags)?;
    Ok(BuildRequest { tags, outputs, annotations, ..request(&args.inputs, &args.context)? })
}

/// What a build is made of, with no result but an image in the store.
///
/// # Errors
///
/// [`CommandLine`] for what makes no sense by itself; other errors for files that could not be read.
pub fn request(args: &InputArgs, context: &str) -> Result<BuildRequest> {
    let (context, build_file, file) = inputs(args.file.as_deref(), context)?;
    let mut build_args = Vec::new();
    for text in &args.build_args {
        build_args.extend(parse::pair_or_environment(text, "--build-arg").map_err(CommandLine::from)?);
    }
    if !build_args.iter().any(|(name, _)| name == "SOURCE_DATE_EPOCH") {
        let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(epoch) if !epoch.is_empty() => Some(epoch),
            _ => args.reproducible.then(|| "0".to_owned()),
        };
        build_args.extend(epoch.map(|epoch| ("SOURCE_DATE_EPOCH".to_owned(), epoch)));
    }
    let secrets = args.secrets.iter().map(|text| secret(text)).collect::<Result<Vec<_>>>()?;
    let ssh = args.ssh.iter().map(|text| ssh(text)).collect::<Result<Vec<_>>>()?;
    let mut no_cache = args.no_cache_filter.clone();
    if args.no_cache {
        no_cache.push("*".to_owned());
    }
    let platforms = args
        .platforms
        .iter()
        .map(|text| Platform::parse(text).map_err(|error| CommandLine(error.into()).into()))
        .collect::<Result<Vec<_>>>()?;
    let keep_git_dir = build_args
        .iter()
        .any(|(name, value)| name == "BUILDKIT_CONTEXT_KEEP_GIT_DIR" && parse::boolean(value) == Ok(true));
    let proxies = build_args.iter().filter(|(name, _)| is_proxy(name)).cloned().collect();
    let labels = args.labels.iter().map(|text| match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (text.clone(), String::new()),
    });
    Ok(BuildRequest {
        frontend: Request {
            file,
            target: args.target.clone(),
            platforms,
            build_platform: Platform::host(),
            build_args,
            labels: labels.collect(),
            options: args.plugins.frontend_options()?,
            no_cache,
            secret_ids: secrets.iter().map(|secret| secret.id.clone()).collect(),
            ssh_ids: ssh.iter().map(|(id, _)| id.clone()).collect(),
        },
        frontend_name: args.plugins.frontend.clone(),
        project_frontend: None,
        context,
        build_file,
        keep_git_dir,
        named_contexts: named_contexts(&args.build_contexts)?,
        outputs: vec![plain_output(OutputKind::Store)],
        tags: Vec::new(),
        pull: args.pull,
        network: network(args.network),
        add_hosts: args.add_hosts.iter().map(|text| add_host(text)).collect::<Result<_>>()?,
        secrets,
        ssh,
        ulimits: args.ulimits.iter().map(|text| ulimit(text)).collect::<Result<_>>()?,
        shm_size: args.shm_size.as_deref().map(parse::size).transpose().map_err(CommandLine::from)?,
        cgroup_parent: args.cgroup_parent.clone(),
        allow: args.allow.iter().map(|right| allow(right)).collect::<Result<_>>()?,
        proxies,
        annotations: Vec::new(),
    })
}

/// The lock file stands beside the sources, wherever that is a directory of this machine.
fn lock_use(args: &InputArgs, request: &BuildRequest) -> LockUse {
    let beside = match &request.context {
        ContextLocation::Directory(directory) => Some(directory.join("kiln.lock")),
        _ => None,
    };
    LockUse { path: args.lock_file.clone().or(beside), locked: args.locked }
}

pub fn network(network: NetworkArg) -> NetworkMode {
    match network {
        NetworkArg::Default => NetworkMode::Default,
        NetworkArg::None => NetworkMode::None,
        NetworkArg::Host => NetworkMode::Host,
    }
}

fn pairs(texts: &[String], option: &str) -> Result<Vec<(String, String)>> {
    texts.iter().map(|text| parse::pair(text, option).map_err(|error| CommandLine(error).into())).collect()
}

/// Paths among them have to lead somewhere, whether a stage reads there or not.
fn named_contexts(texts: &[String]) -> Result<Vec<(String, String)>> {
    let contexts = pairs(texts, "--build-context")?;
    for (name, value) in &contexts {
        if let Some(path) = kiln_driver::local_context(value) {
            parse::named(path, &format!("the build context `{name}`:"))?;
        }
    }
    Ok(contexts)
}

/// `[manifest:]NAME=VALUE`. Other places than the manifest can be named with docker, and are not written here.
fn annotation(text: &str) -> Result<(String, String)> {
    let (name, value) = parse::pair(text, "--annotation").map_err(CommandLine::from)?;
    let Some((place, rest)) = name.split_once(':') else { return Ok((name, value)) };
    let kind = place.split('[').next().unwrap_or_default();
    match (place, kind) {
        ("manifest", _) => Ok((rest.to_owned(), value)),
        (_, "manifest" | "index" | "manifest-descriptor" | "index-descriptor") => Err(CommandLine(anyhow!(
            "`--annotation {text}`: kiln annotates the manifests of all platforms and nothing else; leave `{place}:` out"
        ))
        .into()),
        _ => Ok((name, value)),
    }
}

fn is_proxy(name: &str) -> bool {
    ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"]
        .iter()
        .any(|proxy| name == *proxy || name == proxy.to_lowercase())
}

/// Dockerfile specification §1.1-1.3, §20.1.
fn inputs(file: Option<&str>, context: &str) -> Result<(ContextLocation, BuildFile, String)> {
    if context == "-" {
        ensure!(
            file != Some("-"),
            CommandLine(anyhow!(
                "`--file -` and the context `-` both want standard input; give one of them a path"
            ))
        );
        let bytes = read_stdin(u64::MAX)?;
        if kiln_driver::is_archive(&bytes) {
            return Ok((
                ContextLocation::Archive(bytes),
                BuildFile::InContext,
                file.unwrap_or_default().to_owned(),
            ));
        }
        ensure!(
            file.is_none(),
            CommandLine(anyhow!(
                "standard input is no archive, so it is the build file; `--file` names another one"
            ))
        );
        let name = "Dockerfile".to_owned();
        return Ok((ContextLocation::Empty, BuildFile::Text { name: name.clone(), text: bytes }, name));
    }
    let remote = kiln_driver::is_remote_context(context);
    let context = if remote {
        ContextLocation::Remote(context.to_owned())
    } else {
        let directory = PathBuf::from(context);
        let metadata = parse::named(&directory, "the build context")?;
        ensure!(metadata.is_dir(), CommandLine(anyhow!("the build context `{context}` is not a directory")));
        ContextLocation::Directory(directory)
    };
    Ok(match file {
        None => (context, BuildFile::InContext, String::new()),
        Some("-") => {
            let name = "Dockerfile".to_owned();
            (
                context,
                BuildFile::Text { name: name.clone(), text: read_stdin(kiln_driver::MAX_BUILD_FILE_BYTES)? },
                name,
            )
        }
        Some(file) if file.starts_with("http://") || file.starts_with("https://") => {
            (context, BuildFile::Remote(file.to_owned()), "Dockerfile".to_owned())
        }
        Some(file) if remote => (context, BuildFile::InContext, file.to_owned()),
        // A pipe, such as a shell makes of `<(…)`, can be read only once.
        Some(file) if is_pipe(file) => {
            (context, BuildFile::Text { name: file.to_owned(), text: read_pipe(file)? }, file.to_owned())
        }
        Some(file) => (context, BuildFile::Path(PathBuf::from(file)), file.to_owned()),
    })
}

fn is_pipe(file: &str) -> bool {
    std::fs::metadata(file)
        .is_ok_and(|metadata| std::os::unix::fs::FileTypeExt::is_fifo(&metadata.file_type()))
}

/// Reads all of what may keep its reader waiting, already when it is opened.
fn read_all<R: Read>(limit: u64, what: &str, open: impl FnOnce() -> std::io::Result<R>) -> Result<Arc<[u8]>> {
    let mut bytes = Vec::new();
    crate::READING.store(true, Ordering::Release);
    let read = open().and_then(|stream| stream.take(limit).read_to_end(&mut bytes));
    crate::READING.store(false, Ordering::Release);
    read.with_context(|| format!("could not read {what}"))?;
    Ok(bytes.into())
}

fn read_stdin(limit: u64) -> Result<Arc<[u8]>> {
    read_all(limit, "standard input", || Ok(std::io::stdin().lock()))
}

fn read_pipe(file: &str) -> Result<Arc<[u8]>> {
    read_all(kiln_driver::MAX_BUILD_FILE_BYTES, &format!("`{file}`"), || std::fs::File::open(file))
}

fn outputs(args: &BuildArgs, tags: &[ImageRef]) -> Result<Vec<OutputSpec>> {
    let mut outputs = args
        .outputs
        .iter()
        .map(|text| output(text).map_err(|e| CommandLine(e).into()))
        .collect::<Result<Vec<_>>>()?;
    if args.push {
        outputs.push(plain_output(OutputKind::Registry));
    }
    // With a name the image is also to be found under it in the store, whatever else is written.
    if outputs.is_empty()
        || args.load
        || !tags.is_empty() && outputs.iter().all(|o| o.kind != OutputKind::Store)
    {
        outputs.push(plain_output(OutputKind::Store));
    }
    let pushed_nowhere =
        outputs.iter().any(|o| o.kind == OutputKind::Registry && o.names.is_empty() && tags.is_empty());
    ensure!(!pushed_nowhere, CommandLine(anyhow!("there is no name to push under; give one with `--tag`")));
    let to_stdout = outputs.iter().filter(|o| o.destination == Some(Destination::Stdout)).count();
    ensure!(
        to_stdout <= 1,
        CommandLine(anyhow!("two outputs want standard output; give one of them a file"))
    );
    Ok(outputs)
}

fn plain_output(kind: OutputKind) -> OutputSpec {
    OutputSpec { kind, destination: None, compression: None, names: Vec::new(), rewrite_timestamp: true }
}

fn output(text: &str) -> Result<OutputSpec> {
    let mut spec = plain_output(OutputKind::Local);
    if text == "-" {
        spec.kind = OutputKind::Tar;
        spec.destination = Some(Destination::Stdout);
        return Ok(spec);
    }
    if !text.contains('=') {
        ensure!(!text.is_empty(), "`--output` is empty; name a directory or write type=…");
        spec.destination = Some(Destination::Path(text.into()));
        return Ok(spec);
    }
    let mut kind = None;
    let (mut tar, mut level, mut compression) = (true, None, None);
    for field in parse::csv(text)? {
        let (key, value) = field.split_once('=').unwrap_or((&field, "true"));
        match key.trim().to_ascii_lowercase().as_str() {
            "type" => kind = Some(value.to_owned()),
            "dest" | "destination" => {
                let stdout = value == "-";
                spec.destination =
                    Some(if stdout { Destination::Stdout } else { Destination::Path(value.into()) });
            }
            "name" => {
                for name in value.split(',') {
                    spec.names.push(ImageRef::parse(name)?.or_latest());
                }
            }
            "compression" => compression = Some(value.to_owned()),
            "compression-level" => {
                level = Some(
                    value.parse::<i32>().with_context(|| format!("`{value}` is not a compression level"))?,
                );
            }
            "tar" => tar = value.parse().with_context(|| format!("`tar={value}`: write true or false"))?,
            "rewrite-timestamp" => {
                spec.rewrite_timestamp = value
                    .parse()
                    .with_context(|| format!("`rewrite-timestamp={value}`: write true or false"))?;
            }
            "push" => match parse::boolean(value) {
                Ok(true) => kind = Some("registry".to_owned()),
                Ok(false) => {}
                Err(why) => bail!("`push={value}`: {why}"),
            },
            // What kiln writes has them in any case.
            "oci-mediatypes" if parse::boolean(value) == Ok(true) => {}
            other => bail!(
                "`--output {text}`: kiln does not know `{other}`; known are type, dest, name, compression, \
                 compression-level, tar, rewrite-timestamp, push"
            ),
        }
    }
    spec.kind = match kind.as_deref() {
        Some("store" | "image") => OutputKind::Store,
        Some("oci") if tar => OutputKind::OciArchive,
        Some("oci") => OutputKind::OciLayout,
        Some("docker") => OutputKind::DockerArchive,
        Some("tar") => OutputKind::Tar,
        Some("local") => OutputKind::Local,
        Some("registry") => OutputKind::Registry,
        Some(other) => {
            bail!(
                "`--output {text}`: no type `{other}`; there are store, oci, docker, tar, local and registry"
            )
        }
        None => bail!("`--output {text}`: say which `type=`: store, oci, docker, tar, local or registry"),
    };
    spec.compression = match compression.as_deref() {
        None => None,
        Some("uncompressed" | "none") => Some(Compression::None),
        Some("gzip") => {
            let level = level.unwrap_or(6);
            ensure!((0..=9).contains(&level), "a gzip level is 0 to 9, not {level}");
            Some(Compression::Gzip(level.unsigned_abs()))
        }
        Some("zstd") => {
            let level = level.unwrap_or(3);
            ensure!((1..=22).contains(&level), "a zstd level is 1 to 22, not {level}");
            Some(Compression::Zstd(level))
        }
        Some(other) => {
            bail!("`--output {text}`: no compression `{other}`; there are uncompressed, gzip and zstd")
        }
    };
    let in_place = matches!(spec.kind, OutputKind::Store | OutputKind::Registry);
    match (&spec.destination, spec.kind) {
        (Some(_), _) if in_place => bail!("`--output {text}`: this type takes no `dest=`"),
        (Some(Destination::Stdout), OutputKind::Local | OutputKind::OciLayout) => {
            bail!(
                "`--output {text}`: a directory cannot be written to standard output; use type=tar or type=oci"
            )
        }
        (None, OutputKind::OciArchive | OutputKind::DockerArchive | OutputKind::Tar) => {
            spec.destination = Some(Destination::Stdout);
        }
        (None, OutputKind::Local | OutputKind::OciLayout) => {
            bail!("`--output {text}`: say where, with `dest=DIR`")
        }
        _ => {}
    }
    Ok(spec)
}

fn secret(text: &str) -> Result<Secret> {
    let usage =
        |why: &str| CommandLine(anyhow!("`--secret {text}`: {why}; write id=ID,src=FILE or id=ID,env=NAME"));
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in parse::csv(text).map_err(CommandLine::from)? {
        let (key, value) = field.split_once('=').ok_or_else(|| usage(&format!("`{field}` has no value")))?;
        let slot = match key.trim().to_ascii_lowercase().as_str() {
            "id" => &mut id,
            "src" | "source" => &mut file,
            "env" => &mut variable,
            "type" => &mut kind,
            other => return Err(usage(&format!("no field `{other}`")).into()),
        };
        *slot = Some(value.to_owned());
    }
    match kind.as_deref() {
        None | Some("file" | "env") => {}
        Some(other) => return Err(usage(&format!("no type `{other}`")).into()),
    }
    let id = id.filter(|id| !id.is_empty()).ok_or_else(|| usage("there is no id"))?;
    if kind.as_deref() == Some("env") && variable.is_none() {
        variable = file.take();
    }
    let value = match (file, variable) {
        (Some(_), Some(_)) => return Err(usage("both a file and a variable").into()),
        (Some(file), None) => {
            parse::named(Path::new(&file), &format!("the secret `{id}`"))?;
            std::fs::read(&file).with_context(|| format!("could not read the secret `{id}` from `{file}`"))?
        }
        (None, variable) => {
            // As with Docker: without a source, the variable of the id's name, else the file of that name.
            let name = variable.clone().unwrap_or_else(|| id.clone());
            match (std::env::var_os(&name), variable) {
                (Some(value), _) => std::os::unix::ffi::OsStringExt::into_vec(value),
                (None, Some(name)) => {
                    bail!("the secret `{id}` is to come from the variable `{name}`, which is not set")
                }
                (None, None) => std::fs::read(&id).with_context(|| {
                    format!("the secret `{id}` is neither a variable nor a file of that name")
                })?,
            }
        }
    };
    ensure!(value.len() <= 500 * 1024, "the secret `{id}` has {} bytes; 500 KiB is the limit", value.len());
    Ok(Secret { id, value: value.into() })
}

/// `ID`, `ID=SOCKET`, `ID=KEY[,KEY…]`, each with `,raw=BOOL`.
fn ssh(text: &str) -> Result<(String, SshSource)> {
    let usage = |why: String| {
        CommandLine(anyhow!("`--ssh {text}`: {why}; write default, ID=SOCKET or ID=KEYFILE[,KEYFILE…]"))
    };
    let fields = parse::csv(text).map_err(CommandLine::from)?;
    let (mut id, mut paths, mut raw) = (String::new(), Vec::new(), false);
    for (index, field) in fields.into_iter().enumerate() {
        match field.split_once('=') {
            Some(("raw", value)) if index > 0 => {
                raw = parse::boolean(value).map_err(|why| usage(format!("`{field}`: {why}")))?;
            }
            Some((name, path)) if index == 0 => {
                name.clone_into(&mut id);
                paths.push(PathBuf::from(path));
            }
            _ if index == 0 => id = field,
            _ => paths.push(PathBuf::from(field)),
        }
    }
    ensure!(!id.is_empty(), usage("there is no id".to_owned()));
    if paths.is_empty() {
        let agent = std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
        paths.push(
            agent
                .map(PathBuf::from)
                .ok_or_else(|| usage("SSH_AUTH_SOCK is not set, so there is no agent to lend".to_owned()))?,
        );
    }
    let mut keys = Vec::new();
    for path in &paths {
        let metadata = parse::named(path, &format!("what `--ssh {text}` lends"))?;
        keys.push(metadata.is_file());
        let socket = std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type());
        ensure!(
            socket || metadata.is_file(),
            usage(format!("`{}` is neither the socket of an agent nor a key", path.display()))
        );
    }
    let source = match (&paths[..], &keys[..], raw) {
        ([socket], [false], false) => SshSource::Agent(socket.clone()),
        ([socket], [false], true) => SshSource::Raw(socket.clone()),
        (_, keys, false) if keys.iter().all(|key| *key) => SshSource::Keys(paths),
        (_, _, true) => return Err(usage("`raw` is for one socket".to_owned()).into()),
        _ => return Err(usage("it mixes sockets and keys, or names several sockets".to_owned()).into()),
    };
    Ok((id, source))
}

fn add_host(text: &str) -> Result<(String, String)> {
    let wrong = || CommandLine(anyhow!("`--add-host {text}`: write HOST:IP or HOST=IP"));
    let (host, address) = text.split_once(['=', ':']).ok_or_else(wrong)?;
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    let known = bare == "host-gateway" || bare.parse::<std::net::IpAddr>().is_ok();
    ensure!(!host.is_empty() && known, wrong());
    Ok((host.to_owned(), bare.to_owned()))
}

fn ulimit(text: &str) -> Result<Ulimit> {
    let wrong = || {
        CommandLine(anyhow!("`--ulimit {text}`: write NAME=SOFT or NAME=SOFT:HARD, such as nofile=1024:2048"))
    };
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let (soft, hard) = value.split_once(':').unwrap_or((value, value));
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(u64::MAX),
        text => text.parse().map_err(|_| wrong()),
    };
    let (soft, hard) = (number(soft)?, number(hard)?);
    ensure!(soft <= hard, CommandLine(anyhow!("`--ulimit {text}`: the soft limit is above the hard one")));
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

/// A right of a plugin, not of a step.
fn is_grant(right: &str) -> bool {
    right.starts_with("plugin.")
}

fn allow(right: &str) -> Result<String> {
    match right {
        "network.host" | "security.insecure" => Ok(right.to_owned()),
        right if is_grant(right) => Ok(right.to_owned()),
        other => Err(CommandLine(anyhow!(
            "`--allow {other}`: kiln knows no such right; there are network.host, security.insecure and \
             plugin.CAPABILITY=NAME"
        ))
        .into()),
    }
}
