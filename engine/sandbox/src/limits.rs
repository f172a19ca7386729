//! Resource limits of a step: the ones asked for, over a fixed set that does not depend on where kiln was started.

use rustix::process::{Resource as Kernel, Rlimit, getrlimit, setrlimit};

use crate::fault::{At, Fault, Step};
use crate::spec::{Resource, Ulimit};

/// Limits of every step: soft, hard. What the kernel gives a first process, with no core files to end up in a
/// layer, and with room for programs that raise their own number of open files.
const DEFAULTS: [(Resource, Option<u64>, Option<u64>); 15] = [
    (Resource::Core, Some(0), None),
    (Resource::Cpu, None, None),
    (Resource::Data, None, None),
    (Resource::Fsize, None, None),
    (Resource::Locks, None, None),
    (Resource::Memlock, Some(8 << 20), Some(8 << 20)),
    (Resource::Msgqueue, Some(819_200), Some(819_200)),
    (Resource::Nice, Some(0), Some(0)),
    (Resource::Nofile, Some(1024), Some(1_048_576)),
    (Resource::Nproc, None, None),
    (Resource::Rss, None, None),
    (Resource::Rtprio, Some(0), Some(0)),
    (Resource::Rttime, None, None),
    (Resource::Sigpending, None, None),
    (Resource::Stack, Some(8 << 20), None),
];

/// Must run while the process may still raise hard limits.
pub(crate) fn apply(asked: &[Ulimit]) -> Result<(), Fault> {
    for (resource, soft, hard) in DEFAULTS {
        if asked.iter().any(|limit| limit.resource == resource) {
            continue;
        }
        let wanted = Rlimit { current: soft, maximum: hard };
        let inherited = getrlimit(kernel(resource));
        if inherited == wanted {
            continue;
        }
        if setrlimit(kernel(resource), wanted).is_err() {
            // Without the right to raise a hard limit, come as close as the inherited one allows.
            let maximum = lower(wanted.maximum, inherited.maximum);
            let current = lower(wanted.current, maximum);
            setrlimit(kernel(resource), Rlimit { current, maximum }).at(Step::Limit, name(resource))?;
        }
    }
    for limit in asked {
        let wanted = Rlimit { current: limit.soft, maximum: limit.hard };
        setrlimit(kernel(limit.resource), wanted).at(Step::Limit, name(limit.resource))?;
    }
    Ok(())
}

/// The stricter of two limits, where `None` is no limit.
fn lower(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

fn name(resource: Resource) -> &'static str {
    Resource::ALL.iter().find(|(_, known)| *known == resource).map_or("", |(name, _)| *name)
}

fn kernel(resource: Resource) -> Kernel {
    match resource {
        Resource::Core => Kernel::Core,
        Resource::Cpu => Kernel::Cpu,
        Resource::Data => Kernel::Data,
        Resource::Fsize => Kernel::Fsize,
        Resource::Locks => Kernel::Locks,
        Resource::Memlock => Kernel::Memlock,
        Resource::Msgqueue => Kernel::Msgqueue,
        Resource::Nice => Kernel::Nice,
        Resource::Nofile => Kernel::Nofile,
        Resource::Nproc => Kernel::Nproc,
        Resource::Rss => Kernel::Rss,
        Resource::Rtprio => Kernel::Rtprio,
        Resource::Rttime => Kernel::Rttime,
        Resource::Sigpending => Kernel::Sigpending,
        Resource::Stack => Kernel::Stack,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_there_is_has_a_fixed_default() {
        for (name, resource) in Resource::ALL {
            assert!(DEFAULTS.iter().any(|(known, ..)| *known == resource), "{name}");
        }
    }

    #[test]
    fn no_limit_is_above_every_limit() {
        assert_eq!(lower(None, Some(3)), Some(3));
        assert_eq!(lower(Some(2), None), Some(2));
        assert_eq!(lower(Some(2), Some(3)), Some(2));
        assert_eq!(lower(None, None), None);
    }
}
