//! Who the process is: user, groups, capabilities.

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, Gid, Uid, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use crate::fault::{At, Fault, Step};
use crate::spec::User;

/// What Docker leaves to a container: mask `a80425fb`.
pub(crate) const DEFAULT_CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::AUDIT_WRITE)
    .union(CapabilitySet::SETFCAP);

/// How many capabilities the running kernel knows.
pub(crate) fn known_capabilities() -> u32 {
    (0..64)
        .find(|number| {
            let capability = CapabilitySet::from_bits_retain(1 << number);
            capability_is_in_bounding_set(capability) == Err(Errno::INVAL)
        })
        .unwrap_or(64)
}

/// Takes away for good what no program of the step may get back, setuid ones included.
///
/// What the process holds at the moment stays: executing as root leaves it this set, as anyone else none of it.
pub(crate) fn limit_capabilities(keep: CapabilitySet, known: u32) -> Result<(), Fault> {
    for number in 0..known {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if !keep.contains(capability) {
            remove_capability_from_bounding_set(capability).at(Step::Capabilities, "")?;
        }
    }
    Ok(())
}

/// Nothing is passed on by inheritance, whatever kiln was started with.
pub(crate) fn clear_inherited() -> Result<(), Fault> {
    let mut sets = capabilities(None).at(Step::Capabilities, "")?;
    if !sets.inheritable.is_empty() {
        sets.inheritable = CapabilitySet::empty();
        set_capabilities(None, sets).at(Step::Capabilities, "")?;
    }
    clear_ambient_capability_set().at(Step::Capabilities, "")
}

pub(crate) fn take_on(user: &User) -> Result<(), Fault> {
    let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
    match set_thread_groups(&groups) {
        // A user namespace with a single user may not change groups, and its root, who owns all there is, needs not.
        Err(Errno::PERM) if user.uid == 0 => {}
        result => result.at(Step::Identity, "groups")?,
    }
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    set_thread_res_gid(gid, gid, gid).at(Step::Identity, format!("gid {}", user.gid))?;
    set_thread_res_uid(uid, uid, uid).at(Step::Identity, format!("uid {}", user.uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_capabilities_are_dockers() {
        assert_eq!(DEFAULT_CAPABILITIES.bits(), 0xa804_25fb);
    }
}
