//! What single operations say, checked.

use kiln_core::graph::{
    CacheMount, ClientMount, CopyAction, Device, ExecOp, FileAction, FileOp, InputId, Mount, MountKind,
    Network, Output, Owner, SecretEnv, Security, Sharing, Ulimit, Unpack,
};

use super::{Fault, absolute, pairs, text, texts};
use crate::bindings::wit::graph as wit;
use crate::limits;

/// What an operation reads, each once, in the order of first mention.
pub(super) struct Inputs<'a> {
    pub(super) list: Vec<Output>,
    /// Finds what an output of the contract is in the graph that is made, or why there is no such output.
    pub(super) find: &'a dyn Fn(wit::Output) -> Result<Output, Fault>,
}

impl Inputs<'_> {
    fn add(&mut self, output: wit::Output) -> Result<InputId, Fault> {
        let output = (self.find)(output)?;
        if let Some(known) = self.list.iter().position(|input| *input == output) {
            return Ok(known);
        }
        self.list.push(output);
        Ok(self.list.len() - 1)
    }

    fn add_optional(&mut self, output: Option<wit::Output>) -> Result<Option<InputId>, Fault> {
        output.map(|output| self.add(output)).transpose()
    }
}

/// Of a limit, in the contract; the core has 64 bits for it.
const UNLIMITED: u32 = u32::MAX;

pub(super) fn exec(op: wit::ExecOp, inputs: &mut Inputs<'_>) -> Result<ExecOp, Fault> {
    if op.args.is_empty() {
        return Err(Fault::new("a command without a program"));
    }
    for pair in &op.env {
        if pair.key.is_empty() || pair.key.contains('=') {
            return Err(Fault::new(format!("`{}` is not the name of a variable", pair.key)));
        }
    }
    if let Some(code) = op.ok_exit_codes.iter().find(|code| **code > 255) {
        return Err(Fault::new(format!("{code} is not an exit code")));
    }
    Ok(ExecOp {
        args: texts("argument", op.args)?,
        env: pairs("environment", op.env)?,
        secret_env: op
            .secret_env
            .into_iter()
            .map(|secret| {
                if secret.name.is_empty() || secret.name.contains('=') {
                    return Err(Fault::new(format!("`{}` is not the name of a variable", secret.name)));
                }
                Ok(SecretEnv {
                    name: text("variable", secret.name)?,
                    id: text("secret", secret.id)?,
                    required: secret.required,
                })
            })
            .collect::<Result<_, _>>()?,
        cwd: if op.cwd.is_empty() { op.cwd } else { absolute("working directory", op.cwd)? },
        user: text("user", op.user)?,
        mounts: mounts(op.mounts, inputs)?,
        network: match op.network.as_str() {
            "" => Network::Unset,
            "default" => Network::Default,
            "none" => Network::None,
            "host" => Network::Host,
            other => return Err(unknown_word("network", other, "`default`, `none`, `host`")),
        },
        security: match op.security.as_str() {
            "" | "sandbox" => Security::Sandbox,
            "insecure" => Security::Insecure,
            other => return Err(unknown_word("security", other, "`sandbox`, `insecure`")),
        },
        hostname: text("host name", op.hostname)?,
        host_aliases: op
            .host_aliases
            .into_iter()
            .map(|alias| Ok((text("host", alias.name)?, text("address", alias.address)?)))
            .collect::<Result<_, Fault>>()?,
        ulimits: op
            .ulimits
            .into_iter()
            .map(|limit| {
                let value = |value| if value == UNLIMITED { u64::MAX } else { u64::from(value) };
                Ok(Ulimit {
                    name: text("ulimit", limit.name)?,
                    soft: value(limit.soft),
                    hard: value(limit.hard),
                })
            })
            .collect::<Result<_, Fault>>()?,
        shm_size_kib: op.shm_size,
        devices: op
            .devices
            .into_iter()
            .map(|device| Ok(Device { name: text("device", device.name)?, required: device.required }))
            .collect::<Result<_, Fault>>()?,
        ok_exit_codes: op.ok_exit_codes,
    })
}

fn unknown_word(field: &str, word: &str, known: &str) -> Fault {
    Fault::new(format!("{field} `{word}` is not known (known: {known})"))
}

fn mounts(list: Vec<wit::Mount>, inputs: &mut Inputs<'_>) -> Result<Vec<Mount>, Fault> {
    let root = list.first();
    if !root.is_some_and(|mount| mount.target == "/" && matches!(mount.kind, wit::MountKind::Bind(_))) {
        return Err(Fault::new("mount 0 is not a bind at `/`"));
    }
    list.into_iter()
        .enumerate()
        .map(|(index, mount)| {
            let target = absolute("mount target", mount.target)?;
            if index > 0 && target.trim_end_matches('/').is_empty() {
                return Err(Fault::new(format!("mount {index} hides the root")));
            }
            Ok(Mount { target, readonly: mount.readonly, kind: mount_kind(mount.kind, inputs)? })
        })
        .collect()
}

fn mount_kind(kind: wit::MountKind, inputs: &mut Inputs<'_>) -> Result<MountKind, Fault> {
    Ok(match kind {
        wit::MountKind::Bind(bind) => MountKind::Bind {
            input: inputs.add_optional(bind.input)?,
            selector: text("selector", bind.selector)?,
        },
        wit::MountKind::Cache(cache) => MountKind::Cache(CacheMount {
            id: text("cache id", cache.id)?,
            sharing: match cache.sharing {
                wit::CacheSharing::Shared => Sharing::Shared,
                wit::CacheSharing::Private => Sharing::Private,
                wit::CacheSharing::Locked => Sharing::Locked,
            },
            seed: inputs.add_optional(cache.seed)?,
            selector: text("selector", cache.selector)?,
            mode: mode(cache.mode)?,
            uid: cache.uid,
            gid: cache.gid,
        }),
        wit::MountKind::Tmpfs(size_kib) => MountKind::Tmpfs { size_kib },
        wit::MountKind::Secret(mount) => MountKind::Secret(client_mount(mount)?),
        wit::MountKind::Ssh(mount) => MountKind::Ssh(client_mount(mount)?),
    })
}

fn client_mount(mount: wit::ClientMount) -> Result<ClientMount, Fault> {
    Ok(ClientMount {
        id: text("id", mount.id)?,
        required: mount.required,
        mode: mode(mount.mode)?,
        uid: mount.uid,
        gid: mount.gid,
    })
}

fn mode(mode: u32) -> Result<u32, Fault> {
    if mode > 0o7777 {
        return Err(Fault::new(format!("{mode:#o} is not a file mode")));
    }
    Ok(mode)
}

pub(super) fn file(op: wit::FileOp, inputs: &mut Inputs<'_>) -> Result<FileOp, Fault> {
    Ok(FileOp {
        base: inputs.add_optional(op.base)?,
        actions: op
            .actions
            .into_iter()
            .map(|action| file_action(action, inputs))
            .collect::<Result<_, _>>()?,
    })
}

fn file_action(action: wit::FileAction, inputs: &mut Inputs<'_>) -> Result<FileAction, Fault> {
    Ok(match action {
        wit::FileAction::Copy(action) => FileAction::Copy(copy(action, inputs)?),
        wit::FileAction::MakeDir(action) => FileAction::MakeDir {
            path: absolute("directory", action.path)?,
            mode: mode(action.mode)?,
            parents: action.parents,
            owner: owner(action.owner)?,
        },
        wit::FileAction::MakeFile(action) => {
            if action.data.len() > limits::FILE_BYTES {
                let limit = limits::FILE_BYTES >> 20;
                return Err(Fault::new(format!("file `{}` is longer than {limit} MiB", action.path)));
            }
            FileAction::MakeFile {
                path: absolute("file", action.path)?,
                data: action.data,
                mode: mode(action.mode)?,
                owner: owner(action.owner)?,
            }
        }
        wit::FileAction::MakeSymlink(action) => FileAction::MakeSymlink {
            path: absolute("link", action.path)?,
            target: text("link target", action.target)?,
            owner: owner(action.owner)?,
        },
        wit::FileAction::Remove(action) => FileAction::Remove {
            path: absolute("path to remove", action.path)?,
            allow_missing: action.allow_missing,
            allow_wildcard: action.allow_wildcard,
        },
        wit::FileAction::Change(action) => FileAction::Change {
            path: absolute("path to change", action.path)?,
            owner: owner(action.owner)?,
            mode: text("mode", action.mode)?,
            recursive: action.recursive,
            allow_wildcard: action.allow_wildcard,
        },
    })
}

fn copy(action: wit::CopyAction, inputs: &mut Inputs<'_>) -> Result<CopyAction, Fault> {
    Ok(CopyAction {
        input: inputs.add(action.input)?,
        paths: texts("source path", action.paths)?,
        dest: absolute("destination", action.dest)?,
        owner: owner(action.owner)?,
        mode: text("mode", action.mode)?,
        include_patterns: texts("pattern", action.include_patterns)?,
        exclude_patterns: texts("pattern", action.exclude_patterns)?,
        follow_symlinks: action.follow_symlinks,
        contents_only: action.contents_only,
        create_dest: action.create_dest,
        allow_wildcard: action.allow_wildcard,
        allow_empty_wildcard: action.allow_empty_wildcard,
        unpack: match action.unpack.as_str() {
            "" => Unpack::Nothing,
            "tar" => Unpack::Tar,
            "ar" => Unpack::Ar,
            "zip" => Unpack::Zip,
            "compressed" => Unpack::Compressed,
            other => return Err(unknown_word("unpack", other, "`tar`, `ar`, `zip`, `compressed`")),
        },
        keep_parents: action.keep_parents,
    })
}

fn owner(owner: Option<wit::Owner>) -> Result<Option<Owner>, Fault> {
    owner
        .map(|owner| Ok(Owner { user: text("owner", owner.user)?, group: text("group", owner.group)? }))
        .transpose()
}
