//! Enters a user namespace, in which an unprivileged user may make mounts and have several user ids.
//!
//! The whole of kiln goes in, not only the steps: files of other ids can be hashed, read and deleted only from
//! inside, so store and sandbox must see one world.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};

use rustix::process::{WaitId, WaitIdOptions, getegid, geteuid, waitid};
use rustix::thread::{CapabilitySet, capabilities};

use crate::sys::{self, Side, SingleThreaded};

/// Who kiln is to the kernel from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// It had all rights before; nothing was changed.
    Privileged,
    /// Root of a user namespace, with this many further ids from `/etc/subuid` and `/etc/subgid`.
    Mapped { uids: u32, gids: u32 },
    /// Root of a user namespace in which there is no other user, for this reason. Steps cannot change to another
    /// user, and files of others cannot be made.
    Single { reason: String },
}

/// Why no user namespace could be entered.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    #[error("a user namespace can only be entered before the first thread is started")]
    Threads(#[source] io::Error),
    #[error(
        "could not make a user namespace; run kiln as root, or let users make them \
         (sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces, \
         kernel.apparmor_restrict_unprivileged_userns=0)"
    )]
    Unshare(#[source] io::Error),
    #[error("could not map user and group ids into the user namespace")]
    Map(#[source] io::Error),
    #[error(
        "the user namespace came without rights over mounts; on Ubuntu allow them with \
         sysctl kernel.apparmor_restrict_unprivileged_userns=0 or an AppArmor profile for kiln"
    )]
    Restricted,
}

/// Makes this process root of a user namespace, with a mount namespace of its own, unless it can mount already.
///
/// To be called in `main` before the first thread, after [`crate::enter_if_helper`]. The process keeps its id,
/// terminal and files; paths and names mean what they meant.
pub fn enter_user_namespace() -> Result<Identity, EnterError> {
    if may_mount() {
        return Ok(Identity::Privileged);
    }
    let single = SingleThreaded::check().map_err(EnterError::Threads)?;
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let ranges = Ranges::read(uid);
    // The programs that may map further ids must run outside the namespace, so a copy stays behind for that.
    let (mut go, wait) = io::pipe().map(|(from, to)| (to, from)).map_err(EnterError::Map)?;
    let mapper = match sys::clone(single, 0).map_err(EnterError::Map)? {
        Side::Child => {
            drop(go);
            sys::leave(map_from_outside(wait, uid, gid, ranges.as_ref().ok()));
        }
        Side::Parent { pidfd, .. } => pidfd,
    };
    drop(wait);
    let unshared = sys::unshare(single, libc::CLONE_NEWUSER | libc::CLONE_NEWNS);
    if unshared.is_ok() {
        let _ = go.write_all(b"!");
    }
    drop(go);
    let mapped = succeeded(&mapper);
    unshared.map_err(EnterError::Unshare)?;
    let identity = match ranges {
        Ok(ranges) if mapped => Identity::Mapped {
            uids: ranges.uids.iter().map(|range| range.count).sum(),
            gids: ranges.gids.iter().map(|range| range.count).sum(),
        },
        ranges => {
            map_single(uid, gid).map_err(EnterError::Map)?;
            let reason = ranges.err().unwrap_or_else(|| {
                "`newuidmap` and `newgidmap` (package uidmap) are missing or refused".to_owned()
            });
            Identity::Single { reason }
        }
    };
    if !may_mount() {
        return Err(EnterError::Restricted);
    }
    Ok(identity)
}

/// Whether this process is in a user namespace other than the first.
pub(crate) fn in_user_namespace() -> bool {
    let Ok(map) = fs::read_to_string("/proc/self/uid_map") else {
        return false;
    };
    !map.split_whitespace().eq(["0", "0", "4294967295"])
}

fn may_mount() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Consecutive ids that a user may use for its namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    start: u32,
    count: u32,
}

struct Ranges {
    uids: Vec<Range>,
    gids: Vec<Range>,
}

impl Ranges {
    /// Those of the user with this id, or why there are none.
    fn read(uid: u32) -> Result<Self, String> {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let name = user_name(&passwd, uid).unwrap_or_default();
        let of = |file: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let ranges = ranges(&text, name, uid);
            if ranges.is_empty() { Err(format!("`{file}` has no ids for user {uid}")) } else { Ok(ranges) }
        };
        Ok(Self { uids: of("/etc/subuid")?, gids: of("/etc/subgid")? })
    }
}

fn user_name(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

/// Lines are `user:start:count`, where `user` is a name or an id.
fn ranges(text: &str, name: &str, uid: u32) -> Vec<Range> {
    let uid = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let (user, range) = line.trim().split_once(':')?;
            let (start, count) = range.split_once(':')?;
            let (start, count) = (start.parse().ok()?, count.parse().ok()?);
            let ours = user == uid || (!name.is_empty() && user == name);
            (ours && count > 0).then_some(Range { start, count })
        })
        .collect()
}

/// What `newuidmap` is to be told: id 0 is the user, those from 1 on come out of the ranges.
fn map_arguments(own: u32, ranges: &[Range]) -> Vec<String> {
    let mut arguments = vec!["0".to_owned(), own.to_string(), "1".to_owned()];
    let mut next = 1u32;
    for range in ranges {
        let count = range.count.min(u32::MAX - next);
        arguments.extend([next, range.start, count].map(|number| number.to_string()));
        next += count;
    }
    arguments
}

/// In the copy outside: waits until its parent is in the namespace, and maps ids for it. Returns an exit code.
fn map_from_outside(mut wait: io::PipeReader, uid: u32, gid: u32, ranges: Option<&Ranges>) -> i32 {
    let mut go = [0];
    let (Ok(1), Some(ranges)) = (wait.read(&mut go), ranges) else {
        return 1;
    };
    let Some(parent) = rustix::process::getppid() else {
        return 1;
    };
    let run = |program: &str, arguments: Vec<String>| {
        Command::new(program)
            .arg(parent.as_raw_nonzero().to_string())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let mapped = run("newuidmap", map_arguments(uid, &ranges.uids))
        && run("newgidmap", map_arguments(gid, &ranges.gids));
    i32::from(!mapped)
}

/// What everybody may do for themselves: map one id, giving up the right to change groups.
fn map_single(uid: u32, gid: u32) -> io::Result<()> {
    if fs::read_to_string("/proc/self/uid_map")?.trim().is_empty() {
        fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    }
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

fn succeeded(process: &OwnedFd) -> bool {
    loop {
        match waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(Some(status)) => return status.exit_status() == Some(0),
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_id() {
        let text = "ann:100000:65536\n1001:300000:10\nbob:5:5\n# x\nann:nonsense:1\nann:1:0\n";
        let range = |start, count| Range { start, count };
        assert_eq!(ranges(text, "ann", 1000), [range(100_000, 65536)]);
        assert_eq!(ranges(text, "", 1001), [range(300_000, 10)]);
        assert_eq!(ranges(text, "eve", 7), []);
    }

    #[test]
    fn the_user_is_root_inside_and_the_ranges_follow_without_gaps() {
        let ranges = [Range { start: 100_000, count: 10 }, Range { start: 200_000, count: 5 }];
        assert_eq!(map_arguments(1000, &ranges).join(" "), "0 1000 1 1 100000 10 11 200000 5");
    }

    #[test]
    fn a_user_is_found_by_id() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000), Some("ann"));
        assert_eq!(user_name(passwd, 1), None);
    }
}
