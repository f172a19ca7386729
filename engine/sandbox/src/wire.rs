//! How a `Spec`, and what became of it, are written on the socket between the two halves.
//!
//! Both ends are one binary, so the form needs no version: integers in native order, byte strings with their length
//! before them, enums as one byte.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::spec::{Mount, MountKind, Network, Resource, Root, Security, Spec, Stdio, Ulimit, User};

#[derive(Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_ne_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_ne_bytes());
    }

    pub(crate) fn string(&mut self, value: &[u8]) {
        self.u64(value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    fn path(&mut self, path: &Path) {
        self.string(path.as_os_str().as_bytes());
    }

    fn list<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Self, &T)) {
        self.u64(items.len() as u64);
        for one in items {
            item(self, one);
        }
    }

    fn option<T>(&mut self, value: Option<&T>, some: impl FnOnce(&mut Self, &T)) {
        self.byte(u8::from(value.is_some()));
        if let Some(value) = value {
            some(self, value);
        }
    }
}

pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

/// `None` everywhere means: the bytes are not what a [`Writer`] wrote.
impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_ne_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_ne_bytes(self.take(8)?.try_into().ok()?))
    }

    pub(crate) fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u64()?).ok()?;
        self.take(length)
    }

    fn os_string(&mut self) -> Option<OsString> {
        Some(OsString::from_vec(self.string()?.to_vec()))
    }

    fn path(&mut self) -> Option<PathBuf> {
        Some(PathBuf::from(self.os_string()?))
    }

    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.u64()?;
        (0..count).map(|_| item(self)).collect()
    }

    fn option<T>(&mut self, some: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.byte()? {
            0 => Some(None),
            _ => Some(Some(some(self)?)),
        }
    }
}

pub(crate) fn encode(spec: &Spec) -> Vec<u8> {
    let mut to = Writer::default();
    to.list(&spec.root.lowers, |to, path| to.path(path));
    to.option(spec.root.upper.as_ref(), |to, path| to.path(path));
    to.option(spec.root.work.as_ref(), |to, path| to.path(path));
    to.list(&spec.mounts, encode_mount);
    to.list(&spec.argv, |to, argument| to.string(argument.as_bytes()));
    to.list(&spec.env, |to, (name, value)| {
        to.string(name.as_bytes());
        to.string(value.as_bytes());
    });
    to.path(&spec.cwd);
    to.u32(spec.user.uid);
    to.u32(spec.user.gid);
    to.list(&spec.user.groups, |to, group| to.u32(*group));
    to.string(spec.hostname.as_bytes());
    to.byte(match spec.network {
        Network::Private => 0,
        Network::None => 1,
        Network::Host => 2,
    });
    to.byte(u8::from(spec.security == Security::Insecure));
    to.u64(spec.shm_size);
    to.list(&spec.ulimits, |to, limit| {
        to.string(resource_name(limit.resource).as_bytes());
        to.option(limit.soft.as_ref(), |to, value| to.u64(*value));
        to.option(limit.hard.as_ref(), |to, value| to.u64(*value));
    });
    to.string(&spec.hosts);
    to.string(&spec.resolv_conf);
    to.byte(u8::from(spec.stdio == Stdio::Inherit));
    to.bytes
}

pub(crate) fn decode(bytes: &[u8]) -> Option<Spec> {
    let from = &mut Reader::new(bytes);
    Some(Spec {
        root: Root {
            lowers: from.list(Reader::path)?,
            upper: from.option(Reader::path)?,
            work: from.option(Reader::path)?,
        },
        mounts: from.list(decode_mount)?,
        argv: from.list(Reader::os_string)?,
        env: from.list(|from| Some((from.os_string()?, from.os_string()?)))?,
        cwd: from.path()?,
        user: User { uid: from.u32()?, gid: from.u32()?, groups: from.list(Reader::u32)? },
        hostname: String::from_utf8(from.string()?.to_vec()).ok()?,
        network: match from.byte()? {
            0 => Network::Private,
            1 => Network::None,
            _ => Network::Host,
        },
        security: match from.byte()? {
            0 => Security::Default,
            _ => Security::Insecure,
        },
        shm_size: from.u64()?,
        ulimits: from.list(|from| {
            Some(Ulimit {
                resource: Resource::parse(std::str::from_utf8(from.string()?).ok()?)?,
                soft: from.option(Reader::u64)?,
                hard: from.option(Reader::u64)?,
            })
        })?,
        hosts: from.string()?.to_vec(),
        resolv_conf: from.string()?.to_vec(),
        stdio: match from.byte()? {
            0 => Stdio::Capture,
            _ => Stdio::Inherit,
        },
    })
}

fn encode_mount(to: &mut Writer, mount: &Mount) {
    to.path(&mount.target);
    match &mount.kind {
        MountKind::Bind { source, readonly } => {
            to.byte(0);
            to.path(source);
            to.byte(u8::from(*readonly));
        }
        MountKind::Overlay { lowers, upper, work } => {
            to.byte(1);
            to.list(lowers, |to, path| to.path(path));
            to.path(upper);
            to.path(work);
        }
        MountKind::Tmpfs { size, mode } => {
            to.byte(2);
            to.u64(*size);
            to.u32(*mode);
        }
        MountKind::File { content, mode, uid, gid } => {
            to.byte(3);
            to.string(content);
            to.u32(*mode);
            to.u32(*uid);
            to.u32(*gid);
        }
    }
}

fn decode_mount(from: &mut Reader<'_>) -> Option<Mount> {
    let target = from.path()?;
    let kind = match from.byte()? {
        0 => MountKind::Bind { source: from.path()?, readonly: from.byte()? != 0 },
        1 => MountKind::Overlay { lowers: from.list(Reader::path)?, upper: from.path()?, work: from.path()? },
        2 => MountKind::Tmpfs { size: from.u64()?, mode: from.u32()? },
        3 => MountKind::File {
            content: from.string()?.to_vec(),
            mode: from.u32()?,
            uid: from.u32()?,
            gid: from.u32()?,
        },
        _ => return None,
    };
    Some(Mount { target, kind })
}

fn resource_name(resource: Resource) -> &'static str {
    Resource::ALL.iter().find(|(_, known)| *known == resource).map_or("", |(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Spec {
        let root = Root {
            lowers: vec!["/a".into(), "/b".into()],
            upper: Some("/u".into()),
            work: Some("/w".into()),
        };
        let mut spec = Spec::new(root, vec!["sh".into(), OsString::from_vec(vec![0xff, b'x'])]);
        spec.mounts = vec![
            Mount { target: "/m1".into(), kind: MountKind::Bind { source: "/s".into(), readonly: true } },
            Mount {
                target: "/m2".into(),
                kind: MountKind::Overlay {
                    lowers: vec!["/l".into()],
                    upper: "/u2".into(),
                    work: "/w2".into(),
                },
            },
            Mount { target: "/m3".into(), kind: MountKind::Tmpfs { size: 7, mode: 0o1777 } },
            Mount {
                target: "/m4".into(),
                kind: MountKind::File { content: b"secret".to_vec(), mode: 0o400, uid: 1, gid: 2 },
            },
        ];
        spec.env = vec![("A".into(), "1".into()), ("B".into(), "".into())];
        spec.user = User { uid: 3, gid: 4, groups: vec![5, 6] };
        spec.network = Network::None;
        spec.security = Security::Insecure;
        spec.ulimits = Resource::ALL
            .iter()
            .map(|(_, resource)| Ulimit { resource: *resource, soft: Some(1), hard: None })
            .collect();
        spec.hosts = b"hosts".to_vec();
        spec.resolv_conf = b"resolv".to_vec();
        spec.stdio = Stdio::Inherit;
        spec
    }

    #[test]
    fn a_spec_arrives_as_it_was_sent() {
        assert_eq!(decode(&encode(&full())), Some(full()));
    }

    #[test]
    fn a_spec_cut_short_anywhere_is_not_read() {
        let bytes = encode(&full());
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]), None, "cut at {length}");
        }
    }
}
