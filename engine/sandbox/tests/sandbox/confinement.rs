//! What a process cannot see, reach or do.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use kiln_sandbox::{Network, Security, User};

use crate::space::Space;

crate::tests![
    the_capabilities_are_dockers_and_inheritable_ones_empty,
    another_user_has_none_but_setuid_programs_work,
    refused_calls_fail_and_unknown_ones_do_not_exist,
    kernel_interfaces_are_masked_or_read_only,
    insecure_steps_have_everything,
    device_files_work_in_dev_and_nowhere_else,
    processes_outside_are_not_seen,
    no_network_is_loopback_alone,
    a_step_cannot_change_the_hosts_devices,
    mountinfo_shows_no_path_of_the_store,
    a_private_network_is_apart_where_it_can_be_had,
];

fn the_capabilities_are_dockers_and_inheritable_ones_empty() {
    let space = Space::new();
    let output = space.output(&space.sh("grep Cap /proc/self/status; grep NoNewPrivs /proc/self/status"));
    let value = |name: &str| {
        let line = output.lines().find(|line| line.starts_with(name));
        line.unwrap().rsplit('\t').next().unwrap().to_owned()
    };
    for name in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(value(name), "00000000a80425fb", "{name}");
    }
    for name in ["CapInh", "CapAmb"] {
        assert_eq!(value(name), "0000000000000000", "{name}");
    }
    assert_eq!(value("NoNewPrivs"), "0");
}

fn another_user_has_none_but_setuid_programs_work() {
    let space = Space::new();
    let program = space.path("base/bin/setuid-id");
    fs::copy(space.path("base/bin/busybox"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    fs::create_dir(space.path("base/suid")).unwrap();
    // Busybox gives up what it was lent unless the applet needs it; `su` to oneself does.
    let mut spec = space.sh("grep CapEff /proc/self/status; /bin/setuid-id ash -c true; \
         /bin/setuid-id su root -c 'id -u'");
    spec.user = User { uid: 1000, gid: 1000, groups: vec![] };
    let output = space.run(&spec).unwrap();
    assert!(output.stdout.starts_with("CapEff:\t0000000000000000"), "{output:?}");
    // `su` only gets to ask for a password when it is root; else it says that it must be.
    assert!(!output.stderr.contains("must be suid"), "{output:?}");
}

fn refused_calls_fail_and_unknown_ones_do_not_exist() {
    let space = Space::new();
    let output = space.output(&space.sh("mount -t tmpfs none /mnt 2>&1; ls /proc/self/ns >/dev/null; \
         busybox unshare -m true 2>&1; grep Seccomp: /proc/self/status"));
    assert!(output.contains("mount: permission denied"), "{output}");
    assert!(output.contains("unshare: unshare(0x20000): Operation not permitted"), "{output}");
    assert!(output.ends_with("Seccomp:\t2"), "{output}");
}

fn kernel_interfaces_are_masked_or_read_only() {
    let space = Space::new();
    let output = space.output(&space.sh("for file in kcore keys timer_list sched_debug interrupts; do \
            test ! -e /proc/$file || test $(head -c 1 /proc/$file | wc -c) = 0 || echo $file; done; \
         for directory in acpi scsi; do \
            test ! -e /proc/$directory || test $(ls /proc/$directory | wc -l) = 0 || echo $directory; done; \
         test $(ls /sys/firmware 2>/dev/null | wc -l) = 0 || echo firmware; \
         for file in /proc/sys/kernel/hostname /proc/sysrq-trigger; do \
            sh -c \"echo x >$file\" 2>/dev/null && echo $file; done; \
         touch /sys/x 2>/dev/null && echo sys; touch /sys/fs/cgroup/x 2>/dev/null && echo cgroup; \
         echo done"));
    assert_eq!(output, "done");
}

fn insecure_steps_have_everything() {
    let space = Space::new();
    let mut spec = space
        .sh("grep -E 'CapEff|Seccomp:' /proc/self/status; mount -t tmpfs none /mnt && echo mounted; \
         test -b /dev/loop0 -o -c /dev/null && echo devices");
    spec.security = Security::Insecure;
    let output = space.output(&spec);
    assert!(output.contains("Seccomp:\t0\nmounted\ndevices"), "{output}");
    let capabilities = output.lines().next().unwrap().rsplit('\t').next().unwrap();
    let capabilities = u64::from_str_radix(capabilities, 16).unwrap();
    assert_eq!(capabilities & (1 << 21), 1 << 21, "CAP_SYS_ADMIN");
}

fn device_files_work_in_dev_and_nowhere_else() {
    let space = Space::new();
    let output = space.output(&space.sh(
        "for device in null zero full random urandom; do test -c /dev/$device || echo no $device; done; \
         echo x >/dev/null; head -c 2 /dev/zero | wc -c; head -c 2 /dev/urandom | wc -c; \
         ls -l /dev/fd /dev/stdin /dev/ptmx | wc -l; test -d /dev/pts -a -d /dev/shm -a -d /dev/mqueue && echo there; \
         touch /dev/shm/x && echo writable; \
         for place in /tmp /dev /dev/shm; do \
            mknod $place/zero2 c 1 5 2>/dev/null && head -c 1 $place/zero2 2>/dev/null; done; echo done",
    ));
    assert_eq!(output, "2\n2\n3\nthere\nwritable\ndone");
}

fn processes_outside_are_not_seen() {
    let space = Space::new();
    assert_eq!(space.output(&space.sh("echo /proc/[0-9]*")), "/proc/1");
}

fn no_network_is_loopback_alone() {
    let space = Space::new();
    let mut spec = space.sh("ls /sys/class/net; cat /proc/net/dev | wc -l; ip addr show dev lo");
    spec.network = Network::None;
    let output = space.output(&spec);
    assert!(output.starts_with("lo\n3\n"), "{output}");
    assert!(output.contains("UP") && output.contains("127.0.0.1/8"), "{output}");
}

fn a_step_cannot_change_the_hosts_devices() {
    let space = Space::new();
    let before = fs::metadata("/dev/null").unwrap().permissions().mode();
    let _ = space.run(&space.sh("chmod 600 /dev/null /proc/self/fd/0; chmod 600 /dev/zero; rm -f /dev/null"));
    let after = fs::metadata("/dev/null").unwrap().permissions().mode();
    assert_eq!(before, after);
    space.output(&space.sh("test \"$(stat -c %a /dev/null)\" = 666"));
}

fn mountinfo_shows_no_path_of_the_store() {
    let space = Space::new();
    let output = space.output(&space.spec(&["cat", "/proc/self/mountinfo"]));
    let store = space.directory.path().file_name().unwrap().to_str().unwrap();
    assert!(!output.contains(store), "{output}");
}

fn a_private_network_is_apart_where_it_can_be_had() {
    let space = Space::new();
    let mut spec = space.sh("readlink /proc/self/ns/net");
    spec.network = Network::Private;
    let own = space.output(&spec);
    let host = fs::read_link("/proc/self/ns/net").unwrap();
    match space.sandbox.private_network() {
        kiln_sandbox::Availability::Own => {
            assert_ne!(own, host.to_str().unwrap());
            let mut spec = space.sh("ip route; ip -6 route");
            spec.network = Network::Private;
            let routes = space.output(&spec);
            assert!(routes.contains("default"), "{routes}");
        }
        kiln_sandbox::Availability::Host { reason } => {
            println!("    no namespace of its own: {reason}");
            assert_eq!(own, host.to_str().unwrap());
        }
    }
}
