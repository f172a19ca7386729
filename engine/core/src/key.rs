//! Writes what makes a step the step it is, for a cache key and for people, through one function.

use sha2::Digest as _;

use crate::digest::{CacheKey, Digest, StackId};
use crate::graph::{
    CacheMount, ClientMount, CopyAction, ExecOp, FileAction, FileOp, InputId, Mount, MountKind, Network, Op,
    Owner, Security, SourceOp, Unpack, Vertex,
};

/// The version of the encoding. It is in every key: a store never confuses what two versions wrote.
pub const VERSION: &str = "1";

/// Receives the parts of a key in order.
pub trait KeyWriter {
    /// One named part.
    fn field(&mut self, name: &'static str, value: &[u8]);
}

/// What identifies one input of a vertex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKey {
    /// How it is made.
    Definition(CacheKey),
    /// All that it holds.
    Stack(StackId),
    /// What the vertex takes out of it ([`crate::select`]).
    Selected(Digest),
}

impl InputKey {
    fn text(&self) -> String {
        match self {
            Self::Definition(key) => format!("definition {}", key.0.hex()),
            Self::Stack(stack) => format!("stack {}", stack.0.hex()),
            Self::Selected(digest) => format!("selection {}", digest.hex()),
        }
    }
}

/// Writes every field of a vertex that its result depends on; `inputs` are those of the vertex, in order. What is at
/// its default, empty or zero, is not written. docs/reference/cache-keys.md lists the fields, and what is left out.
pub fn write_key(vertex: &Vertex, inputs: &[InputKey], to: &mut dyn KeyWriter) {
    let mut to = Fields { to, inputs };
    to.text("version", VERSION);
    match &vertex.op {
        Op::Source(source) => write_source(source, vertex, &mut to),
        Op::Exec(op) => {
            to.text("op", "exec");
            write_platform(vertex, &mut to);
            write_exec(op, &mut to);
        }
        Op::File(op) => {
            to.text("op", "file");
            write_file_op(op, &mut to);
        }
        Op::Merge | Op::Diff => {
            to.text("op", if vertex.op == Op::Merge { "merge" } else { "diff" });
            for input in 0..inputs.len() {
                to.input("input", input);
            }
        }
        Op::Derive(op) => {
            to.text("op", "derive");
            write_platform(vertex, &mut to);
            to.text("plugin", &op.plugin.hex());
            to.text("task", &op.task);
            for input in 0..inputs.len() {
                to.input("input", input);
            }
        }
    }
}

/// Fields of some kinds, on their way to a writer.
struct Fields<'a> {
    to: &'a mut dyn KeyWriter,
    inputs: &'a [InputKey],
}

impl Fields<'_> {
    /// Nothing for an empty text.
    fn text(&mut self, name: &'static str, value: &str) {
        if !value.is_empty() {
            self.to.field(name, value.as_bytes());
        }
    }

    /// One field for each, also for empty ones: their number and order matter.
    fn list<'t>(&mut self, name: &'static str, values: impl IntoIterator<Item = &'t String>) {
        for value in values {
            self.to.field(name, value.as_bytes());
        }
    }

    /// Nothing for `false`.
    fn flag(&mut self, name: &'static str, value: bool) {
        self.text(name, if value { "true" } else { "" });
    }

    /// Nothing for zero.
    fn number(&mut self, name: &'static str, value: u64) {
        if value != 0 {
            self.text(name, &value.to_string());
        }
    }

    fn mode(&mut self, name: &'static str, value: u32) {
        self.text(name, &format!("{value:o}"));
    }

    fn input(&mut self, name: &'static str, input: InputId) {
        let text = self.inputs.get(input).map(InputKey::text);
        self.text(name, text.as_deref().unwrap_or("none"));
    }

    fn is_selected(&self, input: InputId) -> bool {
        matches!(self.inputs.get(input), Some(InputKey::Selected(_)))
    }

    fn owner(&mut self, owner: Option<&Owner>) {
        if let Some(owner) = owner {
            self.to.field("owner-user", owner.user.as_bytes());
            self.to.field("owner-group", owner.group.as_bytes());
        }
    }
}

fn write_platform(vertex: &Vertex, to: &mut Fields<'_>) {
    to.text("platform", &vertex.platform.to_string());
    to.text("os-version", &vertex.platform.os_version);
}

fn write_source(source: &SourceOp, vertex: &Vertex, to: &mut Fields<'_>) {
    match source {
        SourceOp::Scratch => to.text("op", "scratch"),
        SourceOp::Image(image) => {
            to.text("op", "image");
            match image.pinned {
                Some(manifest) => to.text("manifest", &manifest.hex()),
                None => {
                    write_platform(vertex, to);
                    to.text("reference", &image.reference);
                }
            }
        }
        SourceOp::Context(context) => {
            to.text("op", "context");
            to.text("name", &context.name);
            to.flag("own-ignore-file", context.ignore.is_none());
            to.list("ignore", context.ignore.iter().flatten());
        }
        SourceOp::Git(git) => {
            to.text("op", "git");
            // A whole commit says it all; a few digits of one mean something in one repository only.
            if git.commit.len() < 40 {
                to.text("url", &git.url);
                to.text("reference", &git.reference);
            }
            to.text("commit", &git.commit);
            to.text("subdir", &git.subdir);
            to.flag("submodules", git.submodules);
            to.flag("keep-git-dir", git.keep_git_dir);
            to.flag("commit-times", git.commit_times);
        }
        SourceOp::Http(http) => {
            to.text("op", "http");
            match &http.checksum {
                Some(checksum) => to.text("checksum", checksum),
                None => to.text("url", &http.url),
            }
            to.text("filename", http_filename(&http.filename, &http.url));
        }
    }
}

/// The name that a download gets.
fn http_filename<'a>(given: &'a str, url: &'a str) -> &'a str {
    if !given.is_empty() {
        return given;
    }
    let path = url.split(['?', '#']).next().unwrap_or("");
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    match path.split_once('/').and_then(|(_, path)| path.rsplit('/').next()) {
        Some(name) if !name.is_empty() => name,
        _ => "__unnamed__",
    }
}

fn write_exec(op: &ExecOp, to: &mut Fields<'_>) {
    to.list("argument", &op.args);
    for (name, value) in &op.env {
        to.text("environment", &format!("{name}={value}"));
    }
    for secret in &op.secret_env {
        to.text("secret-environment", &secret.name);
        to.text("id", &secret.id);
        to.flag("required", secret.required);
    }
    to.text("directory", &op.cwd);
    to.text("user", &op.user);
    to.text(
        "network",
        match op.network {
            Network::Unset => "",
            Network::Default => "default",
            Network::None => "none",
            Network::Host => "host",
        },
    );
    to.flag("insecure", op.security == Security::Insecure);
    to.text("hostname", &op.hostname);
    to.list("host-alias", op.host_aliases.iter().map(|(name, _)| name));
    for limit in &op.ulimits {
        to.text("ulimit", &format!("{}={}:{}", limit.name, limit.soft, limit.hard));
    }
    to.number("shm-size-kib", u64::from(op.shm_size_kib));
    for device in &op.devices {
        to.text("device", &device.name);
        to.flag("required", device.required);
    }
    for code in &op.ok_exit_codes {
        to.text("exit-code", &code.to_string());
    }
    for mount in &op.mounts {
        write_mount(mount, to);
    }
}

fn write_mount(mount: &Mount, to: &mut Fields<'_>) {
    to.text("mount", &mount.target);
    to.flag("read-only", mount.readonly);
    let client = |kind, client: &ClientMount, to: &mut Fields<'_>| {
        to.text("type", kind);
        to.text("id", &client.id);
        to.flag("required", client.required);
        to.mode("mode", client.mode);
        to.number("uid", u64::from(client.uid));
        to.number("gid", u64::from(client.gid));
    };
    match &mount.kind {
        MountKind::Bind { input: None, .. } => to.text("type", "empty"),
        MountKind::Bind { input: Some(input), selector } => {
            to.text("type", "bind");
            to.input("from", *input);
            if !to.is_selected(*input) {
                to.text("selector", selector);
            }
        }
        // Whose cache it is, and what is in it, makes a step faster and not another one.
        MountKind::Cache(CacheMount { .. }) => to.text("type", "cache"),
        MountKind::Tmpfs { size_kib } => {
            to.text("type", "tmpfs");
            to.number("size-kib", u64::from(*size_kib));
        }
        MountKind::Secret(secret) => client("secret", secret, to),
        MountKind::Ssh(ssh) => client("ssh", ssh, to),
    }
}

fn write_file_op(op: &FileOp, to: &mut Fields<'_>) {
    if let Some(base) = op.base {
        to.input("base", base);
    }
    for action in &op.actions {
        match action {
            FileAction::Copy(copy) => write_copy(copy, to),
            FileAction::MakeDir { path, mode, parents, owner } => {
                to.text("action", "make-dir");
                to.text("path", path);
                to.mode("mode", *mode);
                to.flag("parents", *parents);
                to.owner(owner.as_ref());
            }
            FileAction::MakeFile { path, data, mode, owner } => {
                to.text("action", "make-file");
                to.text("path", path);
                to.to.field("data", data);
                to.mode("mode", *mode);
                to.owner(owner.as_ref());
            }
            FileAction::MakeSymlink { path, target, owner } => {
                to.text("action", "make-symlink");
                to.text("path", path);
                to.text("target", target);
                to.owner(owner.as_ref());
            }
            FileAction::Remove { path, allow_missing, allow_wildcard } => {
                to.text("action", "remove");
                to.text("path", path);
                to.flag("allow-missing", *allow_missing);
                to.flag("wildcard", *allow_wildcard);
            }
            FileAction::Change { path, owner, mode, recursive, allow_wildcard } => {
                to.text("action", "change");
                to.text("path", path);
                to.text("mode", mode);
                to.flag("recursive", *recursive);
                to.flag("wildcard", *allow_wildcard);
                to.owner(owner.as_ref());
            }
        }
    }
}

fn write_copy(copy: &CopyAction, to: &mut Fields<'_>) {
    to.text("action", "copy");
    to.input("from", copy.input);
    // A selection says what its patterns came to. That something was filtered still matters: directories that are
    // there already then keep their metadata.
    if to.is_selected(copy.input) {
        to.flag("filtered", !copy.include_patterns.is_empty());
    } else {
        to.list("source", &copy.paths);
        to.list("include", &copy.include_patterns);
        to.list("exclude", &copy.exclude_patterns);
        to.flag("follow-links", copy.follow_symlinks);
        to.flag("wildcard", copy.allow_wildcard);
        to.flag("empty-wildcard", copy.allow_empty_wildcard);
    }
    to.text("destination", &copy.dest);
    to.text("mode", &copy.mode);
    to.flag("contents-only", copy.contents_only);
    to.flag("create-destination", copy.create_dest);
    to.flag("keep-parents", copy.keep_parents);
    to.text(
        "unpack",
        match copy.unpack {
            Unpack::Nothing => "",
            Unpack::Tar => "tar",
            Unpack::Ar => "ar",
            Unpack::Zip => "zip",
            Unpack::Compressed => "compressed",
        },
    );
    to.owner(copy.owner.as_ref());
}

/// Makes a key of the fields.
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// `purpose` keeps keys of different records apart: `definition`, `content`.
    pub fn new(purpose: &'static str) -> Self {
        let mut hasher = Self(sha2::Sha256::new());
        hasher.field("kiln key", purpose.as_bytes());
        hasher
    }

    pub fn finish(self) -> CacheKey {
        CacheKey(Digest::from_bytes(self.0.finalize().into()))
    }
}

impl KeyWriter for Hasher {
    fn field(&mut self, name: &'static str, value: &[u8]) {
        for part in [name.as_bytes(), value] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
    }
}

/// Keeps the fields as text, for [`crate::explain`]. Bytes that are no UTF-8 are replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explainer {
    pub fields: Vec<(String, String)>,
}

impl KeyWriter for Explainer {
    fn field(&mut self, name: &'static str, value: &[u8]) {
        let value = String::from_utf8_lossy(value).into_owned();
        self.fields.push((name.to_owned(), value));
    }
}

#[cfg(test)]
mod tests;
