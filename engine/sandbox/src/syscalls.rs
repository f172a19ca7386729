//! Which system calls steps may not make, and their numbers.
//!
//! The calls are those Docker's default profile does not allow with Docker's default capabilities. A list of what is
//! refused says the same as its list of what is allowed, since numbers above [`HIGHEST_KNOWN`] are refused in
//! another way (see `seccomp.rs`). Of calls that no current kernel has, only such are listed as did harm.

/// The last call the profile knows of: `removexattrat`, Linux 6.13. Calls have one number everywhere since 424.
pub(crate) const HIGHEST_KNOWN: u32 = 466;

/// No such call there.
pub(crate) const NONE: u32 = u32::MAX;

/// Which numbers a program uses. In the order of the columns below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Abi {
    X86_64,
    X86,
    Aarch64,
    Arm,
}

/// Name, and number on x86-64, x86, arm64 and arm.
pub(crate) const REFUSED: &[(&str, [u32; 4])] = &[
    // Mounts, and namespaces to make mounts in.
    ("mount", [165, 21, 40, 21]),
    ("umount", [NONE, 22, NONE, NONE]),
    ("umount2", [166, 52, 39, 52]),
    ("pivot_root", [155, 217, 41, 218]),
    ("fsopen", [430, 430, 430, 430]),
    ("fsconfig", [431, 431, 431, 431]),
    ("fsmount", [432, 432, 432, 432]),
    ("fspick", [433, 433, 433, 433]),
    ("open_tree", [428, 428, 428, 428]),
    ("move_mount", [429, 429, 429, 429]),
    ("mount_setattr", [442, 442, 442, 442]),
    ("setns", [308, 346, 268, 375]),
    ("unshare", [272, 310, 97, 337]),
    // The machine as a whole: its name, quotas, swap, log, events, security modules, accounting.
    ("sethostname", [170, 74, 161, 74]),
    ("setdomainname", [171, 121, 162, 121]),
    ("quotactl", [179, 131, 60, 131]),
    ("quotactl_fd", [443, 443, 443, 443]),
    ("swapon", [167, 87, 224, 87]),
    ("swapoff", [168, 115, 225, 115]),
    ("syslog", [103, 103, 116, 103]),
    ("fanotify_init", [300, 338, 262, 367]),
    ("perf_event_open", [298, 336, 241, 364]),
    ("lookup_dcookie", [212, 253, 18, 249]),
    ("nfsservctl", [180, 169, 42, 169]),
    ("lsm_get_self_attr", [459, 459, 459, 459]),
    ("lsm_set_self_attr", [460, 460, 460, 460]),
    ("lsm_list_modules", [461, 461, 461, 461]),
    ("acct", [163, 51, 89, 51]),
    ("vhangup", [153, 111, 58, 111]),
    // Kernel code, and starting another kernel.
    ("bpf", [321, 357, 280, 386]),
    ("init_module", [175, 128, 105, 128]),
    ("finit_module", [313, 350, 273, 379]),
    ("delete_module", [176, 129, 106, 129]),
    ("create_module", [174, 127, NONE, NONE]),
    ("get_kernel_syms", [177, 130, NONE, NONE]),
    ("query_module", [178, 167, NONE, NONE]),
    ("kexec_load", [246, 283, 104, 347]),
    ("kexec_file_load", [320, NONE, 294, 401]),
    ("reboot", [169, 88, 142, 88]),
    // Keyrings, which have no namespace.
    ("add_key", [248, 286, 217, 309]),
    ("request_key", [249, 287, 218, 310]),
    ("keyctl", [250, 288, 219, 311]),
    // The clock.
    ("settimeofday", [164, 79, 170, 79]),
    ("stime", [NONE, 25, NONE, NONE]),
    ("clock_settime", [227, 264, 112, 262]),
    ("clock_settime64", [NONE, 404, NONE, 404]),
    // Hardware.
    ("iopl", [172, 110, NONE, NONE]),
    ("ioperm", [173, 101, NONE, NONE]),
    ("vm86old", [NONE, 113, NONE, NONE]),
    ("vm86", [NONE, 166, NONE, NONE]),
    ("pciconfig_iobase", [NONE, NONE, NONE, 271]),
    ("pciconfig_read", [NONE, NONE, NONE, 272]),
    ("pciconfig_write", [NONE, NONE, NONE, 273]),
    // Placement of memory on a shared machine.
    ("mbind", [237, 274, 235, 319]),
    ("get_mempolicy", [239, 275, 236, 320]),
    ("set_mempolicy", [238, 276, 237, 321]),
    ("set_mempolicy_home_node", [450, 450, 450, 450]),
    ("migrate_pages", [256, 294, 238, NONE]),
    ("move_pages", [279, 317, 239, 344]),
    // Other processes' insides, beyond what ptrace checks.
    ("kcmp", [312, 349, 272, 378]),
    ("pidfd_getfd", [438, 438, 438, 438]),
    ("process_madvise", [440, 440, 440, 440]),
    // Files by handle, past every mount and permission on the way.
    ("open_by_handle_at", [304, 342, 265, 371]),
    // Ways into the kernel that were broken often and that builds do not need.
    ("io_uring_setup", [425, 425, 425, 425]),
    ("io_uring_enter", [426, 426, 426, 426]),
    ("io_uring_register", [427, 427, 427, 427]),
    ("userfaultfd", [323, 374, 282, 388]),
    // Leftovers.
    ("uselib", [134, 86, NONE, 86]),
    ("ustat", [136, 62, NONE, 62]),
    ("sysfs", [139, 135, NONE, 135]),
    ("_sysctl", [156, 149, NONE, 149]),
    ("bdflush", [NONE, 134, NONE, 134]),
];

/// Numbers of x32 beyond those it shares with x86-64: first, last, and the refused ones (kexec_load, move_pages).
pub(crate) const X32_OWN: (u32, u32) = (512, 547);
pub(crate) const X32_REFUSED: [u32; 2] = [528, 533];

/// Calls of arm alone: breakpoint, cacheflush, set_tls.
pub(crate) const ARM_OWN: [u32; 3] = [0xf_0001, 0xf_0002, 0xf_0005];

/// Calls whose arguments decide, and the one that pretends not to exist.
pub(crate) const CLONE: [u32; 4] = [56, 120, 220, 120];
pub(crate) const CLONE3: [u32; 4] = [435; 4];
pub(crate) const PERSONALITY: [u32; 4] = [135, 136, 92, 136];
pub(crate) const SOCKET: [u32; 4] = [41, 359, 198, 281];
pub(crate) const IOCTL: [u32; 4] = [16, 54, 29, 54];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_this_machines_headers() {
        let native = if cfg!(target_arch = "x86_64") { Abi::X86_64 } else { Abi::Aarch64 } as usize;
        let number = |name: &str| {
            REFUSED.iter().find(|(known, _)| *known == name).map(|(_, numbers)| i64::from(numbers[native]))
        };
        for (name, expected) in [
            ("mount", libc::SYS_mount),
            ("umount2", libc::SYS_umount2),
            ("pivot_root", libc::SYS_pivot_root),
            ("unshare", libc::SYS_unshare),
            ("setns", libc::SYS_setns),
            ("keyctl", libc::SYS_keyctl),
            ("bpf", libc::SYS_bpf),
            ("kexec_load", libc::SYS_kexec_load),
            ("open_by_handle_at", libc::SYS_open_by_handle_at),
            ("userfaultfd", libc::SYS_userfaultfd),
            ("perf_event_open", libc::SYS_perf_event_open),
            ("mount_setattr", libc::SYS_mount_setattr),
            ("io_uring_setup", libc::SYS_io_uring_setup),
            ("clock_settime", libc::SYS_clock_settime),
            ("reboot", libc::SYS_reboot),
            ("finit_module", libc::SYS_finit_module),
            ("move_pages", libc::SYS_move_pages),
        ] {
            assert_eq!(number(name), Some(expected), "{name}");
        }
        assert_eq!(i64::from(CLONE[native]), libc::SYS_clone);
        assert_eq!(i64::from(CLONE3[native]), libc::SYS_clone3);
        assert_eq!(i64::from(PERSONALITY[native]), libc::SYS_personality);
        assert_eq!(i64::from(SOCKET[native]), libc::SYS_socket);
        assert_eq!(i64::from(IOCTL[native]), libc::SYS_ioctl);
    }

    #[test]
    fn no_number_means_two_calls() {
        for abi in 0..4 {
            let mut numbers: Vec<u32> = REFUSED
                .iter()
                .map(|(_, numbers)| numbers[abi])
                .chain([CLONE, CLONE3, PERSONALITY, SOCKET, IOCTL].map(|call| call[abi]))
                .filter(|number| *number != NONE)
                .collect();
            let count = numbers.len();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), count, "abi {abi}");
            assert!(numbers.iter().all(|number| *number <= HIGHEST_KNOWN));
        }
    }
}
